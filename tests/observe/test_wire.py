"""Packets on the fabric: each design's are seen where it claims, and any other path is noticed."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dpkt
import pytest

from testbed.designs import DESIGNS, PLAIN, design_of
from testbed.lab.lab import Lab
from testbed.observe import taps, wire
from testbed.observe.frames import USUAL_PORTS, decoded, unwrapped
from testbed.observe.reach import check_reach
from testbed.observe.taps import Frame
from testbed.observe.wire import Watch, check_crossings, sighting
from testbed.plan.objects import Plan
from testbed.plan.sightings import Direction, Sighting, Tunnel
from testbed.spec.topology import Topology

every_design = pytest.mark.parametrize("design", list(PLAIN))


@contextmanager
def settled(design: str, topology: Topology) -> Iterator[Lab]:
    """A lab in which all neighbours and ports are learned, so that nothing is flooded."""
    with Lab(DESIGNS[design].plan(topology)) as lab:
        assert not check_reach(lab.plan, lab.namespaces).failures
        yield lab


@pytest.mark.sealed
@every_design
def test_every_design_takes_the_path_it_claims_in_both_families(design: str, dual_stack: Topology) -> None:
    with settled(design, dual_stack) as lab:
        assert check_crossings(DESIGNS[design], dual_stack, lab.plan, lab.namespaces) == (4, ())


@pytest.mark.sealed
def test_frames_without_kernel_time_stamps_are_sent_again(two_nodes: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stamped when read, frames of the switch would come before those of the router."""
    late = 10

    def unstamped(own: socket.socket) -> Iterator[Frame]:
        nonlocal late
        for frame in taps.frames(own):
            yield frame._replace(time=time.time_ns()) if late > 0 else frame
        late -= 1

    with settled("l3-gateway", two_nodes) as lab:
        monkeypatch.setattr(wire, "frames", unstamped)
        assert check_crossings(DESIGNS["l3-gateway"], two_nodes, lab.plan, lab.namespaces) == (2, ())
    assert late < 0


@pytest.mark.sealed
def test_a_bypassed_vxlan_tunnel_is_noticed(two_nodes: Topology) -> None:
    with settled("vxlan", two_nodes) as lab:
        with lab.namespaces["node1"].entered():
            subprocess.run(
                ["ip", "route", "replace", "10.244.1.0/24", "via", "192.168.56.2", "dev", "eth0"], check=True
            )
        sent, astray = check_crossings(DESIGNS["vxlan"], two_nodes, lab.plan, lab.namespaces)
    assert sent == 2
    (failure,) = astray
    assert failure.startswith("packet client -> web-2 10.244.1.2: seen on the fabric: to-node1 of fabric in")
    assert "in VXLAN" not in failure.partition("expected")[0]


@pytest.mark.sealed
def test_a_bypassed_gateway_is_noticed(two_nodes: Topology) -> None:
    with settled("l3-gateway", two_nodes) as lab:
        with lab.namespaces["node1"].entered():
            subprocess.run(["ip", "route", "add", "10.244.1.0/24", "via", "192.168.56.2"], check=True)
        _, astray = check_crossings(DESIGNS["l3-gateway"], two_nodes, lab.plan, lab.namespaces)
    assert len(astray) == 1
    assert "to-gateway" not in astray[0].partition("expected")[0]


@pytest.mark.sealed
def test_a_redirect_is_noticed(two_nodes: Topology) -> None:
    """With redirects on, the kernel's default, a node learns the shorter path from its first packet."""
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
    assert "packet client -> web-2 10.244.1.2: seen on the fabric: nothing; expected by" in astray[0]


@pytest.mark.sealed
def test_a_lost_packet_is_seen_nowhere(two_nodes: Topology) -> None:
    with settled("l3-host-routes", two_nodes) as lab:
        with lab.namespaces["node1"].entered():
            subprocess.run(["ip", "route", "replace", "blackhole", "10.244.1.0/24"], check=True)
        plan: Plan = lab.plan
        client, web = plan["client"], plan["web-2"]
        with Watch(plan, lab.namespaces) as watch:
            assert watch.sightings(client, web, web.reached_at[0]) == ()


@pytest.mark.sealed
def test_an_unencrypted_tunnel_is_noticed(two_nodes: Topology) -> None:
    """The claim is WireGuard's, but the lab uses VXLAN, with the datagram's mark in the clear."""
    with settled("vxlan", two_nodes) as lab:
        _, astray = check_crossings(design_of("bridge+wireguard"), two_nodes, lab.plan, lab.namespaces)
    assert len(astray) == 2
    assert "in VXLAN 1 port 8472" in astray[0].partition("expected")[0]
    assert "in WireGuard port 51820" in astray[0].partition("expected")[2]


OUTER = {"src": bytes([192, 0, 2, 1]), "dst": bytes([192, 0, 2, 2])}
ENDS = ("192.0.2.1", "192.0.2.2")
INNER = bytes(dpkt.ethernet.Ethernet(src=b"\x02" * 6, dst=b"\x04" * 6, data=b""))[:12]
MACS = ("02:02:02:02:02:02", "04:04:04:04:04:04")
SIX = {"src": bytes(15) + b"\1", "dst": bytes(15) + b"\2"}


def packet(data: bytes = b"a mark of the pods") -> bytes:
    """A pod's datagram."""
    udp = dpkt.udp.UDP(sport=1000, dport=7472, data=data)
    udp.ulen = len(udp)
    ip = dpkt.ip.IP(src=b"\x0a\0\0\1", dst=b"\x0a\0\0\2", p=dpkt.ip.IP_PROTO_UDP, data=udp)
    ip.len = len(ip)
    return bytes(ip)


def framed(protocol: int, payload: bytes) -> bytes:
    """An IPv4 packet of that protocol in a frame of the fabric."""
    ip = dpkt.ip.IP(**OUTER, p=protocol, data=payload)
    return bytes(dpkt.ethernet.Ethernet(src=b"\x06" * 6, dst=b"\x08" * 6, data=ip))


def over_udp(port: int, payload: bytes) -> bytes:
    return framed(
        17,
        (50000).to_bytes(2, "big")
        + port.to_bytes(2, "big")
        + (8 + len(payload)).to_bytes(2, "big")
        + b"\0\0"
        + payload,
    )


VXLAN = bytes([0x08, 0, 0, 0]) + (4096).to_bytes(3, "big") + b"\0"
GENEVE = bytes([1, 0]) + b"\x65\x58" + (77).to_bytes(3, "big") + b"\0" + b"four"
ETHERNET = INNER + b"\x08\x00"


@pytest.mark.parametrize(
    ("frame", "tunnel"),
    [
        (over_udp(4789, VXLAN + ETHERNET + packet()), Tunnel("VXLAN 4096", *ENDS, 4789, MACS)),
        (over_udp(6081, GENEVE + ETHERNET + packet()), Tunnel("Geneve 77", *ENDS, 6081, MACS)),
        (over_udp(8285, packet()), Tunnel("UDP", *ENDS, 8285)),
        (framed(4, packet()), Tunnel("IP in IP", *ENDS)),
        (framed(47, b"\0\0\x08\0" + packet()), Tunnel("GRE", *ENDS)),
        (framed(47, b"\x20\0\x08\0key!" + packet()), Tunnel("GRE", *ENDS)),
        (framed(47, b"\0\0\x65\x58" + ETHERNET + packet()), Tunnel("GRE", *ENDS, inner_macs=MACS)),
    ],
    ids=["vxlan", "geneve", "udp", "ipip", "gre", "gre-key", "gretap"],
)
def test_a_tunnel_is_decoded(frame: bytes, tunnel: Tunnel) -> None:
    outer = unwrapped(frame)
    assert outer is not None
    assert outer.macs == ("06:06:06:06:06:06", "08:08:08:08:08:08")
    assert outer.tunnels == (tunnel,)
    found = decoded(frame)
    assert found is not None
    assert (found.source, found.target, found.ports) == ("10.0.0.1", "10.0.0.2", (1000, 7472))


def test_the_marked_one_of_several_frames_in_a_datagram_is_found() -> None:
    """Weave sends frames that are ready together in one datagram, also those of other pods."""
    frames = [bytes([*range(11), number]) + b"\x08\x00" + packet() + b"mark %d" % number for number in range(3)]
    carried = bytes(6) + b"".join(bytes(12) + len(one).to_bytes(2, "big") + one for one in frames)
    seen = unwrapped(over_udp(6783, carried), mark=b"mark 1")
    assert seen
    assert [one.inner_macs for one in seen.tunnels] == [("06:07:08:09:0a:01", "00:01:02:03:04:05")]


def test_segment_routing_is_decoded() -> None:
    routing = bytes([4, 2, 4, 0, 0, 0, 0, 0]) + SIX["dst"]
    ip = dpkt.ip6.IP6(**SIX, nxt=43, plen=len(routing) + len(packet()), hlim=64)
    frame = bytes(12) + b"\x86\xdd" + bytes(ip)[:40] + routing + packet()
    outer = unwrapped(frame)
    assert outer is not None
    assert outer.tunnels == (Tunnel("SRv6", "::1", "::2"),)
    assert decoded(frame) is not None


@pytest.mark.parametrize(
    ("frame", "tunnel"),
    [
        (over_udp(51820, b"\4\0\0\0" + bytes(60)), Tunnel("WireGuard", *ENDS, 51820, is_opaque=True)),
        (framed(50, bytes(60)), Tunnel("ESP", *ENDS, is_opaque=True)),
    ],
    ids=["wireguard", "esp"],
)
def test_of_an_encrypted_packet_only_the_tunnel_is_decoded(frame: bytes, tunnel: Tunnel) -> None:
    outer = unwrapped(frame)
    assert outer is not None
    assert (outer.tunnels, outer.packet) == ((tunnel,), None)
    assert decoded(frame) is None


def seen(frame: bytes, mark: bytes) -> object:
    return sighting("fabric", Frame(1, "to-node1", False, 0x0800, True, frame), mark, USUAL_PORTS)


def test_a_sighting_is_a_marked_frame_or_a_large_encrypted_one() -> None:
    mark = b"m" * 100
    plain = seen(framed(17, packet(mark)[20:]), mark)
    assert plain == Sighting("fabric", "to-node1", Direction.IN, "06:06:06:06:06:06", "08:08:08:08:08:08")
    hidden = seen(framed(50, bytes(200)), mark)
    assert isinstance(hidden, Sighting)
    assert hidden.tunnel == Tunnel("ESP", *ENDS, is_opaque=True)
    assert seen(framed(50, bytes(30)), mark) is None
    assert seen(framed(17, packet(b"n" * 100)[20:]), mark) is None
