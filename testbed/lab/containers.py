"""Output and variables of containers, as plain data for other processes."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from testbed.kubernetes.environment import ConfigError
from testbed.kubernetes.images import Command, runs
from testbed.kubernetes.references import scope
from testbed.kubernetes.refused import Refused
from testbed.kubernetes.state import Pod
from testbed.lab.cluster import Cluster
from testbed.lab.commands import pods_named
from testbed.lab.kubelet import UnknownContainer
from testbed.lab.kubelet.log import Log
from testbed.plan.cluster import pod_id
from testbed.spec.nearest import unknown
from testbed.spec.topology import DEFAULT_NAMESPACE


def answered(cluster: Cluster, question: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a question of `QUESTIONS`, or why it is refused."""
    try:
        return QUESTIONS[question["about"]](cluster, question["arguments"])
    except Refused as error:
        return {"refused": str(error)}
    except UnknownContainer as error:
        return {"refused": f"pod {error.pod}: {unknown('container', error.name, error.containers)}"}
    except ConfigError as error:
        return {"refused": str(error)}


def _pods(cluster: Cluster, arguments: Mapping[str, Any]) -> list[Pod]:
    """The pods that a command means: by selector, name, place, or what made them. Raises Refused."""
    namespace = arguments.get("namespace") or DEFAULT_NAMESPACE
    if selector := arguments.get("selector"):
        chosen = scope(namespace, selector=selector)
        return [pod for pod in cluster.state.pods if chosen.has(pod)]
    name = arguments["name"]
    try:
        return pods_named(cluster.state, name, namespace)
    except Refused:
        pods = [pod for pod in cluster.state.pods if pod_id(pod) == name]
        if not pods or arguments.get("namespace"):
            raise
        return pods


def _variables(cluster: Cluster, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a container; of the first, if none is named."""
    pods = _pods(cluster, arguments)
    if not pods:
        raise Refused("NotFound", f"{arguments['name']}: no pods on nodes")
    try:
        return {"variables": dict(cluster.kubelet.variables(pods[0], arguments["container"]))}
    except ConfigError:
        if arguments["container"]:
            raise
        return {"variables": {}}  # A stand-in runs without them, and commands can run beside it.


def _output(cluster: Cluster, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The output of containers until now, and remarks."""
    pods = _pods(cluster, arguments)
    remarks = []
    if not arguments.get("selector"):
        if len(pods) > 1:
            remarks.append(f"Found {len(pods)} pods, using pod/{pods[0].name}")
        pods = pods[:1]
    if not pods:
        remarks.append("No pods on nodes found.")
    found = []
    for pod in pods:
        chosen, defaulted = _chosen(pod, arguments)
        remarks += defaulted
        for name in chosen:
            log = cluster.kubelet.log(pod, name, arguments["previous"])
            if log is None:
                remarks.append(_why_none(cluster, pod, name, arguments["previous"]))
            else:
                found.append(_read(pod.uid, pod.name, name, log, 0))
    return {"logs": found, "remarks": remarks}


def _chosen(pod: Pod, arguments: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Names of the containers whose output is wanted, and a remark if the first is taken by default."""
    if arguments["container"]:
        return [arguments["container"]], []
    if arguments["all_containers"]:
        return [one.name for _, one in pod.spec.all_containers], []
    names = [one.name for one in pod.spec.containers]
    others = [*names, *(f"{one.name} (init)" for one in pod.spec.init_containers)]
    remark = f'Defaulted container "{names[0]}" out of: {", ".join(others)}'
    return names[:1], [remark] if len(others) > 1 else []


def _why_none(cluster: Cluster, pod: Pod, name: str, previous: bool) -> str:
    """Why a container has no output."""
    spec = next(one for _, one in pod.spec.all_containers if one.name == name)
    what = f'container "{name}" in pod "{pod.name}"'
    if not isinstance(runs(spec, cluster.host_images), Command):
        return f"{what} has no output: a stand-in serves the ports of image {spec.image}"
    status = next((one for one in pod.containers if one.name == name), None)
    if status and status.state == "waiting":
        return f"{what} is waiting to start: {status.message or status.reason}"
    return f"previous terminated {what} not found" if previous else f"{what} has no output: it runs no program"


def _more(cluster: Cluster, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The output of runs after positions: (pod's UID, container, run, position) each."""
    pods = {pod.uid: pod for pod in cluster.state.pods}
    found = []
    for uid, name, run, after in arguments["sources"]:
        pod = pods.get(uid)
        logs = (cluster.kubelet.log(pod, name, previous) for previous in (False, True)) if pod else ()
        found += _those_of_run(uid, pod.name if pod else "", name, logs, run, after)
    return {"logs": found}


def _those_of_run(
    uid: str, pod: str, container: str, logs: Iterable[Log | None], run: int, after: int
) -> list[dict[str, Any]]:
    return [_read(uid, pod, container, log, after) for log in logs if log is not None and log.run == run]


def _read(uid: str, pod: str, container: str, log: Log, after: int) -> dict[str, Any]:
    is_open = not log.is_closed  # Asked before, so that the last output is not missed.
    data, position = log.read(after)
    text = data.decode(errors="surrogateescape")
    own = {"uid": uid, "pod": pod, "container": container, "run": log.run}
    return {**own, "text": text, "after": position, "open": is_open}


QUESTIONS: Mapping[str, Callable[[Cluster, Mapping[str, Any]], dict[str, Any]]] = {
    "variables": _variables,
    "output": _output,
    "more": _more,
}
