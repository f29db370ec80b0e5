"""A plan as the commands that a person would type: `ip`, `bridge`, `sysctl`, in `ip netns` namespaces.

The script is true: run with `sh -e` as root in an empty network and mount namespace it builds the very network that
`testbed.kernel` builds from the same plan.
"""

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from testbed.plan.objects import (
    BOOT,
    LOCAL_TABLE,
    MAIN_TABLE,
    Bpf,
    BpfEntry,
    BpfHook,
    Bridge,
    Child,
    Daemon,
    Datapath,
    DeviceAddress,
    Encapsulation,
    Esp,
    FdbEntry,
    Flow,
    Geneve,
    IpTunnel,
    Kind,
    Link,
    Neighbour,
    Netem,
    OtherLink,
    Plan,
    Route,
    RoutingRule,
    SegmentEnd,
    Segments,
    Space,
    Sysctl,
    TokenBucket,
    Tun,
    TunnelKey,
    Veth,
    VethEnd,
    Vxlan,
    Wireguard,
)
from testbed.plan.plugged import attaching
from testbed.spec.types import Address

FLOODED = "00:00:00:00:00:00"
"""In a forwarding database: frames for everybody, or for whom nobody knows."""
RESTORE = {
    "ipset": ("ipset", "restore"),
    "iptables": ("iptables-restore", "--wait", "--noflush"),
    "ip6tables": ("ip6tables-restore", "--wait", "--noflush"),
}
"""The commands that read a firewall's text."""
OVERLAID = ("/etc", "/var/lib")
"""Folders of which a space that has files or daemons sees a version of its own,"""
OWN_RUN, OWN_BPF = "/run", "/sys/fs/bpf"
"""beside these, which are empty."""
_WINDOW_WITHOUT_ESN = 64
PROGRAM_PINS, MAP_PINS = f"{OWN_BPF}/cilium", f"{OWN_BPF}/tc/globals"
"""Where eBPF programs and their maps are, by name."""
OUTER_TTL = 64
"""Of what routes put around packets: Geneve would send them with a TTL of 0 otherwise."""
_ROLE = {
    Kind.NODE: "a node",
    Kind.POD: "a pod",
    Kind.SWITCH: "the fabric's switch",
    Kind.ROUTER: "a router of the fabric",
    Kind.CABLE: "a link of the fabric",
}


def script(plan: Plan) -> str:
    """The whole plan as a shell script, commented."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    yield "#!/bin/sh -e"
    yield f"# Topology {plan.topology} under the design {plan.design}; pods have an MTU of {plan.pod_mtu}."
    yield "# Run as root where it can do no harm: unshare --net --mount sh -ec 'mount -t tmpfs tmpfs /run;"
    yield "#   . ./THIS-FILE; exec sh'"
    yield from _section("Namespaces")
    for space in plan.spaces:
        yield f"ip netns add {space.name}    # {_role(plan, space)}"
    for space in plan.spaces:
        yield from _section(f"{space.name}: settings and devices")
        yield from _settings_and_devices(space)
    yield from _section("Cables: veth pairs, each end in its namespace")
    for veth in plan.veths:
        yield from veth_commands(veth)
    if plan.children:
        yield from _section("Devices that share another one")
        for child in plan.children:
            yield from child_commands(child)
    for space in plan.spaces:
        if commands := list(_addresses_and_routes(space)):
            yield from _section(f"{space.name}: addresses and ways to the others")
            yield from commands
    if commands := [*_wireguard(plan), *_esp(plan)]:
        yield from _section("Keys, made now, and who has which")
        yield from commands
    if commands := list(_firewalls(plan)):
        yield from _section("Firewalls")
        yield from commands
    if commands := [*_files(plan), *_bpf(plan), *_processes(plan)]:
        yield from _section("Programs")
        yield from commands
    if commands := list(attaching(plan, _ROOTS)):
        yield from _section("Pods that CNI plugins attach")
        yield from commands
    if commands := list(_offloads(plan)):
        yield from _section("What devices do not leave to others: checksums, or segments larger than the MTU")
        yield from commands


def _offloads(plan: Plan) -> Iterator[str]:
    for space in plan.spaces:
        for dev in plan.without_offload(space.name):
            yield f"ip netns exec {space.name} ethtool -K {dev} tso off gso off gro off"
        for dev in plan.without_checksums(space.name):
            # Of what follows from that it tells.
            yield f"ip netns exec {space.name} ethtool -K {dev} tx off > /dev/null"


def _wireguard(plan: Plan) -> Iterator[str]:
    ends = [(space.name, link) for space in plan.spaces for link in space.links if isinstance(link, Wireguard)]
    for name, link in ends:
        mark = f" fwmark {link.mark:#x}" if link.mark else ""
        given = f"private-key /dev/stdin listen-port {link.port}{mark}"
        yield f"wg genkey | ip netns exec {name} wg set {link.name} {given}"
    for name, link in ends:
        for peer in link.peers:
            public = f"$(ip netns exec {peer.space} wg show {link.name} public-key)"
            endpoint = f"[{peer.endpoint}]" if peer.endpoint.version == 6 else str(peer.endpoint)
            allowed = ",".join(map(str, peer.allowed))
            yield (
                f'ip netns exec {name} wg set {link.name} peer "{public}" endpoint {endpoint}:{link.port} '
                f"allowed-ips {allowed}"
            )


def _esp(plan: Plan) -> Iterator[str]:
    """Each way between two addresses has a key of its own, which both ends are told."""
    if not any(space.esp for space in plan.spaces):
        return
    yield "new_key() { printf 0x; od -An -v -tx1 -N$1 /dev/urandom | tr -d ' \\n'; }"
    items = [item for space in plan.spaces for item in space.esp]
    for spi, size in sorted({(spi, esp_key_bytes(item)) for item in items for spi in (item.spi_in, item.spi_out)}):
        yield f"KEY_{spi:x}=$(new_key {size})"
    for space in plan.spaces:
        for item in space.esp:
            for words in esp_words(item, lambda spi: f"$KEY_{spi:x}"):
                yield f"ip -n {space.name} {words}"


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


def _firewalls(plan: Plan) -> Iterator[str]:
    for space in plan.spaces:
        for firewall in space.firewalls:
            yield from _heredoc(f"ip netns exec {space.name} {' '.join(RESTORE[firewall.tool])}", firewall.text)


def _heredoc(command: str, text: str) -> Iterator[str]:
    """A command that is given a text to read."""
    yield f"{command} <<'END'"
    yield from text.splitlines()
    yield "END"


_ROOTS = "/run/roots"
"""Where the folders of spaces' own are while the printed commands are carried out."""


def _files(plan: Plan) -> Iterator[str]:
    """Folders of a space's own lie over those of the machine, which are left as they are."""
    spaces = [space for space in plan.spaces if space.has_folders]
    if not spaces:
        return
    folders = " ".join((*OVERLAID, OWN_BPF, OWN_RUN))
    yield "# in_folders_of NAME COMMAND...: runs a command there, in the network and with the folders of that name"
    yield "in_folders_of() {"
    yield "    ip netns exec $1 sh -ec '"
    yield f"        for each in {folders}; do mount --rbind {_ROOTS}/$1$each $each; done"
    yield '        shift; exec "$@"\' sh "$@"'
    yield "}"
    for space in spaces:
        root = f"{_ROOTS}/{space.name}"
        yield f"mkdir -p {root}{OWN_RUN}/log {root}{OWN_BPF}"
        yield f"mount -t bpf bpf {root}{OWN_BPF}"
        for path in OVERLAID:
            upper, work = f"{root}/upper{path}", f"{root}/work{path}"
            yield f"mkdir -p {upper} {work} {root}{path}"
            yield f"mount -t overlay overlay -o lowerdir={path},upperdir={upper},workdir={work} {root}{path}"
        for file in space.files:
            yield f"mkdir -p {root}{file.path.rpartition('/')[0]}"
            yield from _heredoc(f"cat > {root}{file.path}", file.text)
            if file.mode != 0o644:
                yield f"chmod {file.mode:o} {root}{file.path}"


def _bpf(plan: Plan) -> Iterator[str]:
    objects: dict[str, Bpf] = {}
    for space in plan.spaces:
        if space.bpf:
            objects.setdefault(object_of(space.bpf), space.bpf)
    for name, one in objects.items():
        yield " ".join(compile_words(one, "testbed/bpf", f"{_ROOTS}/{name}", "$(uname -m)-linux-gnu"))
    for space in plan.spaces:
        if bpf := space.bpf:
            root = f"{_ROOTS}/{space.name}"
            yield f"mkdir -p {root}{MAP_PINS}"
            yield " ".join(load_words(f"{_ROOTS}/{object_of(bpf)}", root))
            for dev in dict.fromkeys(hook.dev for hook in bpf.hooks if hook.where != "peer"):
                yield f"tc -n {space.name} {clsact_words(dev)}"
            for hook in bpf.hooks:
                if hook.where == "peer":
                    yield f"# {root}{PROGRAM_PINS}/{hook.program} on {hook.dev}: by bpf(2), BPF_LINK_CREATE with"
                    yield "# BPF_NETKIT_PEER, as neither tc nor Debian's bpftool knows netkit"
                else:
                    yield f"tc -n {space.name} {hook_words(hook, root)}"
            for entry in bpf.entries:
                yield from (f"# {entry.note}",) if entry.note else ()
                yield f"bpftool {entry_words(entry, root)}"


def object_of(bpf: Bpf) -> str:
    """The name of the file that it is compiled to."""
    return "-".join((bpf.source, *(define.lower() for define in bpf.defines))) + ".o"


def compile_words(bpf: Bpf, folder: str, to: str, machine: str) -> tuple[str, ...]:
    """The compiler's command; `machine` is what the C library's folders are called here."""
    defines = (f"-D{define}" for define in bpf.defines)
    flags = ("-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", f"-I/usr/include/{machine}")
    return ("clang", *flags, *defines, "-c", f"{folder}/{bpf.source}.c", "-o", to)


def load_words(file: str, root: str = "") -> tuple[str, ...]:
    """The command that loads and pins all programs and maps of a compiled file."""
    return ("bpftool", "prog", "loadall", file, f"{root}{PROGRAM_PINS}", "type", "tc", "pinmaps", f"{root}{MAP_PINS}")


def clsact_words(dev: str) -> str:
    """What `tc` is told so that a device can have programs."""
    return f"qdisc add dev {dev} clsact"


def hook_words(hook: BpfHook, root: str = "", verb: str = "add") -> str:
    """What `tc` is told to `add` or `replace` that program."""
    program = f"{root}{PROGRAM_PINS}/{hook.program}"
    return f"filter {verb} dev {hook.dev} {hook.where} prio 1 handle 1 bpf direct-action object-pinned {program}"


def entry_words(entry: BpfEntry, root: str = "", verb: str = "update") -> str:
    """What `bpftool` is told to `update` or `delete` that entry."""
    value = f" value hex {entry.value.hex(' ')}" if verb == "update" else ""
    return f"map {verb} pinned {root}{MAP_PINS}/{entry.map} key hex {entry.key.hex(' ')}{value}"


def log_of(daemon: Daemon) -> str:
    """The file that has what a daemon says."""
    return f"{OWN_RUN}/log/{daemon.name}.log"


PASSWORD = "WEAVE_PASSWORD"
"""The environment variable by which a program is told what it encrypts with."""


def _processes(plan: Plan) -> Iterator[str]:
    if any(process.encrypts for space in plan.spaces for process in space.processes):
        yield f"export {PASSWORD}=$(od -An -v -tx1 -N16 /dev/urandom | tr -d ' \\n')    # python3 needs PyNaCl"
    for space in plan.spaces:
        for process in space.processes:
            command = f"python3 testbed/programs/{process.program}.py {' '.join(process.arguments)}"
            yield f"ip netns exec {space.name} {command} &"
        for daemon in space.daemons:
            log = f"{_ROOTS}/{space.name}{log_of(daemon)}"
            yield f"in_folders_of {space.name} {shlex.join(daemon.command)} > {log} 2>&1 &"


def _section(title: str) -> Iterator[str]:
    yield ""
    yield f"# --- {title}"


def _role(plan: Plan, space: Space) -> str:
    if space.kind is Kind.SWITCH and len(plan.of_kind(Kind.SWITCH)) > 1:
        return "a switch of the fabric"
    return f"a pod on {space.node}" if space.node else _ROLE[space.kind]


def _settings_and_devices(space: Space) -> Iterator[str]:
    yield from _settings(space, [sysctl for sysctl in space.sysctls if not sysctl.dev])
    yield f"ip -n {space.name} link set lo up"
    for link in space.links:
        if not needs_cables(link):
            yield from _link_commands(space, link)


def _settings(space: Space, sysctls: Sequence[Sysctl]) -> Iterator[str]:
    required = [f"{sysctl.key}={sysctl.value}" for sysctl in sysctls if not sysctl.optional]
    optional = [f"{sysctl.key}={sysctl.value}" for sysctl in sysctls if sysctl.optional]
    if required:
        yield f"ip netns exec {space.name} sysctl -qw {' '.join(required)}"
    if optional:
        # -e: kernels without the key go without it.
        yield f"ip netns exec {space.name} sysctl -qew {' '.join(optional)}"


def needs_cables(link: Link) -> bool:
    """Whether a device can only be made when the ends of veth pairs are there."""
    return isinstance(link, Datapath) or (isinstance(link, Vxlan) and bool(link.dev))


def _link_commands(space: Space, link: Link) -> Iterator[str]:
    if isinstance(link, Datapath):
        inside = f"ip netns exec {space.name}"
        yield from (f"{inside} {command}" for command in datapath_commands(link))
        yield from _heredoc(f"{inside} ovs-dpctl add-flows {link.name} /dev/stdin", flow_lines(link.flows))
        return
    yield f"ip -n {space.name} {link_words(link)}"
    master = f" master {link.master}" if link.master else ""
    mtu = f" mtu {link.mtu}" if isinstance(link, Tun) else ""
    promiscuous = " promisc on" if isinstance(link, Bridge) and link.promiscuous else ""
    yield f"ip -n {space.name} link set {link.name}{master}{mtu}{promiscuous} up"


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


def _addresses_and_routes(space: Space) -> Iterator[str]:
    ip = f"ip -n {space.name}"
    for link in space.links:
        if needs_cables(link):
            yield from _link_commands(space, link)
    yield from _settings(space, [sysctl for sysctl in space.sysctls if sysctl.dev])
    for address in space.addresses:
        # The kernel's duplicate address detection is off (accept_dad above), so an IPv6 address is usable at once.
        yield f"{ip} {address_words(address)}"
    for neighbour in space.neighbours:
        yield f"{ip} {neighbour_words(neighbour)}"
    if space.segment_source:
        yield f"{ip} {segment_source_words(space.segment_source)}"
    for entry in space.fdb:
        yield f"bridge -n {space.name} {fdb_words(entry)}"
    for route in space.routes:
        yield f"{ip} {route_words(route)}"
    for rule in space.rules:
        yield f"{ip} {rule_words(rule)}"
        if rule.table == LOCAL_TABLE:
            yield f"{ip} {rule_words(replace(rule, priority=0), 'del')}"
    for bucket in space.token_buckets:
        yield f"tc -n {space.name} {token_bucket_words(bucket)}"
    for netem in space.netems:
        yield f"tc -n {space.name} {netem_words(netem)}"


def address_words(item: DeviceAddress, verb: str = "add") -> str:
    """What `ip` is told to `add` or `del` that address."""
    bare = " noprefixroute" if item.noprefixroute and verb == "add" else ""
    return f"address {verb} {item.interface} dev {item.dev}{bare}"


def neighbour_words(item: Neighbour, verb: str = "add") -> str:
    """What `ip` is told to `add`, `replace` or `del` that entry."""
    kind = "" if verb == "del" else f" lladdr {item.mac}"
    return f"neighbour {verb} {item.address}{kind} dev {item.dev}{'' if verb == 'del' else ' nud permanent'}"


def fdb_words(item: FdbEntry, verb: str = "add") -> str:
    """What `bridge` is told to `add` or `del` that entry."""
    if verb == "add" and item.mac == FLOODED:
        verb = "append"  # One of several.
    return f"fdb {verb} {item.mac} dev {item.dev} dst {item.remote} self{' permanent' if verb != 'del' else ''}"


def segment_source_words(source: Address) -> str:
    """What `ip` is told of the source of headers that segment routing adds."""
    return f"sr tunsrc set {source}"


def route_words(route: Route, verb: str = "add") -> str:
    """What `ip` is told to `add`, `replace` or `del` that route."""
    to = "default" if route.to.prefixlen == 0 else str(route.to)
    start = f"-{route.to.version} route {verb}"
    owner = f" proto {route.protocol}" if route.protocol != BOOT else ""
    table = f"{owner} table {route.table}" if route.table != MAIN_TABLE else owner
    if route.blackhole:
        return f"{start} blackhole {to}{table}"
    source = f" src {route.source}" if route.source else ""
    if route.nexthops:
        hops = "".join(f" nexthop via {hop.via} dev {hop.dev}" for hop in route.nexthops)
        return f"{start} {to}{table}{source}{hops}"
    via = f" via {route.via}" if route.via else ""
    onlink = " onlink" if route.onlink else ""
    return f"{start} {to}{encap_words(route.encap)}{via} dev {route.dev}{onlink}{table}{source}"


def rule_words(rule: RoutingRule, verb: str = "add") -> str:
    """What `ip` is told to `add` or `del` that rule."""
    inverted = " not" if rule.inverted else ""
    mark = f" fwmark 0x{rule.mark:x}/0x{rule.mask:x}" if rule.mask else ""
    source = f" from {rule.source or 'all'}"
    return f"-{rule.family} rule {verb}{inverted}{source}{mark} lookup {rule.table} priority {rule.priority}"


def encap_words(encap: Encapsulation | None) -> str:
    """How `ip route` writes what is done to a route's packets, after a blank; empty if nothing is."""
    match encap:
        case TunnelKey():
            # Over IPv6 UDP has to have a checksum, which such routes ask for by themselves.
            is_four = encap.target.version == 4
            kind, ttl, checksum = ("ip", "ttl", "") if is_four else ("ip6", "hoplimit", " csum")
            ends = f"src {encap.source} dst {encap.target}"
            return f" encap {kind} id {encap.number} {ends} {ttl} {OUTER_TTL}{checksum}"
        case Segments():
            return f" encap seg6 mode encap segs {','.join(map(str, encap.segments))}"
        case SegmentEnd():
            family, nowhere = ("nh4", "0.0.0.0") if encap.action == "End.DX4" else ("nh6", "::")
            return f" encap seg6local action {encap.action} {family} {nowhere}"
    return ""


def token_bucket_words(bucket: TokenBucket, verb: str = "add") -> str:
    """What `tc` is told to `add` or `replace` that limit."""
    limits = f"rate {bucket.rate}bit burst {bucket.burst} limit {bucket.limit}"
    return f"qdisc {verb} dev {bucket.dev} root tbf {limits}"


def netem_words(netem: Netem, verb: str = "add") -> str:
    """What `tc` is told to `add` or `replace` that."""
    jitter = f" {netem.jitter_us}us" if netem.jitter_us else ""
    delay = f" delay {netem.delay_us}us{jitter}" if netem.delay_us or netem.jitter_us else ""
    shares = "".join(
        f" {name} {share:.6%}"
        for name, share in (("loss", netem.loss), ("duplicate", netem.duplicate), ("reorder", netem.reorder))
        if share
    )
    return f"qdisc {verb} dev {netem.dev} root netem limit {netem.limit}{delay}{shares}"
