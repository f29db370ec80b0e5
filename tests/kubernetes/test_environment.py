"""Environment variables of containers."""

import base64
from typing import Any

import pytest

from testbed.kubernetes.environment import Addresses, ConfigError, environment, expanded
from tests.kubernetes.clusters import Object, cluster, only_pod, pod

ADDRESSES = Addresses(("10.244.0.7", "fd00::7"), ("192.168.56.1", "fd01::1"))


def variables(*objects: Object, spec: Object | None = None, **container: Any) -> dict[str, str]:
    """The variables of a container of the pod web-1, in a cluster with more objects."""
    whole = {"name": "web", "image": "nginx", **container}
    written = pod("web-1", {"app": "web"}, containers=[whole], nodeName="node1", **(spec or {}))
    written["metadata"]["annotations"] = {"team": "shop"}
    state = cluster(written, *objects)
    found = only_pod(state)
    return environment(state, found, found.spec.containers[0], ADDRESSES)


def service(name: str, address: str | None, *ports: Object, namespace: str = "default") -> Object:
    spec: Object = {"ports": list(ports), **({"clusterIP": address} if address else {})}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def kept(kind: str, name: str, **data: Any) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **data}


def from_field(path: str) -> Object:
    return {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$(A)", "1"),
        ("a$(A)b$(B)", "a1b$(A)"),
        ("$(NONE)", "$(NONE)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $", "$A ${A} $"),
        ("$$", "$"),
        ("$(A", "$(A"),
    ],
)
def test_references_are_expanded_as_kubelet_does(text: str, value: str) -> None:
    assert expanded(text, {"A": "1", "B": "$(A)"}) == value


def test_a_variable_can_name_earlier_ones_and_services() -> None:
    env = [
        {"name": "LATE", "value": "$(EARLY)"},
        {"name": "EARLY", "value": "1"},
        {"name": "URL", "value": "http://$(DB_SERVICE_HOST):$(DB_SERVICE_PORT)/$(EARLY)"},
    ]
    found = variables(service("db", "10.96.0.7", {"port": 5432}), env=env)
    assert found["LATE"] == "$(EARLY)"
    assert found["URL"] == "http://10.96.0.7:5432/1"


def test_a_service_has_the_variables_of_docker_links() -> None:
    ports = ({"port": 80, "name": "http"}, {"port": 53, "name": "dns-udp", "protocol": "UDP"})
    found = variables(service("my-web", "10.96.0.7", *ports))
    assert found == {
        "MY_WEB_SERVICE_HOST": "10.96.0.7",
        "MY_WEB_SERVICE_PORT": "80",
        "MY_WEB_SERVICE_PORT_HTTP": "80",
        "MY_WEB_SERVICE_PORT_DNS_UDP": "53",
        "MY_WEB_PORT": "tcp://10.96.0.7:80",
        "MY_WEB_PORT_80_TCP": "tcp://10.96.0.7:80",
        "MY_WEB_PORT_80_TCP_PROTO": "tcp",
        "MY_WEB_PORT_80_TCP_PORT": "80",
        "MY_WEB_PORT_80_TCP_ADDR": "10.96.0.7",
        "MY_WEB_PORT_53_UDP": "udp://10.96.0.7:53",
        "MY_WEB_PORT_53_UDP_PROTO": "udp",
        "MY_WEB_PORT_53_UDP_PORT": "53",
        "MY_WEB_PORT_53_UDP_ADDR": "10.96.0.7",
    }


def test_an_address_of_ipv6_is_in_brackets_in_urls_alone() -> None:
    found = variables(service("web", "fd00:10::7", {"port": 80}))
    assert found["WEB_SERVICE_HOST"] == found["WEB_PORT_80_TCP_ADDR"] == "fd00:10::7"
    assert found["WEB_PORT"] == "tcp://[fd00:10::7]:80"


def test_services_without_address_and_of_other_namespaces_have_no_variables() -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    others = (
        service("headless", "None", {"port": 80}),
        service("far", "10.96.0.9", {"port": 80}, namespace="shop"),
    )
    assert variables(namespace, *others) == {}


def test_without_service_links_the_api_server_alone_is_left() -> None:
    services = (service("kubernetes", "10.96.0.1", {"port": 443}), service("web", "10.96.0.7", {"port": 80}))
    found = variables(*services, spec={"enableServiceLinks": False})
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert not any(name.startswith("WEB_") for name in found)
    assert "WEB_PORT" in variables(*services)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web-1"),
        ("metadata.namespace", "default"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['team']", "shop"),
        ("spec.nodeName", "node1"),
        ("spec.serviceAccountName", "default"),
        ("status.podIP", "10.244.0.7"),
        ("status.podIPs", "10.244.0.7,fd00::7"),
        ("status.hostIP", "192.168.56.1"),
        ("status.hostIPs", "192.168.56.1,fd01::1"),
    ],
)
def test_fields_of_the_downward_api(path: str, value: str) -> None:
    assert variables(env=[from_field(path)]) == {"X": value}


def test_an_unknown_field_keeps_the_container_from_starting() -> None:
    with pytest.raises(ConfigError, match=r"unsupported fieldPath: spec\.hostNetwork"):
        variables(env=[from_field("spec.hostNetwork")])


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ({"resource": "limits.cpu"}, "2"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "1500"),
        ({"resource": "requests.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "requests.cpu"}, "2"),
        ({"resource": "requests.ephemeral-storage"}, "0"),
    ],
)
def test_resources_are_rounded_up_to_the_divisor(reference: Object, value: str) -> None:
    resources = {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}}
    found = variables(env=[{"name": "X", "valueFrom": {"resourceFieldRef": reference}}], resources=resources)
    assert found == {"X": value}


def test_config_maps_and_secrets_give_values_by_key_and_as_a_whole() -> None:
    config = kept("ConfigMap", "settings", data={"MODE": "fast", "a.key-1": "kept", "LEVEL": "3"})
    secret = kept("Secret", "keys", data={"KEY": base64.b64encode(b"sesame").decode()}, stringData={"PLAIN": "open"})
    found = variables(
        config,
        secret,
        envFrom=[{"configMapRef": {"name": "settings"}}, {"prefix": "S_", "secretRef": {"name": "keys"}}],
        env=[
            {"name": "MODE", "value": "slow"},
            {"name": "OWN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "KEY"}}},
            {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "x", "optional": True}}},
        ],
    )
    assert found == {
        "MODE": "slow",
        "a.key-1": "kept",
        "LEVEL": "3",
        "S_KEY": "sesame",
        "S_PLAIN": "open",
        "OWN": "sesame",
    }


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"envFrom": [{"configMapRef": {"name": "gone"}}]}, 'configmap "gone" not found'),
        ({"envFrom": [{"secretRef": {"name": "gone"}}]}, 'secret "gone" not found'),
        (
            {"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "there", "key": "y"}}}]},
            "couldn't find key y in ConfigMap default/there",
        ),
    ],
)
def test_what_is_missing_keeps_the_container_from_starting(container: Object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        variables(kept("ConfigMap", "there", data={"x": "1"}), **container)
