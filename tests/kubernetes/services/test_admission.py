"""What the API server adds to Services, and what it refuses.

`refused/` has manifests that it refuses, each with the expected text; UPDATE_GOLDEN=1 rewrites the texts. The cluster
has IPv4 only.
"""

import os
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from testbed.kubernetes.applying import apply
from testbed.kubernetes.cluster import new_cluster
from testbed.kubernetes.models.core import Service
from testbed.kubernetes.reading import read_manifests
from testbed.kubernetes.services.ranges import static_addresses, static_ports
from testbed.kubernetes.state import ClusterState
from testbed.spec.problems import SpecError
from testbed.spec.render import render_all
from tests.kubernetes.clusters import applied, cluster, nodes, the

REFUSED = sorted((Path(__file__).parent / "refused").glob("*.yaml"))
DUAL = ("10.96.0.0/16", "fd00:10:96::/112")


def single(**options: Any) -> ClusterState:
    return new_cluster(nodes(2), service_ranges=("10.96.0.0/12",), **options)


def dual() -> ClusterState:
    return new_cluster(nodes(2), service_ranges=DUAL)


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]} | spec
    spec = {key: value for key, value in spec.items() if value is not None}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def spec_of(state: ClusterState, name: str = "web") -> dict[str, Any]:
    one = the(state, "Service", name)
    assert isinstance(one.typed, Service)
    return dict(one.body["spec"])


def refusal(state: ClusterState, *objects: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        applied(state, *objects)
    return "; ".join(f"{one.where}: {one.message}" for one in caught.value.problems)


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_refused(path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        apply(single(), read_manifests([(path.name, path.read_text())]))
    text = render_all(caught.value.problems) + "\n"
    golden = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
    assert all(one.line for one in caught.value.problems)


def test_api_server_has_the_first_address() -> None:
    spec = spec_of(single(), "kubernetes")
    assert (spec["clusterIP"], spec["ports"][0]["port"]) == ("10.96.0.1", 443)


def test_defaults() -> None:
    state = applied(single(), service(), service("lb", type="LoadBalancer", sessionAffinity="ClientIP"))
    web, lb = spec_of(state), spec_of(state, "lb")
    assert web["ports"] == [{"protocol": "TCP", "targetPort": 80, "port": 80}]
    assert (web["type"], web["sessionAffinity"], web["internalTrafficPolicy"]) == ("ClusterIP", "None", "Cluster")
    assert (web["ipFamilyPolicy"], web["ipFamilies"]) == ("SingleStack", ["IPv4"])
    assert "externalTrafficPolicy" not in web
    assert lb["externalTrafficPolicy"] == "Cluster"
    assert lb["allocateLoadBalancerNodePorts"] is True
    assert lb["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


def test_chosen_numbers_are_of_the_upper_band_and_unique() -> None:
    state = applied(single(), *(service(f"s{number}", type="NodePort") for number in range(500)))
    specs = [spec_of(state, f"s{number}") for number in range(500)]
    offsets = {int(ip_address(one["clusterIP"])) - int(ip_address("10.96.0.0")) for one in specs}
    ports = {one["ports"][0]["nodePort"] for one in specs}
    assert (len(offsets), len(ports)) == (500, 500)
    assert min(offsets) > 256
    assert 30086 <= min(ports) <= max(ports) <= 32767


@pytest.mark.parametrize(("size", "band"), [(8, 0), (16, 16), (256, 16), (1024, 64), (4096, 256), (1 << 20, 256)])
def test_band_of_addresses(size: int, band: int) -> None:
    assert static_addresses(size) == band


@pytest.mark.parametrize(("size", "band"), [(8, 0), (100, 16), (2768, 86), (10_000, 128)])
def test_band_of_node_ports(size: int, band: int) -> None:
    assert static_ports(size) == band


def test_full_ranges_are_refused() -> None:
    state = new_cluster(nodes(1), service_ranges=("10.96.0.0/29",), node_ports=(30000, 30001))
    state = applied(state, *(service(f"s{number}") for number in range(5)))
    assert "the range 10.96.0.0/29 is full" in refusal(state, service("more"))
    state = new_cluster(nodes(1), service_ranges=DUAL, node_ports=(30000, 30001))
    state = applied(state, service("a", type="NodePort"), service("b", type="NodePort"))
    assert {spec_of(state, name)["ports"][0]["nodePort"] for name in "ab"} == {30000, 30001}
    assert "the range 30000-30001 is full" in refusal(state, service("c", type="NodePort"))
    assert "the range of valid ports is 30000-30001" in refusal(
        state, service("c", type="NodePort", ports=[{"port": 80, "nodePort": 30002}])
    )


def test_who_stays_keeps_its_numbers() -> None:
    one = service(type="NodePort", ports=[{"port": 80}])
    state = applied(single(), one)
    before = spec_of(state)
    two = service(type="NodePort", ports=[{"port": 53, "name": "dns"}, {"port": 80, "name": "web"}])
    after = spec_of(applied(state, two))
    assert after["clusterIP"] == before["clusterIP"]
    assert after["ports"][1]["nodePort"] == before["ports"][0]["nodePort"]
    assert applied(state, one) is state


def test_service_that_is_made_again_gets_another_address() -> None:
    state = applied(single(), service())
    gone = state.changed(gone=[the(state, "Service")])
    assert spec_of(applied(gone, service()))["clusterIP"] != spec_of(state)["clusterIP"]


def test_nothing_changes_if_one_is_refused() -> None:
    state = single()
    refusal(state, service("a"), service("b", clusterIP="10.0.0.1"))
    assert ("default", "a") not in state.of("Service")


def test_ports_of_one_number_share_a_node_port() -> None:
    ports = [{"port": 53, "name": "dns"}, {"port": 53, "name": "dns-tcp", "protocol": "UDP"}]
    first, second = spec_of(applied(single(), service(type="NodePort", ports=ports)))["ports"]
    assert first["nodePort"] == second["nodePort"]


def test_types_change_with_what_belongs_to_them() -> None:
    state = applied(single(), service(type="NodePort"))
    cluster_ip = spec_of(state)["clusterIP"]
    plain = applied(state, service())
    assert "nodePort" not in spec_of(plain)["ports"][0]
    assert "externalTrafficPolicy" not in spec_of(plain)
    assert spec_of(plain)["clusterIP"] == cluster_ip
    alias = applied(plain, service(type="ExternalName", externalName="db.example.com", ports=None, selector=None))
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "internalTrafficPolicy"} & spec_of(alias).keys()
    back = spec_of(applied(alias, service(type="NodePort")))
    assert back["clusterIP"]
    assert 30000 <= back["ports"][0]["nodePort"] <= 32767
    assert "externalName" not in back


def test_health_check_port_comes_and_goes_with_the_local_policy() -> None:
    local = service(type="LoadBalancer", externalTrafficPolicy="Local")
    state = applied(single(), local)
    port = spec_of(state)["healthCheckNodePort"]
    assert 30000 <= port <= 32767
    assert port != spec_of(state)["ports"][0]["nodePort"]
    assert spec_of(applied(state, local))["healthCheckNodePort"] == port
    assert "healthCheckNodePort" not in spec_of(applied(state, service(type="LoadBalancer")))


def test_load_balancer_without_node_ports() -> None:
    state = applied(single(), service(type="LoadBalancer", allocateLoadBalancerNodePorts=False))
    assert "nodePort" not in spec_of(state)["ports"][0]
    assert spec_of(applied(state, service(type="LoadBalancer")))["ports"][0]["nodePort"]


@pytest.mark.parametrize(
    ("spec", "policy", "families"),
    [
        ({}, "SingleStack", ["IPv4"]),
        ({"ipFamilies": ["IPv6"]}, "SingleStack", ["IPv6"]),
        ({"clusterIP": "fd00:10:96::7"}, "SingleStack", ["IPv6"]),
        ({"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4", "IPv6"]),
        ({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, "RequireDualStack", ["IPv6", "IPv4"]),
        ({"clusterIP": "None"}, "SingleStack", ["IPv4"]),
        ({"clusterIP": "None", "selector": None}, "RequireDualStack", ["IPv4", "IPv6"]),
    ],
)
def test_families(spec: dict[str, Any], policy: str, families: list[str]) -> None:
    found = spec_of(applied(dual(), service(**spec)))
    assert (found["ipFamilyPolicy"], found["ipFamilies"]) == (policy, families)
    addresses = found["clusterIPs"]
    if spec.get("clusterIP") == "None":
        assert addresses == ["None"]
    else:
        assert [f"IPv{ip_address(one).version}" for one in addresses] == families
        assert found["clusterIP"] == addresses[0]
        assert all(any(ip_address(one) in ip_network(net) for net in DUAL) for one in addresses)


def test_preferred_dual_stack_is_single_in_a_cluster_of_one_family() -> None:
    found = spec_of(applied(single(), service(ipFamilyPolicy="PreferDualStack")))
    assert (found["ipFamilies"], len(found["clusterIPs"])) == (["IPv4"], 1)


def test_second_family_comes_and_goes() -> None:
    state = applied(dual(), service())
    first = spec_of(state)["clusterIP"]
    both = applied(state, service(ipFamilyPolicy="PreferDualStack"))
    assert (spec_of(both)["clusterIP"], len(spec_of(both)["clusterIPs"])) == (first, 2)
    assert spec_of(applied(both, service(ipFamilyPolicy="SingleStack")))["clusterIPs"] == [first]


def test_primary_family_cannot_change() -> None:
    state = applied(dual(), service(ipFamilies=["IPv4"]))
    assert "spec.ipFamilies[0]" in refusal(state, service(ipFamilies=["IPv6"]))


def test_address_cannot_change() -> None:
    state = cluster(service(clusterIP="10.96.0.9"))
    assert "spec.clusterIP: is immutable" in refusal(state, service(clusterIP="10.96.0.10"))
    assert "spec.clusterIP: is immutable" in refusal(state, service(clusterIP="None"))
