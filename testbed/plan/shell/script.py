"""The whole plan as a shell script."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from testbed.plan.objects import (
    LOCAL_TABLE,
    Bridge,
    Datapath,
    Esp,
    Kind,
    Link,
    Plan,
    Route,
    RoutingRule,
    SegmentSource,
    Space,
    Sysctl,
    Tun,
    Wireguard,
)
from testbed.plan.objects.child import child_commands
from testbed.plan.objects.datapath import datapath_commands, flow_lines
from testbed.plan.objects.kinds import KINDS
from testbed.plan.objects.links import LINK_KINDS
from testbed.plan.objects.rules import rule_words
from testbed.plan.objects.veth import veth_commands
from testbed.plan.plugged import attaching
from testbed.plan.shell.programs import ROOTS, bpf, files, heredoc, programs, rulesets
from testbed.plan.shell.words import esp_key_bytes, esp_words, segment_source_words

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
    yield "# Run as root in new namespaces: unshare --net --mount sh -ec 'mount -t tmpfs tmpfs /run;"
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
        yield from _section("macvlan and ipvlan devices")
        for child in plan.children:
            yield from child_commands(child)
    for space in plan.spaces:
        if commands := list(_addresses_and_routes(space)):
            yield from _section(f"{space.name}: addresses and routes")
            yield from commands
    if commands := [*_wireguard(plan), *_esp(plan)]:
        yield from _section("Keys, generated now")
        yield from commands
    if commands := list(rulesets(plan)):
        yield from _section("Rules and sets")
        yield from commands
    if commands := [*files(plan), *bpf(plan), *programs(plan)]:
        yield from _section("Programs")
        yield from commands
    if commands := list(attaching(plan, ROOTS)):
        yield from _section("Pods that CNI plugins attach")
        yield from commands
    if commands := list(_offloads(plan)):
        yield from _section("Offloads that are off")
        yield from commands


def _offloads(plan: Plan) -> Iterator[str]:
    for space in plan.spaces:
        for dev in plan.without_offload(space.name):
            yield f"ip netns exec {space.name} ethtool -K {dev} tso off gso off gro off"
        for dev in plan.without_checksums(space.name):
            # ethtool prints the other features that this turns off.
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
    """Each direction between two addresses has its own key, known to both ends."""
    if not any(space.of(Esp) for space in plan.spaces):
        return
    yield "new_key() { printf 0x; od -An -v -tx1 -N$1 /dev/urandom | tr -d ' \\n'; }"
    items = [item for space in plan.spaces for item in space.of(Esp)]
    for spi, size in sorted({(spi, esp_key_bytes(item)) for item in items for spi in (item.spi_in, item.spi_out)}):
        yield f"KEY_{spi:x}=$(new_key {size})"
    for space in plan.spaces:
        for item in space.of(Esp):
            for words in esp_words(item, lambda spi: f"$KEY_{spi:x}"):
                yield f"ip -n {space.name} {words}"


def _section(title: str) -> Iterator[str]:
    yield ""
    yield f"# --- {title}"


def _role(plan: Plan, space: Space) -> str:
    if space.kind is Kind.SWITCH and len(plan.of_kind(Kind.SWITCH)) > 1:
        return "a switch of the fabric"
    return f"a pod on {space.node}" if space.node else _ROLE[space.kind]


def _settings_and_devices(space: Space) -> Iterator[str]:
    yield from _settings(space, [sysctl for sysctl in space.of(Sysctl) if not sysctl.dev])
    yield f"ip -n {space.name} link set lo up"
    for link in space.links:
        if not LINK_KINDS[type(link)].needs_cables(link):
            yield from _link_commands(space, link)


def _settings(space: Space, sysctls: Sequence[Sysctl]) -> Iterator[str]:
    required = [f"{sysctl.key}={sysctl.value}" for sysctl in sysctls if not sysctl.optional]
    optional = [f"{sysctl.key}={sysctl.value}" for sysctl in sysctls if sysctl.optional]
    if required:
        yield f"ip netns exec {space.name} sysctl -qw {' '.join(required)}"
    if optional:
        # -e: ignore keys that the kernel lacks.
        yield f"ip netns exec {space.name} sysctl -qew {' '.join(optional)}"


def _link_commands(space: Space, link: Link) -> Iterator[str]:
    if isinstance(link, Datapath):
        inside = f"ip netns exec {space.name}"
        yield from (f"{inside} {command}" for command in datapath_commands(link))
        yield from heredoc(f"{inside} ovs-dpctl add-flows {link.name} /dev/stdin", flow_lines(link.flows))
        return
    yield f"ip -n {space.name} {LINK_KINDS[type(link)].words(link)}"
    master = f" master {link.master}" if link.master else ""
    mtu = f" mtu {link.mtu}" if isinstance(link, Tun) else ""
    promiscuous = " promisc on" if isinstance(link, Bridge) and link.promiscuous else ""
    yield f"ip -n {space.name} link set {link.name}{master}{mtu}{promiscuous} up"


def _addresses_and_routes(space: Space) -> Iterator[str]:
    ip = f"ip -n {space.name}"
    for link in space.links:
        if LINK_KINDS[type(link)].needs_cables(link):
            yield from _link_commands(space, link)
    yield from _settings(space, [sysctl for sysctl in space.of(Sysctl) if sysctl.dev])
    for kind in KINDS.values():
        if kind.type is Route:  # The source address of headers must exist, so this comes after the addresses.
            yield from (f"{ip} {segment_source_words(source)}" for source in space.of(SegmentSource))
        for item in space.of(kind.type):
            program, _, words = kind.words(item, "add").partition(" ")
            yield f"{program} -n {space.name} {words}"
    for rule in space.of(RoutingRule):
        if rule.table == LOCAL_TABLE:
            yield f"{ip} {rule_words(replace(rule, priority=0), 'del')}"
