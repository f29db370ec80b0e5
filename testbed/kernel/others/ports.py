"""Bridges and their ports: options, state, VLANs, static FDB entries, multicast groups."""

import socket
import struct
from collections.abc import Iterator, Mapping

from testbed.kernel.dumped import BRIDGE_DUMP, IFLA_AF_SPEC, LINK_HEADER, Dumped, Link
from testbed.plan.messages import address_in, attributes, mac_in
from testbed.plan.objects import Other
from testbed.plan.objects.fdb import FDB
from testbed.plan.objects.neighbours import NDA_DST, NDA_LLADDR, NEIGHBOUR_HEADER
from testbed.plan.uapi import NUD_NOARP, NUD_PERMANENT

_STATE, _FORWARDING = 1, 3
_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")
_PORT_OPTIONS: Mapping[int, tuple[str, int]] = {
    4: ("hairpin", 0),
    5: ("guard", 0),
    6: ("root_block", 0),
    7: ("fastleave", 0),
    8: ("learning", 1),
    9: ("flood", 1),
    10: ("proxy_arp", 0),
    12: ("proxy_arp_wifi", 0),
    27: ("mcast_flood", 1),
    28: ("mcast_to_unicast", 0),
    29: ("vlan_tunnel", 0),
    30: ("bcast_flood", 1),
    32: ("neigh_suppress", 0),
    33: ("isolated", 0),
    39: ("locked", 0),
    40: ("mab", 0),
    43: ("neigh_vlan_suppress", 0),
}
"""IFLA_BRPORT_...: the name in ip(8), and the value in a new port."""
_BRIDGE_OPTIONS: Mapping[int, tuple[str, int]] = {
    5: ("stp_state", 0),
    1: ("forward_delay", 0),
    4: ("ageing_time", 30000),
    7: ("vlan_filtering", 0),
    9: ("group_fwd_mask", 0),
    22: ("mcast_router", 1),
    23: ("mcast_snooping", 1),
    25: ("mcast_querier", 0),
    36: ("nf_call_iptables", 0),
    37: ("nf_call_ip6tables", 0),
    38: ("nf_call_arptables", 0),
    39: ("vlan_default_pvid", 1),
}
"""IFLA_BR_...: the name in ip(8), and the value in a bridge of the testbed. With stp_state 1 no delay can be 0."""
_VLAN_INFO = 2
_VLAN = struct.Struct("=HH")
_PVID, _UNTAGGED = 2, 4
_FIRST_VLAN = "1 pvid untagged"
_RTM_GETMDB, _MDB_HEADER = 86, struct.Struct("=BxxxI")
_MDB_ENTRY = struct.Struct("=IBBH16sHxx")
_NDA_MASTER = 9


def others(dumped: Dumped) -> Iterator[Other]:
    for link in dumped.links:
        if link.kind == "bridge":
            yield from _options_of_bridge(link)
        if link.port_kind == "bridge":
            yield from _options_of_port(link)
    yield from _vlans(dumped)
    yield from _static_entries(dumped)
    yield from _groups(dumped)


def _options_of_bridge(link: Link) -> Iterator[Other]:
    for kind, (name, usual) in _BRIDGE_OPTIONS.items():
        value = int.from_bytes(link.data.get(kind, b""), "little") if kind in link.data else usual
        if value != usual:
            set_to = f"ip link set {link.name} type bridge {name}"
            yield Other(link.name, f"{name} {value}", f"{set_to} {usual}", str(usual), f"{set_to} {value}")


def _options_of_port(link: Link) -> Iterator[Other]:
    state = link.port[_STATE][0] if _STATE in link.port else _FORWARDING
    if state != _FORWARDING and link.is_up and link.has_carrier:
        undo = f"bridge link set dev {link.name} state {_FORWARDING}"
        yield Other(link.name, f"bridge port {_STATES[state]}", undo, _STATES[_FORWARDING], of_port=True)
    for kind, (name, usual) in _PORT_OPTIONS.items():
        if kind in link.port and link.port[kind][0] != usual:
            now, wanted = (("off", "on")[value] for value in (1 - usual, usual))
            set_to = f"ip link set {link.name} type bridge_slave {name}"
            what, undo, redo = f"bridge port {name} {now}", f"{set_to} {wanted}", f"{set_to} {now}"
            yield Other(link.name, what, undo, wanted, redo, of_port=True)


def _vlans(dumped: Dumped) -> Iterator[Other]:
    """VLANs other than that of a new port; they exist only in kernels with VLAN filtering."""
    bridges = {link.name for link in dumped.links if link.kind == "bridge"}
    there: dict[str, set[str]] = {}
    for payload in dumped.answers(BRIDGE_DUMP) if bridges else ():
        found = attributes(payload, LINK_HEADER.size)
        dev = dumped.names.get(LINK_HEADER.unpack_from(payload)[2], "")
        there.setdefault(dev, set()).update(_vlans_in(found[IFLA_AF_SPEC]) if IFLA_AF_SPEC in found else ())
    for dev, vlans in there.items() if any(there.values()) else ():
        own = " self" if dev in bridges else ""
        for vlan in sorted(vlans - {_FIRST_VLAN}):
            delete = f"bridge vlan del dev {dev} vid {vlan.split()[0]}{own}"
            yield Other(dev, f"VLAN {vlan}", delete, "", f"bridge vlan add dev {dev} vid {vlan}{own}", not own)
        if _FIRST_VLAN not in vlans:
            add, delete = f"bridge vlan add dev {dev} vid {_FIRST_VLAN}{own}", f"bridge vlan del dev {dev} vid 1{own}"
            yield Other(dev, "not in VLAN 1", add, f"VLAN {_FIRST_VLAN}", delete, not own)


def _vlans_in(spec: memoryview) -> Iterator[str]:
    # One attribute for each VLAN, all of the same kind.
    while len(spec) >= 4:
        length, kind = _VLAN.unpack_from(spec)
        if kind & 0x3FFF == _VLAN_INFO:
            flags, vid = _VLAN.unpack_from(spec, 4)
            yield f"{vid}{' pvid' if flags & _PVID else ''}{' untagged' if flags & _UNTAGGED else ''}"
        spec = spec[max(4, (length + 3) & ~3) :]


def _static_entries(dumped: Dumped) -> Iterator[Other]:
    """Entries of bridges that somebody added; the MAC addresses of the namespace's own devices are not among them."""
    own = {mac_in(link.attributes[1]) for link in dumped.links if 1 in link.attributes}
    for payload in dumped.answers(*FDB.dumps):
        _, index, state, _, _ = NEIGHBOUR_HEADER.unpack_from(payload)
        found = attributes(payload, NEIGHBOUR_HEADER.size)
        if NDA_LLADDR not in found or not state & (NUD_NOARP | NUD_PERMANENT) or NDA_DST in found:
            continue
        mac, dev = mac_in(found[NDA_LLADDR]), dumped.names.get(index, "")
        if _NDA_MASTER in found and mac not in own and not int(mac[:2], 16) & 1:
            kind = "static" if state & NUD_NOARP else "local"
            where = f"{mac} dev {dev} master"
            delete, add = f"bridge fdb del {where}", f"bridge fdb add {where} {kind}"
            yield Other(dev, f"FDB entry {mac} {kind}", delete, "", add, of_port=True)


def _groups(dumped: Dumped) -> Iterator[Other]:
    """Permanent members of multicast groups."""
    for payload in dumped.answers((_RTM_GETMDB, _MDB_HEADER.pack(socket.AF_BRIDGE, 0))):
        bridge = dumped.names.get(_MDB_HEADER.unpack_from(payload)[1], "")
        for kind, entries in attributes(payload, _MDB_HEADER.size).items():
            for value in _nested(entries) if kind == 1 else ():
                port, state, _, _, address, protocol = _MDB_ENTRY.unpack_from(value)
                group = _group(address, protocol)
                if state and group:
                    dev = dumped.names.get(port, "")
                    where = f"dev {bridge} port {dev} grp {group} permanent"
                    delete, add = f"bridge mdb del {where}", f"bridge mdb add {where}"
                    yield Other(dev, f"permanent member of {group}", delete, "", add, of_port=True)


def _nested(value: memoryview) -> Iterator[memoryview]:
    """The contents of all MDBA_MDB_ENTRY_INFO in MDBA_MDB."""
    while len(value) >= 4:
        length, _ = _VLAN.unpack_from(value)
        inner = value[4:length]
        while len(inner) >= 4:
            size, _ = _VLAN.unpack_from(inner)
            yield inner[4:size]
            inner = inner[max(4, (size + 3) & ~3) :]
        value = value[max(4, (length + 3) & ~3) :]


def _group(address: bytes, protocol: int) -> str:
    if protocol == socket.htons(0x0800):
        return str(address_in(memoryview(address[:4])))
    return str(address_in(memoryview(address))) if protocol == socket.htons(0x86DD) else ""
