"""The kernel objects of a plan, as small frozen dataclasses.

Their names and fields are those of `ip`, `bridge`, `tc` and `sysctl`. A plan is complete: whoever carries it out, be it
`testbed.kernel` or a person with the commands of `testbed.plan.shell`, has nothing left to decide.

Every device has its `index`, the number by which the kernel knows it, unique over all spaces of the plan. So nothing
has to be looked up while a lab is built, and no veth has a peer of its own number: the kernel takes such a device for
one without a peer and may tell its bridge only after a second that it is up (`linkwatch_urgent_event`).
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from testbed.spec.types import Address, Interface, Network


class Kind(StrEnum):
    """What a namespace plays."""

    NODE = "node"
    POD = "pod"
    SWITCH = "switch"
    ROUTER = "router"


@dataclass(frozen=True)
class Bridge:
    """A Linux bridge without spanning tree, so that a port forwards as soon as it is up."""

    name: str
    index: int
    mac: str
    mtu: int


@dataclass(frozen=True)
class Vxlan:
    """A VXLAN device (RFC 7348) between `local` and whatever the forwarding database names.

    It takes no underlying device: the route to the remote end decides, as it would for any other UDP packet.
    """

    name: str
    index: int
    mac: str
    mtu: int
    vni: int
    port: int
    local: Address
    learning: bool = False


Link = Bridge | Vxlan


@dataclass(frozen=True)
class VethEnd:
    """One end of a veth pair: in which space, under which name, and the bridge that it is a port of, if any."""

    space: str
    name: str
    index: int
    mac: str
    mtu: int
    master: str | None = None


@dataclass(frozen=True)
class Veth:
    """A pair of virtual Ethernet devices: what goes into one end comes out of the other."""

    a: VethEnd
    b: VethEnd


@dataclass(frozen=True)
class DeviceAddress:
    """An address on a device; its prefix makes the route to its neighbours."""

    dev: str
    interface: Interface


@dataclass(frozen=True)
class Route:
    """A route. Without `via` the destination is on the device's own link; `onlink` skips the check that `via` is."""

    to: Network
    dev: str
    via: Address | None = None
    onlink: bool = False


@dataclass(frozen=True)
class Neighbour:
    """A permanent neighbour entry: what ARP or NDP would otherwise have to ask for."""

    address: Address
    mac: str
    dev: str


@dataclass(frozen=True)
class FdbEntry:
    """A permanent forwarding database entry of a VXLAN device: frames for `mac` go to the tunnel end `remote`."""

    mac: str
    dev: str
    remote: Address


@dataclass(frozen=True)
class TokenBucket:
    """A device that sends no faster than this (tbf): what exceeds the burst waits, and beyond the limit is dropped."""

    dev: str
    rate: int
    """Bits per second, Ethernet headers included."""
    burst: int
    """Bytes that may be sent at once after a pause."""
    limit: int
    """Bytes that may wait."""


@dataclass(frozen=True)
class Sysctl:
    """A kernel setting of one namespace, such as `net.ipv4.ip_forward`."""

    key: str
    value: str
    optional: bool = False
    """Kernels without this key need not have it set (IPv6 or br_netfilter left out)."""


@dataclass(frozen=True)
class Space:
    """One network namespace and all that it is to hold, but for the veth pairs, which are between spaces."""

    name: str
    kind: Kind
    sysctls: tuple[Sysctl, ...] = ()
    links: tuple[Link, ...] = ()
    addresses: tuple[DeviceAddress, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    fdb: tuple[FdbEntry, ...] = ()
    routes: tuple[Route, ...] = ()
    token_buckets: tuple[TokenBucket, ...] = ()
    node: str | None = None
    """Of a pod: the node that it is attached to."""
    reached_at: tuple[Address, ...] = ()
    """The addresses under which the others reach this pod or node."""

    @property
    def home(self) -> str:
        """The node that this is on: a pod's node, otherwise itself."""
        return self.node or self.name


@dataclass(frozen=True)
class Plan:
    """Everything that is to exist under one design."""

    topology: str
    design: str
    pod_mtu: int
    spaces: tuple[Space, ...]
    veths: tuple[Veth, ...]
    offload: bool = True
    """Whether devices may carry segments larger than their MTU; if not, TSO, GSO and GRO are off on all of them."""

    @cached_property
    def _by_name(self) -> dict[str, Space]:
        return {space.name: space for space in self.spaces}

    def __getitem__(self, name: str) -> Space:
        return self._by_name[name]

    def of_kind(self, *kinds: Kind) -> tuple[Space, ...]:
        return tuple(space for space in self.spaces if space.kind in kinds)

    @cached_property
    def _devices(self) -> dict[str, dict[str, Link | VethEnd]]:
        """By space and name."""
        devices: dict[str, dict[str, Link | VethEnd]] = {
            space.name: {link.name: link for link in space.links} for space in self.spaces
        }
        for veth in self.veths:
            for end in (veth.a, veth.b):
                devices[end.space][end.name] = end
        return devices

    def devices_of(self, space: str) -> dict[str, Link | VethEnd]:
        """All devices of a space, by name."""
        return dict(self._devices[space])

    def device(self, space: str, name: str) -> Link | VethEnd:
        """The device of that name in that space."""
        return self._devices[space][name]
