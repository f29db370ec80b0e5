"""What runs on the nodes of a lab beside its design: a service proxy and a policy engine."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_address
from typing import Any, Self

from testbed.kubernetes.kinds import BY_NAME
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
    bypass: str = ""
    """Why none of them can have an effect; empty if they can."""

    @classmethod
    def of(cls, data: Mapping[str, Any], plan: Plan) -> Self:
        """From the facts of a lab; `plan` is that of its design."""
        found = chosen(data.get("proxy", OWN), data.get("policies", OWN), plan)
        return cls(found.proxy, found.policies, found.bypass)

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

    def idle(self, state: ClusterState) -> tuple[str, ...]:
        """A line for each kind of objects without effect, as nothing on the nodes follows them."""
        policies = sum(len(state.of(kind)) for kind in FOLLOWED if kind.endswith("NetworkPolicy"))
        services = sum(one.namespace != "default" or one.name != "kubernetes" for one in state.of("Service").values())
        lines = []
        if policies and self.policies == NONE:
            remedy = self.bypass or "`testbed up --policies nftables` adds an engine"
            lines.append(f"network policies are enforced by nobody: {remedy}")
        if services and self.proxy == NONE:
            remedy = self.bypass or "no service proxy runs; `testbed up --proxy iptables` adds one"
            lines.append(f"Services lead nowhere: {remedy}")
        return tuple(lines)


def chosen(proxy: str, policies: str, plan: Plan) -> Agents:
    """The agents that a user names, for a design's plan. Raises WrongEngine."""
    reason = _bypass(plan)
    if reason and not {proxy, policies} <= {OWN, NONE}:
        what = f"proxy {proxy}" if proxy not in (OWN, NONE) else f"policies {policies}"
        raise WrongEngine(f"{what} has no effect with the design {plan.design}: {reason}")
    if proxy == OWN:
        proxy = NONE if reason else "iptables"
    if policies == OWN:
        policies = next((name for name, engine in ENGINES.items() if engine.owner and engine.fits(plan)), NONE)
    elif policies != NONE and not ENGINES[policies].fits(plan):
        raise WrongEngine(f"the policy engine {policies} extends rules that the design {plan.design} does not have")
    return Agents(proxy, policies, reason)


def _bypass(plan: Plan) -> str:
    """Why packets of pods do not meet the rules of their node; empty if they do."""
    if any(node.bpf for node in plan.of_kind(Kind.NODE)):
        return "its eBPF programs forward packets past the rules of the nodes"
    return "its pods send packets past the rules of their nodes" if plan.children else ""


def addressed(state: ClusterState, layout: Layout) -> ClusterState:
    """The state with the addresses that pods will get."""
    places = {place.pod.id: place for node in layout.nodes for place in node.pods}
    put: list[Pod] = []
    for pod in state.pods:
        place = places.get(pod_id(pod))
        if place is not None and not pod.ips and not pod.spec.host_network:
            put.append(replace(pod, ips=tuple(str(address.ip) for address in place.addresses)))
    return state.changed(put) if put else state
