"""The EndpointSlice controller: slices that follow Services and pods.

Of 10,000 Services a change concerns few. The controller remembers the pods and Services that it saw last, and computes
again only the Services whose selector matches a pod that changed, or that changed themselves. The result does not
depend on what it remembers.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from testbed.kubernetes.services.slices import CONTROLLER, MANAGED_BY, SERVICE_NAME, reconciled, selects
from testbed.kubernetes.state import ClusterState, Edit, Key, Pod, Resource

Labelled = tuple[str, str, str]
"""Namespace, key and value of a label."""


@dataclass
class _Memory:
    """Pods and Services by label, and slices by Service, as of the objects seen last."""

    services: Mapping[Key, Resource] = field(default_factory=dict)
    pods: Mapping[Key, Resource] = field(default_factory=dict)
    slices: Mapping[Key, Resource] = field(default_factory=dict)
    nodes: Mapping[Key, Resource] = field(default_factory=dict)
    by_label: dict[Labelled, dict[Key, Pod]] = field(default_factory=dict)
    """Pods that have a label."""
    wanting: dict[Labelled, set[Key]] = field(default_factory=dict)
    """Services, by the first label of their selector."""
    of_service: dict[Key, dict[Key, Resource]] = field(default_factory=dict)
    """The controller's slices of a Service."""

    def follow(self, state: ClusterState) -> set[Key]:
        """Takes a state in, and returns the Services to compute again."""
        services, pods, slices, nodes = (state.of(kind) for kind in ("Service", "Pod", "EndpointSlice", "Node"))
        touched: set[Key] = set(services) if nodes is not self.nodes else set()
        for old, new in _changes(self.services, services):
            touched.update(self._service(old, new))
        for old, new in _changes(self.slices, slices):
            touched.update(self._slice(old, new))
        for old, new in _changes(self.pods, pods):
            touched.update(self._pod(old, new))
        self.services, self.pods, self.slices, self.nodes = services, pods, slices, nodes
        return touched & services.keys()

    def _service(self, old: Resource | None, new: Resource | None) -> Iterable[Key]:
        for one in (old,) if old else ():
            if label := _first(one):
                self.wanting[label].discard(one.key)
        for one in (new,) if new else ():
            if label := _first(one):
                self.wanting.setdefault(label, set()).add(one.key)
            yield one.key

    def _slice(self, old: Resource | None, new: Resource | None) -> Iterable[Key]:
        for one in (old,) if old else ():
            if key := _service_of(one):
                self.of_service[key].pop(one.key, None)
                yield key
        for one in (new,) if new else ():
            if key := _service_of(one):
                self.of_service.setdefault(key, {})[one.key] = one
                yield key

    def _pod(self, old: Resource | None, new: Resource | None) -> Iterable[Key]:
        for one in (old,) if old else ():
            for label in _labels(one):
                self.by_label[label].pop(one.key, None)
                yield from self.wanting.get(label, ())
        for one in (new,) if new else ():
            assert isinstance(one, Pod)
            for label in _labels(one):
                self.by_label.setdefault(label, {})[one.key] = one
                yield from self.wanting.get(label, ())

    def selected(self, service: Resource) -> Iterator[Pod]:
        """The pods that a Service selects, in the order in which they were made."""
        selector = selects(service)
        labels = [(service.namespace, key, value) for key, value in selector.items()]
        fewest = min((self.by_label.get(label, {}) for label in labels), key=len, default={})
        found = (pod for pod in fewest.values() if all(pod.labels.get(key) == value for key, value in selector.items()))
        return iter(sorted(found, key=_age))


class EndpointSlices:
    """The controller. Safe to call from several threads."""

    def __init__(self) -> None:
        self._memory = _Memory()
        self._lock = threading.Lock()

    def __call__(self, state: ClusterState) -> ClusterState:
        """The state with the slices of its Services; the same if nothing differs."""
        with self._lock:
            memory = self._memory
            touched = memory.follow(state)
            services = state.of("Service")
            edits = [self._edit(state, services[key]) for key in services if key in touched] if touched else []
            edits = [one for one in edits if one.put or one.gone]
            if not edits:
                return state
            after = state.edited(edits)
            memory.follow(after)
            return after

    def _edit(self, state: ClusterState, service: Resource) -> Edit:
        slices = tuple(self._memory.of_service.get(service.key, {}).values())
        if not selects(service):
            return Edit(gone=slices)
        return reconciled(state, service, self._memory.selected(service), slices)


with_services = EndpointSlices()
"""One controller for all clusters of this process: it only remembers what it need not compute again."""


def _changes(
    old: Mapping[Key, Resource], new: Mapping[Key, Resource]
) -> Iterator[tuple[Resource | None, Resource | None]]:
    if old is new:
        return
    for key, one in old.items():
        other = new.get(key)
        if other is not one:
            yield one, other
    if len(new) != len(old) or any(key not in old for key in new):
        yield from ((None, one) for key, one in new.items() if key not in old)


def _first(service: Resource) -> Labelled | None:
    return next(((service.namespace, *pair) for pair in selects(service).items()), None)


def _service_of(one: Resource) -> Key | None:
    """The Service for which the controller made a slice."""
    name = one.labels.get(SERVICE_NAME)
    return (one.namespace, name) if name and one.labels.get(MANAGED_BY) == CONTROLLER else None


def _labels(one: Resource) -> Iterator[Labelled]:
    return ((one.namespace, key, value) for key, value in one.labels.items())


def _age(pod: Pod) -> tuple[float, str, str]:
    return pod.metadata.created, pod.namespace, pod.name
