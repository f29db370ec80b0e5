"""Rollouts as kubectl controls them: restart, undo, pause, resume, history.

Each change returns the new state, or raises Refused and changes nothing.
"""

from dataclasses import dataclass
from typing import Any

from testbed.kubernetes.editing import annotated, with_spec
from testbed.kubernetes.kinds import BY_NAME, Kind
from testbed.kubernetes.refused import Refused, found, resource_name
from testbed.kubernetes.state import ClusterState, Key, Resource
from testbed.kubernetes.status import status_of
from testbed.kubernetes.times import timestamp
from testbed.kubernetes.workloads.deployment import HASH, HISTORY, new_replica_set, replica_sets, revision

RESTARTED = "kubectl.kubernetes.io/restartedAt"
CHANGE_CAUSE = "kubernetes.io/change-cause"
_RESTARTABLE = ("Deployment", "StatefulSet", "DaemonSet")
DEPLOYMENT = BY_NAME["Deployment"]


@dataclass(frozen=True)
class Revision:
    """A template in the history of a Deployment."""

    number: int
    change_cause: str


def restart(state: ClusterState, kind: Kind, key: Key) -> ClusterState:
    """Replace all pods of a workload, as an update of its template does."""
    one = found(state, kind, key)
    if kind.name not in _RESTARTABLE:
        raise Refused("BadRequest", f'{resource_name(kind)} "{one.name}" restarting is not supported')
    if one.body["spec"].get("paused"):
        raise Refused("BadRequest", _paused(one, "restart", "resume"))
    template = one.body["spec"]["template"]
    metadata = template.get("metadata", {})
    annotations = {**metadata.get("annotations", {}), RESTARTED: timestamp(state.now)}
    new = {**template, "metadata": {**metadata, "annotations": annotations}}
    return state.changed([with_spec(one, template=new)]) if new != template else state


def undo(state: ClusterState, key: Key, to_revision: int = 0) -> ClusterState:
    """Go back to the template of a revision; 0 is the one before the current."""
    one = found(state, DEPLOYMENT, key)
    if one.body["spec"].get("paused"):
        raise Refused("BadRequest", _paused(one, "rollback", "resume"))
    sets = replica_sets(state, one)
    if to_revision:
        chosen = next((each for each in sets if to_revision in _revisions(each)), None)
        if chosen is None:
            raise Refused("NotFound", f"unable to find specified revision {to_revision} in history")
    else:
        if len(sets) < 2:
            raise Refused("NotFound", f'no rollout history found for deployment "{one.name}"')
        chosen = sets[-2]
    if chosen is new_replica_set(state, one):
        return state
    return state.changed([with_spec(annotated(one, _cause(chosen)), template=_template(chosen))])


def pause(state: ClusterState, key: Key) -> ClusterState:
    """Start no update of a Deployment until it is resumed."""
    return _with_pause(state, key, True)


def resume(state: ClusterState, key: Key) -> ClusterState:
    """Go on with updates of a Deployment."""
    return _with_pause(state, key, False)


def history(state: ClusterState, key: Key) -> tuple[Revision, ...]:
    """Revisions of a Deployment, the oldest first."""
    sets = replica_sets(state, found(state, DEPLOYMENT, key))
    return tuple(Revision(revision(one), one.metadata.annotations.get(CHANGE_CAUSE, "<none>")) for one in sets)


def progress(state: ClusterState, key: Key) -> tuple[str, bool]:
    """What `kubectl rollout status` says of a Deployment, and whether the rollout is complete.

    Raises Refused if the rollout is late.
    """
    one = found(state, DEPLOYMENT, key)
    status, wanted = status_of(state, one), one.body["spec"].get("replicas", 1)
    updated, available = status["updatedReplicas"], status["availableReplicas"]
    conditions = status["conditions"]
    waiting = f'Waiting for deployment "{one.name}" rollout to finish:'
    if any(each["reason"] == "ProgressDeadlineExceeded" for each in conditions):
        raise Refused("Conflict", f'deployment "{one.name}" exceeded its progress deadline')
    if updated < wanted:
        return f"{waiting} {updated} out of {wanted} new replicas have been updated...", False
    if status["replicas"] > updated:
        return f"{waiting} {status['replicas'] - updated} old replicas are pending termination...", False
    if available < updated:
        return f"{waiting} {available} of {updated} updated replicas are available...", False
    return f'deployment "{one.name}" successfully rolled out', True


def _with_pause(state: ClusterState, key: Key, paused: bool) -> ClusterState:
    one = found(state, DEPLOYMENT, key)
    if bool(one.body["spec"].get("paused")) == paused:
        raise Refused("Conflict", f'deployments.apps "{one.name}" is {"already paused" if paused else "not paused"}')
    return state.changed([with_spec(one, paused=paused)])


def _paused(one: Resource, action: str, remedy: str) -> str:
    return f'deployments.apps "{one.name}" can\'t {action} paused deployment (run rollout {remedy} first)'


def _revisions(replica_set: Resource) -> set[int]:
    before = replica_set.metadata.annotations.get(HISTORY, "")
    return {revision(replica_set), *(int(text) for text in before.split(",") if text.isascii() and text.isdigit())}


def _template(replica_set: Resource) -> dict[str, Any]:
    """The template of a Deployment that this ReplicaSet was made from."""
    template: dict[str, Any] = replica_set.body["spec"]["template"]
    labels = {key: value for key, value in template["metadata"]["labels"].items() if key != HASH}
    return {**template, "metadata": {**template["metadata"], "labels": labels}}


def _cause(replica_set: Resource) -> dict[str, str]:
    cause = replica_set.metadata.annotations.get(CHANGE_CAUSE)
    return {CHANGE_CAUSE: cause} if cause else {}
