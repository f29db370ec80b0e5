"""What the kernel is told of addresses, ways, neighbours, queues and keys."""

from dataclasses import dataclass
from typing import Literal

from testbed.spec.types import Address, Interface, Network


@dataclass(frozen=True)
class DeviceAddress:
    """An address on a device; its prefix makes the route to its neighbours, unless that is left to others."""

    dev: str
    interface: Interface
    noprefixroute: bool = False


@dataclass(frozen=True)
class NextHop:
    """One of several ways of a route."""

    via: Address
    dev: str


@dataclass(frozen=True)
class TunnelKey:
    """What an external tunnel device is to put around a route's packets: a network's number, and the other end."""

    number: int
    source: Address
    target: Address


@dataclass(frozen=True)
class Segments:
    """An IPv6 header with a segment routing header is put around a route's packets (RFC 8986, H.Encaps)."""

    segments: tuple[Address, ...]


@dataclass(frozen=True)
class SegmentEnd:
    """Packets to a route's address, a segment, lose the header around them; the packet inside goes on by itself."""

    action: Literal["End.DX4", "End.DX6"]


Encapsulation = TunnelKey | Segments | SegmentEnd
MAIN_TABLE = 254
LOCAL_TABLE = 255
"""Of the addresses of the space itself. A rule for it takes the place of the kernel's own, which is the first one."""
BOOT, BIRD = 3, 12
"""Whose a route is: of nobody in particular, as of `ip route add`; of BIRD."""


@dataclass(frozen=True)
class Route:
    """A route. Without `via` the destination is on the device's own link; `onlink` skips the check that `via` is."""

    to: Network
    dev: str
    via: Address | None = None
    onlink: bool = False
    encap: Encapsulation | None = None
    nexthops: tuple[NextHop, ...] = ()
    """Instead of `dev` and `via`, which are empty: flows are shared out among them."""
    blackhole: bool = False
    """What goes there is dropped; `dev` is empty."""
    source: Address | None = None
    """The source address of own packets that have none yet, if it is not to be one of the device's."""
    table: int = MAIN_TABLE
    protocol: int = BOOT
    """Who put it there, as a number of rtnetlink(7): nobody in particular, or a daemon."""

    @property
    def devices(self) -> frozenset[str]:
        """All that it leads out by."""
        return frozenset(filter(None, (self.dev, *(hop.dev for hop in self.nexthops))))


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
class Netem:
    """A device that sends what it is given later, or not at all, or twice (netem)."""

    dev: str
    delay_us: int
    jitter_us: int
    loss: float
    """Parts of one, as the others are."""
    duplicate: float
    reorder: float
    """So many are sent at once instead, and so overtake others."""
    limit: int
    """Packets under way at a time."""


@dataclass(frozen=True)
class Sysctl:
    """A kernel setting of one namespace, such as `net.ipv4.ip_forward`; or of a device there."""

    key: str
    """With slashes instead of dots where it is a device's, whose name may have dots: `net/ipv4/conf/flannel.1/...`."""
    value: str
    optional: bool = False
    """Kernels without this key need not have it set (IPv6 or br_netfilter left out)."""
    dev: str = ""
    """The device whose setting it is."""


@dataclass(frozen=True)
class Esp:
    """IPsec in transport mode between two addresses, for UDP to one port: AES-GCM (RFC 4106), a key for each way.

    The keys are made when the lab is. With a `mark` it is only for packets that have it, and it is left to others, such
    as a firewall, to let in nothing that is not encrypted.
    """

    local: Address
    remote: Address
    port: int
    spi_out: int
    spi_in: int
    mark: int = 0
    key_bits: int = 128
    window: int = 64
    """So many of the latest packets may come in any order; more than 64 need extended sequence numbers."""


@dataclass(frozen=True)
class RoutingRule:
    """Which packets are routed by which table: all that come from a network, or have a mark, or have it not."""

    priority: int
    family: Literal[4, 6]
    table: int
    source: Network | None = None
    mark: int = 0
    mask: int = 0
    """Which bits of a packet's mark are held against it; 0 if the mark does not matter."""
    inverted: bool = False
    """Whether those packets are meant for which the rest is not so."""


@dataclass(frozen=True)
class SegmentSource:
    """The source of the headers that segment routing puts around packets; without it, one of the device's."""

    address: Address


@dataclass(frozen=True)
class LearnedRoute:
    """A route that a daemon is to put there."""

    route: Route


@dataclass(frozen=True)
class CutRoute:
    """A route that the kernel made of an address, and that a CNI plugin took away."""

    route: Route


@dataclass(frozen=True)
class DownDevice:
    """A device that a CNI plugin made and left down."""

    dev: str


@dataclass(frozen=True)
class NftTable:
    """A table of nftables that a CNI plugin made; what is in it is the plugin's."""

    name: str
    """As `inet filter`."""
