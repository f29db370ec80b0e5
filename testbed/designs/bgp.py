"""BGP between nodes, and with the fabric's routers, as the configuration of BIRD 2.

One daemon handles both address families. It writes learned routes to the kernel's main table, where `ip route` shows
them as `proto bird`, and checks every two seconds that they are still there. It exports only pod ranges to peers.

    birdc show protocols                      the sessions
    birdc show route all for 10.244.0.64/26   the learned routes with their peers
    ip route show proto bird                  the routes in the kernel
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from testbed.plan.draft import SpaceDraft
from testbed.plan.objects import Command, Program
from testbed.spec.types import Address, Network

CONFIGURATION = "/run/bird/bird.conf"
"""Not in Debian's /etc/bird: only the user bird can read it, which does not exist in a rootless lab."""
SOCKET = "/run/bird/bird.ctl"
"""The default path of `birdc`."""
PID_FILE = "/run/bird/bird.pid"
MAX_NEXT_HOPS = 255
"""Maximum number of equal-cost next hops of a route in BIRD."""


@dataclass(frozen=True)
class Peer:
    """The other end of a session."""

    name: str
    """The session's name in `birdc`."""
    local: Address
    """The local address of the session."""
    address: Address
    asn: int
    passive: bool = False
    """Whether to wait for the other end to connect, so that only one end does."""
    is_client: bool = False
    """Whether routes are reflected to it (RFC 4456)."""
    device: str = ""
    """If set, all routes from this peer use this device, regardless of their next hop."""
    source: Address | None = None
    """The preferred source address of the routes from this peer, if set."""


@dataclass(frozen=True)
class TunnelHop:
    """A next hop that is treated as a neighbour on a tunnel device although its address is on another link."""

    address: Address
    dev: str


@dataclass(frozen=True)
class Speaker:
    """The configuration of one BIRD."""

    router_id: ipaddress.IPv4Address
    asn: int
    pools: tuple[Network, ...]
    """The ranges of all pods; no other routes are exchanged."""
    peers: tuple[Peer, ...]
    blocks: tuple[Network, ...] = ()
    """The blocks that it announces."""
    pod_devices: str = ""
    """Pattern of devices to ignore, such as `cali*`."""
    multihop: bool = True
    """Whether peers may be behind a router; if not, they are on the same link, and next hops there are kept."""
    cluster_id: str = ""
    """Only for a route reflector."""
    accepts_own_as: bool = False
    """Whether it accepts routes whose AS path contains its own AS."""
    only_near: tuple[Network, ...] = ()
    """If not empty, only routes with a next hop in these ranges are written to the kernel."""
    tunnel_hops: tuple[TunnelHop, ...] = ()
    sources: tuple[Address, ...] = ()
    """The preferred source address of the routes of its family, if not an address of the device."""
    drops_rest: bool = True
    """Whether to write a blackhole route for each block to the kernel."""

    @property
    def families(self) -> tuple[int, ...]:
        return tuple(sorted({pool.version for pool in self.pools}))


def session_name(kind: str, peer: Address) -> str:
    """`Mesh_192_168_0_2`, as Calico names its sessions."""
    return f"{kind}_{str(peer).replace('.', '_').replace(':', '_')}"


def router_id(addresses: Iterable[Address], number: int) -> ipaddress.IPv4Address:
    """The first IPv4 address, or one made from `number`, which is unique among speakers and starts at 0."""
    for address in addresses:
        if isinstance(address, ipaddress.IPv4Address):
            return address
    return ipaddress.IPv4Address(number + 1)


def run(space: SpaceDraft, speaker: Speaker) -> None:
    """Adds BIRD to the namespace of a node or router."""
    space.file(CONFIGURATION, configuration(speaker))
    # Creates the folder of the socket, as Debian's init script does.
    space.file(PID_FILE, "")
    space.add(
        Program(
            name="bird",
            command=("bird", "-f", "-c", CONFIGURATION, "-s", SOCKET, "-P", PID_FILE),
            ready=Command(("birdc", "-s", SOCKET, "show", "status")),
            reload=Command(("birdc", "-s", SOCKET, "configure")),
            files=(CONFIGURATION,),
        )
    )


def configuration(speaker: Speaker) -> str:
    """The text of `bird.conf`."""
    return "\n\n".join("\n".join(section) for section in _sections(speaker)) + "\n"


def _sections(speaker: Speaker) -> Iterator[list[str]]:
    yield ["log stderr all;", f"router id {speaker.router_id};"]
    yield ["protocol device {", "  scan time 1;", "}"]
    pattern = f'-"{speaker.pod_devices}", "*"' if speaker.pod_devices else '"*"'
    yield [
        "protocol direct {",
        *(f"  ipv{family};" for family in speaker.families),
        f"  interface {pattern};",
        "}",
    ]
    for family in speaker.families:
        yield from _family(speaker, family)


def _family(speaker: Speaker, family: int) -> Iterator[list[str]]:
    blocks = [block for block in speaker.blocks if block.version == family]
    if blocks:
        yield [
            f"protocol static blocks{family} {{",
            f"  ipv{family};",
            *(f"  route {block} blackhole;" for block in blocks),
            "}",
        ]
    hops = [hop for hop in speaker.tunnel_hops if hop.address.version == family]
    if hops:
        yield from _tunnel_hops(family, hops)
    yield from _filters(speaker, family)
    yield [
        f"protocol kernel kernel{family} {{",
        "  learn;",
        "  persist;",
        "  scan time 2;",
        "  metric 0;",
        f"  merge paths on limit {MAX_NEXT_HOPS};",
        f"  ipv{family} {{",
        "    import all;",
        f"    export filter to_kernel{family};",
        "  };",
        "}",
    ]
    peers = [peer for peer in speaker.peers if peer.address.version == family]
    if peers:
        yield _template(speaker, family, bool(hops))
    for peer in peers:
        yield _session(speaker, peer, family)


def _tunnel_hops(family: int, hops: Iterable[TunnelHop]) -> Iterator[list[str]]:
    yield [
        "# Only this table resolves next hops; all of them are on a tunnel.",
        f"ipv{family} table tunnels{family};",
        "",
        f"protocol static tunnel_hops{family} {{",
        f"  ipv{family} {{ table tunnels{family}; }};",
        *(f"  route {ipaddress.ip_network(hop.address)} via {hop.address}%{hop.dev} onlink;" for hop in hops),
        "}",
    ]


def _filters(speaker: Speaker, family: int) -> Iterator[list[str]]:
    pools = ", ".join(f"{pool}+" for pool in speaker.pools if pool.version == family)
    yield [
        "# Own and learned blocks, not the kernel's routes to single pods.",
        f"filter to_peers{family} {{",
        f"  if source ~ [RTS_STATIC, RTS_BGP] && net ~ [{pools}] then accept;",
        "  reject;",
        "}",
    ]
    near = [cidr for cidr in speaker.only_near if cidr.version == family]
    beyond = " && ".join(f"bgp_next_hop !~ {cidr}" for cidr in near)
    sources = [source for source in speaker.sources if source.version == family]
    yield [
        f"filter to_kernel{family} {{",
        *([f"  if source = RTS_BGP && {beyond} then reject;"] if near else []),
        *(f"  if source = RTS_BGP then krt_prefsrc = {source};" for source in sources),
        f"  if source {'~ [RTS_STATIC, RTS_BGP]' if speaker.drops_rest else '= RTS_BGP'} then accept;",
        "  reject;",
        "}",
    ]


def _template(speaker: Speaker, family: int, has_tunnel_hops: bool) -> list[str]:
    return [
        f"template bgp peer{family} {{",
        "  multihop;" if speaker.multihop else "  direct;",
        "  connect delay time 1;",
        "  connect retry time 1;",
        "  error wait time 1, 5;",
        *(["  allow local as 1;"] if speaker.accepts_own_as else []),
        f"  ipv{family} {{",
        "    import all;",
        f"    export filter to_peers{family};",
        *(["    gateway recursive;"] if speaker.multihop else []),
        *([f"    igp table tunnels{family};"] if has_tunnel_hops else []),
        *(["    next hop prefer global;"] if family == 6 else []),
        "  };",
        "}",
    ]


def _session(speaker: Speaker, peer: Peer, family: int) -> list[str]:
    return [
        f"protocol bgp {peer.name} from peer{family} {{",
        f"  local {peer.local} as {speaker.asn};",
        f"  neighbor {peer.address} as {peer.asn};",
        *(["  passive on;"] if peer.passive else []),
        *(["  rr client;", f"  rr cluster id {speaker.cluster_id};"] if peer.is_client else []),
        *([f"  ipv{family} {{ import filter {{ {_beyond(peer)} accept; }}; }};"] if peer.device else []),
        "}",
    ]


def _beyond(peer: Peer) -> str:
    """Filter statements for routes from a peer behind a device."""
    source = f" krt_prefsrc = {peer.source};" if peer.source else ""
    return f'ifname = "{peer.device}";{source}'
