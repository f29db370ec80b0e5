"""Devices: what packets come in and go out by."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from testbed.spec.types import Address, Network


@dataclass(frozen=True)
class Bridge:
    """A Linux bridge without spanning tree, so that a port forwards as soon as it is up."""

    name: str
    index: int
    mac: str
    mtu: int
    promiscuous: bool = False
    """Whether it takes in every frame itself as well. What it forwards are copies then, which are nobody's own."""
    checksums: bool = True
    """Whether what the space itself sends by it may leave checksums to whoever takes it; if not, no segments either."""

    master = None


@dataclass(frozen=True)
class Vxlan:
    """A VXLAN device (RFC 7348) between `local` and whatever the forwarding database names.

    Without an underlying device `dev` the route to the remote end decides by which its packets leave, as it would for
    any other UDP packet. A multicast `group`, to which it sends what it must flood, is joined on `dev`.

    An `external` one has neither number nor forwarding entries of its own: routes say of each packet what to put
    around it.
    """

    name: str
    index: int
    mac: str
    mtu: int
    vni: int
    port: int
    local: Address | None
    learning: bool = False
    external: bool = False
    group: Address | None = None
    dev: str = ""
    master: str | None = None


@dataclass(frozen=True)
class Geneve:
    """A Geneve device (RFC 8926) that is told by routes what to put around each packet."""

    name: str
    index: int
    mac: str
    mtu: int
    port: int

    master = None


class TunnelKind(StrEnum):
    """IP tunnels without Ethernet inside, by the kernel's names."""

    IPIP = "ipip"
    IP6TNL = "ip6tnl"
    GRE = "gre"
    IP6GRE = "ip6gre"


@dataclass(frozen=True)
class IpTunnel:
    """IP in IP (RFC 2003, RFC 2473) or in GRE (RFC 2784). Without `remote` the next hop of a route is the other end.

    Without `local` it is the kernel's own, such as `tunl0`, which is there already. Its number is the kernel's choice.
    """

    name: str
    index: int
    mtu: int
    kind: TunnelKind
    local: Address | None
    remote: Address | None = None

    mac = ""
    master = None


@dataclass(frozen=True)
class WireguardPeer:
    """Another end: in which space, where it listens, and what may come from it and go to it."""

    space: str
    endpoint: Address
    allowed: tuple[Network, ...]


@dataclass(frozen=True)
class Wireguard:
    """A WireGuard device. Its key is made when the lab is."""

    name: str
    index: int
    mtu: int
    port: int
    peers: tuple[WireguardPeer, ...]
    mark: int = 0
    """Of the packets that it has encrypted, for rules to know them by; 0 if they have none."""

    mac = ""
    master = None


@dataclass(frozen=True)
class Tun:
    """A device whose packets go to a program and come from it."""

    name: str
    index: int
    mtu: int

    mac = ""
    master = None


@dataclass(frozen=True)
class OtherLink:
    """A device of a kind that no design makes, but a CNI plugin did: an ifb, a VLAN, a dummy."""

    name: str
    index: int
    mac: str
    mtu: int
    kind: str
    """As `ip link` calls it; empty where the kernel names none."""
    master: str | None = None


@dataclass(frozen=True)
class Flow:
    """Which packets of a datapath's ports something is done to, and what, in the words of `ovs-dpctl`."""

    match: str
    actions: str


@dataclass(frozen=True)
class Datapath:
    """An Open vSwitch datapath in the kernel, with nobody to ask of what no flow matches: that is dropped.

    Its own device, of the same name, is port 0; the kernel numbers that device by itself.
    """

    name: str
    index: int
    mac: str
    mtu: int
    ports: tuple[str, ...]
    """Devices of the space, from port 1 on."""
    flows: tuple[Flow, ...]

    master = None


Link = Bridge | Vxlan | Geneve | IpTunnel | Wireguard | Tun | OtherLink | Datapath
LINKS = (Bridge, Vxlan, Geneve, IpTunnel, Wireguard, Tun, OtherLink, Datapath)
"""The types of `Link`."""
TUNNELS = (Vxlan, Geneve, IpTunnel, Wireguard, Tun)
"""Devices whose packets come out elsewhere in something else."""


@dataclass(frozen=True)
class VethEnd:
    """One end of a veth pair: in which space, under which name, and the bridge that it is a port of, if any."""

    space: str
    name: str
    index: int
    mac: str
    mtu: int
    master: str | None = None
    offload: bool = True
    """Whether it may carry segments larger than its MTU."""
    checksums: bool = True
    """Whether it may leave checksums to whoever takes its packets; if not, it carries no such segments either."""
    arp: bool = True
    """Whether it asks for MAC addresses; if not, its packets have its own as the target's."""


@dataclass(frozen=True)
class Veth:
    """A pair of virtual Ethernet devices: what goes into one end comes out of the other."""

    a: VethEnd
    b: VethEnd
    is_netkit: bool = False
    """A pair of netkit devices in their layer 3 mode instead: without Ethernet addresses, so without ARP."""


@dataclass(frozen=True)
class Child:
    """A device that shares another one, its parent in the node's namespace, with others like it.

    macvlan has MAC addresses of its own on the parent's Ethernet; ipvlan shares the parent's, and hands packets out by
    their IP address.
    """

    space: str
    name: str
    index: int
    mac: str
    """Empty for ipvlan."""
    mtu: int
    kind: Literal["macvlan", "ipvlan"]
    mode: Literal["bridge", "private", "vepa", "passthru", "l2", "l3", "l3s"]
    node: str
    parent: str
    """The name of the device in the node's namespace."""

    master = None


Device = Link | VethEnd | Child
