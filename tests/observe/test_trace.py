"""`trace`: the walk of each design hop by hop, and for a lost packet the place and the reason."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.designs import DESIGNS, PLAIN
from testbed.kernel.neighbours import forget_learned_in
from testbed.lab.lab import Lab
from testbed.observe.ends import CannotTrace
from testbed.observe.trace import Hop, Walk, trace
from testbed.spec.topology import Topology
from tests.shared import shared

pytestmark = pytest.mark.sealed

WALKS = Path(__file__).parent / "walks"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"


def lines(walk: Walk) -> Iterator[str]:
    """The walk without its times."""
    for title, hops in ((f"{walk.source} -> {walk.target}", walk.forth), ("answer", walk.back)):
        yield title
        for hop in hops:
            arrow = "->" if hop.direction == "out" else "<-"
            yield f"  {hop.place} {arrow} {hop.device}{''.join(f'; {change}' for change in hop.changes)}"


@pytest.mark.parametrize("protocol", ["icmp", "udp", "tcp"])
@pytest.mark.parametrize("design", list(PLAIN))
def test_the_walk_of_each_design(design: str, protocol: str, two_nodes: Topology) -> None:
    with Lab(DESIGNS[design].plan(two_nodes)) as lab:
        walk = trace(lab.plan, lab.namespaces, "client", "web-2", protocol)  # type: ignore[arg-type]
    assert (walk.outcome, walk.reason) == ("answered", "")
    assert walk.addresses == ("10.244.0.2", "10.244.1.2")
    text = "\n".join(lines(walk)) + "\n"
    golden = WALKS / f"{design}.txt"
    if UPDATE:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text(), "the same for every protocol"


@pytest.mark.parametrize("design", list(PLAIN))
@pytest.mark.parametrize("protocol", ["icmp", "udp", "tcp"])
def test_ipv6_walks_as_ipv4_does(design: str, protocol: str, dual_stack: Topology) -> None:
    def devices(hops: tuple[Hop, ...]) -> list[tuple[str, str]]:
        return [(hop.place, hop.device.replace("-v6", "")) for hop in hops]

    with Lab(DESIGNS[design].plan(dual_stack)) as lab:
        four, six = (trace(lab.plan, lab.namespaces, "client", "web-2", protocol, family=family) for family in (4, 6))  # type: ignore[arg-type]
    assert six.outcome == four.outcome == "answered"
    assert devices(six.forth) == devices(four.forth)
    assert devices(six.back) == devices(four.back)


def test_times_increase_and_devices_are_the_plans(two_nodes: Topology) -> None:
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        walk = trace(lab.plan, lab.namespaces, "web-1", "node2")
    hops = (*walk.forth, *walk.back)
    assert [hop.time_us for hop in hops] == sorted(hop.time_us for hop in hops)
    assert {hop.device for hop in hops if hop.place == "node1"} <= set(lab.plan.devices_of("node1"))


def do(lab: Lab, place: str, command: str) -> None:
    with lab.namespaces[place].entered():
        subprocess.run(["sh", "-ec", command], check=True)


def walked(two_nodes: Topology, place: str, command: str, forget: bool = False, **options: object) -> Walk:
    """The walk after a fault in a VXLAN lab with learned neighbours; with `forget`, without them."""
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        assert trace(lab.plan, lab.namespaces, "client", "web-2").outcome == "answered"
        do(lab, place, command)
        if forget:
            forget_learned_in(lab.namespaces.values())
        return trace(lab.plan, lab.namespaces, "client", "web-2", **options)  # type: ignore[arg-type]


def last(walk: Walk) -> str:
    hop = (*walk.forth, *walk.back)[-1]
    return f"{hop.place} {hop.device}"


def test_a_missing_route_shows_where_the_packet_went_instead(two_nodes: Topology) -> None:
    walk = walked(two_nodes, "node1", "ip route del 10.244.1.0/24")
    assert walk.outcome == "lost"
    assert last(walk) == "gateway eth0"
    missing = "node1: route 10.244.1.0/24 via 10.244.1.0 dev flannel.1 missing"
    assert walk.reason == f"gateway: no route for the packet; {missing}"


def test_a_prohibit_route_answers_with_its_error(two_nodes: Topology) -> None:
    walk = walked(two_nodes, "node1", "ip route replace prohibit 10.244.1.0/24", protocol="udp")
    assert walk.outcome == "refused"
    first, *differences = walk.reason.split("; ")
    assert first == "10.244.0.1 answered: administratively prohibited"
    assert "node1: unexpected route `prohibit 10.244.1.0/24`" in differences
    assert [hop.place for hop in walk.back] == ["node1", "node1", "client"]


def test_a_node_that_does_not_forward_is_named(two_nodes: Topology) -> None:
    walk = walked(two_nodes, "node2", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    assert (walk.outcome, last(walk)) == ("lost", "node2 flannel.1")
    assert walk.reason.startswith("node2: destination is not a local address, and forwarding is off; ")
    assert "node2: net.ipv4.ip_forward: 0, expected 1" in walk.reason


def test_a_pod_without_a_way_back_is_named(two_nodes: Topology) -> None:
    walk = walked(two_nodes, "web-2", "ip route del default")
    assert (walk.outcome, last(walk)) == ("no answer", "web-2 eth0")
    assert walk.reason.startswith("web-2: no way back to 10.244.0.2: Network is unreachable")


def test_a_silent_neighbour_is_named(two_nodes: Topology) -> None:
    walk = walked(two_nodes, "web-2", "ip link set eth0 arp off", forget=True)
    assert (walk.outcome, last(walk)) == ("lost", "node2 flannel.1")
    silent = "node2: kube-bridge: neighbour 10.244.1.2 does not answer"
    assert walk.reason == f"{silent}; web-2: eth0: ARP off, expected on"


def test_a_device_that_is_down_is_named(two_nodes: Topology) -> None:
    walk = walked(two_nodes, "node2", "ip link set veth-web-2 down")
    assert (walk.outcome, walk.forth[-1].place) == ("lost", "node2")
    assert "node2: veth-web-2: down, expected up" in walk.reason


def test_a_reverse_path_filter_is_named(two_nodes: Topology) -> None:
    walk = walked(
        two_nodes,
        "node2",
        "ip route replace 10.244.0.0/24 via 192.168.56.254;"
        "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done",
    )
    assert walk.outcome == "lost"
    assert "node2: packet dropped by rp_filter: its source is routed by another device" in walk.reason


def test_a_table_with_a_dropping_rule_is_named(two_nodes: Topology) -> None:
    rules = "add table ip x; add chain ip x f { type filter hook forward priority 0; policy drop; }"
    walk = walked(two_nodes, "node2", f"nft '{rules}'")
    assert (walk.outcome, last(walk)) == ("lost", "node2 flannel.1")
    assert "node2: nftables: `ip x f policy drop`, which is not in the plan, may have dropped the packet" in walk.reason


def test_rewritten_addresses_are_shown(two_nodes: Topology) -> None:
    rules = "add table ip x; add chain ip x p { type nat hook postrouting priority 100; }; add rule ip x p masquerade"
    walk = walked(two_nodes, "node2", f"nft '{rules}'")
    assert walk.outcome == "answered"
    assert any("NAT: source 10.244.0.2 > 10.244.1.1" in hop.changes for hop in walk.forth)
    assert any("NAT: target 10.244.1.1 > 10.244.0.2" in hop.changes for hop in walk.back)


def test_a_tcp_reset_is_an_answer(two_nodes: Topology) -> None:
    rules = "add table ip x; add chain ip x i { type filter hook input priority 0; };"
    with Lab(DESIGNS["l3-host-routes"].plan(two_nodes)) as lab:
        do(lab, "web-2", f"nft '{rules} add rule ip x i tcp dport 7474 reject with tcp reset'")
        walk = trace(lab.plan, lab.namespaces, "client", "web-2", "tcp")
    assert walk.outcome == "answered"
    assert walk.back[0].device == "eth0"


@pytest.mark.parametrize("protocol", ["icmp", "udp"])
def test_a_packet_of_the_mtu_arrives_and_one_byte_more_does_not(protocol: str, two_nodes: Topology) -> None:
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        fits = trace(lab.plan, lab.namespaces, "client", "web-2", protocol, size=1450)  # type: ignore[arg-type]
        does_not = trace(lab.plan, lab.namespaces, "client", "web-2", protocol, size=1451)  # type: ignore[arg-type]
        do(lab, "client", "ip link set eth0 mtu 1500")
        do(lab, "node1", "ip link set veth-client mtu 1500")
        router_says = trace(lab.plan, lab.namespaces, "client", "web-2", protocol, size=1451)  # type: ignore[arg-type]
    assert (fits.outcome, fits.forth[0].packet.size) == ("answered", 1450)
    assert (does_not.outcome, does_not.forth) == ("lost", ())
    assert does_not.reason == "packet of 1451 bytes exceeds the MTU of the outgoing device"
    assert router_says.outcome in ("refused", "lost")


def test_an_impossible_trace_is_refused_with_the_reason(two_nodes: Topology) -> None:
    with Lab(DESIGNS["l2"].plan(two_nodes)) as lab:
        with pytest.raises(CannotTrace, match="to itself"):
            trace(lab.plan, lab.namespaces, "client", "client")
        with pytest.raises(CannotTrace, match="fabric has no address"):
            trace(lab.plan, lab.namespaces, "client", "fabric")
        with pytest.raises(CannotTrace, match="client and web-1 do not both have an IPv6 address"):
            trace(lab.plan, lab.namespaces, "client", "web-1", family=6)


@pytest.mark.needs(*DESIGNS["cilium-native"].needs)
def test_a_bpf_program_is_named_while_it_is_attached(two_nodes: Topology) -> None:
    with Lab(DESIGNS["cilium-native"].plan(two_nodes)) as lab:
        walk = trace(lab.plan, lab.namespaces, "client", "web-2")
        assert "  node2 <- eth0; eBPF cil_from_netdev" in lines(walk)
        assert lab.run("node2", ["tc", "filter", "del", "dev", "eth0", "ingress"]).returncode == 0
        walk = trace(lab.plan, lab.namespaces, "client", "web-2")
        assert "  node2 <- eth0" in lines(walk)


@pytest.mark.looks
def test_addresses_name_places_too(two_nodes: Topology) -> None:
    with shared(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        walk = trace(lab.plan, lab.namespaces, "10.244.0.2", "10.244.1.2")
        assert (walk.source, walk.target, walk.outcome) == ("client", "web-2", "answered")
        gateway = trace(lab.plan, lab.namespaces, "client", "10.244.1.1")
        assert (gateway.target, gateway.addresses[1], gateway.outcome) == ("node2", "10.244.1.1", "answered")
        bound = trace(lab.plan, lab.namespaces, "10.244.0.1", "web-2", "udp")
        assert (bound.source, bound.forth[0].packet.source, bound.outcome) == ("node1", "10.244.0.1", "answered")


@pytest.mark.looks
@pytest.mark.parametrize(
    ("target", "family", "message"),
    [
        ("10.9.9.9", None, r"10\.9\.9\.9 is not an address of this lab; it has .*10\.244\.0\.2 \(client\)"),
        ("fd00::1", None, "fd00::1 is not an address of this lab; it has no IPv6 addresses"),
        ("wbe-2", None, "unknown pod or node 'wbe-2'; did you mean 'web-2'"),
        ("10.244.1.2", 6, "client and 10.244.1.2 do not both have an IPv6 address"),
        ("10.244.0.2", None, "source and target are both client"),
    ],
)
def test_an_end_that_is_no_place_is_refused(target: str, family: int | None, message: str, two_nodes: Topology) -> None:
    with (
        shared(DESIGNS["vxlan"].plan(two_nodes)) as lab,
        pytest.raises(CannotTrace, match=message),
    ):
        trace(lab.plan, lab.namespaces, "client", target, family=family)


def test_a_connection_whose_port_is_translated_at_once_is_followed(two_nodes: Topology) -> None:
    """Flannel masquerades a node's packets to pods, with a random port, before the first device."""
    with Lab(DESIGNS["flannel-host-gw"].plan(two_nodes)) as lab:
        walk = trace(lab.plan, lab.namespaces, "node1", "web-2", "tcp")
    assert walk.outcome == "answered"
    assert [hop.place for hop in walk.forth] == ["node1", "fabric", "fabric", "node2", "node2", "node2", "web-2"]
