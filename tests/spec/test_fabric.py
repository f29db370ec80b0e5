"""Underlays of all kinds of fabrics: switches, routers, links with qualities, and address ranges."""

from collections.abc import Mapping

import pytest

from testbed.spec.load import topology_of_text
from testbed.spec.topology import Topology
from testbed.spec.underlay import Quality, Underlay


def made(fabric: str, nodes: str = "4", pods: str = "10.244.0.0/16") -> Topology:
    text = f"name: made\ncluster: {{pod_cidr: {pods}}}\nfabric: {fabric}\nnodes: {nodes}\n"
    return topology_of_text(text, "made.yaml").value


def ends(underlay: Underlay) -> list[str]:
    return ["-".join(link.ends) for link in underlay.links]


def subnets(underlay: Underlay) -> Mapping[str, list[str]]:
    return {name: [str(cidr) for cidr in cidrs] for name, cidrs in underlay.switches.items()}


def test_default_fabric_has_one_switch_and_one_router() -> None:
    underlay = made("{subnet: 192.168.56.0/24}", "2").underlay
    assert subnets(underlay) == {"fabric": ["192.168.56.0/24"]}
    assert ends(underlay) == ["gateway-fabric", "node1-fabric", "node2-fabric"]
    assert made("{shape: one-subnet, subnet: 192.168.56.0/24}", "2").underlay == underlay


def test_nodes_without_at_are_assigned_to_racks_round_robin() -> None:
    nodes = "{a: {}, b: {at: rack3}, c: {}, d: {}, e: {}}"
    underlay = made("{shape: subnets, subnets: 3, subnet: 192.168.0.0/16}", nodes).underlay
    assert ends(underlay)[3:] == ["a-rack1", "b-rack3", "c-rack3", "d-rack1", "e-rack2"]


@pytest.mark.parametrize(
    ("subnet", "nodes", "first"),
    [
        ("192.168.0.0/16", 4, ["192.168.0.0/24", "192.168.1.0/24"]),
        ("192.168.0.0/24", 4, ["192.168.0.0/26", "192.168.0.64/26"]),  # Three racks need four shares.
        ("10.0.0.0/8", 900, ["10.0.0.0/23", "10.0.2.0/23"]),  # 300 nodes in each.
        ("fd00:1::/48", 4, ["fd00:1::/64", "fd00:1:0:1::/64"]),
        ("fd00:1::/64", 4, ["fd00:1::/66", "fd00:1:0:0:4000::/66"]),
    ],
)
def test_racks_have_default_subnets_or_what_fits(subnet: str, nodes: int, first: list[str]) -> None:
    pods = "'fd00:10::/48'" if ":" in subnet else "172.16.0.0/12"
    topology = made(f"{{shape: subnets, subnets: 3, subnet: '{subnet}'}}", str(nodes), pods)
    assert [cidrs[0] for cidrs in subnets(topology.underlay).values()][:2] == first


def test_each_leaf_is_linked_to_each_spine() -> None:
    underlay = made("{shape: leaf-spine, leaves: 2, spines: 2, subnet: 192.168.0.0/16}", "2").underlay
    assert ends(underlay) == [
        *("leaf1-spine1", "leaf1-spine2", "leaf2-spine1", "leaf2-spine2"),
        *("leaf1-rack1", "leaf2-rack2", "node1-rack1", "node2-rack2"),
    ]
    assert [str(cidr) for cidr in underlay.transit] == ["172.31.0.0/16"]


def test_nodes_with_two_homes_are_on_pairs_of_leaves() -> None:
    fabric = "{shape: leaf-spine, leaves: 4, spines: 1, homes: 2, subnet: 192.168.0.0/24}"
    underlay = made(fabric, "3").underlay
    assert ends(underlay)[4:] == [
        *("node1-leaf1", "node1-leaf2", "node2-leaf3", "node2-leaf4", "node3-leaf1", "node3-leaf2")
    ]
    assert not underlay.switches
    assert ends(made(fabric, "{a: {at: leaf4}}").underlay)[4:] == ["a-leaf4", "a-leaf1"]


def test_sites_are_meshed() -> None:
    underlay = made("{shape: wan, sites: 3, subnet: 192.168.0.0/16}", "3").underlay
    assert ends(underlay)[:3] == ["edge1-edge2", "edge1-edge3", "edge2-edge3"]
    assert ends(made("{shape: wan, sites: 1, subnet: 192.168.0.0/16}", "1").underlay) == ["edge1-site1", "node1-site1"]


def test_fabric_qualities_apply_only_to_links_of_nodes() -> None:
    fabric = "{shape: leaf-spine, subnet: 192.168.0.0/16, rate: 1Gbit, delay: 100us, offload: off, uplinks: {loss: 1%}}"
    links = {"-".join(link.ends): link for link in made(fabric, "2").underlay.links}
    assert links["node1-rack1"].forth == links["node1-rack1"].back == Quality(rate=10**9, delay_us=100)
    assert not links["node1-rack1"].offload
    assert links["leaf1-spine1"].forth == Quality(loss=0.01)
    assert links["leaf1-rack1"].forth == Quality() and not links["leaf1-rack1"].is_shaped


def test_link_qualities_override_the_fabric_and_back_overrides_both() -> None:
    fabric = """{mtu: 9000, delay: 1ms, switches: {s: {subnet: 10.1.0.0/24}}, routers: [r], links: [
        {ends: [r, s], rate: 2Gbit, back: {queue: 1MB}}, {ends: [node1, s], jitter: 500us, back: {delay: 2ms}}]}"""
    router, node = made(fabric, "1").underlay.links
    assert router.forth == Quality(rate=2 * 10**9)
    assert router.back == Quality(rate=2 * 10**9, queue=10**6)
    assert node.forth == Quality(delay_us=1000, jitter_us=500)
    assert node.back == Quality(delay_us=2000, jitter_us=500)
    assert (router.mtu, node.mtu) == (9000, 9000)


def test_without_switches_families_come_from_the_transit_range_or_the_pods() -> None:
    fabric = "{routers: [r], links: [{ends: [node1, r]}, {ends: [node2, r]}]%s}"
    assert made(fabric % "", "2").underlay.families == (4,)
    assert made(fabric % "", "2", "'fd00:10:244::/56'").underlay.families == (6,)
    both = made(fabric % ", transit: ['fd00:1::/64', 172.20.0.0/24]", "2").underlay
    assert both.families == (6, 4)
    assert [str(cidr) for cidr in both.transit] == ["fd00:1::/64", "172.20.0.0/24"]


def test_unused_default_ranges_do_not_conflict() -> None:
    """Default ranges are unused without links between routers and nodes with several links."""
    assert made("{shape: subnets, subnet: 172.31.0.0/16}").underlay.transit == ()
    assert made("{subnet: 172.30.0.0/15}").underlay.loopbacks == ()


@pytest.mark.parametrize(
    ("fabric", "shape"),
    [
        ("{subnet: 10.0.0.0/24}", "one-subnet"),
        ("{switches: {s: {subnet: 10.0.0.0/24}}, links: [{ends: [node1, s]}]}", "named"),
        ("{shape: wan, sites: 1, subnet: 10.0.0.0/16}", "wan"),
    ],
)
def test_a_fabric_knows_its_shape(fabric: str, shape: str) -> None:
    assert made(fabric, "1").fabric.shape == shape
