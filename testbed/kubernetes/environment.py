"""Environment variables of a container, as kubelet sets them."""

import base64
import binascii
import ipaddress
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from testbed.kubernetes.models.core import ConfigMap, Secret, Service
from testbed.kubernetes.models.pods import Container, EnvFrom, EnvVar
from testbed.kubernetes.models.values import quantity
from testbed.kubernetes.state import ClusterState, Pod

KUBERNETES = ("default", "kubernetes")
"""The Service of the API server, whose variables every container has."""
_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))?")
_INDEXED = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class ConfigError(ValueError):
    """A variable that cannot be set, such as one from a ConfigMap that does not exist."""


@dataclass(frozen=True)
class Addresses:
    """Addresses that variables can name."""

    pod: Sequence[str] = ()
    node: Sequence[str] = ()


def environment(state: ClusterState, pod: Pod, container: Container, addresses: Addresses) -> dict[str, str]:
    """The variables of a container. Raises ConfigError.

    Later ones win: Services, `envFrom`, `env`.
    """
    services = dict(service_variables(state, pod))
    from_sources = {name: value for one in container.env_from for name, value in _all_of(state, pod, one)}
    own: dict[str, str] = {}
    for variable in container.env:
        if variable.value_from:
            value = _value_from(state, pod, container, addresses, variable)
        else:
            value = expanded(variable.value or "", services | own)
        if value is not None:
            own[variable.name] = value
    return services | from_sources | own


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Text with `$(NAME)` replaced by the variable; `$$(NAME)` becomes `$(NAME)`; unknown names stay as they are."""

    def replaced(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        return variables.get(found[2], found[0]) if found[1] else "$"

    return _REFERENCE.sub(replaced, text)


def service_variables(state: ClusterState, pod: Pod) -> Iterator[tuple[str, str]]:
    """`WEB_SERVICE_HOST` and other variables of the Services that have an address.

    Those of the pod's namespace unless `enableServiceLinks` is false, and the Service `kubernetes`.
    """
    services = state.of("Service")
    own = pod.namespace if pod.spec.enable_service_links else None
    for key, one in services.items():
        if (key == KUBERNETES and (own, "kubernetes") not in services) or key[0] == own:
            assert isinstance(one.typed, Service)
            yield from _variables(one.name, one.typed, one.body.get("spec", {}))


def _variables(name: str, service: Service, spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    address, ports = str(spec.get("clusterIP") or service.spec.cluster_ip or "None"), service.spec.ports
    if address == "None" or not ports:
        return
    prefix = name.upper().replace("-", "_")
    yield f"{prefix}_SERVICE_HOST", address
    yield f"{prefix}_SERVICE_PORT", str(ports[0].port)
    for port in ports:
        if port.name:
            yield f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}", str(port.port)
    host = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    for number, port in enumerate(ports):
        protocol = port.protocol.lower()
        url, link = f"{protocol}://{host}:{port.port}", f"{prefix}_PORT_{port.port}_{port.protocol}"
        if number == 0:
            yield f"{prefix}_PORT", url
        yield link, url
        yield f"{link}_PROTO", protocol
        yield f"{link}_PORT", str(port.port)
        yield f"{link}_ADDR", address


def _all_of(state: ClusterState, pod: Pod, source: EnvFrom) -> Iterator[tuple[str, str]]:
    """The variables of a whole ConfigMap or Secret."""
    reference = source.config_map_ref or source.secret_ref
    assert reference
    kind = "ConfigMap" if source.config_map_ref else "Secret"
    for key, value in (_data(state, pod, kind, reference.name, reference.optional) or {}).items():
        yield f"{source.prefix}{key}", value


def _data(state: ClusterState, pod: Pod, kind: str, name: str, optional: bool) -> Mapping[str, str] | None:
    """The values of a ConfigMap or Secret; None if it is missing and optional."""
    found = state.of(kind).get((pod.namespace, name))
    if found is None:
        if optional:
            return None
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    match found.typed:
        case ConfigMap(data=data):
            return data
        case Secret(data=data, string_data=plain):
            return {key: _decoded(value) for key, value in data.items()} | plain
    return {}


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode(errors="replace")
    except binascii.Error:
        return text


def _value_from(
    state: ClusterState, pod: Pod, container: Container, addresses: Addresses, variable: EnvVar
) -> str | None:
    """The value of a variable with a source; None if the source is missing and optional."""
    ((source, given),) = (variable.value_from or {}).items()
    assert isinstance(given, dict)
    match source:
        case "fieldRef":
            return _field(pod, addresses, str(given["fieldPath"]))
        case "resourceFieldRef":
            return _resource(state, pod, container, given)
        case "configMapKeyRef" | "secretKeyRef":
            kind = "ConfigMap" if source == "configMapKeyRef" else "Secret"
            name, key, optional = str(given.get("name", "")), str(given["key"]), bool(given.get("optional"))
            data = _data(state, pod, kind, name, optional)
            if data is not None and key in data:
                return data[key]
            if optional:
                return None
            raise ConfigError(f"couldn't find key {key} in {kind} {pod.namespace}/{name}")
    raise ConfigError(f"{variable.name}: the source {source} is not supported")


def _field(pod: Pod, addresses: Addresses, path: str) -> str:
    if found := _INDEXED.fullmatch(path):
        return (pod.labels if found[1] == "labels" else pod.metadata.annotations).get(found[2], "")
    fields = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": pod.node,
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.hostIP": next(iter(addresses.node), ""),
        "status.hostIPs": ",".join(addresses.node),
        "status.podIP": next(iter(addresses.pod), ""),
        "status.podIPs": ",".join(addresses.pod),
    }
    if path not in fields:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return fields[path]


def _resource(state: ClusterState, pod: Pod, container: Container, given: Mapping[str, Any]) -> str:
    """A request or limit, rounded up to the divisor; a limit that is not set is what the node has."""
    kind, _, name = str(given["resource"]).partition(".")
    wanted = given.get("containerName")
    own = next((one for _, one in pod.spec.all_containers if one.name == wanted), container)
    amounts = own.resources.limits if kind == "limits" else own.resources.requests
    amount = amounts.get(name, own.resources.limits.get(name))
    if amount is None:
        node = state.of("Node").get(("", pod.node))
        amount = (node.status.get("allocatable", {}) if node and kind == "limits" else {}).get(name, 0)
    divisor = quantity(given.get("divisor") or "1") or Fraction(1)
    return str(math.ceil(quantity(amount) / divisor))
