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
from typing import Literal

from testbed.spec.types import Address, Interface, Network


class Kind(StrEnum):
    """What a namespace plays."""

    NODE = "node"
    POD = "pod"
    SWITCH = "switch"
    ROUTER = "router"
    CABLE = "cable"
    """A link between two others that delays, loses or limits what it carries."""


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


@dataclass(frozen=True)
class Plugged:
    """A pod whose devices CNI plugins make when the lab's container runtime calls them, on its node."""

    space: str
    node: str
    container: str
    """The ID by which plugins know it."""
    ifname: str
    texts: tuple[tuple[str, str], ...]
    """The network's configuration for that node, and those of single plugins beside it: files and their texts."""
    folders: tuple[str, ...]
    """Where the plugins' programs are."""
    capabilities: str
    """What plugins are told that declare the capability, as a JSON object."""
    patience_s: float
    """After how long a plugin that has not ended is ended."""


Device = Link | VethEnd | Child


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
class Process:
    """A program that runs in a space as long as the lab is up; it says `ready` in a line when it is."""

    program: str
    """The name of a file of `testbed.programs`."""
    arguments: tuple[str, ...]
    encrypts: bool = False
    """Whether it is told a password, one for all of the lab, made with it; such a program needs PyNaCl."""


@dataclass(frozen=True)
class Daemon:
    """A program of the system's that runs in a space as long as the lab is up, in the foreground."""

    name: str
    command: tuple[str, ...]
    ready: tuple[str, ...]
    """A command that succeeds as soon as the daemon can be talked to."""


@dataclass(frozen=True)
class File:
    """A file that the programs of its space alone see."""

    path: str
    text: str
    mode: int = 0o644


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
class Firewall:
    """Rules and sets of a space, in the very words in which the kernel gives them back."""

    tool: Literal["ipset", "iptables", "ip6tables"]
    text: str
    """As `ipset save` or `iptables-save` print it, without counters and comments."""


@dataclass(frozen=True)
class BpfHook:
    """An eBPF program that sees every packet of a device."""

    dev: str
    where: Literal["ingress", "egress", "peer"]
    """What the device receives, or sends (clsact); of a netkit device what its peer sends."""
    program: str


@dataclass(frozen=True)
class BpfEntry:
    """What a map of eBPF programs is to hold under a key, as their C structures have it."""

    map: str
    key: bytes
    value: bytes
    dev: str = ""
    """The device that it comes with; empty if it comes with the programs."""
    note: str = ""
    """What it says, for a reader."""


@dataclass(frozen=True)
class Bpf:
    """eBPF programs of a space, all of one C file; they and their maps are pinned in its own /sys/fs/bpf."""

    source: str
    """The name of a file of `testbed/bpf`, without `.c`."""
    defines: tuple[str, ...]
    """What the compiler is told with -D."""
    hooks: tuple[BpfHook, ...] = ()
    entries: tuple[BpfEntry, ...] = ()


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
    netems: tuple[Netem, ...] = ()
    esp: tuple[Esp, ...] = ()
    processes: tuple[Process, ...] = ()
    daemons: tuple[Daemon, ...] = ()
    files: tuple[File, ...] = ()
    rules: tuple[RoutingRule, ...] = ()
    firewalls: tuple[Firewall, ...] = ()
    learned: tuple[Route, ...] = ()
    """Routes that a daemon is to put there."""
    down: tuple[str, ...] = ()
    """Devices that CNI plugins made and left down."""
    cut: tuple[Route, ...] = ()
    """Routes that the kernel made of addresses, and that CNI plugins took away."""
    tables: tuple[str, ...] = ()
    """Of nftables, as `inet filter`, that CNI plugins made; what is in them is theirs."""
    bpf: Bpf | None = None
    segment_source: Address | None = None
    """The source of the headers that segment routing puts around packets; otherwise one of the device's."""
    node: str | None = None
    """Of a pod: the node that it is attached to."""
    reached_at: tuple[Address, ...] = ()
    """The addresses under which the others reach this pod or node."""
    masked_by: tuple[Address, ...] = ()
    """Of a pod: the addresses that its packets to other nodes, and beyond, come from instead of its own."""

    @property
    def home(self) -> str:
        """The node that this is on: a pod's node, otherwise itself."""
        return self.node or self.name

    def masked_towards(self, other: "Space", family: int) -> tuple[Address, ...]:
        """What the other one sees its packets come from instead of its own addresses; none if it sees these."""
        if other.kind is not Kind.NODE or other.name == self.home:
            return ()
        return tuple(address for address in self.masked_by if address.version == family)

    @property
    def has_folders(self) -> bool:
        """Whether its programs see folders of their own."""
        return bool(self.files or self.daemons or self.bpf)


@dataclass(frozen=True)
class Plan:
    """Everything that is to exist under one design."""

    topology: str
    design: str
    pod_mtu: int
    spaces: tuple[Space, ...]
    veths: tuple[Veth, ...]
    children: tuple[Child, ...] = ()
    plugged: tuple[Plugged, ...] = ()
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
    def _devices(self) -> dict[str, dict[str, Device]]:
        """By space and name."""
        devices: dict[str, dict[str, Device]] = {
            space.name: {link.name: link for link in space.links} for space in self.spaces
        }
        for veth in self.veths:
            for end in (veth.a, veth.b):
                devices[end.space][end.name] = end
        for child in self.children:
            devices[child.space][child.name] = child
        return devices

    def devices_of(self, space: str) -> dict[str, Device]:
        """All devices of a space, by name."""
        return dict(self._devices[space])

    def device(self, space: str, name: str) -> Device:
        """The device of that name in that space."""
        return self._devices[space][name]

    def without_offload(self, space: str) -> tuple[str, ...]:
        """The devices of a space that may not carry segments larger than their MTU."""
        devices = self._devices[space].items()
        return tuple(name for name, dev in devices if not (self.offload and getattr(dev, "offload", True)))

    def without_checksums(self, space: str) -> tuple[str, ...]:
        """The devices of a space that must not leave checksums to whoever takes their packets."""
        return tuple(name for name, dev in self._devices[space].items() if not getattr(dev, "checksums", True))
