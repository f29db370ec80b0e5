"""Ways through fabrics: every packet arrives by a shortest way, also if there are several."""

import ipaddress
import time
from collections.abc import Iterator
from itertools import chain, pairwise, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.designs import DESIGNS
from testbed.plan.addressing import Layout, layout
from testbed.plan.fabric import fabric
from testbed.plan.naming import mac_address
from testbed.plan.objects import DeviceAddress, Plan, Route, Sysctl
from testbed.plan.sightings import Direction, Sighting
from testbed.plan.ways import ways
from testbed.spec.load import load_topology, topology_of_text
from testbed.spec.topology import Topology
from testbed.spec.types import Address

MOST_HOPS = 64


def topology(fabric: str, nodes: str = "4", pods: str = "10.244.0.0/16") -> Topology:
    text = f"name: made\ncluster: {{pod_cidr: {pods}}}\nfabric: {fabric}\nnodes: {nodes}\n"
    return topology_of_text(text, "made.yaml").value


def planned(layout: Layout) -> Plan:
    carried = {node.name: node.pod_cidrs for node in layout.nodes}
    return fabric(layout, carried=carried).finished("made", "none", 1500)


class Network:
    """A model of a planned fabric, based on its routing tables."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._owner = {item.interface.ip: space.name for space in plan.spaces for item in space.of(DeviceAddress)}

    def next_places(self, here: str, to: Address) -> set[str]:
        """The possible next places of a packet, by longest prefix match; empty without a route."""
        space = self._plan[here]
        routes = [route for route in space.of(Route) if route.to.version == to.version]
        routes += [Route(item.interface.network, item.dev) for item in space.of(DeviceAddress)]
        fitting = [route for route in routes if to in route.to]
        if not fitting:
            return set()
        best = max(fitting, key=lambda route: route.to.prefixlen)
        vias = [hop.via for hop in best.nexthops] or [best.via or to]
        return {self._owner[via] for via in vias}

    def arrivals(self, source: str, to: Address, target: str) -> Iterator[tuple[str, ...]]:
        """Every way from a place, as its sequence of places; fails if a packet is lost or loops."""
        stack = [(source,)]
        while stack:
            way = stack.pop()
            if way[-1] == target:
                yield way
                continue
            assert len(set(way)) == len(way) < MOST_HOPS, f"{way} is a loop"
            further = self.next_places(way[-1], to)
            assert further, f"{way}: no route to {to}"
            stack += [(*way, place) for place in further]


@st.composite
def fabrics(draw: st.DrawFn) -> Topology:
    """Connected fabrics with chains of switches, routers between them, and nodes linked to either."""
    routers = [f"r{number}" for number in range(draw(st.integers(1, 6)))]
    links: list[tuple[str, str]] = []
    for number, router in enumerate(routers[1:], start=1):
        links.append((router, draw(st.sampled_from(routers[:number]))))
    for _ in range(draw(st.integers(0, 5)) if len(routers) > 1 else 0):
        one, other = draw(st.lists(st.sampled_from(routers), min_size=2, max_size=2, unique=True))
        links.append((one, other))
    switches: dict[str, list[str]] = {}
    for number in range(draw(st.integers(0, 4))):
        name = f"s{number}"
        switches[name] = [name]
        if number and draw(st.booleans()):  # Linked to another switch, so on the same Ethernet.
            other = draw(st.sampled_from(list(switches)[:number]))
            switches[name] = [*switches.pop(other), name]
            for member in switches[name]:
                switches[member] = switches[name]
            links.append((name, other))
    ethernets = {tuple(sorted(members)) for members in switches.values()}
    for members in sorted(ethernets):
        for router in draw(st.lists(st.sampled_from(routers), min_size=1, max_size=3, unique=True)):
            links.append((router, draw(st.sampled_from(members))))
    nodes = [f"n{number}" for number in range(draw(st.integers(1, 5)))]
    for node in nodes:
        places = [*routers, *map("".join, ((members[0],) for members in sorted(ethernets)))]
        for place in draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True)):
            links.append((node, place))
    order = draw(st.permutations(links))
    subnets = ", ".join(
        f"{name}: {{{f'subnet: [10.1.{number}.0/24, fd01:{number}::/64]' if name == members[0] else ''}}}"
        for number, members in enumerate(sorted(ethernets))
        for name in members
    )
    ends = ", ".join(f"{{ends: [{one}, {other}]}}" for one, other in order)
    return topology(
        f"{{routers: [{', '.join(routers)}], switches: {{{subnets}}}, links: [{ends}]}}",
        f"{{{', '.join(f'{node}: {{pods: 1}}' for node in nodes)}}}",
        "[10.244.0.0/16, 'fd00:10:244::/56']",
    )


@settings(max_examples=150, deadline=None)
@given(fabrics())
def test_every_packet_arrives_from_every_node_without_a_loop(made: Topology) -> None:
    places = layout(made)
    network = Network(planned(places))
    for (source, target), family in product(permutations(places.nodes, 2), places.fabric_families):
        carried = next(cidr for cidr in target.pod_cidrs if cidr.version == family)
        for to, by_router in ((target.address(family), False), (carried.network_address + 9, True)):
            found = list(network.arrivals(source.name, to, target.name))
            for first in {way[1] for way in found}:
                assert len({len(way) for way in found if way[1] == first}) == 1, "all ways of a router are equally long"
            claimed = ways(places, source.name, target.name, family, by_router)
            assert {routers_of(way, places) for way in claimed} == {way[1:-1] for way in found}


def routers_of(way: tuple[Sighting, ...], places: Layout) -> tuple[str, ...]:
    names = {router.name for router in places.routers}
    return tuple(seen.place for seen in way if seen.place in names and seen.direction is Direction.IN)


@settings(max_examples=60, deadline=None)
@given(fabrics())
def test_the_sightings_of_a_way_follow_one_another(made: Topology) -> None:
    """Between routers the MAC addresses stay the same, and each place receives what the previous one sends."""
    places = layout(made)
    routers = {router.name for router in places.routers}
    for source, target in permutations(places.nodes, 2):
        for one, other in chain.from_iterable(map(pairwise, ways(places, source.name, target.name, 4))):
            if one.place == other.place and one.place in routers:
                assert one.target_mac == mac_address(one.place, one.port)
                assert other.source_mac == mac_address(other.place, other.port)
            else:
                assert (one.source_mac, one.target_mac) == (other.source_mac, other.target_mac)


def described(way: tuple[Sighting, ...]) -> str:
    return ", ".join(f"{seen.direction} {seen.port} of {seen.place}" for seen in way)


def test_two_nodes_of_one_subnet_are_connected_by_the_switch() -> None:
    places = layout(topology("{subnet: 192.168.56.0/24}"))
    (way,) = ways(places, "node1", "node2", 4)
    assert described(way) == "in to-node1 of fabric, out to-node2 of fabric"
    assert {(seen.source_mac, seen.target_mac) for seen in way} == {
        (mac_address("node1", "eth0"), mac_address("node2", "eth0"))
    }


def test_a_packet_by_router_passes_the_gateway() -> None:
    places = layout(topology("{subnet: 192.168.56.0/24}"))
    (way,) = ways(places, "node1", "node2", 4, by_router=True)
    assert described(way) == (
        "in to-node1 of fabric, out to-gateway of fabric, in eth0 of gateway, "
        "out eth0 of gateway, in to-gateway of fabric, out to-node2 of fabric"
    )


def test_an_address_on_a_bridge_has_the_bridges_mac_address() -> None:
    places = layout(topology("{subnet: 192.168.56.0/24}"))
    (way,) = ways(places, "node1", "node2", 4, node_device="br-node")
    assert way[0].source_mac == mac_address("node1", "br-node")


def test_each_spine_is_an_alternative_way() -> None:
    places = layout(topology("{shape: leaf-spine, leaves: 4, spines: 3, subnet: 192.168.0.0/16}"))
    found = ways(places, "node1", "node2", 4)
    assert [way[4].place for way in found] == ["spine1", "spine2", "spine3"]


def test_nodes_with_two_links_use_both_ends_of_both() -> None:
    places = layout(topology("{shape: leaf-spine, leaves: 4, spines: 2, homes: 2, subnet: 192.168.0.0/24}"))
    assert len(ways(places, "node1", "node2", 4)) == 2 * 2 * 2
    assert len(ways(places, "node1", "node3", 4)) == 2  # They have the same two leaves.


def test_the_addresses_subnets_and_neighbours_of_each_shape() -> None:
    one = layout(topology("{subnet: 192.168.56.0/24}"))
    assert one.is_one_subnet and str(one.gateway[0]) == "192.168.56.254/24"
    two = layout(topology("{shape: subnets, subnets: 2, subnet: 192.168.0.0/16}"))
    node1, node2, node3, _ = two.nodes
    assert not two.is_one_subnet and two.gateway == ()
    assert two.are_neighbours(node1, node3) and not two.are_neighbours(node1, node2)
    assert [str(cidr) for cidr in two.subnet_of(node2)] == ["192.168.1.0/24"]
    assert [str(address) for address in node3.addresses] == ["192.168.0.2/24"]
    homes = layout(topology("{shape: leaf-spine, leaves: 2, homes: 2, subnet: 192.168.0.0/24}"))
    assert not homes.are_neighbours(*homes.nodes[:2])
    assert [str(cidr) for cidr in homes.subnet_of(homes.nodes[1])] == ["192.168.0.2/32"]
    assert [port.dev for port in homes.nodes[0].ports] == ["eth0", "eth1"]


def test_the_fabrics_mtu_is_the_smallest_on_a_way(repository: object) -> None:
    text = (
        "{{mtu: 9000, switches: {{a: {{subnet: 10.1.0.0/24}}, b: {{subnet: 10.2.0.0/24}}}}, routers: [r, s, stub], "
        "links: [{{ends: [node1, a]}}, {{ends: [node2, b]}}, {{ends: [r, a]}}, {{ends: [s, b]}}, "
        "{{ends: [r, s], mtu: {}}}, {{ends: [r, stub], mtu: 600}}]}}"
    )
    assert layout(topology(text.format(9000), "2")).fabric_mtu == 9000
    assert layout(topology(text.format(1400), "2")).fabric_mtu == 1400


@pytest.mark.parametrize("name", ["two-subnets", "leaf-spine", "dual-homed", "named", "wan"])
def test_places_with_several_next_hops_hash_flows_by_port(name: str, repository: object) -> None:
    made = load_topology(repository / f"topologies/{name}.yaml").value  # type: ignore[operator]
    plan = DESIGNS["vxlan"].plan(made)
    for space in plan.spaces:
        several = any(route.nexthops for route in space.of(Route))
        keys = {sysctl.key for sysctl in space.of(Sysctl)}
        assert ("net.ipv4.fib_multipath_hash_policy" in keys) is several, space.name


def test_a_node_with_several_links_sends_from_its_own_address() -> None:
    places = layout(topology("{shape: leaf-spine, leaves: 2, homes: 2, subnet: [192.168.0.0/24, 'fd00:1::/64']}"))
    node = planned(places)["node1"]
    assert [str(route.source) for route in node.of(Route)] == ["192.168.0.1", "fd00:1::1"]
    assert [len(route.nexthops) for route in node.of(Route)] == [2, 2]
    own = {str(item.interface) for item in node.of(DeviceAddress) if item.dev == "lo"}
    assert own == {
        "192.168.0.1/32",
        "fd00:1::1/128",
    }


def test_128_leaves_are_planned_quickly() -> None:
    """128 leaves have routes to each other by eight spines: 17,000 routes."""
    begin = time.process_time()
    places = layout(topology("{shape: leaf-spine, leaves: 128, spines: 8, subnet: 10.0.0.0/9}", "128", "10.244.0.0/16"))
    plan = planned(places)
    assert sum(len(space.of(Route)) for space in plan.spaces) > 128 * 127
    assert time.process_time() - begin < 10


def test_links_without_a_switch_have_two_addresses() -> None:
    places = layout(topology("{routers: [a, b], links: [{ends: [node1, a]}, {ends: [node2, b]}, {ends: [a, b]}]}", "2"))
    plan = planned(places)
    found = {space.name: [str(item.interface) for item in space.of(DeviceAddress)] for space in plan.spaces}
    assert found == {
        "a": ["172.31.0.1/31", "172.31.0.4/31"],
        "b": ["172.31.0.3/31", "172.31.0.5/31"],
        "node1": ["172.31.0.0/31"],
        "node2": ["172.31.0.2/31"],
    }
    assert plan["node1"].of(Route) == (
        Route(ipaddress.ip_network("0.0.0.0/0"), "eth0", ipaddress.ip_address("172.31.0.1")),
    )
