"""A topology as a Kubernetes cluster: its nodes, with their addresses and pod ranges, and the pods that it fixes."""

from dataclasses import replace

from testbed.kubernetes.cluster import Machine, fixed_pod, namespace, new_cluster
from testbed.kubernetes.state import ClusterState
from testbed.plan.addressing import Layout, NodePlace
from testbed.spec.labels import taint_parts
from testbed.spec.topology import Node


def cluster_of(layout: Layout, seed: int = 0, now: float = 0.0) -> ClusterState:
    """The cluster before any manifest is applied."""
    topology = layout.topology
    zones = topology.fabric.placement(topology.members) if hasattr(topology.fabric, "placement") else {}
    state = new_cluster(
        (_machine(node, topology.nodes[node.name], zones.get(node.name, "")) for node in layout.nodes),
        seed,
        now,
        tuple(map(str, topology.service_ranges)),
        topology.cluster.node_ports,
    )
    pods = [(node.name, place) for node in layout.nodes for place in node.pods]
    names = dict.fromkeys(place.pod.namespace for _, place in pods)
    state = state.changed(namespace(name) for name in names if ("", name) not in state.of("Namespace"))
    return state.changed(
        replace(
            fixed_pod(place.pod.name, place.pod.namespace, node, place.pod.labels, now),
            status={
                "podIP": str(place.addresses[0].ip),
                "podIPs": [{"ip": str(address.ip)} for address in place.addresses],
            },
        )
        for node, place in pods
    )


def _machine(node: NodePlace, written: Node, zone: str) -> Machine:
    return Machine(
        name=node.name,
        zone=zone,
        labels=written.labels,
        taints=tuple(map(taint_parts, written.taints)),
        addresses=tuple(str(address.ip) for address in node.addresses),
        pod_ranges=tuple(map(str, node.pod_cidrs)),
    )
