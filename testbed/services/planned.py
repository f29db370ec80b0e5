"""Plans with the rules of a service proxy."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from testbed.kubernetes.cluster import ZONE
from testbed.kubernetes.services.ports import ServicePort, service_ports
from testbed.kubernetes.state import ClusterState
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.collecting import without_collecting
from testbed.plan.objects import File, Object, Plan, Program, Space, Sysctl
from testbed.plan.parts import parts_of
from testbed.plan.rulesets import Ruleset
from testbed.services import iptables, nftables
from testbed.services.health import PATH, PROGRAM, health_checks
from testbed.services.node import OWNER, ProxyNode, Served


@dataclass(frozen=True)
class Proxy:
    """A service proxy."""

    summary: str
    served: Callable[[Sequence[ServicePort], ProxyNode], Served]
    """The rules of a node for the ports of one family."""
    is_closed: bool = False
    """Whether it rejects packets to other ports of cluster addresses, and drops those to addresses in the range of
    Services that no Service has; others leave them to the node's routes."""


NONE = "none"


def _nothing(ports: Sequence[ServicePort], node: ProxyNode) -> Served:
    return Served()


PROXIES: Mapping[str, Proxy] = {
    "iptables": Proxy("kube-proxy in mode iptables", iptables.served),
    "nftables": Proxy("kube-proxy in mode nftables", nftables.served, is_closed=True),
    NONE: Proxy("no proxy: Services exist and lead nowhere", _nothing),
}
"""By name."""
_LOOPBACK = {4: ip_address("127.0.0.1"), 6: ip_address("::1")}
"""What kube-proxy takes for the address of a node that has none in the family."""
_BRIDGED = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")


def with_services(plan: Plan, layout: Layout, state: ClusterState, proxy: str) -> Plan:
    """The plan of a lab whose nodes run a proxy (one of `PROXIES`), from a plan with or without one."""
    with without_collecting():
        served = _served(layout, state, proxy)
        checked = {} if proxy == NONE else _checked(layout, state)
        fresh = {name: _with(plan[name], own, checked.get(name, ())) for name, own in served.items()}
    made = replace(plan, spaces=tuple(fresh.get(space.name, space) for space in plan.spaces))
    if parts := parts_of(plan):
        made.remember(replace(parts, fixed={**parts.fixed, **fresh}))
    return made


def _served(layout: Layout, state: ClusterState, proxy: str) -> Mapping[str, list[Served]]:
    """What the proxy adds to each node, by family."""
    served = PROXIES[proxy].served
    pieces: dict[str, list[Served]] = {node.name: [] for node in layout.nodes}
    for family in layout.topology.pod_families:
        ports = service_ports(state, family)
        for node in layout.nodes:
            pieces[node.name].append(served(ports, _node(layout, node, family, state)))
    return pieces


def _checked(layout: Layout, state: ClusterState) -> Mapping[str, tuple[File | Program, ...]]:
    """What answers health checks on each node."""
    # Endpoints of the primary family count.
    ports = [one for one in service_ports(state, layout.topology.pod_families[0]) if one.health_port]
    return {node.name: health_checks(ports, node.name) or () for node in layout.nodes}


def _node(layout: Layout, node: NodePlace, family: int, state: ClusterState) -> ProxyNode:
    topology = layout.topology
    known = state.of("Node").get(("", node.name))
    return ProxyNode(
        node.name,
        next((one.ip for one in node.addresses if one.version == family), _LOOPBACK[family]),
        next(one for one in topology.cluster.pod_cidr if one.version == family),
        tuple(one for one in topology.service_ranges if one.version == family),
        known.labels.get(ZONE, "") if known else "",
    )


def _with(space: Space, pieces: Sequence[Served], checks: Sequence[File | Program]) -> Space:
    rulesets = tuple(_joined([ruleset for one in pieces for ruleset in one.rulesets]))
    settings = {setting.key: setting for one in pieces for setting in one.settings}
    others = [one for one in space.objects if not _is_own(one)]
    if not rulesets:
        return space if len(others) == len(space.objects) else replace(space, objects=tuple(others))
    # Packets from a pod to a Service and on to a pod of the same bridge must traverse the rules in both directions;
    # Kubernetes requires this of its nodes.
    settings |= {key: Sysctl(key, "1", optional=True) for key in _BRIDGED}
    kept = [one for one in others if not (isinstance(one, Sysctl) and one.key in settings)]
    first = next((place for place, one in enumerate(kept) if not isinstance(one, Sysctl)), len(kept))
    return replace(space, objects=(*kept[:first], *settings.values(), *kept[first:], *rulesets, *checks))


def _is_own(item: Object) -> bool:
    """Whether a proxy added an object."""
    match item:
        case Ruleset():
            return item.owner == OWNER
        case Program():
            return item.name == PROGRAM
        case File():
            return item.path == PATH
    return False


def _joined(rulesets: Sequence[Ruleset]) -> Iterator[Ruleset]:
    """One ruleset per owner and backend: nftables has both families in one."""
    by_backend: dict[tuple[str, str], list[Ruleset]] = {}
    for one in rulesets:
        by_backend.setdefault((one.owner, one.backend), []).append(one)
    for parts in by_backend.values():
        chains = tuple(chain for one in parts for chain in one.chains)
        yield replace(parts[0], chains=chains, sets=tuple(each for one in parts for each in one.sets))
