"""A plan as the commands that a person would type: `ip`, `bridge`, `sysctl`, in `ip netns` namespaces.

The script is true: run with `sh -e` as root in an empty network and mount namespace it builds the very network that
`testbed.kernel` builds from the same plan.
"""

from collections.abc import Iterator

from testbed.plan.objects import Bridge, Kind, Link, Plan, Space, Veth, VethEnd, Vxlan

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
        yield from _veth(veth)
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
        yield f"ip -n {space.name} {_link(link)}"
        yield f"ip -n {space.name} link set {link.name} up"


def _link(link: Link) -> str:
    start = f"link add {link.name} index {link.index} address {link.mac} mtu {link.mtu} type"
    match link:
        case Bridge():
            return f"{start} bridge stp_state 0 forward_delay 0"
        case Vxlan():
            learning = "learning" if link.learning else "nolearning"
            return f"{start} vxlan id {link.vni} dstport {link.port} local {link.local} {learning}"


def _veth(veth: Veth) -> Iterator[str]:
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
        yield f"{ip} address add {address.interface} dev {address.dev}"
    for neighbour in space.neighbours:
        yield f"{ip} neighbour add {neighbour.address} lladdr {neighbour.mac} dev {neighbour.dev} nud permanent"
    for entry in space.fdb:
        yield f"bridge -n {space.name} fdb add {entry.mac} dev {entry.dev} dst {entry.remote} self permanent"
    for route in space.routes:
        to = "default" if route.to.prefixlen == 0 else str(route.to)
        via = f" via {route.via}" if route.via else ""
        onlink = " onlink" if route.onlink else ""
        yield f"{ip} -{route.to.version} route add {to}{via} dev {route.dev}{onlink}"
    for bucket in space.token_buckets:
        limits = f"rate {bucket.rate}bit burst {bucket.burst} limit {bucket.limit}"
        yield f"tc -n {space.name} qdisc add dev {bucket.dev} root tbf {limits}"
