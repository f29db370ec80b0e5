"""BGP between nodes, and with the fabric's routers: who speaks to whom, as the configuration of BIRD 2.

One daemon speaks for both address families. It puts what it learns into the kernel's main table, where `ip route` shows
it as `proto bird`, and looks every two seconds whether it is all still there. Peers are told of pods' ranges alone.

    birdc show protocols                      the sessions
    birdc show route all for 10.244.0.64/26   what was learned, from whom
    ip route show proto bird                  what of that is in the kernel
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from testbed.plan.draft import SpaceDraft
from testbed.plan.objects import Command, Program
from testbed.spec.types import Address, Network

CONFIGURATION = "/run/bird/bird.conf"
"""Not in Debian's /etc/bird, where only the user bird may look, who is nobody to a lab that has no root."""
SOCKET = "/run/bird/bird.ctl"
"""Where `birdc` looks for it."""
PID_FILE = "/run/bird/bird.pid"
MAX_WAYS = 255
"""Equal next hops that BIRD gives a route at most."""


@dataclass(frozen=True)
class Peer:
    """The other end of a session."""

    name: str
    """What the session is called by `birdc`."""
    local: Address
    """The own address that it is spoken from."""
    address: Address
    asn: int
    passive: bool = False
    """Whether to wait for the other end to connect, so that they do not both."""
    is_client: bool = False
    """Whether routes are reflected to it (RFC 4456)."""
    device: str = ""
    """If what it tells is all beyond this device, whatever next hop it names: the device."""
    source: Address | None = None
    """The source address of own packets that go there, if it is to be this one."""


@dataclass(frozen=True)
class TunnelHop:
    """A next hop that is taken for a neighbour on a tunnel's device, though it has its address elsewhere."""

    address: Address
    dev: str


@dataclass(frozen=True)
class Speaker:
    """All that one BIRD is told."""

    router_id: ipaddress.IPv4Address
    asn: int
    pools: tuple[Network, ...]
    """The ranges of all pods: no other routes are exchanged."""
    peers: tuple[Peer, ...]
    blocks: tuple[Network, ...] = ()
    """What it originates."""
    pod_devices: str = ""
    """Devices that are none of its links, as a pattern such as `cali*`."""
    multihop: bool = True
    """Whether peers may be beyond a router; if not, they are on the same link, and next hops there are passed on."""
    cluster_id: str = ""
    """Of a route reflector."""
    accepts_own_as: bool = False
    """Whether it takes routes that have passed its own autonomous system before."""
    only_near: tuple[Network, ...] = ()
    """If there are any, the kernel is given only routes whose next hop is in these."""
    tunnel_hops: tuple[TunnelHop, ...] = ()
    sources: tuple[Address, ...] = ()
    """The source address of own packets by the routes of its family, if it is not to be one of the device's."""
    drops_rest: bool = True
    """Whether the kernel is to drop what is in the blocks without a route of its own."""

    @property
    def families(self) -> tuple[int, ...]:
        return tuple(sorted({pool.version for pool in self.pools}))


def session_name(kind: str, peer: Address) -> str:
    """`Mesh_192_168_0_2`, as Calico names its sessions."""
    return f"{kind}_{str(peer).replace('.', '_').replace(':', '_')}"


def router_id(addresses: Iterable[Address], number: int) -> ipaddress.IPv4Address:
    """An IPv4 address of its own; where it has none, one made of a number that no other speaker has, from 0 on."""
    for address in addresses:
        if isinstance(address, ipaddress.IPv4Address):
            return address
    return ipaddress.IPv4Address(number + 1)


def run(space: SpaceDraft, speaker: Speaker) -> None:
    """Has BIRD run in a node's or router's namespace."""
    space.file(CONFIGURATION, configuration(speaker))
    # Debian's script would make the folder that the socket is in; this makes it, too.
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
    """The text of its `bird.conf`."""
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
        f"  merge paths on limit {MAX_WAYS};",
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
        "# Next hops are looked up here alone, where all of them are on a tunnel.",
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
        "# Blocks, own ones and others'; not the routes to single pods, which are the kernel's.",
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
    """What is made of the routes that come from a peer behind a device."""
    source = f" krt_prefsrc = {peer.source};" if peer.source else ""
    return f'ifname = "{peer.device}";{source}'
