"""EndpointSlices as their controller makes them."""

from dataclasses import replace
from typing import Any

import pytest

from testbed.kubernetes.cluster import new_cluster
from testbed.kubernetes.services.controller import EndpointSlices
from testbed.kubernetes.services.ports import service_ports
from testbed.kubernetes.services.slices import CONTROLLER, MANAGED_BY
from testbed.kubernetes.state import ClusterState, Pod, Resource
from tests.kubernetes.clusters import applied, nodes, pod, the

Object = dict[str, Any]


def service(name: str = "web", **spec: Any) -> Object:
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "name": "http"}]} | spec
    spec = {key: value for key, value in spec.items() if value is not None}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def start() -> ClusterState:
    return new_cluster(nodes(3, zones=3), service_ranges=("10.96.0.0/12", "fd00:10:96::/112"))


def with_pods(state: ClusterState, *names: str, app: str = "web", **spec: Any) -> ClusterState:
    """The state with pods that are ready, on node1, node2, ... in turn."""
    state = applied(state, *(pod(name, {"app": app}, **spec) for name in names))
    return state.changed(
        running(the(state, "Pod", name), f"node{number % 3 + 1}", number) for number, name in enumerate(names)
    )


def running(one: Resource, node: str, number: int) -> Pod:
    assert isinstance(one, Pod)
    host = sum(map(ord, one.name)) * 7 + number
    addresses = (f"10.244.{host // 250 % 250}.{host % 250}", f"fd00:10:244::{host:x}")
    return replace(one, node=node, phase="Running", ready_since=0.0, ips=addresses)


def slices(state: ClusterState) -> list[Resource]:
    return [one for one in state.of("EndpointSlice").values() if one.labels.get(MANAGED_BY) == CONTROLLER]


def endpoints(state: ClusterState) -> dict[str, Object]:
    """The endpoints of all slices, by the name of their pod."""
    return {one["targetRef"]["name"]: one for each in slices(state) for one in each.body["endpoints"]}


def test_a_service_without_pods_has_one_empty_slice() -> None:
    state = EndpointSlices()(applied(start(), service()))
    (one,) = slices(state)
    assert one.body == {"addressType": "IPv4", "endpoints": [], "ports": []}
    assert one.metadata.owner is not None
    assert one.labels["kubernetes.io/service-name"] == "web"


def test_endpoints_have_address_node_zone_and_conditions() -> None:
    state = EndpointSlices()(with_pods(applied(start(), service()), "a", "b"))
    (one,) = slices(state)
    assert one.body["ports"] == [{"name": "http", "port": 80, "protocol": "TCP"}]
    found = endpoints(state)["b"]
    assert found["addresses"] == [the(state, "Pod", "b").ips[0]]
    assert (found["nodeName"], found["zone"]) == ("node2", "b")
    assert found["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert found["targetRef"]["uid"] == the(state, "Pod", "b").uid


def test_unready_terminating_and_finished_pods() -> None:
    follow = EndpointSlices()
    state = follow(with_pods(applied(start(), service()), "a", "b", "c"))
    a, b, c = (the(state, "Pod", name) for name in "abc")
    assert isinstance(a, Pod)
    assert isinstance(b, Pod)
    assert isinstance(c, Pod)
    state = follow(
        state.changed(
            [
                replace(a, ready_since=None),
                replace(b, metadata=replace(b.metadata, deleted=5.0)),
                replace(c, phase="Succeeded"),
            ]
        )
    )
    found = {name: one["conditions"] for name, one in endpoints(state).items()}
    assert found == {
        "a": {"ready": False, "serving": False, "terminating": False},
        "b": {"ready": False, "serving": True, "terminating": True},
    }
    state = follow(applied(state, service(publishNotReadyAddresses=True)))
    assert [one["conditions"]["ready"] for one in endpoints(state).values()] == [True, True]


def test_named_target_ports_are_those_of_each_pod() -> None:
    """The Service of svc-01: each pod has one of two named ports, and is an endpoint of this port alone."""

    def container(name: str, number: int) -> Object:
        return {"name": "c", "image": "web", "ports": [{"name": name, "containerPort": number}]}

    ports = [
        {"name": "portname1", "port": 80, "targetPort": "svc1"},
        {"name": "portname2", "port": 81, "targetPort": "svc2"},
    ]
    follow = EndpointSlices()
    state = follow(applied(start(), service(ports=ports)))

    def reached(state: ClusterState) -> dict[str, list[int]]:
        return {
            one.name: [each.port for each in one.endpoints] for one in service_ports(state, 4) if one.service == "web"
        }

    assert reached(state) == {"portname1": [], "portname2": []}
    state = follow(with_pods(state, "pod1", containers=[container("svc1", 100)]))
    assert reached(state) == {"portname1": [100], "portname2": []}
    state = follow(with_pods(state, "pod2", containers=[container("svc2", 101)]))
    assert reached(state) == {"portname1": [100], "portname2": [101]}
    state = follow(state.changed(gone=[the(state, "Pod", "pod1")]))
    assert reached(state) == {"portname1": [], "portname2": [101]}
    state = follow(state.changed(gone=[the(state, "Pod", "pod2")]))
    assert reached(state) == {"portname1": [], "portname2": []}


def test_dual_stack_has_slices_of_each_family() -> None:
    state = EndpointSlices()(with_pods(applied(start(), service(ipFamilyPolicy="PreferDualStack")), "a"))
    assert sorted(one.body["addressType"] for one in slices(state)) == ["IPv4", "IPv6"]
    assert len(service_ports(state, 6)) == 1


@pytest.mark.parametrize(
    ("distribution", "hints"),
    [
        ("PreferClose", {"forZones": [{"name": "a"}]}),
        ("PreferSameZone", {"forZones": [{"name": "a"}]}),
        ("PreferSameNode", {"forZones": [{"name": "a"}], "forNodes": [{"name": "node1"}]}),
        (None, None),
    ],
)
def test_hints(distribution: str | None, hints: Object | None) -> None:
    state = EndpointSlices()(with_pods(applied(start(), service(trafficDistribution=distribution)), "a"))
    assert endpoints(state)["a"].get("hints") == hints


def test_headless_services_have_hostnames_and_a_label() -> None:
    state = applied(start(), service(clusterIP="None", ports=None))
    state = EndpointSlices()(with_pods(state, "db-0", hostname="db-0", subdomain="web"))
    (one,) = slices(state)
    assert endpoints(state)["db-0"]["hostname"] == "db-0"
    assert one.labels["service.kubernetes.io/headless"] == ""
    assert one.body["ports"] == []


def test_slices_have_100_endpoints_and_stay_as_they_are() -> None:
    follow = EndpointSlices()
    state = follow(with_pods(applied(start(), service()), *(f"p{number}" for number in range(250))))
    sizes = sorted(len(one.body["endpoints"]) for one in slices(state))
    assert sizes == [50, 100, 100]
    before = {one.name: one for one in slices(state)}
    state = follow(state.changed(gone=[the(state, "Pod", "p7")]))
    assert len([one for one in slices(state) if before[one.name] is not one]) == 1
    assert len(endpoints(state)) == 249
    assert follow(state) is state


def test_services_without_a_selector_keep_slices_by_hand() -> None:
    by_hand = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 9376}],
        "endpoints": [{"addresses": ["192.0.2.42"]}],
    }
    state = applied(start(), service(selector=None), by_hand)
    assert EndpointSlices()(state) is state
    (web,) = (one for one in service_ports(state, 4) if one.service == "web")
    assert [str(one) for one in web.endpoints] == ["192.0.2.42:9376"]
    assert web.endpoints[0].ready


def test_external_names_have_no_slices() -> None:
    follow = EndpointSlices()
    state = follow(with_pods(applied(start(), service()), "a"))
    state = applied(state, service(type="ExternalName", externalName="a.example", ports=None, selector=None))
    assert slices(follow(state)) == []


def test_services_of_another_proxy_are_left_out() -> None:
    labelled = service()
    labelled["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "foo-bar"}
    state = applied(start(), labelled)
    assert [str(one) for one in service_ports(state, 4)] == ["default/kubernetes:https"]
    assert "default/web:http" in [str(one) for one in service_ports(applied(state, service()), 4)]


def test_the_controller_follows_any_other_state() -> None:
    """What the controller remembers of one cluster does not show in another."""
    one = with_pods(applied(start(), service()), "a", "b")
    other = with_pods(applied(start(), service("db")), "x", app="db")
    follow = EndpointSlices()
    for state in (one, other, one, start(), other):
        found, fresh = follow(state), EndpointSlices()(state)
        assert endpoints(found) == endpoints(fresh)
        assert [each.name for each in slices(found)] == [each.name for each in slices(fresh)]
