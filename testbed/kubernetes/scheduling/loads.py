"""Nodes with the pods that they have, kept from one state to the next: only pods that changed are counted again."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from testbed.kubernetes.scheduling.neighbours import Group, Neighbours
from testbed.kubernetes.scheduling.ports import HostPort
from testbed.kubernetes.scheduling.resources import allocatable, requests
from testbed.kubernetes.state import POD, ClusterState, Key, Pod, Resource


@dataclass
class Load:
    """A node with what its pods take of it."""

    node: Resource
    number: int
    has: Mapping[str, int]
    used: Counter[str] = field(default_factory=Counter)
    ports: Counter[HostPort] = field(default_factory=Counter)
    workloads: Counter[str] = field(default_factory=Counter)
    pods: dict[Key, Pod] = field(default_factory=dict)


class Loads:
    """The load of each node, and counts of neighbours."""

    def __init__(self, state: ClusterState) -> None:
        self.basis = (state.of("Node"), state.of("Namespace"))
        nodes = list(state.of("Node").values())
        self.nodes = [Load(node, number, allocatable(node)) for number, node in enumerate(nodes)]
        self.by_name = {load.node.name: load for load in self.nodes}
        namespaces = {name: one.labels for (_, name), one in state.of("Namespace").items()}
        self.neighbours = Neighbours({node.name: node.labels for node in nodes}, namespaces)
        self.classes: dict[tuple[object, ...], object] = {}
        """What `placing` knows of pods that are the same to it."""
        self.counted: dict[Key, Pod] = {}
        self._requests: dict[int, tuple[object, Mapping[str, int]]] = {}

    def follow(self, state: ClusterState) -> None:
        """Count the pods of a state."""
        pods = state.of(POD)
        for key in [key for key in self.counted if key not in pods]:
            self.remove(self.counted[key])
        for key, pod in pods.items():
            known = self.counted.get(key)
            if known is pod:
                continue
            assert isinstance(pod, Pod)
            if known is None or not _is_same(known, pod):
                if known is not None:
                    self.remove(known)
                self.add(pod)
            else:
                self._note(pod)

    def add(self, pod: Pod) -> None:
        """Count a pod."""
        self._count(pod, 1)
        self._note(pod)

    def remove(self, pod: Pod) -> None:
        """Count a pod no more."""
        self._count(pod, -1)
        del self.counted[pod.key]
        if (load := self.by_name.get(pod.node)) is not None:
            load.pods.pop(pod.key, None)

    def requested(self, pod: Pod) -> Mapping[str, int]:
        """What a pod requests. Computed once for all pods with the same spec."""
        known = self._requests.get(id(pod.spec))
        if known is None:
            known = self._requests[id(pod.spec)] = (pod.spec, requests(pod.spec))
        return known[1]

    def _note(self, pod: Pod) -> None:
        self.counted[pod.key] = pod
        if (load := self.by_name.get(pod.node)) is not None and not pod.is_finished:
            load.pods[pod.key] = pod

    def _count(self, pod: Pod, number: int) -> None:
        load = self.by_name.get(pod.node)
        if load is None or pod.is_finished:
            return
        for name, amount in self.requested(pod).items():
            load.used[name] += number * amount
        for port in pod.spec.host_ports:
            load.ports[port] += number
            if not load.ports[port]:
                del load.ports[port]
        load.workloads[workload(pod)] += number
        self.neighbours.add(pod, Group.of(pod), number)


def _is_same(old: Pod, new: Pod) -> bool:
    """Whether a pod is the same to the scheduler."""
    return (
        old.node == new.node
        and old.typed is new.typed
        and old.is_finished == new.is_finished
        and old.labels == new.labels
        and old.uid in (new.uid, "")
    )


def workload(pod: Pod) -> str:
    """What a pod belongs to: pods of one workload are spread evenly."""
    return pod.metadata.owner.uid if pod.metadata.owner else pod.uid


def loads_of(state: ClusterState) -> Loads:
    """The loads of a state. Those of an earlier state are used again while its nodes and namespaces are the same."""
    basis = (state.of("Node"), state.of("Namespace"))
    known: Loads | None = state.memo.pop("loads", None)
    if known is None or any(one is not other for one, other in zip(known.basis, basis, strict=True)):
        known = Loads(state)
    known.follow(state)
    return known
