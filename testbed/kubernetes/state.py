"""Cluster state: all objects, as an API server holds them. Frozen; each change returns a new state."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar, cast

from testbed.kubernetes.containers import ContainerStatus
from testbed.kubernetes.kinds import BY_NAME, Kind
from testbed.kubernetes.models.core import Node
from testbed.kubernetes.models.meta import Object
from testbed.kubernetes.models.pods import Pod as WrittenPod
from testbed.kubernetes.models.pods import PodSpec
from testbed.kubernetes.naming import uid

POD = BY_NAME["Pod"]
ADOPTABLE = (POD, BY_NAME["ReplicaSet"])
"""Kinds that controllers adopt if they have no owner."""
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
    """When its deletion began."""
    grace: int | None = None
    """Seconds from `deleted` until a pod must have ended."""
    finalizers: tuple[str, ...] = ()
    """What must be done before the object goes."""
    taint_times: Mapping[str, float] = field(default_factory=dict)
    """When a Node got its NoExecute taints, by key."""
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
    def finished_at(self) -> float:
        """When its last container ended, or it stopped to be ready."""
        times = [one.finished_at for one in self.containers if one.finished_at is not None]
        return max(times) if times else self.unready_since or self.metadata.created

    @property
    def is_active(self) -> bool:
        """Whether controllers count the pod."""
        return not self.is_terminating and not self.is_finished

    def is_available(self, now: float, min_ready_seconds: int = 0) -> bool:
        """Whether the pod has been ready for long enough."""
        return self.ready_since is not None and now >= self.ready_since + min_ready_seconds


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
Group = tuple[str, str]
"""Objects that are looked up together: those of an owner (its UID), those without owner (a namespace), and the pods of
a node (its name; empty for pods without node)."""
Groups = Mapping[Group, Mapping[tuple[Kind, Key], Resource]]
_EMPTY: Mapping[tuple[Kind, Key], Resource] = {}


def _groups_of(one: Resource) -> Iterator[Group]:
    if one.metadata.owner is not None:
        yield "owner", one.metadata.owner.uid
    elif one.kind in ADOPTABLE:
        yield "free", one.namespace
    if isinstance(one, Pod):
        yield "node", one.node


@dataclass(frozen=True)
class ClusterState:
    """All objects. Names and UIDs depend on `seed`; `now` is the time of changes."""

    seed: int = 0
    now: float = 0.0
    version: int = 0
    """Resource version of the latest change."""
    objects: Mapping[str, Mapping[Key, Resource]] = field(default_factory=dict)
    """By kind (`Kind.qualified`), namespace and name."""
    groups: Groups = field(default_factory=dict, repr=False, compare=False)
    """A group that no change touched stays the same object, so functions can cache by it."""
    memo: dict[object, Any] = field(default_factory=dict, repr=False, compare=False)
    """What functions of the state remember, checked against the state at each use. All states of a history share it."""

    def of(self, kind: Kind | str) -> Mapping[Key, Resource]:
        """All objects of a kind."""
        return self.objects.get((BY_NAME[kind] if isinstance(kind, str) else kind).qualified, {})

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        """All pods, in the order in which they were made."""
        return cast(tuple[Pod, ...], tuple(self.of(POD).values()))

    def group(self, what: str, name: str) -> Mapping[tuple[Kind, Key], Resource]:
        """A group of objects: `owner` and a UID, `free` and a namespace, `node` and its name."""
        return self.groups.get((what, name), _EMPTY)

    def children(self, owner: Resource, kind: Kind | str) -> tuple[Resource, ...]:
        """Objects of a kind that an object made."""
        wanted = BY_NAME[kind] if isinstance(kind, str) else kind
        return tuple(one for one in self.group("owner", owner.uid).values() if one.kind is wanted)

    def pods_of(self, owner: Resource) -> tuple[Pod, ...]:
        """Pods that an object made, without the pods of its ReplicaSets."""
        return tuple(one for one in self.group("owner", owner.uid).values() if isinstance(one, Pod))

    def pods_on(self, node: str) -> tuple[Pod, ...]:
        """Pods on a node; those without node if it is empty."""
        return tuple(one for one in self.group("node", node).values() if isinstance(one, Pod))

    def __iter__(self) -> Iterator[Resource]:
        return (one for objects in self.objects.values() for one in objects.values())

    def at(self, now: float) -> "ClusterState":
        """The same state at another time."""
        return replace(self, now=now)

    def changed(self, put: Iterable[Resource] = (), gone: Iterable[Resource] = ()) -> "ClusterState":
        """The state with objects added or replaced, and others removed.

        Each object put gets the next resource version, and, if it is new, its UID and time of creation.
        """
        change = _Change(self)
        for one in gone:
            change.remove(one)
        for one in put:
            change.put(one)
        return change.state()

    def edited(self, edits: Iterable[Edit]) -> "ClusterState":
        """The state after several edits."""
        every = [one for one in edits if one is not NOTHING]
        put = (resource for one in every for resource in one.put)
        return self.changed(put, (resource for one in every for resource in one.gone)) if every else self


def _with_times(old: Resource | None, new: Resource, now: float) -> Resource:
    """A pod or node with the times of what happened to it."""
    if isinstance(new.typed, Node):
        keys = (taint.key for taint in new.typed.spec.taints if taint.effect == "NoExecute")
        before = new.metadata.taint_times
        times = {key: before.get(key, now) for key in keys}
        return replace(new, metadata=replace(new.metadata, taint_times=times)) if times != before else new
    if not isinstance(new, Pod):
        return new
    if new.node and new.scheduled_at is None:
        new = replace(new, scheduled_at=now)
    if new.ready_since is not None:
        return replace(new, unready_since=None) if new.unready_since is not None else new
    was_ready = isinstance(old, Pod) and old.uid == new.uid and old.ready_since is not None
    return replace(new, unready_since=now) if was_ready else new


class _Change:
    """A state being changed: tables and groups are copied when they are first touched."""

    def __init__(self, old: ClusterState) -> None:
        self.old = old
        self.version = old.version
        self.objects = dict(old.objects)
        self.groups: dict[Group, Mapping[tuple[Kind, Key], Resource]] = dict(old.groups)
        self.tables: dict[str, dict[Key, Resource]] = {}
        self.own: dict[Group, dict[tuple[Kind, Key], Resource]] = {}

    def remove(self, one: Resource) -> None:
        if (old := self._table(one.kind).pop(one.key, None)) is not None:
            for group in _groups_of(old):
                self._group(group).pop((old.kind, old.key), None)

    def put(self, one: Resource) -> None:
        self.version += 1
        table = self._table(one.kind)
        old = table.get(one.key)
        new = _with_times(old, self._stamped(one), self.old.now)
        table[new.key] = new
        groups = tuple(_groups_of(new))
        for group in _groups_of(old) if old is not None else ():
            if group not in groups:
                self._group(group).pop((new.kind, new.key), None)
        for group in groups:
            self._group(group)[new.kind, new.key] = new

    def state(self) -> ClusterState:
        if not self.tables:
            return self.old
        for group, members in self.own.items():
            if not members:
                del self.groups[group]
        version = self.version + (self.version == self.old.version)
        return ClusterState(self.old.seed, self.old.now, version, self.objects, self.groups, self.old.memo)

    def _table(self, kind: Kind) -> dict[Key, Resource]:
        name = kind.qualified
        if name not in self.tables:
            self.objects[name] = self.tables[name] = dict(self.objects.get(name, {}))
        return self.tables[name]

    def _group(self, group: Group) -> dict[tuple[Kind, Key], Resource]:
        if group not in self.own:
            self.groups[group] = self.own[group] = dict(self.groups.get(group, {}))
        return self.own[group]

    def _stamped(self, one: ResourceT) -> ResourceT:
        given: dict[str, Any] = {"resource_version": self.version}
        if not one.uid:
            given |= {"uid": uid(self.old.seed, self.version, one.kind.qualified, *one.key), "created": self.old.now}
        return replace(one, metadata=replace(one.metadata, **given))
