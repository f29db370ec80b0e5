"""EndpointSlices as their controller makes them: which pods a Service has, on which ports, and in which condition.

Endpoints stay in their slice for as long as they exist; new ones fill the slices that have room.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from testbed.kubernetes.cluster import ZONE
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.models.core import Service, ServiceSpec
from testbed.kubernetes.models.discovery import EndpointSlice
from testbed.kubernetes.naming import generated
from testbed.kubernetes.state import ClusterState, Edit, Metadata, Owner, Pod, Resource, edit

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
MAX_ENDPOINTS = 100
"""Endpoints of a slice, as the controller's default."""
_SLICE = BY_NAME["EndpointSlice"]
Body = dict[str, Any]


@dataclass(frozen=True)
class _Group:
    """Endpoints that share a family and ports: those of one or more slices."""

    family: str
    ports: tuple[tuple[str, int, str, str], ...]
    """Name, number, protocol, appProtocol."""


def reconciled(state: ClusterState, service: Resource, pods: Iterable[Pod], slices: Sequence[Resource]) -> Edit:
    """The changes to the slices that the controller made for a Service; `pods` are those that it selects."""
    assert isinstance(service.typed, Service)
    spec = service.typed.spec
    groups = _groups(state, service, spec, pods)
    put: list[Resource] = []
    gone: list[Resource] = []
    own: dict[_Group, list[Resource]] = {}
    for one in slices:
        own.setdefault(_group_of(one), []).append(one)
    for group, there in own.items():
        if group not in groups:
            gone += there
    taken = {one.name for one in slices}
    for group, endpoints in groups.items():
        edited = _filled(own.get(group, ()), endpoints)
        gone += (one for one, kept in edited.kept if not kept)
        for one, kept in edited.kept:
            if kept and (kept != one.body["endpoints"] or _labels(service) != one.labels):
                put.append(_with(one, kept, service))
        for number, fresh in enumerate(edited.fresh):
            name = generated(
                f"{service.name}-", taken.__contains__, state.seed, service.uid, state.version, number, group
            )
            taken.add(name)
            put.append(_made(name, service, group, fresh))
    return edit(put, gone)


def selects(service: Resource) -> Mapping[str, str]:
    """The selector of a Service whose slices the controller makes; empty for all others."""
    assert isinstance(service.typed, Service)
    spec = service.typed.spec
    return {} if spec.type == "ExternalName" or service.is_terminating else spec.selector


def _groups(
    state: ClusterState, service: Resource, spec: ServiceSpec, pods: Iterable[Pod]
) -> dict[_Group, dict[str, Body]]:
    """The endpoints of each group, by the UID of their pod."""
    nodes = state.of("Node")
    groups: dict[_Group, dict[str, Body]] = {}
    ports_of: dict[int, tuple[tuple[str, int, str, str], ...]] = {}
    families = service.body["spec"].get("ipFamilies") or spec.ip_families or ("IPv4",)
    for pod in pods:
        if pod.is_finished or not pod.node:
            continue
        ports = ports_of.get(id(pod.typed))
        if ports is None:
            ports = ports_of[id(pod.typed)] = tuple(_ports(spec, pod))
        if not ports and spec.ports:
            continue
        for family, address in _addresses(pod):
            if family in families:
                node = nodes.get(("", pod.node))
                zone = node.labels.get(ZONE, "") if node else ""
                groups.setdefault(_Group(family, ports), {})[pod.uid] = _endpoint(service, spec, pod, address, zone)
    for family in families if not groups else ():
        groups[_Group(family, ())] = {}
    return groups


def _addresses(pod: Pod) -> Iterator[tuple[str, str]]:
    """Families and addresses of a pod."""
    for one in pod.ips:
        yield f"IPv{6 if ':' in one else 4}", one


def _ports(spec: ServiceSpec, pod: Pod) -> Iterator[tuple[str, int, str, str]]:
    """The ports of a Service on a pod; without those whose name the pod does not have."""
    for port in spec.ports:
        target = port.target_port if port.target_port is not None else port.port
        number = target if isinstance(target, int) else port_named(pod, target, port.protocol)
        if number:
            yield port.name or "", number, port.protocol, port.app_protocol or ""


def port_named(pod: Pod, name: str, protocol: str) -> int:
    """The number of a pod's port; 0 if it has none of that name."""
    for _, container in pod.spec.all_containers:
        for port in container.ports:
            if port.name == name and port.protocol == protocol:
                return port.container_port
    return 0


def _endpoint(service: Resource, spec: ServiceSpec, pod: Pod, address: str, zone: str) -> Body:
    serving = pod.is_ready
    ready = spec.publish_not_ready_addresses or (serving and not pod.is_terminating)
    one: Body = {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": pod.is_terminating},
        "nodeName": pod.node,
        "targetRef": {"kind": "Pod", "name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
    }
    if zone:
        one["zone"] = zone
    if pod.spec.hostname and pod.spec.subdomain == service.name:
        one["hostname"] = pod.spec.hostname
    if spec.traffic_distribution and ready:
        hints = {"forZones": [{"name": zone}]} if zone else {}
        if spec.traffic_distribution == "PreferSameNode":
            hints["forNodes"] = [{"name": pod.node}]
        if hints:
            one["hints"] = hints
    return one


@dataclass(frozen=True)
class _Filled:
    """The endpoints of slices that exist, and of slices to make."""

    kept: list[tuple[Resource, list[Body]]]
    fresh: list[list[Body]]


def _filled(slices: Sequence[Resource], wanted: Mapping[str, Body]) -> _Filled:
    remaining = dict(wanted)
    kept: list[tuple[Resource, list[Body]]] = []
    for one in slices:
        uids = (endpoint["targetRef"]["uid"] for endpoint in one.body["endpoints"])
        kept.append((one, [remaining.pop(uid) for uid in uids if uid in remaining]))
    rest = list(remaining.values())
    for _, endpoints in sorted(kept, key=lambda pair: -len(pair[1])):
        room = MAX_ENDPOINTS - len(endpoints)
        endpoints += rest[:room]
        rest = rest[room:]
    if kept and not wanted:
        # The last slice stays, without endpoints, so that its Service is known to have none.
        return _Filled([(kept[0][0], []), *((one, []) for one, _ in kept[1:])], [])
    fresh = [rest[start : start + MAX_ENDPOINTS] for start in range(0, len(rest), MAX_ENDPOINTS)]
    return _Filled(kept, fresh or ([] if slices else [[]]))


def _group_of(one: Resource) -> _Group:
    ports = one.body.get("ports") or ()
    return _Group(
        one.body["addressType"],
        tuple((port["name"], port["port"], port["protocol"], port.get("appProtocol", "")) for port in ports),
    )


def _labels(service: Resource) -> dict[str, str]:
    assert isinstance(service.typed, Service)
    headless = {HEADLESS: ""} if service.typed.spec.is_headless else {}
    return {**service.labels, SERVICE_NAME: service.name, MANAGED_BY: CONTROLLER, **headless}


def _made(name: str, service: Resource, group: _Group, endpoints: list[Body]) -> Resource:
    body: Body = {
        "addressType": group.family,
        "endpoints": endpoints,
        "ports": [
            {"name": name, "port": number, "protocol": protocol, **({"appProtocol": app} if app else {})}
            for name, number, protocol, app in group.ports
        ],
    }
    metadata = Metadata(
        name=name,
        namespace=service.namespace,
        labels=_labels(service),
        owner=Owner(service.kind, service.name, service.uid),
    )
    return Resource(kind=_SLICE, metadata=metadata, typed=_typed(body), body=body)


def _with(one: Resource, endpoints: list[Body], service: Resource) -> Resource:
    body = {**one.body, "endpoints": endpoints}
    metadata = replace(one.metadata, labels=_labels(service), generation=one.metadata.generation + 1)
    return replace(one, metadata=metadata, body=body, typed=_typed(body))


def _typed(body: Body) -> EndpointSlice:
    return EndpointSlice.model_validate(body, by_alias=True, by_name=False)
