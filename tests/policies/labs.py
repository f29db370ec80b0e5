"""Labs with the pods of a case, and the comparison of an engine with the oracle by real packets."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from testbed.designs import DESIGNS, design_of
from testbed.kubernetes.policies import Policies, Verdict, allowed, resolve
from testbed.kubernetes.policies.members import Place
from testbed.kubernetes.state import ClusterState
from testbed.lab.lab import Lab
from testbed.plan.allocation import Allocation
from testbed.plan.objects import Kind, Plan
from testbed.plan.parts import parts_of
from testbed.policies import Engine, with_policies
from testbed.spec.topology import DEFAULT_NAMESPACE, Topology
from tests.policies.packets import Try, all_tries, through

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True)
class Enforced:
    """A plan that enforces the policies of a cluster state."""

    plan: Plan
    addresses: dict[str, list[str]]
    """By place."""
    policies: Policies
    family: int
    engine: Engine
    state: ClusterState

    @property
    def names(self) -> dict[str, str]:
        """By place: the name of a pod, node in policies."""
        pods = {_place(pod.key): pod.name for pod in self.policies.members.pods}
        return pods | {space.name: space.name for space in self.plan.of_kind(Kind.NODE)}

    def address(self, place: str) -> str:
        return next(one for one in self.addresses[place] if (":" in one) is (self.family == 6))


def topology_of(state: ClusterState, families: tuple[int, ...] = (4,)) -> Topology:
    """The nodes of a case, with its pods."""
    nodes: dict[str, list[dict[str, object]]] = {name: [] for _, name in state.of("Node")}
    for pod in state.pods:
        if not pod.spec.host_network:
            nodes[pod.node].append({"name": pod.name, "namespace": pod.namespace, "labels": dict(pod.labels)})
    pods, fabric = {4: "10.244.0.0/16", 6: "fd00:10:244::/56"}, {4: "192.168.56.0/24", 6: "fd00:56::/64"}
    return Topology.model_validate(
        {
            "name": "policies",
            "cluster": {"pod_cidr": [pods[family] for family in families]},
            "fabric": {"subnet": [fabric[family] for family in families]},
            "nodes": {name: {"pods": own} for name, own in nodes.items()},
        }
    )


def designed(state: ClusterState, design: str, family: int = 4, before: Plan | Allocation | None = None) -> Plan:
    """The plan of a case under a design, without policies."""
    return (DESIGNS.get(design) or design_of(design)).plan(topology_of(state, (family,)), before=before)


def enforced(plan: Plan, there: Plan, state: ClusterState, engine: Engine, family: int = 4) -> Enforced:
    """The plan of a case under an engine, with the addresses of a lab's plan, `there`."""
    addresses = _allocated(plan) | {
        space.name: [str(one) for one in space.reached_at] for space in there.spaces if space.reached_at
    }
    pods = (
        replace(pod, status={"podIPs": [{"ip": one} for one in addresses[_place(pod.key)]]})
        for pod in state.pods
        if not pod.spec.host_network
    )
    nodes = (
        replace(node, status={"addresses": [{"type": "InternalIP", "address": one} for one in addresses[node.name]]})
        for node in state.of("Node").values()
    )
    state = state.changed([*pods, *nodes])
    policies = engine.as_enforced(resolve(state), family)
    return Enforced(with_policies(plan, state, engine), addresses, policies, family, engine, state)


def _allocated(plan: Plan) -> dict[str, list[str]]:
    """The addresses of pods by their places, also where CNI plugins assign them."""
    parts = parts_of(plan)
    if parts is None:
        return {}
    return {
        place.pod.id: [str(address.ip) for address in place.addresses]
        for node in parts.layout.nodes
        for place in node.pods
    }


def differences(lab: Lab, one: Enforced, ports: Iterable[tuple[str, int]], nodes: bool = True) -> list[str]:
    """The connections between pods, and between nodes and pods, that differ from the oracle's verdict."""
    names = one.names
    pods = [place for place in names if one.plan[place].kind is Kind.POD]
    hosts = [place for place in names if place not in pods] if nodes else []
    ways = [(source, target) for source in pods for target in pods if source != target]
    ways += [(host, pod) for host in hosts for pod in pods] + [(pod, host) for host in hosts for pod in pods]
    tries = list(all_tries(((source, target, one.address(target)) for source, target in ways), ports))
    sources = {way: _source(lab, one, *way) for way in ways}
    verdicts = {each: _verdict(one, sources[each[:2]], names[each.target], each) for each in tries}
    found = through(lab, tries, [each for each, verdict in verdicts.items() if verdict.is_allowed])
    return [
        f"{names[each.source]} -> {names[each.target]} {each.protocol} {each.port}: expected "
        f"{'allowed' if verdict.is_allowed else 'denied'}, found the opposite: {'; '.join(verdict.why())}"
        for each, verdict in verdicts.items()
        if verdict.is_allowed is not (each in found)
    ]


def _source(lab: Lab, one: Enforced, source: str, target: str) -> Place:
    """The source with the address that it uses to the target; a node may use that of a tunnel."""
    place = one.policies.members.place(one.names[source], one.family)
    with lab.namespaces[source].entered(), socket.socket(FAMILIES[one.family], socket.SOCK_DGRAM) as made:
        made.connect((one.address(target), 9))
        return replace(place, address=ip_address(made.getsockname()[0]))


def _verdict(one: Enforced, source: Place, target: str, each: Try) -> Verdict:
    own = one.engine.to_own_node
    return allowed(one.policies, source, target, each.port, each.protocol, one.family, to_own_node=own)


def _place(key: tuple[str, str]) -> str:
    namespace, name = key
    return name if namespace == DEFAULT_NAMESPACE else f"{name}.{namespace}"
