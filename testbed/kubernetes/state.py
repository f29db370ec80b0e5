"""Cluster state: all objects, as an API server holds them. Frozen; each change returns a new state."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from testbed.kubernetes.containers import ContainerStatus
from testbed.kubernetes.kinds import BY_NAME, Kind
from testbed.kubernetes.models.meta import Object
from testbed.kubernetes.models.pods import Pod as WrittenPod
from testbed.kubernetes.models.pods import PodSpec
from testbed.kubernetes.naming import uid

POD = BY_NAME["Pod"]
Key = tuple[str, str]
"""Namespace (empty if it has none) and name."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The object that made another."""

    kind: Kind
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What identifies an object. Times are in seconds since 1970."""

    name: str
    namespace: str = ""
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owner: Owner | None = None
    created: float = 0.0
    deleted: float | None = None
    generation: int = 1
    resource_version: int = 0


@dataclass(frozen=True, kw_only=True)
class Resource:
    """An object. `body` is the rest of its data: spec and all else besides metadata and status."""

    kind: Kind
    metadata: Metadata
    typed: Object
    body: Mapping[str, Any]
    status: Mapping[str, Any] = field(default_factory=dict)
    applied: Mapping[str, Any] = field(default_factory=dict)
    """The data as last applied from a manifest; empty for objects that controllers made."""

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def uid(self) -> str:
        return self.metadata.uid

    @property
    def labels(self) -> Mapping[str, str]:
        return self.metadata.labels

    @property
    def key(self) -> Key:
        return self.metadata.namespace, self.metadata.name

    @property
    def is_terminating(self) -> bool:
        return self.metadata.deleted is not None


@dataclass(frozen=True, kw_only=True)
class Pod(Resource):
    """A pod. Pods of one template share `typed` and most of `body`."""

    kind: Kind = POD
    typed: WrittenPod
    node: str = ""
    """Name of its node; empty while it is not scheduled."""
    phase: str = "Pending"
    reason: str = ""
    """Why it is not scheduled."""
    failure: str = ""
    """Why it failed or is lost (`status.reason`): Evicted, DeadlineExceeded, NodeLost, ..."""
    message: str = ""
    """More about `failure`."""
    nominated: str = ""
    """Node on which pods of lower priority are evicted for it."""
    containers: tuple[ContainerStatus, ...] = ()
    """Init containers first; empty until the kubelet reports them."""
    ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    gates: frozenset[str] = frozenset()
    """Readiness gates that are True."""
    scheduled_at: float | None = None
    started_at: float | None = None
    """When the kubelet accepted the pod (`status.startTime`)."""
    ready_since: float | None = None
    """When it became ready; None if it is not."""
    unready_since: float | None = None
    """When it stopped to be ready; None if it is ready or never was."""

    @property
    def spec(self) -> PodSpec:
        return self.typed.spec

    @property
    def is_ready(self) -> bool:
        return self.ready_since is not None

    @property
    def is_finished(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def is_active(self) -> bool:
        """Whether controllers count the pod."""
        return not self.is_terminating and not self.is_finished

    def is_available(self, now: float, min_ready_seconds: int = 0) -> bool:
        """Whether the pod has been ready for long enough."""
        return self.ready_since is not None and now - self.ready_since >= min_ready_seconds


@dataclass(frozen=True)
class Edit:
    """Objects to add or replace, and objects to remove."""

    put: tuple[Resource, ...] = ()
    gone: tuple[Resource, ...] = ()


NOTHING = Edit()


def edit(put: Iterable[Resource] = (), gone: Iterable[Resource] = ()) -> Edit:
    """An edit of these objects."""
    return Edit(tuple(put), tuple(gone))


ResourceT = TypeVar("ResourceT", bound=Resource)


@dataclass(frozen=True)
class ClusterState:
    """All objects. Names and UIDs depend on `seed`; `now` is the time of changes."""

    seed: int = 0
    now: float = 0.0
    version: int = 0
    """Resource version of the latest change."""
    objects: Mapping[str, Mapping[Key, Resource]] = field(default_factory=dict)
    """By kind (`Kind.qualified`), namespace and name."""

    def of(self, kind: Kind | str) -> Mapping[Key, Resource]:
        """All objects of a kind."""
        return self.objects.get((BY_NAME[kind] if isinstance(kind, str) else kind).qualified, {})

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        """All pods, in the order in which they were made."""
        return tuple(one for one in self.of(POD).values() if isinstance(one, Pod))

    @cached_property
    def _children(self) -> Mapping[str, tuple[Resource, ...]]:
        found: dict[str, list[Resource]] = {}
        for objects in self.objects.values():
            for one in objects.values():
                if one.metadata.owner is not None:
                    found.setdefault(one.metadata.owner.uid, []).append(one)
        return {owner: tuple(own) for owner, own in found.items()}

    def children(self, owner: Resource, kind: Kind | str) -> tuple[Resource, ...]:
        """Objects of a kind that an object made."""
        wanted = BY_NAME[kind] if isinstance(kind, str) else kind
        return tuple(one for one in self._children.get(owner.uid, ()) if one.kind is wanted)

    def pods_of(self, owner: Resource) -> tuple[Pod, ...]:
        """Pods that an object made, without the pods of its ReplicaSets."""
        return tuple(one for one in self._children.get(owner.uid, ()) if isinstance(one, Pod))

    def __iter__(self) -> Iterator[Resource]:
        return (one for objects in self.objects.values() for one in objects.values())

    def at(self, now: float) -> "ClusterState":
        """The same state at another time."""
        return replace(self, now=now)

    def changed(self, put: Iterable[Resource] = (), gone: Iterable[Resource] = ()) -> "ClusterState":
        """The state with objects added or replaced, and others removed.

        Each object put gets the next resource version, and, if it is new, its UID and time of creation.
        """
        objects = dict(self.objects)
        own: set[str] = set()
        version = self.version

        def table(kind: Kind) -> dict[Key, Resource]:
            if kind.qualified not in own:
                objects[kind.qualified] = dict(objects.get(kind.qualified, {}))
                own.add(kind.qualified)
            found = objects[kind.qualified]
            assert isinstance(found, dict)
            return found

        for one in gone:
            table(one.kind).pop(one.key, None)
        for one in put:
            version += 1
            table(one.kind)[one.key] = self._stamped(one, version)
        if version == self.version and not own:
            return self
        return ClusterState(self.seed, self.now, version + (version == self.version), objects)

    def edited(self, edits: Iterable[Edit]) -> "ClusterState":
        """The state after several edits."""
        every = [one for one in edits if one is not NOTHING]
        put = (resource for one in every for resource in one.put)
        return self.changed(put, (resource for one in every for resource in one.gone)) if every else self

    def _stamped(self, one: ResourceT, version: int) -> ResourceT:
        given: dict[str, Any] = {"resource_version": version}
        if not one.uid:
            given |= {"uid": uid(self.seed, version, one.kind.qualified, *one.key), "created": self.now}
        return replace(one, metadata=replace(one.metadata, **given))
