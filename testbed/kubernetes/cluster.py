"""A new cluster: its nodes and namespaces."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.models.core import NODE_PORTS, Namespace, Node, NodeSpec, NodeStatus
from testbed.kubernetes.models.pods import Container, PodSpec
from testbed.kubernetes.models.pods import Pod as WrittenPod
from testbed.kubernetes.services.api_server import api_server
from testbed.kubernetes.services.ranges import Ranges, service_cidr
from testbed.kubernetes.state import ClusterState, Metadata, Pod, Resource

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
RELEASE = "v1.37.0"
"""Release of Kubernetes that nodes report: the latest whose fields are known."""
_INFO = (
    *("architecture", "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion", "kubeletVersion"),
    *("machineID", "operatingSystem", "osImage", "systemUUID"),
)
"""Fields of `status.nodeInfo`; all are required."""
MAX_PODS = 110
"""Pods that a node takes, as kubelet's default."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A node as the topology describes it."""

    name: str
    zone: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[tuple[str, str, str], ...] = ()
    """Key, value, effect."""
    addresses: tuple[str, ...] = ()
    pod_ranges: tuple[str, ...] = ()
    max_pods: int = MAX_PODS
    resources: Mapping[str, str] = field(default_factory=dict)
    """What it has for pods, such as `cpu: "4"`; it has no limit of CPU and memory that it does not state."""


def new_cluster(
    machines: Iterable[Machine],
    seed: int = 0,
    now: float = 0.0,
    service_ranges: Iterable[str] = (),
    node_ports: tuple[int, int] = NODE_PORTS,
) -> ClusterState:
    """A cluster with these nodes and the namespaces that every cluster has; with ranges also the API server's Service.

    Without ranges Services have addresses of `DEFAULT_RANGES`.
    """
    state = ClusterState(seed, now)
    namespaces = (namespace(name) for name in NAMESPACES)
    state = state.changed([*namespaces, *map(node, machines)])
    ranges = tuple(service_ranges)
    if not ranges:
        return state
    networks = tuple(map(ip_network, ranges))
    return state.changed([service_cidr(ranges, node_ports), api_server(Ranges(networks, node_ports))])


def namespace(name: str) -> Resource:
    """A Namespace."""
    metadata = Metadata(name=name, labels={"kubernetes.io/metadata.name": name})
    return Resource(kind=BY_NAME["Namespace"], metadata=metadata, typed=Namespace.model_construct(), body={})


def node(machine: Machine) -> Resource:
    """A Node."""
    labels = {
        "kubernetes.io/arch": "amd64",
        HOSTNAME: machine.name,
        "kubernetes.io/os": "linux",
        **({ZONE: machine.zone} if machine.zone else {}),
        **machine.labels,
    }
    ranges = machine.pod_ranges
    taints = [{"key": key, "value": value, "effect": effect} for key, value, effect in machine.taints]
    spec = {
        **({"podCIDR": ranges[0], "podCIDRs": list(ranges)} if ranges else {}),
        **({"taints": taints} if taints else {}),
    }
    addresses = [{"type": "InternalIP", "address": one} for one in machine.addresses]
    status = {
        "addresses": [*addresses, {"type": "Hostname", "address": machine.name}],
        "allocatable": {**machine.resources, "pods": str(machine.max_pods)},
        "capacity": {**machine.resources, "pods": str(machine.max_pods)},
        "nodeInfo": dict.fromkeys(_INFO, "")
        | {"architecture": "amd64", "kubeletVersion": RELEASE, "operatingSystem": "linux"},
    }
    typed = Node.model_construct(
        spec=NodeSpec.model_validate(spec, by_alias=True), status=NodeStatus.model_validate(status, by_alias=True)
    )
    metadata = Metadata(name=machine.name, labels=labels)
    return Resource(kind=BY_NAME["Node"], metadata=metadata, typed=typed, body={"spec": spec}, status=status)


def fixed_pod(name: str, namespace: str, node: str, labels: Mapping[str, str], now: float = 0.0) -> Pod:
    """A pod that the topology puts on a node; it runs and is ready."""
    spec = PodSpec.model_construct(containers=(Container.model_construct(name="pod", image="host"),), node_name=node)
    body = {"spec": {"containers": [{"name": "pod", "image": "host"}], "nodeName": node}}
    return Pod(
        metadata=Metadata(name=name, namespace=namespace, labels=dict(labels)),
        typed=WrittenPod.model_construct(spec=spec),
        body=body,
        node=node,
        phase="Running",
        started_at=now,
        ready_since=now,
    )
