"""The columns of each kind, as `kubectl get` has them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.kubernetes.models.core import Service
from testbed.kubernetes.models.networking import Ingress, NetworkPolicy
from testbed.kubernetes.models.pods import PodSpec
from testbed.kubernetes.nodes import is_ready
from testbed.kubernetes.pod_status import readiness, restarts, summary
from testbed.kubernetes.printing.values import NONE, UNKNOWN, UNSET, age, joined, pairs
from testbed.kubernetes.state import ClusterState, Pod, Resource
from testbed.kubernetes.status import status_of
from testbed.kubernetes.times import seconds_of
from testbed.kubernetes.workloads.job import selector as job_selector


@dataclass(frozen=True)
class Row:
    """An object with what its cells need."""

    state: ClusterState
    one: Resource
    status: Mapping[str, Any]

    @property
    def template(self) -> PodSpec:
        spec: PodSpec = self.one.typed.spec.template.spec  # type: ignore[attr-defined]
        return spec


Cell = Callable[[Row], object]


@dataclass(frozen=True)
class Column:
    """A column; a wide one is shown with `-o wide` alone."""

    head: str
    cell: Cell
    is_wide: bool = False


def _wide(head: str, cell: Cell) -> Column:
    return Column(head, cell, True)


def _count(key: str) -> Cell:
    return lambda row: row.status.get(key, 0)


def _spec(name: str) -> Cell:
    return lambda row: getattr(row.one.typed.spec, name)  # type: ignore[attr-defined]


NAME = Column("NAME", lambda row: row.one.name)
AGE = Column("AGE", lambda row: age(row.state.now - row.one.metadata.created))
TEMPLATE = (
    _wide("CONTAINERS", lambda row: joined(one.name for one in row.template.containers)),
    _wide("IMAGES", lambda row: joined(one.image for one in row.template.containers)),
)
SELECTOR = _wide("SELECTOR", lambda row: str(row.one.typed.spec.selector) or NONE)  # type: ignore[attr-defined]


def _pod(show: Callable[[Pod], object]) -> Cell:
    def cell(row: Row) -> object:
        assert isinstance(row.one, Pod)
        return show(row.one)

    return cell


def _restarts(row: Row) -> str:
    assert isinstance(row.one, Pod)
    number, last = restarts(row.one)
    return f"{number} ({age(row.state.now - last)} ago)" if number and last is not None else str(number)


def _gates(row: Row) -> str:
    assert isinstance(row.one, Pod)
    gates = row.one.spec.readiness_gates
    return f"{sum(gate.condition_type in row.one.gates for gate in gates)}/{len(gates)}" if gates else NONE


def _replicas(row: Row) -> str:
    return f"{row.status.get('readyReplicas', 0)}/{row.one.typed.spec.replicas}"  # type: ignore[attr-defined]


def _address(kind: str) -> Cell:
    def cell(row: Row) -> str:
        addresses = (one["address"] for one in row.status.get("addresses", ()) if one["type"] == kind)
        return next(addresses, NONE)

    return cell


def _node_info(key: str) -> Cell:
    return lambda row: row.status.get("nodeInfo", {}).get(key) or UNKNOWN


def _node_status(row: Row) -> str:
    ready = "Ready" if is_ready(row.one) else "NotReady"
    return f"{ready},SchedulingDisabled" if row.one.body.get("spec", {}).get("unschedulable") else ready


def _roles(row: Row) -> str:
    prefix = "node-role.kubernetes.io/"
    return joined(sorted(key.removeprefix(prefix) for key in row.one.labels if key.startswith(prefix)))


def _ports(row: Row) -> str:
    assert isinstance(row.one.typed, Service)
    return joined(
        f"{one.port}{f':{one.node_port}' if one.node_port else ''}/{one.protocol}" for one in row.one.typed.spec.ports
    )


def _cluster_ip(row: Row) -> str:
    assert isinstance(row.one.typed, Service)
    spec = row.one.typed.spec
    return spec.cluster_ip or next(iter(spec.cluster_ips), NONE)


def _external(row: Row) -> str:
    assert isinstance(row.one.typed, Service)
    spec = row.one.typed.spec
    given = _given(row)
    if spec.type == "ExternalName":
        return spec.external_name or NONE
    return joined((*given, *spec.external_ips)) if given or spec.type != "LoadBalancer" else "<pending>"


def _given(row: Row) -> list[str]:
    """Addresses that a load balancer gave an object."""
    return [one.get("ip") or one.get("hostname") for one in row.status.get("loadBalancer", {}).get("ingress", ())]


def _policy_selector(row: Row) -> str:
    assert isinstance(row.one.typed, NetworkPolicy)
    return str(row.one.typed.spec.pod_selector) or NONE


def _hosts(row: Row) -> str:
    assert isinstance(row.one.typed, Ingress)
    return joined(rule.host or "*" for rule in row.one.typed.spec.rules) if row.one.typed.spec.rules else "*"


def _ingress_ports(row: Row) -> str:
    assert isinstance(row.one.typed, Ingress)
    return "80, 443" if row.one.typed.spec.tls else "80"


def _job_status(row: Row) -> str:
    if row.one.is_terminating:
        return "Terminating"
    conditions = row.status["conditions"]
    return next((one["type"] for one in conditions if one["type"] in ("Complete", "Failed", "Suspended")), "Running")


def _duration(row: Row) -> str:
    start, end = row.status.get("startTime"), row.status.get("completionTime")
    return age((seconds_of(end) if end else row.state.now) - seconds_of(start)) if start else ""


def _completions(row: Row) -> str:
    spec = row.one.typed.spec  # type: ignore[attr-defined]
    wanted = f"1 of {spec.parallelism}" if spec.completions is None and spec.parallelism > 1 else spec.completions or 1
    return f"{row.status['succeeded']}/{wanted}"


def _entries(*keys: str) -> Cell:
    return lambda row: sum(len(row.one.body.get(key, ())) for key in keys)


def _body(key: str, missing: str) -> Cell:
    return lambda row: row.one.body.get("spec", {}).get(key, missing)


def _parameters(row: Row) -> str:
    found = row.one.body.get("spec", {}).get("parameters")
    if not found:
        return NONE
    group = f".{found['apiGroup']}" if found.get("apiGroup") else ""
    return f"{found['kind']}{group}/{found['name']}"


def _endpoint_ports(row: Row) -> str:
    ports = joined(one.port for one in row.one.typed.ports if one.port)  # type: ignore[attr-defined]
    return UNSET if ports == NONE else ports


def _endpoints(row: Row) -> str:
    endpoints = row.one.typed.endpoints  # type: ignore[attr-defined]
    shown = [address for one in endpoints for address in one.addresses]
    more = f" + {len(shown) - 3} more..." if len(shown) > 3 else ""
    return UNSET if not shown else ",".join(shown[:3]) + more


COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "Pod": (
        NAME,
        Column("READY", _pod(readiness)),
        Column("STATUS", _pod(summary)),
        Column("RESTARTS", _restarts),
        AGE,
        _wide("IP", lambda row: row.status.get("podIP", NONE)),
        _wide("NODE", _pod(lambda pod: pod.node or NONE)),
        _wide("NOMINATED NODE", _pod(lambda pod: pod.nominated or NONE)),
        _wide("READINESS GATES", _gates),
    ),
    "Deployment": (
        NAME,
        Column("READY", _replicas),
        Column("UP-TO-DATE", _count("updatedReplicas")),
        Column("AVAILABLE", _count("availableReplicas")),
        AGE,
        *TEMPLATE,
        SELECTOR,
    ),
    "ReplicaSet": (
        NAME,
        Column("DESIRED", _spec("replicas")),
        Column("CURRENT", _count("replicas")),
        Column("READY", _count("readyReplicas")),
        AGE,
        *TEMPLATE,
        SELECTOR,
    ),
    "StatefulSet": (NAME, Column("READY", _replicas), AGE, *TEMPLATE),
    "DaemonSet": (
        NAME,
        Column("DESIRED", _count("desiredNumberScheduled")),
        Column("CURRENT", _count("currentNumberScheduled")),
        Column("READY", _count("numberReady")),
        Column("UP-TO-DATE", _count("updatedNumberScheduled")),
        Column("AVAILABLE", _count("numberAvailable")),
        Column("NODE SELECTOR", lambda row: pairs(row.template.node_selector)),
        AGE,
        *TEMPLATE,
        SELECTOR,
    ),
    "Job": (
        NAME,
        Column("STATUS", _job_status),
        Column("COMPLETIONS", _completions),
        Column("DURATION", _duration),
        AGE,
        *TEMPLATE,
        _wide("SELECTOR", lambda row: str(job_selector(row.one)) or NONE),
    ),
    "Node": (
        NAME,
        Column("STATUS", _node_status),
        Column("ROLES", _roles),
        AGE,
        Column("VERSION", _node_info("kubeletVersion")),
        _wide("INTERNAL-IP", _address("InternalIP")),
        _wide("EXTERNAL-IP", _address("ExternalIP")),
        _wide("OS-IMAGE", _node_info("osImage")),
        _wide("KERNEL-VERSION", _node_info("kernelVersion")),
        _wide("CONTAINER-RUNTIME", _node_info("containerRuntimeVersion")),
    ),
    "Namespace": (NAME, Column("STATUS", lambda row: row.status["phase"]), AGE),
    "Service": (
        NAME,
        Column("TYPE", _spec("type")),
        Column("CLUSTER-IP", _cluster_ip),
        Column("EXTERNAL-IP", _external),
        Column("PORT(S)", _ports),
        AGE,
        _wide("SELECTOR", lambda row: pairs(row.one.typed.spec.selector)),  # type: ignore[attr-defined]
    ),
    "EndpointSlice": (
        NAME,
        Column("ADDRESSTYPE", lambda row: row.one.typed.address_type),  # type: ignore[attr-defined]
        Column("PORTS", _endpoint_ports),
        Column("ENDPOINTS", _endpoints),
        AGE,
    ),
    "NetworkPolicy": (NAME, Column("POD-SELECTOR", _policy_selector), AGE),
    "ClusterNetworkPolicy": (NAME, Column("TIER", _spec("tier")), Column("PRIORITY", _spec("priority")), AGE),
    "AdminNetworkPolicy": (NAME, Column("PRIORITY", _spec("priority")), AGE),
    "Ingress": (
        NAME,
        Column("CLASS", lambda row: row.one.typed.spec.ingress_class_name or NONE),  # type: ignore[attr-defined]
        Column("HOSTS", _hosts),
        Column("ADDRESS", lambda row: ",".join(_given(row))),
        Column("PORTS", _ingress_ports),
        AGE,
    ),
    "IngressClass": (
        NAME,
        Column("CONTROLLER", _body("controller", NONE)),
        Column("PARAMETERS", _parameters),
        AGE,
    ),
    "ServiceAccount": (NAME, Column("SECRETS", _entries("secrets")), AGE),
    "PodDisruptionBudget": (
        NAME,
        Column("MIN AVAILABLE", _body("minAvailable", "N/A")),
        Column("MAX UNAVAILABLE", _body("maxUnavailable", "N/A")),
        Column("ALLOWED DISRUPTIONS", _count("disruptionsAllowed")),
        AGE,
    ),
    "PriorityClass": (
        NAME,
        Column("VALUE", lambda row: row.one.body.get("value", 0)),
        Column("GLOBAL-DEFAULT", lambda row: str(row.one.body.get("globalDefault", False)).lower()),
        AGE,
        Column("PREEMPTIONPOLICY", lambda row: row.one.body.get("preemptionPolicy", "PreemptLowerPriority")),
    ),
    "ConfigMap": (NAME, Column("DATA", _entries("data", "binaryData")), AGE),
    "Secret": (
        NAME,
        Column("TYPE", lambda row: row.one.body.get("type", "Opaque")),
        Column("DATA", _entries("data", "stringData")),
        AGE,
    ),
}
DEFAULT = (NAME, AGE)


def table(
    state: ClusterState,
    objects: list[Resource],
    *,
    is_wide: bool,
    with_namespace: bool,
    with_kind: bool = False,
    with_labels: bool = False,
) -> str:
    """Objects of one kind, a line each, with a line of heads; `with_kind` writes names as `pod/web-1`."""
    columns = [one for one in COLUMNS.get(objects[0].kind.name, DEFAULT) if is_wide or not one.is_wide]
    if with_kind:
        columns[0] = Column("NAME", lambda row: f"{row.one.kind.qualified}/{row.one.name}")
    if with_namespace:
        columns.insert(0, Column("NAMESPACE", lambda row: row.one.namespace))
    if with_labels:
        columns.append(Column("LABELS", lambda row: pairs(row.one.labels)))
    rows = [Row(state, one, status_of(state, one)) for one in objects]
    cells = [[column.head for column in columns], *([str(column.cell(row)) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)
