"""Scheduling: where pods go, and why some stay Pending, in the words of kube-scheduler."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.kubernetes.scheduling.loads import Loads, loads_of
from testbed.kubernetes.workloads import run, settled, step
from tests.kubernetes.clusters import (
    Object,
    applied,
    cluster,
    count_by_node,
    node,
    nodes,
    places,
    pod,
    reasons,
    workload,
)

HOST = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
SELECTOR = {"matchLabels": {"app": "web"}}


def affinity(kind: str, *terms: Object, required: bool = True) -> dict[str, Any]:
    when = "requiredDuringSchedulingIgnoredDuringExecution"
    return {"affinity": {kind: {when if required else when.replace("required", "preferred"): list(terms)}}}


def node_affinity(*expressions: Object) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def spread(key: str = HOST, skew: int = 1, when: str = "DoNotSchedule", **more: Any) -> dict[str, Any]:
    one = {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": SELECTOR, **more}
    return {"topologySpreadConstraints": [one]}


def test_pods_are_spread_evenly() -> None:
    state = settled(cluster(workload(replicas=7), machines=nodes(3)))
    assert count_by_node(state) == {"node1": 3, "node2": 2, "node3": 2}
    state = settled(applied(state, workload(name="api", replicas=2)))
    assert count_by_node(state) == {"node1": 3, "node2": 3, "node3": 3}


def test_node_name_bypasses_the_scheduler() -> None:
    state = settled(cluster(pod("a", nodeName="node3"), pod("b", nodeName="node9")))
    found = {one.name: (one.node, one.phase) for one in state.pods}
    assert found == {"a": ("node3", "Running"), "b": ("node9", "Pending")}


def test_node_selector() -> None:
    ssd = {"nodeSelector": {"disk": "ssd"}}
    state = settled(cluster(workload(pod=ssd, replicas=2), node("node2", {"disk": "ssd"})))
    assert count_by_node(state) == {"node2": 2}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"key": "cores", "operator": "In", "values": ["2", "8"]}, {"node1", "node3"}),
        ({"key": "cores", "operator": "NotIn", "values": ["2"]}, {"node2", "node3", "node4"}),
        ({"key": "cores", "operator": "Exists"}, {"node1", "node2", "node3"}),
        ({"key": "cores", "operator": "DoesNotExist"}, {"node4"}),
        ({"key": "cores", "operator": "Gt", "values": ["2"]}, {"node2", "node3"}),
        ({"key": "cores", "operator": "Lt", "values": ["8"]}, {"node1", "node2"}),
    ],
)
def test_node_affinity_operators(expression: Object, expected: set[str]) -> None:
    cores = [node(f"node{number}", {"cores": str(2**number)}) for number in (1, 2, 3)]
    state = settled(cluster(workload(pod=node_affinity(expression), replicas=4), *cores, machines=nodes(4)))
    assert set(places(state).values()) == expected


def test_reasons_are_counted_as_the_scheduler_counts_them() -> None:
    state = settled(
        cluster(
            pod("a", nodeSelector={"disk": "ssd"}),
            node("node1", taints=[{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]),
            node("node2", unschedulable=True),
        )
    )
    assert reasons(state) == {
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) had untolerated taint {dedicated: db}, 1 node(s) were unschedulable."
    }


def test_pending_pod_is_placed_once_a_node_fits() -> None:
    state = settled(cluster(pod("a", nodeSelector={"disk": "ssd"})))
    assert places(state) == {"a": ""}
    state = settled(applied(state, node("node3", {"disk": "ssd"})))
    assert places(state) == {"a": "node3"}
    assert state.pods[0].reason == ""


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "dedicated", "operator": "Exists"}, True),
        ({"key": "dedicated", "value": "db"}, True),
        ({"key": "dedicated", "value": "db", "effect": "NoSchedule"}, True),
        ({"key": "dedicated", "value": "web"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "dedicated", "value": "db", "effect": "NoExecute"}, False),
    ],
)
def test_taints_and_tolerations(toleration: Object, fits: bool) -> None:
    tainted = node("node1", taints=[{"key": "dedicated", "value": "db", "effect": "NoSchedule"}])
    state = settled(cluster(pod("a", tolerations=[toleration]), tainted, machines=nodes(1)))
    assert places(state) == {"a": "node1" if fits else ""}


def test_preferred_taints_and_nodes_break_ties() -> None:
    taint = {"key": "old", "effect": "PreferNoSchedule"}
    state = settled(cluster(workload(replicas=2), node("node1", taints=[taint]), machines=nodes(2)))
    assert count_by_node(state) == {"node2": 2}
    term = {"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}
    prefers = affinity("nodeAffinity", term, required=False)
    state = settled(cluster(workload(pod=prefers, replicas=3), node("node3", {"disk": "ssd"})))
    assert count_by_node(state) == {"node3": 3}


def test_a_node_takes_110_pods() -> None:
    state = settled(cluster(workload(replicas=250), machines=nodes(2)))
    assert count_by_node(state) == {"": 30, "node1": 110, "node2": 110}
    assert reasons(state) == {"0/2 nodes are available: 2 Too many pods."}
    small = settled(cluster(workload(replicas=3), machines=nodes(1, max_pods=2)))
    assert count_by_node(small) == {"": 1, "node1": 2}


def host_port(number: int, protocol: str = "TCP", address: str | None = None) -> Object:
    port = {"containerPort": 80, "hostPort": number, "protocol": protocol, **({"hostIP": address} if address else {})}
    return {"containers": [{"name": "web", "image": "nginx", "ports": [port]}]}


def test_host_ports_are_taken_once_per_node() -> None:
    state = settled(cluster(workload(pod=host_port(8080), replicas=4), machines=nodes(3)))
    assert count_by_node(state) == {"": 1, "node1": 1, "node2": 1, "node3": 1}
    assert reasons(state) == {"0/3 nodes are available: 3 node(s) didn't have free ports for the requested pod ports."}


@pytest.mark.parametrize(
    ("other", "fits"),
    [
        (host_port(8080, "UDP"), True),
        (host_port(8081), True),
        (host_port(8080, address="10.0.0.2"), True),
        (host_port(8080, address="10.0.0.1"), False),
        (host_port(8080), False),
    ],
)
def test_host_ports_conflict_by_address_and_protocol(other: Object, fits: bool) -> None:
    state = settled(cluster(pod("a", **host_port(8080, address="10.0.0.1")), pod("b", **other), machines=nodes(1)))
    assert places(state)["b"] == ("node1" if fits else "")


def test_required_pod_affinity_follows_the_other_pods() -> None:
    near = affinity("podAffinity", {"topologyKey": ZONE, "labelSelector": SELECTOR})
    web = pod("web", {"app": "web"}, nodeName="node2")
    state = settled(cluster(web, workload(name="cache", pod=near, replicas=4), machines=nodes(4, zones=2)))
    assert {place for name, place in places(state).items() if name != "web"} == {"node2", "node4"}
    alone = settled(cluster(workload(name="cache", pod=near)))
    assert reasons(alone) == {"0/3 nodes are available: 3 node(s) didn't match pod affinity rules."}


def test_pods_that_want_to_be_near_themselves_find_a_place() -> None:
    near = affinity("podAffinity", {"topologyKey": HOST, "labelSelector": SELECTOR})
    state = settled(cluster(workload(pod=near, replicas=3)))
    assert len(set(places(state).values())) == 1


def test_required_anti_affinity_is_symmetric() -> None:
    apart = affinity("podAntiAffinity", {"topologyKey": HOST, "labelSelector": SELECTOR})
    state = settled(cluster(workload(pod=apart, replicas=4)))
    assert count_by_node(state) == {"": 1, "node1": 1, "node2": 1, "node3": 1}
    assert reasons(state) == {"0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."}
    state = settled(applied(state, pod("guest", {"app": "web"})))
    guest = next(one for one in state.pods if one.name == "guest")
    assert guest.reason == ("0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules.")


def test_affinity_looks_into_the_named_namespaces_alone() -> None:
    term = {"topologyKey": HOST, "labelSelector": SELECTOR}
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}}}
    web = pod("web", {"app": "web"}, nodeName="node2")
    web["metadata"]["namespace"] = "shop"
    for more, expected in (
        ({}, ""),
        ({"namespaces": ["shop"]}, "node2"),
        ({"namespaceSelector": {"matchLabels": {"team": "a"}}}, "node2"),
        ({"namespaceSelector": {}}, "node2"),
        ({"namespaces": ["default"]}, ""),
    ):
        state = settled(cluster(shop, web, pod("a", **affinity("podAffinity", {**term, **more}))))
        assert places(state)["a"] == expected


def test_preferred_affinity_and_anti_affinity() -> None:
    term = {"weight": 5, "podAffinityTerm": {"topologyKey": HOST, "labelSelector": SELECTOR}}
    web = pod("web", {"app": "web"}, nodeName="node2")
    near = affinity("podAffinity", term, required=False)
    apart = affinity("podAntiAffinity", term, required=False)
    state = settled(cluster(web, pod("near", **near), pod("apart", **apart)))
    assert places(state)["near"] == "node2"
    assert places(state)["apart"] != "node2"


def test_spread_over_zones() -> None:
    machines = nodes(5, zones=2)  # Zone a has three nodes, zone b two.
    state = settled(cluster(workload(pod=spread(ZONE), replicas=6), machines=machines))
    found = count_by_node(state)
    assert (found["node2"] + found["node4"], sum(found.values())) == (3, 6)


def test_spread_that_cannot_be_kept() -> None:
    full = [node("node2", taints=[{"key": "a", "effect": "NoSchedule"}])]
    state = settled(cluster(workload(pod=spread(), replicas=3), *full, machines=nodes(2)))
    assert count_by_node(state) == {"": 2, "node1": 1}
    assert reasons(state) == {
        "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, "
        "1 node(s) had untolerated taint {a: }."
    }
    honoring = spread(nodeTaintsPolicy="Honor")
    state = settled(cluster(workload(pod=honoring, replicas=3), *full, machines=nodes(2)))
    assert count_by_node(state) == {"node1": 3}
    state = settled(cluster(workload(pod=spread("rack"), replicas=1)))
    assert reasons(state) == {
        "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints (missing required label)."
    }


def test_soft_spread_places_all() -> None:
    full = node("node2", taints=[{"key": "a", "effect": "NoSchedule"}])
    state = settled(cluster(workload(pod=spread(when="ScheduleAnyway"), replicas=4), full, machines=nodes(3)))
    assert count_by_node(state) == {"node1": 2, "node3": 2}


def test_min_domains() -> None:
    state = settled(cluster(workload(pod=spread(minDomains=5), replicas=4), machines=nodes(3)))
    assert count_by_node(state) == {"": 1, "node1": 1, "node2": 1, "node3": 1}


def test_gates_and_other_schedulers() -> None:
    gated = pod("a", schedulingGates=[{"name": "example.com/quota"}])
    other = pod("b", schedulerName="mine")
    state = settled(cluster(gated, other))
    assert reasons(state) == {
        "Scheduling is blocked due to non-empty scheduling gates",
        "no scheduler is named mine",
    }


def test_no_nodes() -> None:
    assert reasons(settled(cluster(pod("a"), machines=()))) == {"no nodes available to schedule pods"}


def test_pods_of_high_priority_are_placed_first() -> None:
    state = settled(cluster(pod("low"), pod("high", priority=10), machines=nodes(1, max_pods=1)))
    assert places(state) == {"low": "", "high": "node1"}


def asking(**requests: str) -> dict[str, Any]:
    """A pod's spec with these requests."""
    return {"containers": [{"name": "web", "image": "nginx", "resources": {"requests": requests}}]}


def sized(name: str, **allocatable: str) -> Object:
    return {**node(name), "status": {"allocatable": allocatable}}


def test_requests_are_limited_by_what_a_node_states() -> None:
    state = settled(
        cluster(
            sized("node1", cpu="2", memory="1Gi"),
            sized("node2", cpu="1500m"),
            workload(pod=asking(cpu="700m", memory="400Mi"), replicas=5),
            machines=nodes(2),
        )
    )
    assert count_by_node(state) == {"": 1, "node1": 2, "node2": 2}
    assert reasons(state) == {"0/2 nodes are available: 1 Insufficient memory, 2 Insufficient cpu."}


def test_nodes_that_state_nothing_have_no_limit_but_of_extended_resources() -> None:
    state = settled(cluster(pod("big", **asking(cpu="1000", memory="1Ti"))))
    assert reasons(state) == set()
    state = settled(
        cluster(pod("gpu", **asking(**{"example.com/gpu": "1"})), sized("node1", **{"example.com/gpu": "1"}))
    )
    assert places(state) == {"gpu": "node1"}
    state = settled(applied(state, pod("more", **asking(**{"example.com/gpu": "1"}))))
    assert reasons(state) == {"0/3 nodes are available: 3 Insufficient example.com/gpu."}


@pytest.mark.parametrize(
    ("init", "fits"),
    [([], True), ([("500m", None)], True), ([("2", None)], False), ([("600m", "Always")], False),
     ([("300m", "Always"), ("800m", None)], False), ([("800m", None), ("300m", "Always")], True)],
)  # fmt: skip
def test_init_containers_count_while_they_run(init: list[tuple[str, str | None]], fits: bool) -> None:
    containers = [
        {"name": f"init{number}", "image": "nginx", "resources": {"requests": {"cpu": cpu}}}
        | ({"restartPolicy": policy} if policy else {})
        for number, (cpu, policy) in enumerate(init)
    ]
    spec = {**asking(cpu="500m"), "initContainers": containers}
    state = settled(cluster(sized("node1", cpu="1"), pod("web", **spec), machines=nodes(1)))
    assert (places(state)["web"] == "node1") is fits


def test_a_finished_pod_gives_its_resources_back() -> None:
    state = settled(cluster(sized("node1", cpu="1"), pod("a", **asking(cpu="1")), machines=nodes(1)))
    state = settled(applied(state, pod("b", **asking(cpu="1"))))
    assert places(state) == {"a": "node1", "b": ""}
    done = replace(state.of("Pod")["default", "a"], phase="Succeeded", ready_since=None)  # type: ignore[call-arg]
    assert places(settled(state.changed([done]))) == {"a": "node1", "b": "node1"}


def urgent(name: str, priority: int, cpu: str = "1", **fields: Any) -> Object:
    return pod(name, **asking(cpu=cpu), priority=priority, **fields)


def test_a_pod_of_higher_priority_evicts_the_least_important() -> None:
    low = [urgent("low", 1, "2"), urgent("middle", 5, "2"), urgent("high", 9, "2")]
    sizes = [sized(f"node{number}", cpu="2") for number in (1, 2, 3)]
    state = step(cluster(*sizes, *low))
    before = places(state)
    state = step(applied(run(state), urgent("urgent", 7)))
    assert [one.name for one in state.pods if one.is_terminating] == ["low"]
    waiting = next(one for one in state.pods if one.name == "urgent")
    assert (waiting.node, waiting.nominated) == ("", before["low"])
    assert waiting.reason == "0/3 nodes are available: 3 Insufficient cpu."
    assert step(state) is state  # It waits for the victim to end.
    assert places(settled(state))["urgent"] == before["low"]


def test_as_few_pods_as_possible_are_evicted() -> None:
    small = [urgent(f"small{number}", number) for number in range(4)]
    state = settled(cluster(sized("node1", cpu="4"), *small, machines=nodes(1)))
    state = step(applied(state, urgent("urgent", 10, "2")))
    assert {one.name for one in state.pods if one.is_terminating} == {"small0", "small1"}


def test_the_place_of_a_nominated_pod_is_kept_free() -> None:
    state = settled(cluster(sized("node1", cpu="2"), workload(pod=asking(cpu="1"), replicas=2), machines=nodes(1)))
    state = settled(applied(state, urgent("urgent", 10, "2")))
    assert {one.name: one.node for one in state.pods if one.node} == {"urgent": "node1"}
    assert len([one for one in state.pods if not one.node]) == 2


@pytest.mark.parametrize(
    ("spec", "evicts"),
    [
        ({"priority": 10}, True), ({"priority": 10, "preemptionPolicy": "Never"}, False), ({"priority": 1}, False),
        ({"priorityClassName": "high"}, True), ({"priorityClassName": "polite"}, False),
        ({"priorityClassName": "system-node-critical"}, True),
    ],
)  # fmt: skip
def test_who_preempts(spec: dict[str, Any], evicts: bool) -> None:
    classes = [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": 100,
            **more,
        }
        for name, more in (("high", {}), ("polite", {"preemptionPolicy": "Never"}))
    ]
    state = settled(cluster(sized("node1", cpu="1"), *classes, urgent("old", 1), machines=nodes(1)))
    state = step(applied(state, pod("new", **asking(cpu="1"), **spec)))
    assert any(one.is_terminating for one in state.pods) is evicts


def test_pods_with_a_disruption_budget_are_evicted_last() -> None:
    keep = {"minAvailable": 1, "selector": {"matchLabels": {"app": "kept"}}}
    kept = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "kept"}, "spec": keep}
    low = pod("kept", {"app": "kept"}, **asking(cpu="1"), priority=1)
    sizes = [sized(f"node{number}", cpu="1") for number in (1, 2)]
    state = settled(cluster(*sizes, kept, low, urgent("other", 5), machines=nodes(2)))
    state = step(applied(state, urgent("urgent", 10)))
    assert [one.name for one in state.pods if one.is_terminating] == ["other"]


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 6)), min_size=1, max_size=12))
def test_loads_that_are_kept_equal_loads_counted_again(changes: list[tuple[str, int]]) -> None:
    state = cluster(*(sized(f"node{number}", cpu="2") for number in (1, 2, 3)))
    for name, replicas in changes:
        pods = {**asking(cpu="500m"), "priority": ord(name), **spread(when="ScheduleAnyway")}
        state = step(step(run(step(applied(state, workload(name=name, pod=pods, replicas=replicas))))))
    kept, fresh = loads_of(state), Loads(state)
    fresh.follow(state)
    for one, other in zip(kept.nodes, fresh.nodes, strict=True):
        assert +one.used == +other.used and +one.workloads == +other.workloads
        assert one.ports == other.ports and one.pods == other.pods
    assert {key: +one for key, one in kept.neighbours.placed.items() if +one} == fresh.neighbours.placed
