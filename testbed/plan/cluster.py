"""A topology as a Kubernetes cluster, and the pods of a cluster as those of a topology.

The nodes of a cluster, with their addresses and pod ranges, and the pods that a topology names, follow from the
topology. The pods that manifests make become pods of the topology when they have a node, so that the design attaches
them like all others.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from testbed.kubernetes.cluster import Machine, fixed_pod, namespace, new_cluster
from testbed.kubernetes.cluster import node as node_of
from testbed.kubernetes.naming import uid
from testbed.kubernetes.state import ClusterState, Pod, Resource
from testbed.plan.addressing import Layout, NodePlace, PodPlace
from testbed.spec import edit
from testbed.spec.labels import taint_parts
from testbed.spec.topology import DEFAULT_NAMESPACE, Node, Topology
from testbed.spec.topology import Pod as TopologyPod


def cluster_of(layout: Layout, seed: int = 0, now: float = 0.0) -> ClusterState:
    """The cluster before any manifest is applied."""
    topology = layout.topology
    ranges = map(str, topology.service_ranges)
    state = new_cluster(_machines(layout), seed, now, ranges, topology.cluster.node_ports)
    pods = [(node.name, place) for node in layout.nodes for place in node.pods]
    return _with_fixed(state, pods)


def following(state: ClusterState, layout: Layout) -> ClusterState:
    """The cluster with the nodes and pods of a changed topology: new ones added, missing ones removed.

    Pods of removed nodes that no controller made are removed too; the others are left to the controllers.
    """
    known, pods = state.of("Node"), {pod_id(one): one for one in state.pods}
    fresh = [node_of(machine) for machine in _machines(layout) if ("", machine.name) not in known]
    names = {place.name for place in layout.nodes}
    there = {place.pod.id: (one.name, place) for one in layout.nodes for place in one.pods}
    gone: list[Resource] = [one for (_, name), one in known.items() if name not in names]
    gone += (one for key, one in pods.items() if one.node in names and _is_attached(one) and key not in there)
    lost = {name for _, name in known} - names
    gone += (one for one in state.pods if one.node in lost and one.metadata.owner is None)
    changed = state.changed(fresh, gone) if fresh or gone else state
    return _with_fixed(changed, [found for key, found in there.items() if key not in pods])


def _with_fixed(state: ClusterState, pods: Iterable[tuple[str, PodPlace]]) -> ClusterState:
    """The cluster with pods of a topology, given with their nodes, and with their namespaces."""
    pods = list(pods)
    names = dict.fromkeys(place.pod.namespace for _, place in pods)
    state = state.changed(namespace(name) for name in names if ("", name) not in state.of("Namespace"))
    return state.changed(_fixed(node, place, state.now) for node, place in pods)


def _fixed(node: str, place: PodPlace, now: float) -> Pod:
    pod = place.pod
    one = fixed_pod(pod.name, pod.namespace, node, pod.labels, now)
    own = pod.uid or uid("Pod", pod.namespace, pod.name)
    addresses = tuple(str(address.ip) for address in place.addresses)
    return replace(one, metadata=replace(one.metadata, uid=own, created=now), ips=addresses)


def pod_id(pod: Pod) -> str:
    """The name of a pod's place in a lab, like `spec.topology.Pod.id`."""
    return pod.name if pod.namespace == DEFAULT_NAMESPACE else f"{pod.name}.{pod.namespace}"


def attached(state: ClusterState) -> dict[str, Pod]:
    """The pods that need a network of their own, by the name of their place."""
    nodes = state.of("Node")
    return {pod_id(one): one for one in state.pods if _is_attached(one) and ("", one.node) in nodes}


def with_pods(topology: Topology, gone: Collection[str], fresh: Iterable[Pod]) -> Topology:
    """The topology without the pods `gone`, by name of their place, and with `fresh` pods of a cluster.

    Raises EditError if that is not possible.
    """
    by_node: dict[str, list[TopologyPod]] = {}
    for one in fresh:
        # The names are valid: the manifest or the controller was checked.
        pod = TopologyPod.model_construct(name=one.name, namespace=one.namespace, labels=dict(one.labels), uid=one.uid)
        by_node.setdefault(one.node, []).append(pod)
    return edit.with_pods(topology, gone, by_node)


def _is_attached(pod: Pod) -> bool:
    """Whether the pod has a network of its own."""
    return bool(pod.node) and not pod.is_finished and not pod.spec.host_network


def _machines(layout: Layout) -> Iterable[Machine]:
    topology = layout.topology
    zones: Mapping[str, str] = (
        topology.fabric.placement(topology.members) if hasattr(topology.fabric, "placement") else {}
    )
    return (_machine(one, topology.nodes[one.name], zones.get(one.name, "")) for one in layout.nodes)


def _machine(node: NodePlace, written: Node, zone: str) -> Machine:
    return Machine(
        name=node.name,
        zone=zone,
        labels=written.labels,
        taints=tuple(map(taint_parts, written.taints)),
        addresses=tuple(str(address.ip) for address in node.addresses),
        pod_ranges=tuple(map(str, node.pod_cidrs)),
    )
