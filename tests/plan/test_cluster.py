"""A topology as a Kubernetes cluster."""

from pathlib import Path

from testbed.kubernetes.models.core import Node
from testbed.kubernetes.state import ClusterState
from testbed.plan.addressing import layout
from testbed.plan.cluster import cluster_of
from testbed.spec.load import load_topology, topology_of_text

TEXT = """
name: racks
cluster: {pod_cidr: [10.244.0.0/16, "fd00:10:244::/56"]}
fabric: {shape: subnets, subnet: 192.168.0.0/16}
nodes:
  node1: {at: rack2, labels: {disk: ssd}, taints: ["dedicated=db:NoSchedule", "old:PreferNoSchedule"]}
  node2: {at: rack1, pods: [client, {name: web, namespace: shop, labels: {app: web}}]}
"""


def cluster(text: str = TEXT) -> ClusterState:
    return cluster_of(layout(topology_of_text(text, "racks.yaml").value))


def test_nodes_have_labels_taints_addresses_and_ranges() -> None:
    nodes = {name: node for (_, name), node in cluster().of("Node").items()}
    assert nodes["node1"].labels == {
        "disk": "ssd",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": "node1",
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": "rack2",
    }
    typed = nodes["node1"].typed
    assert isinstance(typed, Node)
    assert [(taint.key, taint.value, taint.effect) for taint in typed.spec.taints] == [
        ("dedicated", "db", "NoSchedule"),
        ("old", "", "PreferNoSchedule"),
    ]
    assert typed.spec.pod_cidrs == ("10.244.0.0/24", "fd00:10:244::/64")
    assert [one.type for one in typed.status.addresses] == ["InternalIP", "Hostname"]


def test_pods_of_the_topology_run_on_their_nodes() -> None:
    state = cluster()
    found = {(pod.namespace, pod.name): (pod.node, pod.is_ready, dict(pod.labels)) for pod in state.pods}
    assert found == {
        ("default", "client"): ("node2", True, {}),
        ("shop", "web"): ("node2", True, {"app": "web"}),
    }
    assert ("", "shop") in state.of("Namespace")
    assert state.pods[0].ips == ("10.244.1.2", "fd00:10:244:1::2")


def test_every_shipped_topology_is_a_cluster(repository: Path) -> None:
    for path in sorted(repository.glob("topologies/*.yaml")):
        topology = load_topology(path).value
        state = cluster_of(layout(topology))
        assert [name for _, name in state.of("Node")] == list(topology.nodes)
        assert len(state.pods) == len(topology.pod_ids)
