"""Applying manifests: all or nothing, and nothing for what did not change."""

from typing import Any

import pytest

from testbed.kubernetes.applying import apply, merge
from testbed.kubernetes.cluster import fixed_pod, new_cluster
from testbed.kubernetes.deleting import delete
from testbed.kubernetes.editing import scaled
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.state import ClusterState
from testbed.kubernetes.workloads import settled
from testbed.spec.problems import SpecError
from tests.kubernetes.clusters import Object, applied, cluster, node, nodes, pod, read, the, workload


def service(**spec: Any) -> Object:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}


def config_map(**fields: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, **fields}


def refused(state: ClusterState, *objects: Object) -> list[str]:
    with pytest.raises(SpecError) as caught:
        apply(state, read(*objects))
    return [f"{problem.where}: {problem.message}" for problem in caught.value.problems]


def test_outcomes() -> None:
    state = new_cluster(nodes(1))
    first = apply(state, read(service(), workload()))
    assert [outcome for _, outcome in first.outcomes] == ["created", "created"]
    again = apply(first.state, read(service(), workload(replicas=2)))
    assert [outcome for _, outcome in again.outcomes] == ["unchanged", "configured"]
    assert the(again.state, "Service") is the(first.state, "Service")
    assert the(again.state, "Deployment").metadata.generation == 2
    assert the(again.state, "Deployment").uid == the(first.state, "Deployment").uid


def test_nothing_is_applied_if_one_object_is_refused() -> None:
    state = cluster(workload())
    changed = workload()
    changed["spec"]["selector"] = {"matchLabels": {"app": "web", "tier": "a"}}
    changed["spec"]["template"]["metadata"]["labels"]["tier"] = "a"
    assert refused(state, service(), changed) == [
        "Deployment web: spec.selector: is immutable, and was app=web; delete the object first, then apply it again"
    ]


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        (service(clusterIP="10.96.0.3"), service(clusterIP="10.96.0.2"), "Service web: spec.clusterIP"),
        (workload("StatefulSet", serviceName="a"), workload("StatefulSet", serviceName="b"),
         "StatefulSet web: spec.serviceName"),
        (pod("web"), pod("web", nodeSelector={"a": "b"}), "Pod web: spec.nodeSelector"),
        (pod("web"), pod("web", containers=[{"name": "other", "image": "nginx"}]), "Pod web: spec.containers"),
        (config_map(immutable=True, data={"a": "b"}), config_map(immutable=True, data={"a": "c"}),
         "ConfigMap web: data"),
    ],
)  # fmt: skip
def test_immutable_fields(before: Object, after: Object, where: str) -> None:
    (problem,) = refused(cluster(before), after)
    assert problem.startswith(f"{where}: ")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (pod("web"), pod("web", containers=[{"name": "web", "image": "nginx:2"}])),
        (pod("web"), pod("web", terminationGracePeriodSeconds=5)),
        (workload("StatefulSet"), workload("StatefulSet", replicas=5)),
        (service(), service(type="NodePort")),
        (service(clusterIP="10.96.0.3"), service(clusterIP=None, type="ExternalName", externalName="a.example")),
        (config_map(data={"a": "b"}), config_map(data={"a": "c"})),
    ],
)
def test_mutable_fields(before: Object, after: Object) -> None:
    apply(cluster(before), read(after))


def test_namespace_must_exist() -> None:
    web = service()
    web["metadata"]["namespace"] = "shpo"
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    with pytest.raises(SpecError) as caught:
        apply(new_cluster(()), read(web, shop))
    (problem,) = caught.value.problems
    assert problem.message == "namespace 'shpo' not found; add a Namespace of this name to the manifests"
    assert problem.nearest == "shop"


def test_namespaces_have_the_label_of_their_name() -> None:
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}}}
    state = cluster(shop)
    assert state.of("Namespace")["", "shop"].labels == {"team": "a", "kubernetes.io/metadata.name": "shop"}
    assert applied(state, shop) is state


def test_nodes_are_extended_and_keep_what_the_topology_says() -> None:
    state = cluster(node("node1", {"disk": "ssd"}, taints=[{"key": "a", "effect": "NoSchedule"}]))
    one = state.of("Node")["", "node1"]
    assert one.labels["disk"] == "ssd"
    assert one.labels["kubernetes.io/hostname"] == "node1"
    assert one.status["allocatable"] == {"pods": "110"}
    again = applied(state, node("node1", {"cores": "4"}))
    assert "disk" not in again.of("Node")["", "node1"].labels
    assert again.of("Node")["", "node1"].labels["kubernetes.io/hostname"] == "node1"
    assert refused(state, node("nod1")) == [
        "Node nod1: metadata.name: node 'nod1' is not in the topology; a manifest can only extend its nodes"
    ]


def test_replicas_that_the_manifest_does_not_name_stay_as_scaled() -> None:
    state = settled(cluster(workload()))
    state = state.changed([scaled(the(state, "Deployment"), 4)])
    assert applied(state, workload()) is state
    assert len(settled(applied(state, workload(replicas=2))).pods) == 2


def test_three_way_merge() -> None:
    before = {"a": 1, "b": {"c": 1, "d": 1}, "gone": 1}
    live = {"a": 1, "b": {"c": 1, "d": 1, "added": 1}, "gone": 1, "theirs": 1}
    after = {"a": 2, "b": {"c": 1}}
    assert merge(before, after, live) == {"a": 2, "b": {"c": 1, "added": 1}, "theirs": 1}


def test_pods_of_workloads_and_of_the_topology_are_not_taken_over() -> None:
    state = settled(cluster(workload("StatefulSet", "db")))
    state = state.changed([fixed_pod("client", "default", "node1", {})])
    assert refused(state, pod("db-0"), pod("client")) == [
        "Pod db-0: metadata.name: StatefulSet db already has a pod 'db-0'; choose another name",
        "Pod client: metadata.name: the topology already has a pod 'client'; choose another name",
    ]


def test_number_of_pods_is_limited() -> None:
    assert refused(new_cluster(()), workload(replicas=9_000), workload(name="api", replicas=2**31 - 1)) == [
        "Deployment api: spec.replicas: asks for 2147492647 pods in all; at most 10000 are supported"
    ]


def exposed(name: str, port: int, **spec: Any) -> Object:
    made = service(type="NodePort", ports=[{"port": 80, "nodePort": port}], **spec)
    return {**made, "metadata": {"name": name}}


def test_a_node_port_belongs_to_one_service() -> None:
    state = cluster(exposed("web", 30080))
    taken = "spec.ports[0].nodePort: provided port is already allocated, to Service 'web' in namespace 'default'"
    assert refused(state, exposed("api", 30080)) == [f"Service api: {taken}"]
    assert refused(cluster(), exposed("web", 30080), exposed("api", 30080)) == [f"Service api: {taken}"]
    udp = service(type="NodePort", ports=[{"port": 53, "nodePort": 30080, "protocol": "UDP"}])
    assert applied(state, {**udp, "metadata": {"name": "dns"}}).of("Service")


def test_services_can_exchange_their_node_ports() -> None:
    state = cluster(exposed("web", 30080), exposed("api", 30081))
    state = applied(state, exposed("web", 30081), exposed("api", 30080))
    ports = {name: one.body["spec"]["ports"][0]["nodePort"] for (_, name), one in state.of("Service").items()}
    assert ports == {"web": 30081, "api": 30080}


def test_a_cluster_address_belongs_to_one_service() -> None:
    state = cluster(service(clusterIP="10.96.0.80"))
    other = {**service(clusterIP="10.96.0.80"), "metadata": {"name": "api"}}
    assert refused(state, other) == [
        "Service api: spec.clusterIP: provided IP is already allocated, to Service 'web' in namespace 'default'"
    ]
    headless = [{**service(clusterIP="None"), "metadata": {"name": name}} for name in ("a", "b")]
    assert len(applied(state, *headless).of("Service")) == 3


def test_nothing_is_created_in_a_namespace_that_is_terminating() -> None:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    inside = {**config_map(), "metadata": {"name": "web", "namespace": "shop"}}
    state = cluster(space, inside)
    state = delete(state, BY_NAME["Namespace"], ("", "shop"))
    other = {**config_map(), "metadata": {"name": "other", "namespace": "shop"}}
    assert refused(state, other) == [
        "ConfigMap other: metadata.namespace: namespace 'shop' is being terminated; wait until it is gone, "
        "then apply again"
    ]
    assert applied(settled(state), space, other).of("ConfigMap")


def test_the_status_of_a_copied_manifest_is_left_out() -> None:
    copied = {**workload(replicas=1), "status": {"replicas": 7, "observedGeneration": 99}}
    state = settled(cluster(copied))
    assert the(state, "Deployment").status["replicas"] == 1
    assert applied(state, copied) is state


def test_a_pod_needs_its_priority_class() -> None:
    high = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1}
    one = pod("web", priorityClassName="high")
    assert refused(cluster(), one) == ["Pod web: spec.priorityClassName: no PriorityClass with name 'high' was found"]
    assert applied(cluster(), one, high).pods and applied(cluster(high), one).pods
