"""The oracle: its verdicts, its reasons, and the table of all pairs."""

import ipaddress
import random
import time

import pytest
import yaml
from hypothesis import given, settings

from testbed.kubernetes.policies import Policies, allowed, reach, resolve
from testbed.kubernetes.policies.locating import locate_in
from testbed.kubernetes.reading import read_manifests
from tests.kubernetes.policies.cases import Case, cluster, own_cases
from tests.kubernetes.policies.random_clusters import clusters

CASES = {case.name: case for case in own_cases()}


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_case(case: Case) -> None:
    for step in case.steps:
        policies = resolve(step.state)
        for row in step.rows:
            verdict = allowed(policies, row.source, row.target, row.port, row.protocol)
            assert verdict.is_allowed is row.is_allowed, (row, verdict.why())


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_table_of_all_pairs_agrees_with_single_verdicts(case: Case) -> None:
    policies = resolve(case.steps[0].state)
    for port, protocol in {(row.port, row.protocol) for row in case.steps[0].rows}:
        assert_same(policies, port, protocol)


def assert_same(policies: Policies, port: int, protocol: str) -> None:
    table = reach(policies, port, protocol)
    for one in policies.members.pods:
        for other in policies.members.pods:
            verdict = allowed(policies, one.name, other.name, port, protocol)
            assert bool(table[one.number] >> other.number & 1) is verdict.is_allowed, (one.name, other.name, port)


TWO = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: x}
spec:
  podSelector: {}
  ingress:
    - ports: [{port: 80}]
    - from:
        - podSelector: {}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: guard}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {}}
  egress:
    - name: let-pass
      action: Pass
      to: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: x}}}]
    - action: Deny
      to: [{networks: [0.0.0.0/0]}]
"""


def reasons(source: str, target: str, port: int) -> tuple[bool, tuple[str, ...]]:
    policies = resolve(cluster({"x": {}, "y": {}}, {"x/a": {}, "x/b": {}, "y/a": {}}, TWO))
    verdict = allowed(policies, source, target, port)
    return verdict.is_allowed, verdict.why(locate_in(read_manifests([("policies.yaml", TWO)])))


def test_reasons_name_policies_rules_and_lines() -> None:
    assert reasons("y/a", "x/a", 80) == (
        True,
        (
            'ClusterNetworkPolicy guard: egress[0] "let-pass" passes to the next tier (policies.yaml:20)',
            "no policy decides about egress of y/a",
            "NetworkPolicy x/web isolates x/a for ingress (policies.yaml:6)",
            "NetworkPolicy x/web: ingress[0] allows it (policies.yaml:8)",
        ),
    )


def test_a_denial_without_rule_says_that_none_matches() -> None:
    assert reasons("y/a", "x/a", 81)[1][2:] == (
        "NetworkPolicy x/web isolates x/a for ingress (policies.yaml:6)",
        "no ingress rule of these policies matches",
    )


def test_a_denial_by_a_rule_names_it() -> None:
    assert reasons("x/a", "y/a", 80) == (
        False,
        (
            "ClusterNetworkPolicy guard: egress[1] denies it (policies.yaml:23)",
            "no policy decides about ingress of y/a",
        ),
    )


def test_own_node_and_itself_have_their_own_reasons() -> None:
    assert reasons("node1", "x/a", 81)[1][1:] == ("NetworkPolicies do not cut x/a off from its own node",)
    assert reasons("x/a", "x/a", 81) == (True, ("a pod always reaches itself",))
    assert reasons("node1", "node2", 81) == (True, ("no pod with policies takes part",))


def test_remarks_name_policies_that_select_nobody_and_parts_that_are_left_out() -> None:
    nobody = TWO.replace("podSelector: {}\n  ingress", "podSelector: {matchLabels: {app: none}}\n  ingress")
    policies = resolve(cluster({"x": {}}, {"x/a": {}}, nobody))
    assert policies.remarks == ("NetworkPolicy x/web selects no pod",)
    where = "ClusterNetworkPolicy names: spec.egress[0].to[0].domainNames"
    assert resolve(CASES["domain-names"].steps[0].state).remarks == (
        f"{where}: domain names are left out; they match no traffic",
    )


def test_an_unknown_place_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="x/none"):
        reasons("x/none", "x/a", 80)


def test_both_families_have_their_own_blocks() -> None:
    policy = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: six, namespace: x}
spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: "fd00:10::/64"}}]}]}
"""
    pods = {"x/a": {"ips": ["10.244.0.2", "fd00:10::2"]}, "x/b": {"ips": ["10.244.0.3", "fd00:10::3"]}}
    policies = resolve(cluster({"x": {}}, pods, policy))
    assert not allowed(policies, "x/b", "x/a", 80, family=4).is_allowed
    assert allowed(policies, "x/b", "x/a", 80, family=6).is_allowed
    assert [reach(policies, 80, family=family) for family in (4, 6)] == [(0b01, 0b10), (0b11, 0b11)]


@settings(max_examples=60, deadline=None)
@given(clusters().map(resolve))
def test_table_agrees_with_single_verdicts_on_random_clusters(policies: Policies) -> None:
    for port, protocol in ((80, "TCP"), (81, "TCP"), (80, "UDP")):
        assert_same(policies, port, protocol)


@pytest.mark.exclusive
def test_a_thousand_policies_over_a_thousand_pods_are_resolved_and_a_million_pairs_decided_in_five_seconds() -> None:
    chance = random.Random(1)
    pods = {
        f"ns{number % 50}/p{number}": {
            "labels": {"app": f"a{number % 100}"},
            "ip": str(ipaddress.ip_address("10.244.0.0") + number + 2),
            "ports": [{"name": "web", "port": 80 + number % 2}],
        }
        for number in range(1000)
    }
    made = []
    for number in range(1000):
        peers = [
            {"podSelector": {"matchLabels": {"app": f"a{chance.randrange(100)}"}}, "namespaceSelector": {}},
            {"ipBlock": {"cidr": f"10.244.{chance.randrange(4)}.0/24"}},
        ]
        spec = {
            "podSelector": {"matchLabels": {"app": f"a{chance.randrange(100)}"}} if number % 5 else {},
            "ingress": [{"from": peers, "ports": [{"port": 80}, {"port": "web"}]}],
            "egress": [{"to": peers}, {"to": [{"podSelector": {}}]}],
        }
        metadata = {"name": f"np{number}", "namespace": f"ns{number % 50}"}
        made.append({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec})
    state = cluster({f"ns{number}": {} for number in range(50)}, pods, yaml.dump_all(made, Dumper=yaml.CSafeDumper))
    begin = time.process_time()
    policies = resolve(state)
    resolved = time.process_time()
    table = reach(policies, 80)
    done = time.process_time()
    assert 1000 < sum(row.bit_count() for row in table) < 1_000_000
    assert resolved - begin < 1, resolved - begin
    assert done - resolved < 4, done - resolved
