"""The path proof: each design's packets are seen where it claims, and any other way is noticed."""

import ipaddress
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dpkt
import pytest

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.observe.reach import check_reach
from testbed.observe.wire import check_crossings, sighting, sightings
from testbed.plan.objects import Plan
from testbed.plan.sightings import Direction
from testbed.spec.topology import Topology

every_design = pytest.mark.parametrize("design", list(DESIGNS))


@contextmanager
def settled(design: str, topology: Topology) -> Iterator[Lab]:
    """A lab in which everybody has talked with everybody, so that nothing is flooded."""
    with Lab(DESIGNS[design].plan(topology)) as lab:
        assert not check_reach(lab.plan, lab.namespaces).failures
        yield lab


@pytest.mark.sealed
@every_design
def test_every_design_takes_the_way_it_claims_in_both_families(design: str, dual_stack: Topology) -> None:
    with settled(design, dual_stack) as lab:
        assert check_crossings(DESIGNS[design], dual_stack, lab.plan, lab.namespaces) == (4, ())


@pytest.mark.sealed
def test_a_vxlan_that_is_bypassed_is_noticed(two_nodes: Topology) -> None:
    with settled("vxlan", two_nodes) as lab:
        with lab.namespaces["node1"].entered():
            subprocess.run(
                ["ip", "route", "replace", "10.244.1.0/24", "via", "192.168.56.2", "dev", "eth0"], check=True
            )
        sent, astray = check_crossings(DESIGNS["vxlan"], two_nodes, lab.plan, lab.namespaces)
    assert sent == 2
    (failure,) = astray
    assert failure.startswith("packet client -> web-2 10.244.1.2: seen on the fabric to-node1 in")
    assert "in VXLAN" not in failure.partition("claims")[0]


@pytest.mark.sealed
def test_a_gateway_that_is_left_out_is_noticed(two_nodes: Topology) -> None:
    with settled("l3-gateway", two_nodes) as lab:
        with lab.namespaces["node1"].entered():
            subprocess.run(["ip", "route", "add", "10.244.1.0/24", "via", "192.168.56.2"], check=True)
        _, astray = check_crossings(DESIGNS["l3-gateway"], two_nodes, lab.plan, lab.namespaces)
    assert len(astray) == 1
    assert "to-gateway" not in astray[0].partition("claims")[0]


@pytest.mark.sealed
def test_a_redirect_is_noticed(two_nodes: Topology) -> None:
    """With redirects on, as the kernel has them by default, one packet of the node's teaches it the shorter way."""
    with settled("l3-gateway", two_nodes) as lab:
        for place in ("node1", "gateway"):
            with lab.namespaces[place].entered():
                for path in Path("/proc/sys/net/ipv4/conf").iterdir():
                    for key in ("send_redirects", "accept_redirects", "secure_redirects"):
                        (path / key).write_text("1")
        with lab.namespaces["node1"].entered():
            said = subprocess.run(
                ["ping", "-c", "3", "-i", "0.2", "10.244.1.2"], capture_output=True, text=True, check=True
            )
        assert "Redirect" in said.stdout
        _, astray = check_crossings(DESIGNS["l3-gateway"], two_nodes, lab.plan, lab.namespaces)
    assert any(failure.startswith("packet client -> web-2") for failure in astray)


@pytest.mark.sealed
def test_a_packet_that_cannot_be_sent_is_seen_nowhere(two_nodes: Topology) -> None:
    with settled("l3-host-routes", two_nodes) as lab:
        with lab.namespaces["client"].entered():
            subprocess.run(["ip", "route", "delete", "default"], check=True)
        _, astray = check_crossings(DESIGNS["l3-host-routes"], two_nodes, lab.plan, lab.namespaces)
    assert "packet client -> web-2 10.244.1.2: seen on the fabric nothing" in astray[0]


@pytest.mark.sealed
def test_a_lost_packet_is_seen_nowhere(two_nodes: Topology) -> None:
    with settled("l3-host-routes", two_nodes) as lab:
        with lab.namespaces["node1"].entered():
            subprocess.run(["ip", "route", "replace", "blackhole", "10.244.1.0/24"], check=True)
        plan: Plan = lab.plan
        client, web = plan["client"], plan["web-2"]
        assert sightings(client, web, web.reached_at[0], lab.namespaces) == ()


def test_a_vxlan_frame_is_decoded() -> None:
    inner = dpkt.ethernet.Ethernet(src=b"\x02" * 6, dst=b"\x04" * 6, data=b"payload of the pods")
    header = bytes([0x08, 0, 0, 0]) + (4096).to_bytes(3, "big") + b"\0"
    udp = dpkt.udp.UDP(sport=50000, dport=4789, data=header + bytes(inner))
    udp.ulen = len(udp)
    packet = dpkt.ip.IP(src=bytes([192, 0, 2, 1]), dst=bytes([192, 0, 2, 2]), p=dpkt.ip.IP_PROTO_UDP, data=udp)
    packet.len = len(packet)
    frame = dpkt.ethernet.Ethernet(src=b"\x06" * 6, dst=b"\x08" * 6, data=packet)
    seen = sighting("to-node1", Direction.IN, bytes(frame))
    assert seen.tunnel is not None
    assert (seen.tunnel.vni, seen.tunnel.port) == (4096, 4789)
    assert (seen.tunnel.source, seen.tunnel.target) == (
        ipaddress.ip_address("192.0.2.1"),
        ipaddress.ip_address("192.0.2.2"),
    )
    assert (seen.tunnel.inner_source_mac, seen.tunnel.inner_target_mac) == ("02:02:02:02:02:02", "04:04:04:04:04:04")
    assert (seen.source_mac, seen.target_mac) == ("06:06:06:06:06:06", "08:08:08:08:08:08")


def test_bare_udp_is_no_tunnel() -> None:
    udp = dpkt.udp.UDP(sport=1, dport=2, data=b"sixteen bytes...")
    udp.ulen = len(udp)
    packet = dpkt.ip.IP(src=b"\x0a\0\0\1", dst=b"\x0a\0\0\2", p=dpkt.ip.IP_PROTO_UDP, data=udp)
    packet.len = len(packet)
    frame = dpkt.ethernet.Ethernet(src=b"\x06" * 6, dst=b"\x08" * 6, data=packet)
    assert sighting("to-node1", Direction.OUT, bytes(frame)).tunnel is None
