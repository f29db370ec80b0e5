"""Decode frames: addresses, protocol and tunnels of the IP packet inside."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address

import dpkt

from testbed.plan.objects import Geneve, Plan, Program, Vxlan, Wireguard
from testbed.plan.sightings import Tunnel

_VXLAN_HEADER = 8
_ETHERNET_HEADER = 14
_VXLAN_FLAGS = 0x08
_UDP_HEADER = 8
_IPV6_HEADER = 40
_ROUTING, _FRAGMENT = 43, 44
_TRANSPARENT_ETHERNET = 0x6558
_WIREGUARD_DATA = 4
Ports = Mapping[int, str]
"""The kind of tunnel by UDP port: `VXLAN`, `Geneve`, `WireGuard`, `UDP` for bare packets, Weave's `sleeve`, or
`SLEEVE_BOX` if that is encrypted."""
SLEEVE_BOX = "sleeve box"
USUAL_PORTS: Ports = {6081: "Geneve", 6783: "sleeve", 51820: "WireGuard", 51821: "WireGuard", 8285: "UDP"}
_PROGRAMS = {"udp_tunnel": "UDP", "sleeve": "sleeve"}
"""The kind of tunnel by program of the testbed."""
_SLEEVE_SENDER, _SLEEVE_PEERS, _SLEEVE_LENGTH = 6, 6 + 6, 2
"""Bytes in a datagram: its sender, then for each frame the capturing and the destination peer, and its length."""
_NAMES = {
    dpkt.ip.IP_PROTO_ICMP: "icmp",
    dpkt.ip.IP_PROTO_ICMP6: "icmp",
    dpkt.ip.IP_PROTO_TCP: "tcp",
    dpkt.ip.IP_PROTO_UDP: "udp",
}


@dataclass(frozen=True)
class Packet:
    """An IP packet with its frame's addresses and its tunnels, the outermost first."""

    macs: tuple[str, str]
    """Source and target of the outermost frame."""
    tunnels: tuple[Tunnel, ...]
    source: str
    target: str
    protocol: str
    ports: tuple[int, int] | None
    ttl: int
    size: int
    """Of the innermost IP packet, in bytes."""
    error: str
    """The meaning of an ICMP error; empty for other packets."""
    icmp: int | None = None
    """The type of an ICMP message."""
    tcp: tuple[int, int] | None = None
    """Sequence and acknowledgement number."""
    fragment: int = 0
    """Bytes of the first fragment, if the packet or one of its tunnels is fragmented; 0 if not."""


def ports_of(plan: Plan) -> Ports:
    """The usual ports of tunnels, and those of a plan."""
    return {**USUAL_PORTS, **planned_ports(plan)}


def planned_ports(plan: Plan) -> Ports:
    """The ports of a plan's tunnels."""
    ports: dict[int, str] = {}
    for space in plan.spaces:
        for link in space.links:
            match link:
                case Vxlan():
                    ports[link.port] = "VXLAN"
                case Geneve():
                    ports[link.port] = "Geneve"
                case Wireguard():
                    ports[link.port] = "WireGuard"
        for program in space.of(Program):
            if program.port:
                ports[program.port] = SLEEVE_BOX if program.secret else _PROGRAMS[program.name]
    return ports


def decoded(frame: bytes, ports: Ports = USUAL_PORTS) -> Packet | None:
    """The IP packet in an Ethernet frame; None if there is none, or if it is encrypted."""
    outer = unwrapped(frame, ports)
    if outer is None or outer.packet is None:
        return None
    return replace(_packet(outer.macs, outer.tunnels, outer.packet), fragment=outer.fragment)


@dataclass(frozen=True)
class Unwrapped:
    """A frame without its tunnels."""

    macs: tuple[str, str]
    tunnels: tuple[Tunnel, ...]
    """The outermost first."""
    packet: "dpkt.ip.IP | dpkt.ip6.IP6 | None"
    """None if it is encrypted."""
    fragment: int = 0
    """See `Packet`."""


def unwrapped(frame: bytes, ports: Ports = USUAL_PORTS, mark: bytes = b"") -> Unwrapped | None:
    """The tunnels and the innermost IP packet of an Ethernet frame; None if it holds no IP.

    Of several frames in one datagram of a tunnel, the first that has the mark.
    """
    try:
        ethernet = dpkt.ethernet.Ethernet(frame)
        macs, ip = _macs(ethernet), ethernet.data
        tunnels: list[Tunnel] = []
        fragment = 0
        while isinstance(ip, dpkt.ip.IP | dpkt.ip6.IP6):
            fragment = fragment or _fragment(ip)
            inside = _inside(ip, ports, mark)
            if inside is None:
                return Unwrapped(macs, tuple(tunnels), ip, fragment)
            tunnel, ip = inside
            tunnels.append(tunnel)
            if tunnel.is_opaque:
                return Unwrapped(macs, tuple(tunnels), None, fragment)
    except (dpkt.UnpackError, IndexError, StopIteration):
        pass
    return None


def _macs(ethernet: "dpkt.ethernet.Ethernet") -> tuple[str, str]:
    return ethernet.src.hex(":"), ethernet.dst.hex(":")


def _address(raw: bytes) -> str:
    return str(ip_address(raw))


def _protocol(ip: "dpkt.ip.IP | dpkt.ip6.IP6") -> int:
    return int(ip.p)


def _inside(outer: "dpkt.ip.IP | dpkt.ip6.IP6", ports: Ports, mark: bytes) -> "tuple[Tunnel, object] | None":
    """The tunnel and the packet inside it; None if the IP packet is not a tunnel's."""
    ends = _address(outer.src), _address(outer.dst)
    protocol, payload = _payload(outer)
    match protocol:
        case 4 | 41:  # RFC 2003, RFC 2473; with a routing header RFC 8986.
            kind = "SRv6" if isinstance(outer, dpkt.ip6.IP6) and outer.nxt == _ROUTING else "IP in IP"
            return Tunnel(kind, *ends), _ip(payload)
        case 17:
            return _inside_udp(ends, payload, ports, mark)
        case 47:
            return _inside_gre(ends, payload)
        case 50:
            return Tunnel("ESP", *ends, is_opaque=True), None
    return None


def _payload(ip: "dpkt.ip.IP | dpkt.ip6.IP6") -> tuple[int, bytes]:
    """The protocol above IP and its data, after a routing or fragment header (RFC 8200) if there is one."""
    if isinstance(ip, dpkt.ip.IP):
        return int(ip.p), bytes(ip.data)
    if ip.nxt not in (_ROUTING, _FRAGMENT):
        return int(ip.nxt), bytes(ip.data)
    behind = bytes(ip)[_IPV6_HEADER:]
    return behind[0], behind[8 * (behind[1] + 1 if ip.nxt == _ROUTING else 1) :]


def _fragment(ip: "dpkt.ip.IP | dpkt.ip6.IP6") -> int:
    """The size of a first fragment in bytes; 0 for a packet that is not fragmented."""
    if isinstance(ip, dpkt.ip.IP):
        return int(ip.len) if ip.mf else 0
    return int(ip.plen) + _IPV6_HEADER if ip.nxt == _FRAGMENT else 0


def _ip(data: bytes) -> object:
    return dpkt.ip6.IP6(data) if data[0] >> 4 == 6 else dpkt.ip.IP(data)


def _inside_gre(ends: tuple[str, str], payload: bytes) -> tuple[Tunnel, object]:
    """RFC 2784, RFC 2890: checksum, key and sequence number are optional, four bytes each."""
    flags, kind = payload[0], int.from_bytes(payload[2:4], "big")
    data = payload[4 + 4 * sum(bool(flags & bit) for bit in (0x80, 0x20, 0x10)) :]
    if kind == _TRANSPARENT_ETHERNET:
        inner = dpkt.ethernet.Ethernet(data)
        return Tunnel("GRE", *ends, inner_macs=_macs(inner)), inner.data
    return Tunnel("GRE", *ends), _ip(data)


def _inside_udp(ends: tuple[str, str], udp: bytes, ports: Ports, mark: bytes) -> tuple[Tunnel, object] | None:
    port, data = int.from_bytes(udp[2:4], "big"), udp[_UDP_HEADER:]
    kind = ports.get(port, "")
    if kind == "WireGuard":
        # Other types are handshakes.
        return (Tunnel(kind, *ends, port, is_opaque=True), None) if data[:1] == bytes([_WIREGUARD_DATA]) else None
    if kind == "UDP":
        return Tunnel(kind, *ends, port), _ip(data)
    if kind == SLEEVE_BOX:
        return Tunnel("sleeve", *ends, port, is_opaque=True), None
    if kind == "sleeve":
        inner = dpkt.ethernet.Ethernet(next(frame for frame in _in_sleeve(data) if mark in frame))
        return Tunnel(kind, *ends, port, _macs(inner)), inner.data
    if kind == "Geneve":
        # RFC 8926: a header of 8 bytes, then options in words of 4.
        inner = dpkt.ethernet.Ethernet(data[8 + 4 * (data[0] & 0x3F) :])
        return Tunnel(f"Geneve {int.from_bytes(data[4:7], 'big')}", *ends, port, _macs(inner)), inner.data
    # RFC 7348, on any port: recognized by its header.
    if len(data) < _VXLAN_HEADER + _ETHERNET_HEADER or data[0] != _VXLAN_FLAGS or any(data[1:4]):
        return None
    inner = dpkt.ethernet.Ethernet(data[_VXLAN_HEADER:])
    return Tunnel(f"VXLAN {int.from_bytes(data[4:7], 'big')}", *ends, port, _macs(inner)), inner.data


def _in_sleeve(datagram: bytes) -> Iterator[bytes]:
    """The Ethernet frames in one of Weave's datagrams; at least one, which may be empty."""
    at = _SLEEVE_SENDER + _SLEEVE_PEERS
    while True:
        begin = at + _SLEEVE_LENGTH
        end = begin + int.from_bytes(datagram[at:begin], "big")
        yield datagram[begin:end]
        at = end + _SLEEVE_PEERS
        if at >= len(datagram):
            return


def _packet(macs: tuple[str, str], tunnels: tuple[Tunnel, ...], ip: "dpkt.ip.IP | dpkt.ip6.IP6") -> Packet:
    above, four = ip.data, isinstance(ip, dpkt.ip.IP)
    ported = isinstance(above, dpkt.tcp.TCP | dpkt.udp.UDP)
    return Packet(
        macs,
        tunnels,
        _address(ip.src),
        _address(ip.dst),
        _NAMES.get(_protocol(ip), str(_protocol(ip))),
        (int(above.sport), int(above.dport)) if ported else None,
        int(ip.ttl if four else ip.hlim),
        int(ip.len if four else ip.plen + 40),
        _error(above),
        int(above.type) if isinstance(above, dpkt.icmp.ICMP | dpkt.icmp6.ICMP6) else None,
        (int(above.seq), int(above.ack)) if isinstance(above, dpkt.tcp.TCP) else None,
    )


_UNREACHABLE = {
    0: "network unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    13: "administratively prohibited",
}
_UNREACHABLE_6 = {0: "no route", 1: "administratively prohibited", 3: "address unreachable", 4: "port unreachable"}


def _error(above: object) -> str:
    """The meaning of an ICMP error; empty for other messages."""
    if isinstance(above, dpkt.icmp.ICMP):
        data = bytes(above.data)
        if above.type == dpkt.icmp.ICMP_UNREACH:
            if above.code == dpkt.icmp.ICMP_UNREACH_NEEDFRAG:
                return f"too big, the next link's MTU is {int.from_bytes(data[2:4], 'big')}"
            return _UNREACHABLE.get(above.code, f"unreachable ({above.code})")
        return {dpkt.icmp.ICMP_TIMEXCEED: "TTL exceeded", dpkt.icmp.ICMP_REDIRECT: "redirect"}.get(above.type, "")
    if isinstance(above, dpkt.icmp6.ICMP6):
        data = bytes(above.data)
        if above.type == dpkt.icmp6.ICMP6_PACKET_TOO_BIG:
            return f"too big, the next link's MTU is {int.from_bytes(data[:4], 'big')}"
        if above.type == dpkt.icmp6.ICMP6_DST_UNREACH:
            return _UNREACHABLE_6.get(above.code, f"unreachable ({above.code})")
        return {dpkt.icmp6.ICMP6_TIME_EXCEEDED: "hop limit exceeded"}.get(above.type, "")
    return ""
