"""What runs on the nodes of a lab beside its design: a service proxy and a policy engine."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_address
from typing import Any, Self

from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.oracle import ServedPort
from testbed.kubernetes.policies import Direction, allowed, resolve
from testbed.kubernetes.services.ports import ServicePort, service_ports
from testbed.kubernetes.state import ClusterState, Pod
from testbed.lab.flows import forget_stale
from testbed.lab.lab import Lab
from testbed.plan.addressing import Layout
from testbed.plan.cluster import pod_id
from testbed.plan.objects import Kind, Plan
from testbed.policies import ENGINES, with_policies
from testbed.services.planned import with_services
from testbed.spec.agents import NONE, OWN, WrongEngine
from testbed.spec.topology import DEFAULT_NAMESPACE

FOLLOWED = tuple(
    name
    for name in BY_NAME
    if name in ("Namespace", "Node", "Pod", "Service", "EndpointSlice") or name.endswith("NetworkPolicy")
)
"""Kinds of the objects that agents follow."""


@dataclass(frozen=True)
class Agents:
    """The service proxy and the policy engine of all nodes."""

    proxy: str = NONE
    policies: str = NONE
    """Their names, see `testbed.spec.agents`."""

    @classmethod
    def of(cls, data: Mapping[str, Any], plan: Plan) -> Self:
        """From the facts of a lab; `plan` is that of its design."""
        found = chosen(data.get("proxy", OWN), data.get("policies", OWN), plan)
        return cls(found.proxy, found.policies)

    def as_data(self) -> dict[str, Any]:
        """For the facts of a lab."""
        return asdict(self)

    def on(self, plan: Plan, layout: Layout, state: ClusterState) -> Plan:
        """The plan of a design, with or without agents, with the objects of these agents for a cluster state."""
        if self.policies != NONE:
            plan = with_policies(plan, state, ENGINES[self.policies])
        # The engine begins with the node as designed, so the proxy must follow.
        return with_services(plan, layout, state, self.proxy) if self.proxy != NONE else plan

    def forget_stale(self, lab: Lab, state: ClusterState) -> None:
        """Deletes tracked flows that no longer fit the Services, as kube-proxy does."""
        if self.proxy == NONE:
            return
        families = {ip_address(address).version for pod in state.pods for address in pod.ips}
        ports: dict[int, Sequence[ServicePort]] = {family: service_ports(state, family) for family in families}
        nodes = [space.name for space in lab.plan.of_kind(Kind.NODE)]
        with suppress(OSError):  # The kernel has no ctnetlink.
            forget_stale(lab.namespaces, nodes, ports)

    def closed(self, state: ClusterState, places: Iterable[str], ports: Iterable[ServedPort]) -> "Closed":
        """What the policies forbid, as the engine enforces them."""
        if self.policies == NONE:
            return Closed()
        engine = ENGINES[self.policies]
        places, ports = list(places), list(ports)
        families = {ip_address(address).version for pod in state.pods for address in pod.ips}
        covered: set[str] = set()
        closed: dict[tuple[str, int, str], dict[int, list[str]]] = {}
        for family in sorted(families):
            policies = engine.as_enforced(resolve(state), family)
            ids = {place_of(member.key): member.name for member in policies.members.pods}
            covered |= {
                place
                for place, name in ids.items()
                if any(policies.selecting(policies.members.place(name, family).pod, way) for way in Direction)  # type: ignore[arg-type]
            }
            for one in ports:
                target = pod_id(one.pod)
                if one.pod.spec.host_network or target not in ids:
                    continue
                key = (target, one.port, one.protocol)
                verdicts = {
                    place: allowed(
                        policies, ids.get(place, place), ids[target], one.port, one.protocol, family, engine.to_own_node
                    ).is_allowed
                    for place in places
                }
                closed.setdefault(key, {})[family] = [place for place, is_open in verdicts.items() if not is_open]
        return Closed(frozenset(covered), closed)


@dataclass(frozen=True)
class Closed:
    """What policies forbid."""

    covered: frozenset[str] = frozenset()
    """The places of pods that a policy selects."""
    ports: Mapping[tuple[str, int, str], Mapping[int, list[str]]] = field(default_factory=dict)
    """By place, number and protocol of a port, then by family: the places that must not reach it."""


def place_of(key: tuple[str, str]) -> str:
    """The name of a pod's place, from its namespace and name."""
    namespace, name = key
    return name if namespace == DEFAULT_NAMESPACE else f"{name}.{namespace}"


def chosen(proxy: str, policies: str, plan: Plan) -> Agents:
    """The agents that a user names, for a design's plan. Raises WrongEngine."""
    if proxy == OWN:
        # eBPF programs that forward packets replace kube-proxy: its rules would not see them.
        proxy = NONE if any(node.bpf for node in plan.of_kind(Kind.NODE)) else "iptables"
    if policies == OWN:
        policies = next((name for name, engine in ENGINES.items() if engine.owner and engine.fits(plan)), NONE)
    elif policies != NONE and not ENGINES[policies].fits(plan):
        raise WrongEngine(f"the policy engine {policies} extends rules that the design {plan.design} does not have")
    return Agents(proxy, policies)


def addressed(state: ClusterState, layout: Layout) -> ClusterState:
    """The state with the addresses that pods will get."""
    places = {place.pod.id: place for node in layout.nodes for place in node.pods}
    put: list[Pod] = []
    for pod in state.pods:
        place = places.get(pod_id(pod))
        if place is not None and not pod.ips and not pod.spec.host_network:
            put.append(replace(pod, ips=tuple(str(address.ip) for address in place.addresses)))
    return state.changed(put) if put else state
