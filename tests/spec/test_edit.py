"""Changes of a topology: other nodes stay in place, and invalid changes are refused with a reason."""

import json
import time
from typing import Any

import pytest

from testbed.spec.edit import EditError, with_link, with_node, with_pod, with_pods, without_node, without_pod
from testbed.spec.load import topology_of_text
from testbed.spec.topology import Pod, Topology, with_other_pods
from testbed.spec.underlay import Link, Quality

ONE = "{subnet: 192.168.56.0/24}"
RACKS = "{shape: subnets, subnets: 3, subnet: 192.168.0.0/16}"
HOMES = "{shape: leaf-spine, leaves: 4, homes: 2, subnet: 192.168.0.0/24}"
NAMED = """
  switches: {rack1: {subnet: 192.168.1.0/24}, rack2: {subnet: 192.168.2.0/24}}
  routers: [core]
  links:
    - {ends: [node1, rack1], delay: 1ms}
    - {ends: [rack2, node2], rate: 1Gbit}
    - {ends: [core, rack1]}
    - {ends: [core, rack2]}
"""


def made(fabric: str = ONE, nodes: str = "{node1: {pods: [a, b]}, node2: {pods: 2}}") -> Topology:
    text = f"name: made\ncluster: {{pod_cidr: 10.244.0.0/16}}\nfabric: {fabric}\nnodes: {nodes}\n"
    return topology_of_text(text, "made.yaml").value


def between(topology: Topology, one: str, other: str) -> Link:
    (found,) = (link for link in topology.underlay.links if set(link.ends) == {one, other})
    return found


def places(topology: Topology) -> dict[str, list[str]]:
    """The places that each node is linked to."""
    links = topology.underlay.links
    return {
        node: [end for link in links if node in link.ends for end in link.ends if end != node]
        for node in topology.nodes
    }


def test_a_pod_is_added_after_the_others_of_its_node() -> None:
    topology = with_pod(made(), "c", "node2", namespace="shop", labels={"app": "web"})
    assert topology.pod_ids == ("a", "b", "node2-pod-1", "node2-pod-2", "c.shop")
    assert topology.pods_of("node2")[-1].labels == {"app": "web"}


def test_a_counted_pod_is_removed_without_renaming_others() -> None:
    assert without_pod(made(), "node2-pod-1").pod_ids == ("a", "b", "node2-pod-2")


def test_many_pods_are_removed_and_added_in_one_pass() -> None:
    topology = with_pod(made(), "c", "node1", "shop")
    fresh = {"node2": [Pod(name="d"), Pod(name="a", namespace="shop")], "node1": [Pod(name="c")]}
    changed = with_pods(topology, ("a", "c.shop", "node2-pod-1"), fresh)
    assert changed.pod_ids == ("b", "c", "node2-pod-2", "d", "a.shop")
    homes = {name: changed.home_of(name) for name in ("a", "b", "c", "c.shop", "node2-pod-1", "node2-pod-2", "a.shop")}
    assert homes == {
        "a": "",
        "b": "node1",
        "c": "node1",
        "c.shop": "",
        "node2-pod-1": "",
        "node2-pod-2": "node2",
        "a.shop": "node2",
    }
    assert with_other_pods(topology, changed) == {"node1", "node2"}
    assert Topology.of_data(json.loads(json.dumps(changed.as_data()))) == changed
    assert with_pods(topology, (), {}) == topology
    assert topology.pod_ids == ("a", "b", "c.shop", "node2-pod-1", "node2-pod-2")


def test_a_copy_with_other_nodes_finds_its_own_pods() -> None:
    topology = made()
    assert topology.home_of("a") == "node1"
    other = topology.model_copy(update={"nodes": {"node2": topology.nodes["node1"]}})
    assert (topology.home_of("a"), other.home_of("a")) == ("node1", "node2")


def test_replacing_a_pod_of_a_big_topology_costs_what_the_change_costs() -> None:
    nodes = ", ".join(f"n{number}: {{pods: 100}}" for number in range(100))
    big = without_pod(made(nodes=f"{{{nodes}}}"), "n0-pod-1")
    big = with_pods(big, [f"n{number}-pod-1" for number in range(1, 100)], {})  # All pods are listed now.
    took = []
    for number in range(10):
        began = time.perf_counter()
        with_pods(big, (f"n{number}-pod-2",), {"n50": [Pod(name=f"fresh-{number}")]})
        took.append(time.perf_counter() - began)
    assert min(took) < 0.002


def test_who_has_a_name_is_known_without_writing_counted_pods_out() -> None:
    topology = with_pod(made(), "web", "node1", "shop")
    homes = {name: topology.home_of(name) for name in ("a", "web.shop", "web", "node2-pod-1", "node2-pod-2")}
    assert homes == {"a": "node1", "web.shop": "node1", "web": "", "node2-pod-1": "node2", "node2-pod-2": "node2"}
    absent = ("node2-pod-0", "node2-pod-3", "node2-pod-01", "node2-pod-", "node2", "node2-pod-1.shop", "")
    assert not any(map(topology.home_of, absent))
    assert topology.taken_by("node2") == "a node"
    assert topology.taken_by("node2-pod-1") == "a pod of node2"
    assert topology.taken_by("fresh") == ""


def test_two_topologies_may_differ_in_pods_alone() -> None:
    topology = made()
    assert with_other_pods(topology, topology) == frozenset()
    assert with_other_pods(topology, made()) == frozenset()
    assert with_other_pods(topology, without_pod(with_pod(topology, "c", "node2"), "a")) == {"node1", "node2"}
    usual = made(nodes="{node1: {pods: []}, node2: {}}").model_copy(update={"pods_per_node": 1})
    assert with_other_pods(usual, without_pod(usual, "node2-pod-1")) == {"node2"}
    assert with_other_pods(topology, with_node(topology, "node3")) is None
    assert with_other_pods(topology, without_node(topology, "node2")) is None
    assert with_other_pods(topology, topology.model_copy(update={"pods_per_node": 3})) is None
    first = topology.underlay.links[0]
    assert with_other_pods(topology, with_link(topology, first.ends, delay="3ms")) is None


@pytest.mark.parametrize("fabric", [RACKS, HOMES])
def test_nodes_stay_at_their_racks(fabric: str) -> None:
    before = made(fabric, "7")
    fewer = without_node(before, "node2")
    assert places(fewer) == {node: at for node, at in places(before).items() if node != "node2"}
    more = with_node(fewer, "node8")
    assert places(more)["node8"] == places(before)["node2"]  # The rack with the fewest nodes.
    assert places(with_node(fewer, "node8", at=places(before)["node1"][0]))["node8"] == places(before)["node1"]


def test_new_nodes_of_a_shape_are_assigned_round_robin() -> None:
    topology = made(RACKS, "1")
    for number in range(2, 6):
        topology = with_node(topology, f"node{number}")
    assert places(topology) == places(made(RACKS, "5"))


def test_subnets_of_racks_keep_their_size() -> None:
    full = made("{shape: subnets, subnets: 1, subnet: 10.0.0.0/16}", "254")  # More than fit a /24.
    assert [str(cidr) for cidr in without_node(full, "node1").underlay.switches["rack1"]] == ["10.0.0.0/23"]
    usual = made("{shape: subnets, subnets: 1, subnet: 10.0.0.0/16}", "253")
    with pytest.raises(EditError, match="subnet of /24 with addresses for the 254 nodes of rack1 and a router"):
        with_node(usual, "node254")


def test_a_new_node_has_the_given_pods_or_pods_per_node() -> None:
    topology = made().model_copy(update={"pods_per_node": 1})
    assert with_node(topology, "node3").pod_ids[-1] == "node3-pod-1"
    assert with_node(topology, "node3", pods=["x", {"name": "y", "namespace": "shop"}]).pod_ids[-2:] == ("x", "y.shop")
    assert with_node(topology, "node3", pods=0).pod_ids == topology.pod_ids


def test_a_node_of_a_named_fabric_is_linked_like_the_first_node_or_those_at_its_place() -> None:
    like_first = between(with_node(made(NAMED), "node3"), "node3", "rack1")
    assert like_first.ends == ("node3", "rack1") and like_first.forth.delay_us == 1000
    elsewhere = between(with_node(made(NAMED), "node3", at="rack2"), "node3", "rack2")
    assert elsewhere.ends == ("rack2", "node3") and elsewhere.forth.rate == 10**9
    two = with_node(made(NAMED), "node3", at=["rack1", "rack2"])
    assert places(two)["node3"] == ["rack1", "rack2"]


def test_removing_a_node_removes_its_links() -> None:
    assert "node2" not in {end for link in without_node(made(NAMED), "node2").underlay.links for end in link.ends}
    slow = with_link(made(), ("node2", "fabric"), delay="1ms")
    assert without_node(slow, "node2") == without_node(made(), "node2")


@pytest.mark.parametrize("fabric", [ONE, NAMED.replace("rack1", "fabric").replace(", delay: 1ms", "")])
def test_link_qualities_change_in_both_directions_or_one(fabric: str) -> None:
    topology = made(fabric)
    both = with_link(topology, ("node1", "fabric"), rate="100Mbit", delay="10ms", loss="1%")
    link = between(both, "node1", "fabric")
    assert link.forth == link.back == Quality(rate=10**8, delay_us=10_000, loss=0.01)
    out = between(with_link(both, "node1>fabric", delay="20ms"), "node1", "fabric")
    assert (out.forth.delay_us, out.back.delay_us) == (20_000, 10_000)
    back = between(with_link(both, "fabric>node1", rate="1Gbit", loss=None), "node1", "fabric")
    assert back.forth == link.forth
    assert back.back == Quality(rate=10**9, delay_us=10_000)
    assert with_link(both, "fabric,node1", rate=None, delay=None, loss=None) == topology


def test_changing_one_direction_leaves_the_other_unchanged() -> None:
    for fabric in (ONE, "{subnet: 192.168.56.0/24, rate: 1Gbit, delay: 1ms}", NAMED):
        topology = made(fabric)
        rack = "rack1" if fabric == NAMED else "fabric"
        before = between(topology, "node1", rack)
        after = between(with_link(topology, f"node1>{rack}", rate="10Mbit", delay="5ms", duplicate="2%"), "node1", rack)
        assert after.forth == Quality(rate=10**7, delay_us=5000, duplicate=0.02, queue=before.forth.queue)
        assert after.back == before.back


@pytest.mark.parametrize("fabric", [ONE, RACKS, HOMES, NAMED])
def test_an_edited_topology_can_be_stored_as_data(fabric: str) -> None:
    topology = with_pod(with_node(made(fabric), "node3", pods=["x"]), "y", "node2", "shop", {"app": "web"})
    one, other = topology.underlay.links[-1].ends
    topology = with_link(topology, f"{other}>{one}", rate="unlimited", delay="3ms", jitter="1ms", loss="1%")
    assert Topology.of_data(json.loads(json.dumps(topology.as_data()))) == topology


def test_a_link_can_be_unlimited_in_a_fabric_with_a_rate() -> None:
    topology = with_link(made("{subnet: 192.168.56.0/24, rate: 1Gbit}"), ("node1", "fabric"), rate="unlimited")
    assert between(topology, "node1", "fabric").forth.rate is None
    assert between(topology, "node2", "fabric").forth.rate == 10**9


def test_mtu_and_offload_of_links_between_routers_can_be_text() -> None:
    topology = made("{shape: leaf-spine, subnet: 192.168.0.0/16, uplinks: {delay: 1ms}}")
    link = between(with_link(topology, "leaf1,spine2", mtu="1400", offload="off"), "leaf1", "spine2")
    assert (link.mtu, link.offload, link.forth.delay_us) == (1400, False, 1000)
    assert between(topology, "leaf1", "spine1").offload


def test_overrides_accept_either_order_of_ends() -> None:
    link = between(
        made("{subnet: 192.168.56.0/24, overrides: [{ends: [fabric, node1], delay: 2ms, back: {delay: 3ms}}]}"),
        "node1",
        "fabric",
    )
    assert link.ends == ("node1", "fabric")
    assert (link.forth.delay_us, link.back.delay_us) == (3000, 2000)


TWICE = """
  switches: {rack: {subnet: 192.168.1.0/24}}
  routers: [r1, r2]
  links: [{ends: [node1, rack]}, {ends: [node2, rack]}, {ends: [rack, r1]}, {ends: [r1, r2]}, {ends: [r2, r1]}]
"""


def test_parallel_links_are_selected_by_number() -> None:
    topology = with_link(made(TWICE), "r1>r2#2", delay="5ms")
    first, second = topology.underlay.links[-2:]
    assert not first.is_shaped
    assert (second.ends, second.forth.delay_us, second.back.delay_us) == (("r2", "r1"), 0, 5000)


WRONG: list[tuple[Any, str]] = [
    (
        lambda: with_pod(made(), "a", "node2"),
        "the name 'a' is already used by a pod of node1; choose another",
    ),
    (lambda: with_pod(made(), "gateway", "node2"), "the name 'gateway' is already used by the fabric's router"),
    (lambda: with_pod(made(), "c", "nod1"), "unknown node 'nod1'; did you mean 'node1'?; valid: node1, node2"),
    (lambda: with_pod(made(), "C_1", "node1"), "name of the pod: a name must consist of lower-case letters"),
    (lambda: without_pod(made(), "node2-pod-3"), "unknown pod 'node2-pod-3'; valid: a, b, node2-pod-1, node2-pod-2"),
    (lambda: with_node(made(), "node1"), "the name 'node1' is already used by a node"),
    (lambda: with_node(made(), "Node3"), "name of the node: a name must consist of lower-case letters"),
    (lambda: with_pods(made(), ("a", "z"), {}), "unknown pod 'z'; valid: a, b, node2-pod-1, node2-pod-2"),
    (lambda: with_pods(made(), (), {"nod1": []}), "unknown node 'nod1'; did you mean 'node1'?; valid: node1, node2"),
    (
        lambda: with_pods(made(), (), {"node1": [Pod(name="c")], "node2": [Pod(name="c")]}),
        "the name 'c' is already used by a pod of node1; choose another",
    ),
    (lambda: with_pods(made(), (), {"node1": [Pod(name="node2-pod-2")]}), "already used by a pod of node2"),
    (lambda: with_pods(made(), (), {"node1": [Pod(name="node2")]}), "the name 'node2' is already used by a node"),
    (lambda: with_pods(made(), (), {"node1": [Pod(name="fabric")]}), "already used by the fabric's switch"),
    (
        lambda: with_pods(made(), ("a",), {"node2": [Pod(name="a")]}),
        "pod a: removed and added in one change; remove it first, then add it",
    ),
    (
        lambda: with_pods(made(), (), {"node1": [Pod(name=f"p{number}") for number in range(252)]}),
        "a node's /24 (the default of node_prefix) has addresses for 253 pods, but node1 has 254",
    ),
    (lambda: with_node(made(), "node3", pods=["a"]), "the name 'a' is already used by a pod of node1"),
    (lambda: with_node(made(), "node3", pods=-1), "pods of the node: input should be greater than or equal to 0"),
    (
        lambda: with_node(made(RACKS), "node3", at="rak2"),
        "not at 'rak2'; did you mean 'rack2'?; valid: rack1, rack2, rack3",
    ),
    (lambda: with_node(made(RACKS), "node3", at=["rack1", "rack2"]), "at one place, not at rack1 and rack2"),
    (
        lambda: with_node(made(NAMED), "node3", at="rack3"),
        "unknown switch or router 'rack3'; valid: rack1, rack2",
    ),
    (lambda: without_node(made(nodes="1"), "node1"), "node1 is the only node"),
    (lambda: with_link(made(), "node1", delay="1ms"), "'node1' is not a link; write its two ends as node2,fabric"),
    (
        lambda: with_link(made(), "node1,fabrik", delay="1ms"),
        "no link between node1 and fabrik; did you mean 'node1,fabric'?; valid: gateway,fabric, node1,fabric",
    ),
    (
        lambda: with_link(made(TWICE), "r1,r2", delay="1ms"),
        "2 links between r1 and r2; choose one; valid: r1,r2#1, r1,r2#2",
    ),
    (lambda: with_link(made(), "node1,fabric", delai="1ms"), "unknown link quality 'delai'; did you mean 'delay'?"),
    (lambda: with_link(made(), "node1,fabric", delay="1"), "delay of the link: must be a delay with its unit"),
    (
        lambda: with_link(made(), "node1,fabric", mtu="10"),
        "mtu of the link: input should be greater than or equal to 576",
    ),
    (lambda: with_link(made(), "node1,fabric", offload="no"), "offload of the link: must be on or off, not 'no'"),
    (lambda: with_link(made(), "node1>fabric", mtu=1400), "mtu is the same in both directions"),
    (lambda: with_link(made(), "node1,fabric", mtu=1400), "MTU 1400 differs from 1500 between"),
    (lambda: with_link(made(), "node1,fabric", jitter="1ms"), "jitter of 1ms exceeds the delay of 0ms"),
    (lambda: with_link(made(), "node1,fabric"), "no quality to change; write one, such as delay=10ms"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message for _, message in WRONG])
def test_invalid_changes_are_refused_with_a_reason(change: Any, message: str) -> None:
    with pytest.raises(EditError) as error:
        change()
    assert message in str(error.value)


def test_a_full_node_has_the_same_message_as_in_a_file() -> None:
    with pytest.raises(EditError, match="has addresses for 253 pods, but node1 has 254"):
        with_pod(made(nodes="{node1: {pods: 253}}"), "one-more", "node1")
