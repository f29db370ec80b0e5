"""What must be reachable in a lab: ports of containers and of Services, and who is kept away from them by policies."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from ipaddress import ip_address
from typing import Any

from testbed.kubernetes.oracle import served_ports
from testbed.kubernetes.policies import Direction, Policies, allowed, resolve
from testbed.kubernetes.services.oracle import Oracle, Source, oracle
from testbed.kubernetes.services.ports import ServicePort
from testbed.kubernetes.state import ClusterState
from testbed.lab.agents import Agents
from testbed.plan.cluster import pod_id
from testbed.plan.objects import Kind, Plan
from testbed.policies import ENGINES
from testbed.spec.agents import NONE
from testbed.spec.topology import DEFAULT_NAMESPACE


@dataclass(frozen=True)
class Expectation:
    """A port that must answer all places except some."""

    of: str
    """Namespace and name of the pod, or of the Service and its port."""
    place: str
    """The place that answers; of a Service one of those."""
    container: str
    """Empty for a Service."""
    number: int
    protocol: str
    """TCP, UDP or SCTP."""
    closed: Mapping[int, list[str]] = field(default_factory=dict)
    """By family: the places that must not reach it."""
    address: str = ""
    """The address to ask; empty for those of the place."""
    unasked: tuple[str, ...] = ()
    """Places that do not ask: endpoints of the Service, which may be led to themselves."""


@dataclass(frozen=True)
class Expecting:
    """What follows from a cluster state, for a lab with these agents."""

    agents: Agents
    state: ClusterState
    plan: Plan

    def as_data(self) -> dict[str, Any]:
        """For another process: `ports`, and places `covered` by policies, of which nothing but ports is known."""
        return {
            "ports": [asdict(one) for one in (*self._of_containers(), *self._of_services())],
            "covered": sorted(self._covered),
            "asked": [*(["NetworkPolicies"] if self._has_policies else []), *(["Services"] if self._has_proxy else [])],
        }

    @property
    def _has_policies(self) -> bool:
        return self.agents.policies != NONE

    @property
    def _has_proxy(self) -> bool:
        return self.agents.proxy != NONE

    @cached_property
    def _places(self) -> tuple[str, ...]:
        return tuple(space.name for space in self.plan.of_kind(Kind.POD, Kind.NODE) if space.reached_at)

    @cached_property
    def _families(self) -> tuple[int, ...]:
        return tuple(sorted({ip_address(address).version for pod in self.state.pods for address in pod.ips}))

    @cached_property
    def _policies(self) -> Mapping[int, Policies]:
        """The policies as the engine enforces them, by family; empty without an engine."""
        if not self._has_policies:
            return {}
        resolved, engine = resolve(self.state), ENGINES[self.agents.policies]
        return {family: engine.as_enforced(resolved, family) for family in self._families}

    @cached_property
    def _names(self) -> Mapping[str, str]:
        """Namespace and name of each pod that policies can select, by its place."""
        members = (member for policies in self._policies.values() for member in policies.members.pods)
        return {_place(*member.key): member.name for member in members}

    @cached_property
    def _covered(self) -> frozenset[str]:
        """The places of pods that a policy selects."""
        return frozenset(
            place
            for family, policies in self._policies.items()
            for place, name in self._names.items()
            if (pod := policies.members.place(name, family).pod)
            and any(policies.selecting(pod, direction) for direction in Direction)
        )

    def _is_allowed(self, source: str, target: str, port: int, protocol: str, family: int) -> bool:
        policies = self._policies.get(family)
        if policies is None or target not in self._names:
            return True
        own_node = ENGINES[self.agents.policies].to_own_node
        one, other = self._names.get(source, source), self._names[target]
        return allowed(policies, one, other, port, protocol, family, own_node).is_allowed

    def _of_containers(self) -> Iterator[Expectation]:
        for one in self._served:
            place = one.pod.node if one.pod.spec.host_network else pod_id(one.pod)
            closed = {
                family: [
                    source
                    for source in self._places
                    if not self._is_allowed(source, place, one.port, one.protocol, family)
                ]
                for family in self._policies
            }
            pod = f"{one.pod.namespace}/{one.pod.name}"
            yield Expectation(pod, place, one.container, one.port, one.protocol, closed)

    @cached_property
    def _served(self) -> tuple[Any, ...]:
        return tuple(served_ports(self.state))

    @cached_property
    def _answering(self) -> Mapping[tuple[str, int, str], str]:
        """The places of ports that answer, by address, number and protocol."""
        return {
            (address, one.port, one.protocol): one.pod.node if one.pod.spec.host_network else pod_id(one.pod)
            for one in self._served
            for address in one.pod.ips
        }

    def _of_services(self) -> Iterator[Expectation]:
        for family in self._families if self._has_proxy else ():
            known = oracle(self.state, family)
            for port in known.ports:
                closed = self._not_reaching(known, port)
                place = self._place_of(port)
                if closed is not None and place:
                    protocol = port.protocol.upper()
                    own = tuple(
                        sorted({self._answering.get((one.address, one.port, protocol), "") for one in port.endpoints})
                    )
                    name = f"Service {port}"
                    yield Expectation(name, place, "", port.port, protocol, {family: closed}, port.address, own)

    def _place_of(self, port: ServicePort) -> str:
        """The place of one endpoint; of a Service without any, a node."""
        keys = ((one.address, one.port, port.protocol.upper()) for one in port.endpoints)
        nodes = (space.name for space in self.plan.of_kind(Kind.NODE))
        return next((self._answering[key] for key in keys if key in self._answering), next(nodes, ""))

    def _not_reaching(self, known: Oracle, port: ServicePort) -> list[str] | None:
        """The places that must not reach a Service at its cluster address; None if chance decides."""
        closed = []
        protocol = port.protocol.upper()
        for source in self._places:
            space = self.plan[source]
            own = next((str(one) for one in space.reached_at if one.version == port.family), "")
            asking = Source(own, space.home, is_pod=space.kind is Kind.POD)
            answer = known.where(asking, port.address, port.port, port.protocol)
            targets = [self._answering.get((one.address, one.port, protocol), "") for one in answer.endpoints]
            ports = [one.port for one in answer.endpoints]
            if not all(targets):
                return None  # An endpoint's port that no container serves.
            verdicts = {
                self._is_allowed(source, target, number, protocol, port.family)
                for target, number in zip(targets, ports, strict=True)
            }
            if len(verdicts) > 1:
                return None
            if verdicts != {True}:
                closed.append(source)
        return closed


def _place(namespace: str, name: str) -> str:
    return name if namespace == DEFAULT_NAMESPACE else f"{name}.{namespace}"
