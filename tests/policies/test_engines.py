"""The rules of each engine, by golden files, and plans that change with the cluster state.

`UPDATE_GOLDEN=1` rewrites the files.
"""

import os
import time
from functools import cache
from pathlib import Path

import pytest

from testbed.kubernetes.policies import resolve
from testbed.kubernetes.state import ClusterState
from testbed.plan.change import diff
from testbed.plan.objects import Plan
from testbed.plan.rulesets import Ruleset
from testbed.plan.rulesets.transactions import TOOLS, wholes
from testbed.policies import ENGINES, with_policies
from tests.kubernetes.policies.cases import cluster, own_cases
from tests.policies.labs import designed, enforced

GOLDEN = Path(__file__).parent / "golden"
CASES = {case.name: case.steps[0].state for case in own_cases()}
WAYS = (
    ("nftables", "vxlan"),
    ("calico", "calico-vxlan"),
    ("kube-router", "kube-router"),
    ("weave", "weave-sleeve"),
)


def policed(name: str, engine: str, design: str) -> tuple[Plan, Plan]:
    """The plan of a case without and with policies."""
    plan = designed(CASES[name], design)
    return plan, enforced(plan, plan, CASES[name], ENGINES[engine]).plan


def rules_of(plan: Plan, node: str) -> list[str]:
    """All chains, rules, sets and elements of a node; rules of a chain are in order."""
    tables = wholes(plan[node].of(Ruleset)).items()
    return [f"{backend} {line}" for backend, whole in tables for line, _ in TOOLS[backend].lines(whole)]


def text(plain: Plan, plan: Plan, node: str) -> str:
    """What an engine adds to a node, and takes from it."""
    before, after = rules_of(plain, node), rules_of(plan, node)
    lost = sorted(set(before) - set(after))
    return "".join(f"{line}\n" for line in (*(f"- {line}" for line in lost), *difference(before, after)))


def difference(before: list[str], after: list[str]) -> list[str]:
    known = set(before)
    return [f"+ {line}" for line in after if line not in known]


@pytest.mark.parametrize(("engine", "design"), WAYS)
@pytest.mark.parametrize("name", ["tiers", "ports", "blocks"])
def test_golden_rules(engine: str, design: str, name: str) -> None:
    found = text(*policed(name, engine, design), "node1")
    file = GOLDEN / f"{engine}-{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(found)
    assert found == file.read_text()


@pytest.mark.parametrize(("engine", "design"), WAYS)
def test_a_cluster_without_policies_has_the_rules_of_the_design(engine: str, design: str) -> None:
    state = cluster({"x": {}}, {"x/a": {}, "x/b": {}}, "")
    plan = designed(state, design)
    found = enforced(plan, plan, state, ENGINES[engine]).plan
    assert found == plan


@pytest.mark.parametrize(("engine", "design"), WAYS)
def test_policies_again_replace_those_before(engine: str, design: str) -> None:
    plan, one = policed("tiers", engine, design)
    state = CASES["tiers"]
    twice = enforced(one, one, state, ENGINES[engine]).plan
    assert twice == one
    without = state.changed(
        gone=[two for kind in ("NetworkPolicy", "ClusterNetworkPolicy") for two in state.of(kind).values()]
    )
    assert enforced(one, one, without, ENGINES[engine]).plan == plan


@pytest.mark.parametrize(("engine", "design"), WAYS)
def test_the_next_plan_of_the_design_is_policed_as_a_new_one(engine: str, design: str) -> None:
    _, one = policed("tiers", engine, design)
    state = CASES["ports"]
    after = designed(state, design, before=one)
    policed_again = enforced(after, after, state, ENGINES[engine]).plan
    fresh = enforced(designed(state, design, before=one.allocation), after, state, ENGINES[engine]).plan
    assert rules_of(policed_again, "node1") == rules_of(fresh, "node1") != rules_of(one, "node1")


@cache
def many(policies: int) -> ClusterState:
    """1,000 pods in 20 namespaces, and many small policies."""
    pods = {
        f"n{number % 20}/p{number}": {"labels": {"app": f"a{number % 100}"}, "ip": "10.244.0.2"}
        for number in range(1000)
    }
    written = "---\n".join(
        f"""
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: p{number}, namespace: n{number % 20}}}
spec:
  podSelector: {{matchLabels: {{app: a{number % 100}}}}}
  ingress:
    - from: [{{podSelector: {{matchLabels: {{app: a{number * 7 % 100}}}}}, namespaceSelector: {{}}}}]
      ports: [{{port: 80}}]
"""
        for number in range(policies)
    )
    nodes = tuple(f"node{number}" for number in range(16))
    return cluster({f"n{number}": {} for number in range(20)}, pods, written, nodes)


@pytest.mark.exclusive
@pytest.mark.parametrize(("engine", "design"), WAYS)
def test_a_thousand_policies_are_resolved_and_planned_in_two_seconds(engine: str, design: str) -> None:
    state = many(1000)
    plan = designed(state, design)
    first = enforced(plan, plan, state, ENGINES[engine])
    begin = time.process_time()
    before = with_policies(plan, first.state, ENGINES[engine])
    assert time.process_time() - begin < 2
    one = next(iter(first.state.of("NetworkPolicy").values()))
    begin = time.process_time()
    changes = diff(before, with_policies(before, first.state.changed(gone=[one]), ENGINES[engine]))
    assert changes
    assert time.process_time() - begin < 2
    assert resolve(first.state).remarks == ()
