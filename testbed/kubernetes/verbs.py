"""What commands do to cluster state, each a pure function: apply, delete, scale.

The arguments are plain data, as they arrive from another process.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from testbed.kubernetes import deleting, editing, rollouts
from testbed.kubernetes.applying import apply
from testbed.kubernetes.disruption import DrainOptions, drain
from testbed.kubernetes.pod_status import with_gate
from testbed.kubernetes.reading import Manifests, read_manifests
from testbed.kubernetes.references import found, references, scope
from testbed.kubernetes.refused import Refused, not_found
from testbed.kubernetes.state import ClusterState, Resource


@dataclass(frozen=True)
class Outcome:
    """The state after a command."""

    state: ClusterState
    lines: tuple[str, ...] = ()
    """What became of each object, as kubectl prints it."""
    remarks: tuple[str, ...] = ()
    """What was left out."""
    uids: tuple[str, ...] = ()
    """The deleted objects, which a caller may await."""
    blocked: tuple[str, ...] = ()
    """What could not be done now, but perhaps later."""
    errors: tuple[str, ...] = ()
    """What could not be done; the rest of the command was."""


def called(one: Resource) -> str:
    """The name of an object in messages: `deployment.apps/web`."""
    return f"{one.kind.qualified}/{one.name}"


def applied(state: ClusterState, *, texts: Sequence[tuple[str, str]] = (), namespace: str = "default") -> Outcome:
    """The state with the objects in texts, given as pairs of file name and text. Raises SpecError."""
    manifests = read_manifests(texts, namespace)
    done = apply(state, manifests)
    lines = (f"{one.kind.qualified}/{one.typed.metadata.name} {outcome}" for one, outcome in done.outcomes)
    return Outcome(done.state, tuple(lines), left_out(manifests))


def left_out(manifests: Manifests) -> tuple[str, ...]:
    """A line for each object of a kind that Kubernetes does not have."""
    lines = []
    for one in manifests.left_out:
        name = f" {one.name}" if one.name else ""
        hint = "; `testbed import` reads it" if one.api_version.startswith("kind.") else ""
        lines.append(
            f"{one.file}:{one.line}: left out: {one.kind}{name} ({one.api_version}) is not a kind of Kubernetes{hint}"
        )
    return tuple(lines)


def deleted(
    state: ClusterState,
    *,
    words: Sequence[str] = (),
    texts: Sequence[tuple[str, str]] = (),
    namespace: str = "default",
    all_namespaces: bool = False,
    selector: str = "",
    every: bool = False,
    grace: int | None = None,
    cascade: deleting.Cascade = "background",
    ignore_missing: bool = False,
) -> Outcome:
    """The state with the deletion of objects begun: those that words name, or those in texts.

    Raises Refused, and SpecError for texts.
    """
    objects = list(_written(state, texts, namespace, ignore_missing))
    if words:
        named = references(words)
        if not (every or selector) and any(not one.name for one in named):
            raise Refused("BadRequest", f"name the {named[0].kind.plural} to delete, or give --all or a --selector")
        try:
            objects += found(state, named, scope(namespace, all_namespaces, selector))
        except Refused as error:
            if error.code != "NotFound" or not ignore_missing:
                raise
    elif not texts:
        raise Refused("BadRequest", "name the objects to delete, such as pod web-1, or give their manifests with -f")
    lines = []
    for one in objects:
        if state.of(one.kind).get(one.key) is not one:
            continue  # Deleted with its owner, or with its namespace.
        state = deleting.delete(state, one.kind, one.key, grace, cascade)
        where = f" from {one.namespace} namespace" if one.namespace else ""
        lines.append(f'{one.kind.qualified} "{one.name}" deleted{where}')
    return Outcome(state, tuple(lines), uids=tuple(one.uid for one in objects))


def _written(
    state: ClusterState, texts: Sequence[tuple[str, str]], namespace: str, ignore_missing: bool
) -> Iterator[Resource]:
    """The objects of the state that texts name."""
    for one in read_manifests(texts, namespace).objects:
        name = one.typed.metadata.name
        there = state.of(one.kind).get((one.namespace, name))
        if there is not None:
            yield there
        elif not ignore_missing:
            raise not_found(one.kind, name)


def scaled(
    state: ClusterState,
    *,
    words: Sequence[str],
    replicas: int,
    current: int | None = None,
    namespace: str = "default",
    selector: str = "",
) -> Outcome:
    """The state with other numbers of replicas. Raises Refused."""
    lines = []
    for one in found(state, references(words), scope(namespace, selector=selector)):
        state = editing.scale(state, one.kind, one.key, replicas, current)
        lines.append(f"{called(one)} scaled")
    return Outcome(state, tuple(lines))


def marked(
    state: ClusterState,
    *,
    what: Literal["label", "annotate"],
    words: Sequence[str],
    changes: Mapping[str, str | None],
    overwrite: bool = False,
    namespace: str = "default",
    selector: str = "",
    every: bool = False,
) -> Outcome:
    """The state with labels or annotations of objects set, or removed if they are None. Raises Refused."""
    named = references(words)
    if not (every or selector) and any(not one.name for one in named):
        raise Refused("BadRequest", f"name the {named[0].kind.plural} to {what}, or give --all or a --selector")
    change, verb = (editing.label, "labeled") if what == "label" else (editing.annotate, "annotated")
    lines = []
    for one in found(state, named, scope(namespace, selector=selector)):
        after = change(state, one.kind, one.key, changes, overwrite=overwrite)
        lines.append(f"{called(one)} {'unchanged' if after is state else verb}")
        state = after
    return Outcome(state, tuple(lines))


def cordoned(state: ClusterState, *, nodes: Sequence[str], unschedulable: bool) -> Outcome:
    """The state with new pods kept off nodes, or allowed again. Raises Refused."""
    lines = []
    for name in nodes:
        after = editing.cordon(state, name, unschedulable=unschedulable)
        already = "already " if after is state else ""
        lines.append(f"node/{name} {already}{'cordoned' if unschedulable else 'uncordoned'}")
        state = after
    return Outcome(state, tuple(lines))


def drained(state: ClusterState, *, node: str, selector: str = "", **options: Any) -> Outcome:
    """The state with a node cordoned and its pods being evicted; `options` as in `DrainOptions`. Raises Refused."""
    if labels := scope(selector=selector).selector:
        options["selector"] = labels
    done = drain(state, node, DrainOptions(**options))
    already = "already " if done.state is state else ""
    return Outcome(
        done.state,
        (f"node/{node} {already}cordoned", *(f"evicting pod {pod.namespace}/{pod.name}" for pod in done.evicted)),
        tuple(f"Warning: {warning}" for warning in done.warnings),
        tuple(pod.uid for pod in done.evicted),
        tuple(f"pod {pod.namespace}/{pod.name} stays for now: {reason}" for pod, reason in done.blocked),
        tuple(f"node/{node} is not drained: {error}" for error in done.errors),
    )


def rolled(
    state: ClusterState,
    *,
    action: Literal["restart", "undo", "pause", "resume", "history", "status"],
    words: Sequence[str],
    namespace: str = "default",
    to_revision: int = 0,
) -> Outcome:
    """The state with an update of workloads begun, taken back, paused or resumed; or what is known of one."""
    lines: list[str] = []
    blocked: list[str] = []
    for one in found(state, references(words), scope(namespace)):
        if action != "restart" and one.kind is not rollouts.DEPLOYMENT:
            raise Refused("BadRequest", f"{called(one)}: {action} is only for Deployments")
        match action:
            case "history":
                lines += (f"{called(one)}", "REVISION  CHANGE-CAUSE")
                lines += (f"{each.number:<8}  {each.change_cause}" for each in rollouts.history(state, one.key))
            case "status":
                text, is_complete = rollouts.progress(state, one.key)
                lines.append(text)
                blocked += [] if is_complete else [text]
            case _:
                after = _ROLL[action](state, one, to_revision)
                past = {"restart": "restarted", "undo": "rolled back", "pause": "paused", "resume": "resumed"}[action]
                lines.append(f"{called(one)} {'unchanged' if after is state else past}")
                state = after
    return Outcome(state, tuple(lines), blocked=tuple(blocked))


_ROLL: Mapping[str, Callable[[ClusterState, Resource, int], ClusterState]] = {
    "restart": lambda state, one, _: rollouts.restart(state, one.kind, one.key),
    "undo": lambda state, one, revision: rollouts.undo(state, one.key, revision),
    "pause": lambda state, one, _: rollouts.pause(state, one.key),
    "resume": lambda state, one, _: rollouts.resume(state, one.key),
}


def gated(state: ClusterState, *, pod: str, gate: str, is_true: bool, namespace: str = "default") -> Outcome:
    """The state with a readiness gate of a pod set. Raises Refused."""
    after = with_gate(state, (namespace, pod), gate, is_true=is_true)
    return Outcome(after, (f"pod/{pod} {'unchanged' if after is state else f'{gate}={is_true}'}",))


VERBS: Mapping[str, Callable[..., Outcome]] = {
    "apply": applied,
    "delete": deleted,
    "scale": scaled,
    "mark": marked,
    "cordon": cordoned,
    "drain": drained,
    "rollout": rolled,
    "gate": gated,
}
"""The commands that change cluster state."""


def shown(state: ClusterState, arguments: Mapping[str, Any]) -> str:
    """The objects that a command names, as kubectl prints them; empty if there are none. Raises Refused."""
    from testbed.kubernetes.printing import printed

    words, since = arguments["words"], arguments.get("since", -1)
    every = bool(arguments.get("all_namespaces"))
    named = references(words)
    where = scope(arguments.get("namespace", "default"), every, arguments.get("selector", ""))
    try:
        objects = found(state, named, where)
    except Refused as error:
        if error.code != "NotFound" or not arguments.get("ignore_missing"):
            raise
        return ""
    return printed(
        state,
        (one for one in objects if one.metadata.resource_version > since),
        arguments.get("output") or "",
        with_namespace=every,
        is_single=len(named) == 1 and bool(named[0].name),
        with_kind=len({one.kind for one in named}) > 1,
        with_labels=bool(arguments.get("show_labels")),
    )


def pending(state: ClusterState) -> tuple[str, ...]:
    """A line for each group of pods that cannot run for the same reason."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for pod in state.pods:
        has_no_network = pod.phase == "Pending" and bool(pod.node) and bool(pod.message)
        if pod.reason or has_no_network or (pod.node and ("", pod.node) not in state.of("Node")):
            reason = pod.reason or (pod.message if has_no_network else f"node {pod.node} not found")
            owner = pod.metadata.owner.uid if pod.metadata.owner else pod.uid
            groups.setdefault((pod.namespace, owner, reason), []).append(pod.name)
    return tuple(
        f"Pending: {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"
        f"{f' in {namespace}' if namespace != 'default' else ''}: {reason}"
        for (namespace, _, reason), names in groups.items()
    )
