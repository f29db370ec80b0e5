"""A plan as the commands that a person would type: `ip`, `bridge`, `sysctl`, in `ip netns` namespaces.

The script is true: run with `sh -e` as root in an empty network and mount namespace it builds the very network that
`testbed.kernel` builds from the same plan.
"""

from collections.abc import Iterator

from testbed.plan.objects import (
    Bridge,
    DeviceAddress,
    FdbEntry,
    Kind,
    Link,
    Neighbour,
    Plan,
    Route,
    Space,
    TokenBucket,
    Veth,
    VethEnd,
    Vxlan,
)

_ROLE = {
    Kind.NODE: "a node",
    Kind.POD: "a pod",
    Kind.SWITCH: "the fabric's switch",
    Kind.ROUTER: "the fabric's gateway",
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
        yield f"ip netns add {space.name}    # {_role(space)}"
    for space in plan.spaces:
        yield from _section(f"{space.name}: settings and devices")
        yield from _settings_and_devices(space)
    yield from _section("Cables: veth pairs, each end in its namespace")
    for veth in plan.veths:
        yield from veth_commands(veth)
    for space in plan.spaces:
        if commands := list(_addresses_and_routes(space)):
            yield from _section(f"{space.name}: addresses and ways to the others")
            yield from commands
    if not plan.offload:
        yield from _section("No segments larger than the MTU")
        for space in plan.spaces:
            for dev in plan.devices_of(space.name):
                yield f"ip netns exec {space.name} ethtool -K {dev} tso off gso off gro off"


def _section(title: str) -> Iterator[str]:
    yield ""
    yield f"# --- {title}"


def _role(space: Space) -> str:
    return f"a pod on {space.node}" if space.node else _ROLE[space.kind]


def _settings_and_devices(space: Space) -> Iterator[str]:
    required = [f"{sysctl.key}={sysctl.value}" for sysctl in space.sysctls if not sysctl.optional]
    optional = [f"{sysctl.key}={sysctl.value}" for sysctl in space.sysctls if sysctl.optional]
    if required:
        yield f"ip netns exec {space.name} sysctl -qw {' '.join(required)}"
    if optional:
        # -e: kernels without the key go without it.
        yield f"ip netns exec {space.name} sysctl -qew {' '.join(optional)}"
    yield f"ip -n {space.name} link set lo up"
    for link in space.links:
        yield f"ip -n {space.name} {link_words(link)}"
        yield f"ip -n {space.name} link set {link.name} up"


def link_words(link: Link) -> str:
    """What `ip` is told to make that device."""
    start = f"link add {link.name} index {link.index} address {link.mac} mtu {link.mtu} type"
    match link:
        case Bridge():
            return f"{start} bridge stp_state 0 forward_delay 0"
        case Vxlan():
            learning = "learning" if link.learning else "nolearning"
            return f"{start} vxlan id {link.vni} dstport {link.port} local {link.local} {learning}"


def veth_commands(veth: Veth) -> Iterator[str]:
    """The commands that make that pair and set it up; namespaces are named as `ip netns` knows them."""
    yield f"ip link add {_veth_end(veth.a)} type veth peer name {_veth_end(veth.b)}"
    for end in (veth.a, veth.b):
        master = f"master {end.master} " if end.master else ""
        yield f"ip -n {end.space} link set {end.name} {master}up"


def _veth_end(end: VethEnd) -> str:
    return f"{end.name} index {end.index} netns {end.space} address {end.mac} mtu {end.mtu}"


def _addresses_and_routes(space: Space) -> Iterator[str]:
    ip = f"ip -n {space.name}"
    for address in space.addresses:
        # The kernel's duplicate address detection is off (accept_dad above), so an IPv6 address is usable at once.
        yield f"{ip} {address_words(address)}"
    for neighbour in space.neighbours:
        yield f"{ip} {neighbour_words(neighbour)}"
    for entry in space.fdb:
        yield f"bridge -n {space.name} {fdb_words(entry)}"
    for route in space.routes:
        yield f"{ip} {route_words(route)}"
    for bucket in space.token_buckets:
        yield f"tc -n {space.name} {token_bucket_words(bucket)}"


def address_words(item: DeviceAddress, verb: str = "add") -> str:
    """What `ip` is told to `add` or `del` that address."""
    return f"address {verb} {item.interface} dev {item.dev}"


def neighbour_words(item: Neighbour, verb: str = "add") -> str:
    """What `ip` is told to `add`, `replace` or `del` that entry."""
    kind = "" if verb == "del" else f" lladdr {item.mac}"
    return f"neighbour {verb} {item.address}{kind} dev {item.dev}{'' if verb == 'del' else ' nud permanent'}"


def fdb_words(item: FdbEntry, verb: str = "add") -> str:
    """What `bridge` is told to `add` or `del` that entry."""
    return f"fdb {verb} {item.mac} dev {item.dev} dst {item.remote} self{' permanent' if verb == 'add' else ''}"


def route_words(route: Route, verb: str = "add") -> str:
    """What `ip` is told to `add`, `replace` or `del` that route."""
    to = "default" if route.to.prefixlen == 0 else str(route.to)
    via = f" via {route.via}" if route.via else ""
    onlink = " onlink" if route.onlink else ""
    return f"-{route.to.version} route {verb} {to}{via} dev {route.dev}{onlink}"


def token_bucket_words(bucket: TokenBucket, verb: str = "add") -> str:
    """What `tc` is told to `add` or `replace` that limit."""
    limits = f"rate {bucket.rate}bit burst {bucket.burst} limit {bucket.limit}"
    return f"qdisc {verb} dev {bucket.dev} root tbf {limits}"
