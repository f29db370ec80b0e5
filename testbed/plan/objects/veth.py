"""Device pairs: veth and netkit."""

from collections.abc import Iterator
from dataclasses import dataclass

from testbed.plan.messages import attribute, number

_VETH_PEER, _NETKIT_PEER, _NETKIT_MODE, _L3 = 1, 1, 5, 1
"""VETH_INFO_PEER, IFLA_NETKIT_PEER_INFO, IFLA_NETKIT_MODE, NETKIT_L3"""


@dataclass(frozen=True)
class VethEnd:
    """One end of a veth pair; `master` is the bridge that it is a port of."""

    space: str
    name: str
    index: int
    mac: str
    mtu: int
    master: str | None = None
    offload: bool = True
    """Whether it may carry segments larger than its MTU."""
    checksums: bool = True
    """Whether it may send partial checksums; if not, segmentation offload is off too."""
    arp: bool = True
    """Whether it resolves MAC addresses; if not, the target MAC address of its packets is its own."""


@dataclass(frozen=True)
class Veth:
    """A pair of connected virtual Ethernet devices."""

    a: VethEnd
    b: VethEnd
    is_netkit: bool = False
    """Whether it is a netkit pair in layer 3 mode instead: without MAC addresses and ARP."""


def pair_name(is_netkit: bool) -> str:
    """The kernel's name of the device kind."""
    return "netkit" if is_netkit else "veth"


def pair_data(is_netkit: bool, peer: bytes) -> bytes:
    """The kind's attributes in a request that creates a pair; `peer` is the message of the other end."""
    if is_netkit:
        return number(_NETKIT_MODE, _L3) + attribute(_NETKIT_PEER, peer)
    return attribute(_VETH_PEER, peer)


def veth_commands(veth: Veth) -> Iterator[str]:
    """The commands that create the pair and set it up, with namespace names of `ip netns`."""
    if veth.is_netkit:
        yield f"ip link add {_end(veth.a)} type netkit mode l3 peer {_end(veth.b)}"
    else:
        yield f"ip link add {_end(veth.a)} type veth peer name {_end(veth.b)}"
    for end in (veth.a, veth.b):
        master = f"master {end.master} " if end.master else ""
        arp = "" if end.arp else "arp off "
        yield f"ip -n {end.space} link set {end.name} {master}{arp}up"


def _end(end: VethEnd) -> str:
    address = f" address {end.mac}" if end.mac else ""
    return f"{end.name} index {end.index} netns {end.space}{address} mtu {end.mtu}"
