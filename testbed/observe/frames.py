"""Frames as taps see them, decoded as far as a reader wants to know: who to whom, inside what."""

from dataclasses import dataclass
from ipaddress import ip_address

import dpkt

_VXLAN_HEADER = 8
_ETHERNET_HEADER = 14
_VXLAN_FLAGS = 0x08
_NAMES = {
    dpkt.ip.IP_PROTO_ICMP: "icmp",
    dpkt.ip.IP_PROTO_ICMP6: "icmp",
    dpkt.ip.IP_PROTO_TCP: "tcp",
    dpkt.ip.IP_PROTO_UDP: "udp",
}


@dataclass(frozen=True)
class Tunnel:
    """What is around a packet: an outer header between two tunnel ends."""

    kind: str
    """`VXLAN 1`, with the network's number."""
    source: str
    target: str
    port: int | None
    inner_macs: tuple[str, str] | None
    """Source and target of the Ethernet frame inside, if there is one."""


@dataclass(frozen=True)
class Packet:
    """An IP packet in its frame, and in its tunnels, the outermost first."""

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
    """Of an ICMP error: what it says; empty for anything else."""
    icmp: int | None = None
    """The type of an ICMP message."""
    tcp: tuple[int, int] | None = None
    """Sequence number and acknowledgement."""


def decoded(frame: bytes) -> Packet | None:
    """The packet in an Ethernet frame; None if it holds no IP."""
    try:
        ethernet = dpkt.ethernet.Ethernet(frame)
    except dpkt.UnpackError:
        return None
    macs = _macs(ethernet)
    tunnels: list[Tunnel] = []
    ip = ethernet.data
    while isinstance(ip, dpkt.ip.IP | dpkt.ip6.IP6):
        inside = _unwrapped(ip)
        if inside is None:
            return _packet(macs, tuple(tunnels), ip)
        tunnel, ip = inside
        tunnels.append(tunnel)
    return None


def _macs(ethernet: "dpkt.ethernet.Ethernet") -> tuple[str, str]:
    return ethernet.src.hex(":"), ethernet.dst.hex(":")


def _address(raw: bytes) -> str:
    return str(ip_address(raw))


def _protocol(ip: "dpkt.ip.IP | dpkt.ip6.IP6") -> int:
    return int(ip.p)


def _unwrapped(outer: "dpkt.ip.IP | dpkt.ip6.IP6") -> "tuple[Tunnel, object] | None":
    """The tunnel and the packet in it, if that IP packet carries one: VXLAN (RFC 7348) or IP in IP (RFC 2003)."""
    ends = _address(outer.src), _address(outer.dst)
    if isinstance(outer.data, dpkt.udp.UDP):
        payload = bytes(outer.data.data)
        if len(payload) < _VXLAN_HEADER + _ETHERNET_HEADER or payload[0] != _VXLAN_FLAGS or any(payload[1:4]):
            return None
        inner = dpkt.ethernet.Ethernet(payload[_VXLAN_HEADER:])
        network = int.from_bytes(payload[4:7], "big")
        return Tunnel(f"VXLAN {network}", *ends, int(outer.data.dport), _macs(inner)), inner.data
    if isinstance(outer.data, dpkt.ip.IP | dpkt.ip6.IP6):
        return Tunnel("IP in IP", *ends, None, None), outer.data
    return None


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
    """What an ICMP message complains of; empty if it does not."""
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
