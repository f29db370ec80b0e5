"""Commands on the Kubernetes objects of a lab, as plain data from and to other processes."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from testbed.kubernetes.references import Scope, found, references
from testbed.kubernetes.refused import Refused
from testbed.kubernetes.state import ClusterState, Pod, Resource
from testbed.kubernetes.verbs import pending, shown
from testbed.lab.cluster import Cluster
from testbed.lab.editing import EditRefused
from testbed.plan.cluster import pod_id
from testbed.spec.problems import SpecError

WATCH_PATIENCE_S = 2.0
"""How long a question about changes waits for one."""


def carried_out(cluster: Cluster, question: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a command of `testbed.kubernetes.verbs`: its lines, or why it is refused."""
    arguments = dict(question["arguments"])
    if question.get("texts"):
        arguments["texts"] = question["texts"]
    try:
        done = cluster.command(question["verb"], arguments)
    except SpecError as error:
        return {"problems": [asdict(problem) for problem in error.problems]}
    except (Refused, EditRefused) as error:
        return {"refused": str(error)}
    answer = {
        "lines": done.outcome.lines,
        "remarks": done.outcome.remarks,
        "pending": (*pending(cluster.state), *_idle(cluster, question["verb"])),
        "blocked": done.outcome.blocked,
        "errors": done.outcome.errors,
        "seconds": done.seconds,
        "failed": done.problem,
    }
    if done.outcome.uids and question.get("await_s"):
        answer["left"] = not cluster.await_gone(done.outcome.uids, question["await_s"])
    return answer


def _idle(cluster: Cluster, verb: str) -> tuple[str, ...]:
    return cluster.agents.idle(cluster.state) if verb == "apply" else ()


def listed(cluster: Cluster, question: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a question about objects: their text and the version of the state, or why it is refused."""
    arguments = question["arguments"]
    if "since" in arguments:
        cluster.await_change(arguments["since"], WATCH_PATIENCE_S)
    state = cluster.state.at(time.time())
    try:
        return {"text": shown(state, arguments), "version": state.version}
    except Refused as error:
        return {"refused": str(error)}


def place_of(state: ClusterState, name: str, namespace: str) -> str:
    """The place of a pod, named by itself or by what made it, such as deployment/web.

    Raises Refused if none exists, or none is in the lab: it has no node yet, or is completed.
    """
    pods = _named(state, name, namespace)
    there = [pod for pod in pods if pod.node and not pod.is_finished]
    if there:
        return there[0].node if there[0].spec.host_network else pod_id(there[0])
    if not pods:
        raise Refused("NotFound", f"{name} has no pods")
    if pods[0].is_finished:
        raise Refused("BadRequest", f"cannot exec in pod {pods[0].name}: it is completed, with phase {pods[0].phase}")
    raise Refused("BadRequest", f"pod {pods[0].name} does not have a node assigned: {pods[0].reason or 'Pending'}")


def pods_named(state: ClusterState, name: str, namespace: str) -> list[Pod]:
    """The pods on nodes that a name means, in the order in which kubectl chooses: ready ones, then older ones.

    Raises Refused for a name that does not exist.
    """
    return [pod for pod in _named(state, name, namespace) if pod.node]


def _named(state: ClusterState, name: str, namespace: str) -> list[Pod]:
    objects = found(state, references([name if "/" in name else f"pod/{name}"]), Scope(namespace))
    pods = [pod for one in objects for pod in _pods_of(state, one)]
    return sorted(pods, key=lambda pod: (not pod.is_ready, pod.is_terminating, pod.metadata.created, pod.name))


def _pods_of(state: ClusterState, one: Resource) -> list[Pod]:
    if isinstance(one, Pod):
        return [one]
    if one.kind.name == "Service":
        selector = one.body.get("spec", {}).get("selector")
        return [
            pod
            for pod in state.pods
            if selector and pod.namespace == one.namespace and selector.items() <= pod.labels.items()
        ]
    own = list(state.pods_of(one))
    for child in state.children(one, "ReplicaSet"):
        own += state.pods_of(child)
    return own
