"""The Kubernetes objects of a lab, and what follows from them: pods, their networks, their containers.

A change of the objects is computed as a whole: controllers and scheduler run until nothing is left to do, the pods that
they made become pods of the topology, the design plans them, and the lab changes to the new plan. Then the kubelet
starts and ends containers. What it reports - a container runs, a pod is ready, a pod has ended - is a change too, as is
time: a thread applies those for as long as the lab lives.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import is_
from typing import Any

from testbed.kernel.refusal import NotAttached, PlanRefused
from testbed.kubernetes.nodes import is_unreachable, with_node_ready
from testbed.kubernetes.pod_status import followed
from testbed.kubernetes.state import ClusterState, Pod
from testbed.kubernetes.verbs import VERBS, Outcome
from testbed.kubernetes.workloads import due, step
from testbed.lab.agents import FOLLOWED, Agents, addressed
from testbed.lab.editing import Editing, EditRefused
from testbed.lab.expecting import Expecting
from testbed.lab.heartbeats import Heartbeats
from testbed.lab.kubelet import Kubelet, PodStatus
from testbed.plan.cluster import attached, following, pod_id, with_pods
from testbed.plan.collecting import without_collecting
from testbed.plan.objects import Plan
from testbed.plan.parts import parts_of

QUIET_PATIENCE_S = 60.0
"""How long a command waits for containers that are being started."""
SOON_S = 2.0
"""How long it waits for pods that terminate: those without a reason to go on end at once."""
REST_S = 0.01
"""The thread lets reports of the kubelet come together for this time."""


FIRST_RETRY_S, MAX_RETRY_S = 2.0, 60.0
"""A pod without a network is tried again after this time, doubled up to the longest, and when others leave."""


@dataclass(frozen=True)
class _Wait:
    """A pod that waits for its network."""

    reason: str
    pause_s: float
    until: float
    """When it is tried again."""

    @classmethod
    def after(cls, before: "_Wait | None", reason: str, now: float) -> "_Wait":
        pause_s = min(2 * before.pause_s, MAX_RETRY_S) if before else FIRST_RETRY_S
        return cls(reason, pause_s, now + pause_s)


@dataclass(frozen=True)
class Done:
    """A command that was carried out."""

    outcome: Outcome
    seconds: float
    problem: str = ""
    """What the lab could not do, if anything."""


class Cluster:
    """The objects of a lab that is up."""

    def __init__(
        self,
        editing: Editing,
        state: ClusterState,
        host_images: bool = False,
        lock: "threading.RLock | None" = None,
        agents: Agents | None = None,
    ) -> None:
        """`state` has the pods that the lab already has; `lock` is held while the lab changes."""
        self._editing = editing
        self._agents = agents or Agents()
        self._planned_for = state
        """The state for which plans are made."""
        self._followed: tuple[object, ...] = ()
        """The objects for which the agents have rules."""
        editing.dress = self._dressed
        self.state = state
        self._lock = lock or threading.RLock()
        self._moved = threading.Condition(self._lock)
        """Notified whenever the state has changed."""
        self._woken = threading.Event()
        self._ended = False
        self._attached = {key: pod.uid for key, pod in attached(state).items() if editing.lab.plan.has(key)}
        """The pods with a network in the lab: UIDs by the name of the place."""
        self._seen: Mapping[Any, Any] | None = None
        """The pods of the state for which `_attached` is right."""
        self._waiting: dict[str, _Wait] = {}
        """Pods without a network, because there is no room or a plugin failed, by UID."""
        self._problem = ""
        self.host_images = host_images
        self._heartbeats = Heartbeats(editing.topology.cluster.node_grace.total_seconds(), self._woken.set)
        self.kubelet = Kubelet(editing.lab.places, host_images, self._woken.set)
        self._thread = threading.Thread(target=self._follow_events, name="cluster", daemon=True)

    def begin(self) -> None:
        """Starts the containers of the first pods, and follows all events from now on."""
        with self._lock:
            self._settle(self.state.at(time.time()))
        self._heartbeats.begin()
        self._thread.start()

    def down(self) -> None:
        """Ends the containers; may be called twice."""
        self._ended = True
        self._woken.set()
        self._heartbeats.down()
        self.kubelet.down()

    def command(self, verb: str, arguments: Mapping[str, Any], patience_s: float = QUIET_PATIENCE_S) -> Done:
        """Carries a command of `VERBS` out, and waits until the lab has followed, as far as it can at once.

        Raises SpecError and Refused, and EditRefused if pods cannot leave; then nothing has changed.
        """
        begin = time.monotonic()
        with self._lock:
            with without_collecting():
                outcome = VERBS[verb](self.state.at(time.time()), **arguments)
            self._problem = ""
            if outcome.state.version != self.state.version:
                self._settle(outcome.state)
            self._await(lambda: not self._is_busy(), begin + patience_s)
            return Done(outcome, time.monotonic() - begin, self._problem)

    def await_quiet(self, patience_s: float = QUIET_PATIENCE_S) -> None:
        """Waits until no container is being started."""
        with self._lock:
            self._await(lambda: not self._is_busy(), time.monotonic() + patience_s)

    def follow_topology(self) -> None:
        """Takes over nodes and pods that were added to the lab, or removed, in another way."""
        with self._lock:
            layout = self._editing.layout
            state = following(self.state.at(time.time()), layout)
            there = {place.pod.id for node in layout.nodes for place in node.pods}
            self._attached = {key: pod.uid for key, pod in attached(state).items() if key in there}
            self._seen = None
            self._settle(state)

    def await_change(self, version: int, patience_s: float) -> None:
        """Returns when the state is another version than that, or after `patience_s`."""
        with self._lock:
            self._await(lambda: self.state.version != version, time.monotonic() + patience_s)

    def expecting(self) -> Expecting:
        """What must be reachable now."""
        return Expecting(self._agents, self.state, self._editing.lab.plan)

    @property
    def agents(self) -> Agents:
        """The service proxy and the policy engine."""
        return self._agents

    def await_gone(self, uids: tuple[str, ...], patience_s: float) -> bool:
        """Waits until none of these objects exists any more; False if some still do."""
        wanted = frozenset(uids)

        def gone() -> bool:
            return not any(one.uid in wanted for one in self.state)

        with self._lock:
            return self._await(gone, time.monotonic() + patience_s)

    def _await(self, is_so: Callable[[], bool], end: float) -> bool:
        while not is_so():
            left = end - time.monotonic()
            if left <= 0 or self._ended:
                return False
            self._moved.wait(left)
        return True

    def _is_busy(self) -> bool:
        """Whether containers are being started, or ended that have no reason to go on."""
        soon = time.time() - SOON_S
        return any(_is_starting(pod) if not pod.is_terminating else _ends_soon(pod, soon) for pod in self.state.pods)

    def _follow_events(self) -> None:
        while not self._ended:
            self._woken.wait(_seconds_until(min([due(self.state) or math.inf, *self._retries()])))
            time.sleep(REST_S)
            self._woken.clear()
            with self._lock:
                if self._ended:
                    return
                try:
                    self._settle(self.state.at(time.time()))
                except (EditRefused, OSError) as error:
                    self._problem = str(error)

    def _settle(self, state: ClusterState) -> None:
        """Lets controllers, lab and kubelet follow a new state, until nothing is left to do at once."""
        with without_collecting():
            self._settle_all(state)

    def _settle_all(self, state: ClusterState) -> None:
        while True:
            state = self._reported(self._with_nodes(state))
            self._attach(state)
            after = converged(state)
            self._attach(after)
            self._follow_agents(after)
            self._put(after)
            self.kubelet.follow(self._as_kubelets_know(after))
            state = self._reported(after)
            if state is after:
                return

    def _with_nodes(self, state: ClusterState) -> ClusterState:
        """The state with nodes that are cut off, or are not any more."""
        lab = self._editing.lab
        self._heartbeats.follow(lab.plan, lab.namespaces)
        cut_off = self._heartbeats.cut_off
        for _, name in state.of("Node"):
            if name in cut_off or is_unreachable(state, name):
                state = with_node_ready(state, name, None if name in cut_off else True)
        return state

    def _as_kubelets_know(self, state: ClusterState) -> ClusterState:
        """The state as far as the kubelets know it: one that is cut off learns of no deletion."""
        ending = [
            replace(pod, metadata=replace(pod.metadata, deleted=None))
            for name in self._heartbeats.cut_off
            for pod in state.pods_on(name)
            if pod.is_terminating
        ]
        return state.changed(ending) if ending else state

    def _put(self, state: ClusterState) -> None:
        if state is not self.state:
            self.state = state
            self._moved.notify_all()

    def _dressed(self, plan: Plan) -> Plan:
        """A design's plan with the rules of the agents."""
        parts = parts_of(plan)
        layout = parts.layout if parts else self._editing.design.lay_out(self._editing.topology, plan.allocation)
        return self._agents.on(plan, layout, addressed(self._planned_for, layout))

    def _follow_agents(self, state: ClusterState) -> None:
        """Lets the agents of all nodes follow the objects of the state."""
        objects = tuple(state.of(kind) for kind in FOLLOWED)
        if len(objects) == len(self._followed) and all(map(is_, objects, self._followed)):
            return
        self._planned_for = state
        try:
            self._editing.dress_again()
        except (PlanRefused, OSError) as error:
            self._problem = str(error)
        self._agents.forget_stale(self._editing.lab, state)
        self._followed = objects

    def _attach(self, state: ClusterState) -> None:
        """Gives every pod of the state its network, and takes the networks of others away."""
        self._planned_for = state
        pods = state.of("Pod")
        if pods is self._seen and not any(moment <= state.now for moment in self._retries()):
            return
        wanted = attached(state)
        gone = [key for key, uid in self._attached.items() if key not in wanted or wanted[key].uid != uid]
        if any(key in wanted for key in gone):
            # A pod that takes the place of another of the same name gets another address.
            self._change(gone, [])
            self._attached = {key: uid for key, uid in self._attached.items() if key not in gone}
            gone, has_room = [], True
        else:
            has_room = bool(gone)
        fresh = [
            pod
            for key, pod in wanted.items()
            if key not in self._attached
            and (has_room or pod.uid not in self._waiting or self._waiting[pod.uid].until <= state.now)
        ]
        failed = self._change(gone, fresh) if gone or fresh else {}
        untried = {pod.uid for pod in wanted.values()} - {pod.uid for pod in fresh}
        later = {uid: _Wait.after(self._waiting.get(uid), why, state.now) for uid, why in failed.items()}
        self._waiting = {uid: wait for uid, wait in self._waiting.items() if uid in untried} | later
        self._attached = {key: pod.uid for key, pod in wanted.items() if pod.uid not in self._waiting}
        self._seen = pods

    def _change(self, gone: list[str], fresh: list[Pod]) -> dict[str, str]:
        """Changes the networks of pods; returns why some of the fresh ones have none, by UID.

        Raises EditRefused if the others cannot leave.
        """
        try:
            self._editing.change_pods(lambda topology: with_pods(topology, gone, fresh))
        except NotAttached as error:
            failed = {pod_id(pod): pod.uid for pod in fresh if pod_id(pod) in error.pods}
            others = [why for key, why in error.pods.items() if key not in failed]
            self._problem = "\n".join((*error.others, *others)) or self._problem
            if failed:
                self._change(list(failed), [])
            return {uid: error.pods[key] for key, uid in failed.items()}
        except (PlanRefused, OSError) as error:
            self._problem = str(error)
        except EditRefused as error:
            if not fresh:
                raise
            if len(fresh) == 1 and not gone:
                return {fresh[0].uid: str(error)}
            # As many as possible.
            if gone:
                self._change(gone, [])
            half = (len(fresh) + 1) // 2
            return self._change([], fresh[:half]) | (self._change([], fresh[half:]) if fresh[half:] else {})
        return {}

    def _retries(self) -> Iterator[float]:
        """When pods without a network are tried again."""
        return (one.until for one in self._waiting.values())

    def _reported(self, state: ClusterState) -> ClusterState:
        """The state with what the kubelet reports of its pods."""
        statuses = self.kubelet.statuses()
        plan = self._editing.lab.plan
        put, gone = [], []
        cut_off = self._heartbeats.cut_off
        for pod in state.pods:
            status = statuses.get(pod.uid)
            if pod.node in cut_off:
                continue
            if (wait := self._waiting.get(pod.uid)) and pod.message != wait.reason:
                put.append(replace(pod, message=wait.reason))
                continue
            if status is None:
                if pod.is_terminating and not pod.node:
                    gone.append(pod)
                continue
            if pod.is_terminating and status.ended:
                gone.append(pod)
                continue
            place = pod.node if pod.spec.host_network else pod_id(pod)
            addresses = tuple(map(str, plan[place].reached_at)) if plan.has(place) else ()
            hosts = tuple(map(str, plan[pod.node].reached_at)) if plan.has(pod.node) else ()
            after = observed(pod, status, addresses, hosts, state.now)
            if after is not pod:
                put.append(after)
        return state.changed(put, gone) if put or gone else state


def observed(pod: Pod, status: PodStatus, ips: tuple[str, ...], host_ips: tuple[str, ...], now: float) -> Pod:
    """The pod with what its kubelet reports; the same pod if that is known."""
    return followed(
        pod,
        now,
        phase=status.phase,
        is_ready=status.ready,
        containers=status.containers,
        failure=status.reason,
        message=status.message,
        ips=ips,
        host_ips=host_ips,
    )


def converged(state: ClusterState) -> ClusterState:
    """The state after controllers and scheduler ran until nothing is left to do."""
    while True:
        after = step(state)
        if after is state:
            return state
        state = after


def _is_starting(pod: Pod) -> bool:
    is_pending = bool(pod.node) and pod.phase == "Pending" and not pod.message
    return is_pending and not any(one.reason in _FAILED for one in pod.containers)


_FAILED = (
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ImagePullBackOff",
    "RunContainerError",
)
"""Reasons of containers that wait for longer."""


def _ends_soon(pod: Pod, since: float) -> bool:
    return pod.metadata.deleted is not None and pod.metadata.deleted > since


def _seconds_until(moment: float) -> float | None:
    return None if moment == math.inf else max(0.0, moment - time.time())
