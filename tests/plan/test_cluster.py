"""A topology as a Kubernetes cluster."""

from pathlib import Path

from testbed.kubernetes.models.core import Node
from testbed.kubernetes.services.ranges import ranges_of
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


def test_service_ranges_have_the_families_of_pods() -> None:
    state = cluster()
    spec = state.of("Service")["default", "kubernetes"].body["spec"]
    assert spec["clusterIPs"] == ["10.96.0.1"]
    assert [str(one) for one in ranges_of(state).networks] == ["10.96.0.0/12", "fd00:10:96::/112"]


def test_service_range_and_node_ports_are_those_of_the_topology() -> None:
    written = TEXT.replace("cluster: {", "cluster: {service_cidr: 10.80.0.0/16, node_ports: 30000-30010, ")
    ranges = ranges_of(cluster(written))
    assert str(ranges.networks[0]) == "10.80.0.0/16"
    assert ranges.node_ports == (30000, 30010)


def test_default_service_range_avoids_other_ranges() -> None:
    ranges = ranges_of(cluster(TEXT.replace("10.244.0.0/16", "10.100.0.0/16")))
    assert str(ranges.networks[0]) == "172.30.0.0/16"
