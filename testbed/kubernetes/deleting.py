"""Deletion, as the API server and the garbage collector do it.

Pods that have a node terminate: they stay until the kubelet reports that their containers ended. All other objects go
at once, unless something must end before them: a Namespace waits for its contents, and an object deleted in the
foreground waits for the objects that it made.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from testbed.kubernetes.kinds import BY_NAME, Kind
from testbed.kubernetes.refused import Refused, found
from testbed.kubernetes.state import ClusterState, Edit, Key, Pod, Resource, edit

Cascade = Literal["background", "foreground", "orphan"]
"""What happens to the objects that an object made: they follow it, go before it, or stay without owner."""
FOREGROUND = "foregroundDeletion"
_CONTENTS = "kubernetes"
"""Finalizer of a Namespace."""
NAMESPACE = BY_NAME["Namespace"]
PERMANENT = ("default", "kube-node-lease", "kube-public", "kube-system")
"""Namespaces that cannot be deleted."""


def delete(
    state: ClusterState, kind: Kind, key: Key, grace: int | None = None, cascade: Cascade = "background"
) -> ClusterState:
    """The state after a request to delete an object. Raises Refused if there is none or it must stay.

    `grace` is the grace period of a pod in seconds: None is the pod's own, 0 removes it at once.
    """
    one = found(state, kind, key)
    if kind is NAMESPACE and one.name in PERMANENT:
        raise Refused("Forbidden", f'namespaces "{one.name}" is forbidden: this namespace may not be deleted')
    return state.edited([_deletion(state, one, grace, cascade)])


def _deletion(state: ClusterState, one: Resource, grace: int | None, cascade: Cascade) -> Edit:
    if isinstance(one, Pod):
        return ended([one], state.now, grace)
    if one.kind is NAMESPACE:
        return _waiting(one, _CONTENTS, state.now)
    children = tuple(state.group("owner", one.uid).values())
    if cascade == "orphan":
        return edit((replace(child, metadata=replace(child.metadata, owner=None)) for child in children), [one])
    if cascade == "foreground" and children:
        return _waiting(one, FOREGROUND, state.now)
    return edit(gone=[one])


def _waiting(one: Resource, finalizer: str, now: float) -> Edit:
    """The object with its deletion begun, which `finalizer` is to complete."""
    if one.is_terminating:
        return edit()
    meta = replace(one.metadata, deleted=now, finalizers=(*one.metadata.finalizers, finalizer))
    return edit([replace(one, metadata=meta)])


def ended(pods: Iterable[Pod], now: float, grace: int | None = None) -> Edit:
    """Pods deleted: those that run terminate; those that have no node, or have ended, go at once."""
    put: list[Pod] = []
    gone: list[Pod] = []
    for pod in pods:
        if grace == 0 or not pod.node or pod.is_finished:
            gone.append(pod)
        elif (new := terminated(pod, now, grace)) is not pod:
            put.append(new)
    return edit(put, gone)


def terminated(pod: Pod, now: float, grace: int | None = None) -> Pod:
    """The pod with its deletion begun; it serves until it ends. A second request can only shorten its grace period."""
    seconds = pod.spec.termination_grace_period_seconds if grace is None else grace
    meta = pod.metadata
    if meta.deleted is not None:
        left = meta.deleted + (meta.grace or 0) - now
        if grace is None or seconds >= left:
            return pod
        return replace(pod, metadata=replace(meta, grace=max(0, int(now - meta.deleted) + seconds)))
    return replace(pod, metadata=replace(meta, deleted=now, grace=seconds))


def collected(state: ClusterState) -> ClusterState:
    """The state without objects whose owner is gone, and with deletions that wait for others carried on."""
    state = _without_contents(state)
    while (after := _without_children(state)) is not state:
        state = after
    return state


def _without_children(state: ClusterState) -> ClusterState:
    edits: list[Edit] = []
    for what, name in state.groups:
        if what != "owner":
            continue
        children = tuple(state.group(what, name).values())
        owner = _owner(state, children[0])
        if owner is None or FOREGROUND in owner.metadata.finalizers:
            cascade: Cascade = "background" if owner is None else "foreground"
            edits += (_deletion(state, child, None, cascade) for child in children)
    waiting = (one for kind in OWNERS for one in state.of(kind).values() if FOREGROUND in one.metadata.finalizers)
    edits += (edit(gone=[one]) for one in waiting if not state.group("owner", one.uid))
    return state.edited(edits)


def _owner(state: ClusterState, child: Resource) -> Resource | None:
    """The object that made a child; None if it is gone, even if another has its name now."""
    owner = child.metadata.owner
    assert owner is not None
    found = state.of(owner.kind).get((child.namespace if owner.kind.is_namespaced else "", owner.name))
    return found if found is not None and found.uid == owner.uid else None


def _without_contents(state: ClusterState) -> ClusterState:
    """The state with the contents of terminating Namespaces deleted, and without those that are empty."""
    ending = {one.name: one for one in state.of(NAMESPACE).values() if one.is_terminating}
    if not ending:
        return state
    contents = [one for one in state if one.namespace in ending]
    empty = set(ending) - {one.namespace for one in contents}
    edits = [_deletion(state, one, None, "background") for one in contents]
    return state.edited([*edits, edit(gone=[ending[name] for name in empty])])


OWNERS = tuple(BY_NAME[name] for name in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job"))
"""Kinds whose objects make others."""
