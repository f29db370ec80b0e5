"""Pods made from a workload's template, and the objects that a workload owns."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from testbed.kubernetes.kinds import Kind
from testbed.kubernetes.models.meta import LabelSelector
from testbed.kubernetes.models.pods import Pod as WrittenPod
from testbed.kubernetes.models.pods import PodSpec, PodTemplate
from testbed.kubernetes.naming import generated, template_hash
from testbed.kubernetes.state import NOTHING, POD, ClusterState, Edit, Metadata, Owner, Pod, Resource, edit


def owner_of(resource: Resource) -> Owner:
    """A reference to the object that makes others."""
    return Owner(resource.kind, resource.name, resource.uid)


def hash_of(resource: Resource) -> str:
    """The hash of a workload's template."""
    return template_hash(resource.body["spec"]["template"])


def claims(
    state: ClusterState,
    owner: Resource,
    selector: LabelSelector,
    kind: Kind = POD,
    can_own: Callable[[Resource], bool] = lambda one: True,
) -> Edit:
    """Adopt the objects without owner that the selector matches, and release those that it does not match any more.

    Pods that have ended, and objects that are being deleted, stay as they are.
    """
    released = [one for one in state.children(owner, kind) if _is_active(one) and not selector.matches(one.labels)]
    adopted = [
        one
        for one in state.group("free", owner.namespace).values()
        if one.kind is kind and _is_active(one) and selector.matches(one.labels) and can_own(one)
    ]
    if not released and not adopted:
        return NOTHING
    return edit([*(_owned(one, None) for one in released), *(_owned(one, owner_of(owner)) for one in adopted)])


def _is_active(one: Resource) -> bool:
    return one.is_active if isinstance(one, Pod) else not one.is_terminating


def _owned(one: Resource, owner: Owner | None) -> Resource:
    return replace(one, metadata=replace(one.metadata, owner=owner))


def available(pods: Iterable[Pod], now: float, min_ready_seconds: int) -> int:
    """Number of pods that have been ready for long enough."""
    return sum(pod.is_available(now, min_ready_seconds) for pod in pods)


def inputs(state: ClusterState, owner: Resource) -> Iterator[object]:
    """What a controller of pods depends on, besides the workload itself and the time."""
    yield state.group("free", owner.namespace)
    yield state.group("owner", owner.uid)


def due(state: ClusterState, owner: Resource) -> float:
    """When time alone changes something: a pod becomes available."""
    return available_at(state.pods_of(owner), state.now, owner.typed.spec.min_ready_seconds)  # type: ignore[attr-defined]


def available_at(pods: Iterable[Pod], now: float, min_ready_seconds: int) -> float:
    """The next time at which a ready pod becomes available; infinite if there is none."""
    if not min_ready_seconds:
        return math.inf
    times = (pod.ready_since + min_ready_seconds for pod in pods if pod.ready_since is not None and pod.is_active)
    return min((time for time in times if time > now), default=math.inf)


class PodMaker:
    """Makes the pods of one workload. Those with the same spec share it."""

    def __init__(self, state: ClusterState, owner: Resource, template: PodTemplate) -> None:
        self.state = state
        self.owner = owner
        self.template = template
        self.raw: dict[str, Any] = owner.body["spec"]["template"].get("spec", {})
        self.typed = WrittenPod.model_construct(spec=template.spec)
        self.taken: set[str] = set()
        self.existing = state.of("Pod")

    def make(
        self,
        name: str = "",
        *,
        prefix: str = "",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        spec: PodSpec | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Pod:
        """A new pod with this name, or a generated one; `spec` and `extra` are its own spec, typed and as data."""
        name = name or generated(
            prefix or f"{self.owner.name}-",
            self._is_taken,
            *(self.state.seed, self.owner.uid, self.state.version, len(self.taken)),
        )
        self.taken.add(name)
        meta = self.template.metadata
        typed = WrittenPod.model_construct(spec=spec) if spec else self.typed
        return Pod(
            metadata=Metadata(
                name=name,
                namespace=self.owner.namespace,
                labels={**meta.labels, **(labels or {})},
                annotations={**meta.annotations, **(annotations or {})},
                owner=owner_of(self.owner),
            ),
            typed=typed,
            body={"spec": {**self.raw, **extra} if extra else self.raw},
            node=typed.spec.node_name or "",
        )

    def _is_taken(self, name: str) -> bool:
        return name in self.taken or (self.owner.namespace, name) in self.existing
