"""Filters of captures: the kernel runs each program on made-up frames, and finds packets inside tunnels."""

import ctypes
import socket
import struct
from collections.abc import Callable

import dpkt
import pytest

from testbed.designs import design_of
from testbed.observe.filters import BadFilter, TunnelHeaders, compiled, looking_inside, tunnels_of
from testbed.observe.frames import ports_of, unwrapped
from testbed.plan.objects import Plan
from testbed.spec.topology import Topology

SO_ATTACH_FILTER = 26
INNER, OUTER = ("10.244.0.2", "10.244.1.2"), ("192.168.56.1", "192.168.56.2")
INNER_6, OUTER_6 = ("fd00:244::2", "fd00:244:1::2"), ("fd00:56::1", "fd00:56::2")


def takes(expression: str, frame: bytes, tunnels: tuple[TunnelHeaders, ...], ethernet: bool = True) -> bool:
    """Whether the kernel's interpreter accepts the frame."""
    program = b"".join(struct.pack("=HBBI", *step) for step in looking_inside(expression, ethernet, tunnels))
    held = ctypes.create_string_buffer(program)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setblocking(False)
        filter_ = struct.pack("HP", len(program) // 8, ctypes.addressof(held))
        ours.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)
        try:
            theirs.send(frame)
            return ours.recv(65_536) == frame
        except (BlockingIOError, PermissionError):
            return False


def ip(protocol: int, data: object, ends: tuple[str, str] = INNER, offset: int = 0) -> bytes:
    source, target = (socket.inet_pton(socket.AF_INET6 if ":" in end else socket.AF_INET, end) for end in ends)
    if len(source) == 16:
        return bytes(dpkt.ip6.IP6(nxt=protocol, plen=len(bytes(data)), src=source, dst=target)) + bytes(data)  # type: ignore[call-overload]
    packet = dpkt.ip.IP(p=protocol, src=source, dst=target, data=bytes(data), len=20 + len(bytes(data)))  # type: ignore[call-overload]
    packet.offset = offset
    return bytes(packet)


def udp(port: int, data: bytes) -> bytes:
    return bytes(dpkt.udp.UDP(sport=40_000, dport=port, ulen=8 + len(data), data=data))


def frame(packet: bytes) -> bytes:
    kind = dpkt.ethernet.ETH_TYPE_IP6 if packet[0] >> 4 == 6 else dpkt.ethernet.ETH_TYPE_IP
    return bytes(12) + kind.to_bytes(2, "big") + packet


PING = ip(1, dpkt.icmp.ICMP(type=8, data=dpkt.icmp.ICMP.Echo(id=1, seq=1, data=b"x" * 32)))
PING_6 = ip(58, dpkt.icmp6.ICMP6(type=128, data=dpkt.icmp6.ICMP6.Echo(id=1, seq=1, data=b"x" * 32)), INNER_6)
QUERY = ip(17, udp(53, b"x" * 32))
VXLAN, GENEVE = bytes.fromhex("0800000000000100"), bytes.fromhex("0000655800000100")
GRE_IP = bytes.fromhex("00000800")
SEGMENTS = bytes.fromhex("0402040000000000") + bytes(16)
SLEEVE = bytes(18) + (14 + len(PING)).to_bytes(2, "big")

WRAPPED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "VXLAN": ("vxlan", lambda packet: ip(17, udp(8472, VXLAN + frame(packet)), OUTER)),
    "VXLAN over IPv6": ("vxlan", lambda packet: ip(17, udp(8472, VXLAN + frame(packet)), OUTER_6)),
    "Geneve": ("bridge+geneve", lambda packet: ip(17, udp(6081, GENEVE + frame(packet)), OUTER)),
    "IP in IP": ("bridge+ipip", lambda packet: ip(4, packet, OUTER)),
    "IPv4 in IPv6": ("bridge+ipip", lambda packet: ip(4, packet, OUTER_6)),
    "GRE": ("bridge+gre", lambda packet: ip(47, GRE_IP + packet, OUTER)),
    "GRE over IPv6": ("bridge+gre", lambda packet: ip(47, GRE_IP + packet, OUTER_6)),
    "Flannel's UDP": ("flannel-udp", lambda packet: ip(17, udp(8285, packet), OUTER)),
    "Weave's sleeve": ("weave-sleeve", lambda packet: ip(17, udp(6783, SLEEVE + frame(packet)), OUTER)),
    "SRv6": ("bridge+srv6", lambda packet: ip(43, SEGMENTS + packet, OUTER_6)),
}


def plan_of(design: str, topology: Topology) -> Plan:
    return design_of(design).plan(topology)


@pytest.mark.parametrize("name", WRAPPED)
def test_what_the_decoder_finds_inside_a_tunnel_the_filter_finds(name: str, dual_stack: Topology) -> None:
    design, wrap = WRAPPED[name]
    plan = plan_of(design, dual_stack)
    tunnels = tunnels_of(plan)
    found = unwrapped(frame(wrap(PING)), ports_of(plan))
    assert found
    assert len(found.tunnels) == 1
    for expression in ("icmp", "src host 10.244.0.2 and icmp", "icmp[icmptype] == icmp-echo"):
        assert takes(expression, frame(wrap(PING)), tunnels)
        assert takes(expression, wrap(PING), tunnels, ethernet=False)
    for expression in ("icmp[icmptype] == icmp-echoreply", "udp port 53", "host 10.244.0.9"):
        assert not takes(expression, frame(wrap(PING)), tunnels)
    assert takes("udp port 53", frame(wrap(QUERY)), tunnels)
    assert not takes("icmp", frame(wrap(QUERY)), tunnels)


def test_ipv6_inside_a_tunnel_is_found(dual_stack: Topology) -> None:
    tunnels = tunnels_of(plan_of("vxlan", dual_stack))
    wrapped = frame(WRAPPED["VXLAN over IPv6"][1](PING_6))
    assert takes("icmp6", wrapped, tunnels)
    assert takes("ip6 host fd00:244::2", wrapped, tunnels)
    assert not takes("icmp6 and host fd00:244::9", wrapped, tunnels)


def test_the_outer_packet_is_found_as_before(dual_stack: Topology) -> None:
    tunnels = tunnels_of(plan_of("vxlan", dual_stack))
    wrapped = frame(WRAPPED["VXLAN"][1](PING))
    assert takes("udp port 8472", wrapped, tunnels)
    assert takes("host 192.168.56.2", wrapped, tunnels)
    assert takes("icmp", frame(PING), tunnels)
    assert takes("", frame(PING), tunnels)
    assert not takes("arp", wrapped, tunnels)
    assert takes("arp", bytes(12) + b"\x08\x06" + bytes(28), tunnels)
    assert not takes("icmp", frame(PING)[:20], tunnels)


def test_a_later_fragment_of_a_tunnel_is_not_looked_into(dual_stack: Topology) -> None:
    """Its first bytes are no UDP header, whatever they look like."""
    datagram = udp(8472, VXLAN + frame(PING))
    assert not takes("icmp", frame(ip(17, datagram, OUTER, offset=1480)), tunnels_of(plan_of("vxlan", dual_stack)))


def test_a_long_filter_reaches_the_kernel(dual_stack: Topology) -> None:
    """With alternatives farther apart than a conditional jump reaches."""
    expression = " or ".join(f"host 10.9.0.{number}" for number in range(1, 60)) + " or icmp"
    design, wrap = WRAPPED["GRE"]
    tunnels = tunnels_of(plan_of(design, dual_stack))
    assert takes(expression, frame(wrap(PING)), tunnels)
    assert not takes(expression, frame(wrap(QUERY)), tunnels)


def test_a_filter_that_the_kernel_does_not_take_is_refused(dual_stack: Topology) -> None:
    expression = " or ".join(f"host 10.9.{number // 250}.{number % 250}" for number in range(600))
    with pytest.raises(BadFilter, match="too long for the kernel"):
        looking_inside(expression, True, tunnels_of(plan_of("bridge+gre", dual_stack)))


def test_an_invalid_filter_is_refused_with_tcpdumps_message() -> None:
    with pytest.raises(BadFilter, match="syntax error"):
        compiled("icmp or or udp")


def test_options_of_tcpdump_are_refused_as_a_filter() -> None:
    with pytest.raises(BadFilter):
        compiled("-w /tmp/not-to-be-written")
