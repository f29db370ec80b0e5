"""Single objects of a plan, in the words in which `ip`, `bridge`, `tc` and `ovs-dpctl` are told of them."""

from collections.abc import Callable, Iterator, Sequence

from testbed.plan.objects import (
    Bridge,
    Child,
    Datapath,
    Esp,
    Flow,
    Geneve,
    IpTunnel,
    Link,
    OtherLink,
    SegmentSource,
    Tun,
    Veth,
    VethEnd,
    Vxlan,
    Wireguard,
)

_WINDOW_WITHOUT_ESN = 64


def esp_key_bytes(item: Esp) -> int:
    """The length of its keys, with RFC 4106's salt."""
    return item.key_bits // 8 + 4


def esp_words(item: Esp, key: Callable[[int], str]) -> Iterator[str]:
    """What `ip` is told of IPsec between two addresses; `key` gives the key of an SPI, as a hexadecimal number."""
    ways = (("out", item.local, item.remote, item.spi_out), ("in", item.remote, item.local, item.spi_in))
    window = f"replay-window {item.window}{' flag esn' if item.window > _WINDOW_WITHOUT_ESN else ''}"
    for _, source, target, spi in ways:
        yield (
            f"xfrm state add src {source} dst {target} proto esp spi 0x{spi:x} reqid {spi} mode transport "
            f"{window} aead 'rfc4106(gcm(aes))' {key(spi)} 128"
        )
    for way, source, target, spi in ways[:1] if item.mark else ways:
        which = f"dir {way} mark 0x{item.mark:x} mask 0x{item.mark:x}" if item.mark else f"dport {item.port} dir {way}"
        yield (
            f"xfrm policy add src {source} dst {target} proto udp {which} "
            f"tmpl src {source} dst {target} proto esp reqid {spi} mode transport"
        )


def no_esp_words(item: Esp) -> Iterator[str]:
    """What `ip` is told so that there is no IPsec between two addresses any more."""
    ways = (("out", item.local, item.remote, item.spi_out), ("in", item.remote, item.local, item.spi_in))
    for way, source, target, _ in ways[:1] if item.mark else ways:
        which = f"dir {way} mark 0x{item.mark:x} mask 0x{item.mark:x}" if item.mark else f"dport {item.port} dir {way}"
        yield f"xfrm policy delete src {source} dst {target} proto udp {which}"
    for _, source, target, spi in ways:
        yield f"xfrm state delete src {source} dst {target} proto esp spi 0x{spi:x}"


def needs_cables(link: Link) -> bool:
    """Whether a device can only be made when the ends of veth pairs are there."""
    return isinstance(link, Datapath) or (isinstance(link, Vxlan) and bool(link.dev))


def link_words(link: Link) -> str:
    """What `ip` is told to make that device."""
    numbered = f"{link.name} index {link.index}"
    start = f"link add {numbered} mtu {link.mtu} type"
    with_mac = f"link add {numbered} address {link.mac} mtu {link.mtu} type"
    match link:
        case Bridge():
            return f"{with_mac} bridge stp_state 0 forward_delay 0"
        case Vxlan():
            return f"{with_mac} vxlan {_vxlan_words(link)}"
        case Geneve():
            return f"{with_mac} geneve external dstport {link.port}"
        case IpTunnel(local=None):
            return f"link set {link.name} mtu {link.mtu}"
        case IpTunnel(local=local):
            assert local
            remote = link.remote or ("any" if local.version == 4 else "::")
            mode = " mode any" if link.kind == "ip6tnl" else ""
            # RFC 2473 would have a destination option in each packet against nested tunnels.
            limit = " encaplimit none" if local.version == 6 else ""
            return f"{start} {link.kind}{mode} local {local} remote {remote}{limit}"
        case Wireguard():
            return f"{start} wireguard"
        case Tun():
            return f"tuntap add {link.name} mode tun"
        case OtherLink():
            return f"{with_mac} {link.kind}"
        case Datapath():
            return f"link set {link.name} address {link.mac} mtu {link.mtu} up"


def datapath_commands(link: Datapath) -> Iterator[str]:
    """The commands that make a datapath with its ports, to be run in its namespace."""
    yield f"ovs-dpctl add-dp {link.name}"
    ports = " ".join(f"{port},port_no={number}" for number, port in enumerate(link.ports, start=1))
    yield f"ovs-dpctl add-if {link.name} {ports}"
    yield f"ip {link_words(link)}"


def flow_command(name: str, flow: Flow) -> str:
    """The command that adds a flow to the datapath of that name."""
    return f"ovs-dpctl add-flow {name} '{flow.match}' '{flow.actions}'"


def flow_lines(flows: Sequence[Flow]) -> str:
    """As `ovs-dpctl add-flows` reads them."""
    return "".join(f"{flow.match} {flow.actions}\n" for flow in flows)


def _vxlan_words(link: Vxlan) -> str:
    if link.external:
        return f"external dstport {link.port} nolearning"
    group = f" group {link.group}" if link.group else ""
    dev = f" dev {link.dev}" if link.dev else ""
    learning = "learning" if link.learning else "nolearning"
    return f"id {link.vni} dstport {link.port} local {link.local}{group}{dev} {learning}"


def veth_commands(veth: Veth) -> Iterator[str]:
    """The commands that make that pair and set it up; namespaces are named as `ip netns` knows them."""
    if veth.is_netkit:
        yield f"ip link add {_veth_end(veth.a)} type netkit mode l3 peer {_veth_end(veth.b)}"
    else:
        yield f"ip link add {_veth_end(veth.a)} type veth peer name {_veth_end(veth.b)}"
    for end in (veth.a, veth.b):
        master = f"master {end.master} " if end.master else ""
        arp = "" if end.arp else "arp off "
        yield f"ip -n {end.space} link set {end.name} {master}{arp}up"


def _veth_end(end: VethEnd) -> str:
    address = f" address {end.mac}" if end.mac else ""
    return f"{end.name} index {end.index} netns {end.space}{address} mtu {end.mtu}"


def child_commands(child: Child) -> Iterator[str]:
    """The commands that make a device which shares another one, and set it up."""
    address = f" address {child.mac}" if child.mac else ""
    yield (
        f"ip -n {child.node} link add link {child.parent} {child.name} index {child.index} netns {child.space}"
        f"{address} mtu {child.mtu} type {child.kind} mode {child.mode}"
    )
    yield f"ip -n {child.space} link set {child.name} up"


def segment_source_words(source: SegmentSource) -> str:
    """What `ip` is told of the source of headers that segment routing adds."""
    return f"sr tunsrc set {source.address}"
