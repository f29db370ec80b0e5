"""Evictions by request: PodDisruptionBudgets, and `drain` as kubectl does it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from testbed.kubernetes.deleting import ended
from testbed.kubernetes.editing import cordon
from testbed.kubernetes.kinds import kept_kind
from testbed.kubernetes.models.meta import LabelSelector
from testbed.kubernetes.models.values import share_of
from testbed.kubernetes.nodes import tainted
from testbed.kubernetes.refused import Refused, found
from testbed.kubernetes.state import POD, ClusterState, Key, Pod, Resource

DISRUPTION_BUDGET = kept_kind("policy/v1", "PodDisruptionBudget")
VIOLATED = "Cannot evict pod as it would violate the pod's disruption budget."
AMBIGUOUS = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."


@dataclass(frozen=True)
class Budget:
    """What a PodDisruptionBudget allows now."""

    expected: int
    healthy: int
    needed: int

    @property
    def allowed(self) -> int:
        """Pods that may be evicted."""
        return max(0, self.healthy - self.needed) if self.expected else 0


def budget(state: ClusterState, one: Resource) -> Budget:
    """What a PodDisruptionBudget allows in a state."""
    spec = one.body.get("spec", {})
    pods = [pod for pod in state.pods if covers(one, pod) and not pod.is_finished]
    healthy = sum(pod.is_ready and not pod.is_terminating for pod in pods)
    if "maxUnavailable" in spec:
        expected = _scale(state, pods)
        return Budget(expected, healthy, max(0, expected - share_of(spec["maxUnavailable"], expected, round_up=True)))
    least = spec.get("minAvailable", 1)
    expected = len(pods) if isinstance(least, int) else _scale(state, pods)
    return Budget(expected, healthy, share_of(least, expected, round_up=True))


def evict(state: ClusterState, key: Key, grace: int | None = None) -> ClusterState:
    """The state after the eviction of a pod. Raises Refused if a PodDisruptionBudget does not allow it."""
    pod = found(state, POD, key)
    assert isinstance(pod, Pod)
    if not (pod.is_finished or pod.is_terminating or pod.phase == "Pending"):
        budgets = [one for one in state.of(DISRUPTION_BUDGET).values() if covers(one, pod)]
        if len(budgets) > 1:
            raise Refused("TooManyRequests", AMBIGUOUS)
        for one in budgets:
            now = budget(state, one)
            # A pod that is not ready may go if the budget is kept without it.
            if not now.allowed and (pod.is_ready or now.healthy < now.needed):
                raise Refused("TooManyRequests", VIOLATED)
    return state.edited([ended([pod], state.now, grace)])


def covers(one: Resource, pod: Pod) -> bool:
    """Whether a PodDisruptionBudget is about a pod."""
    selector = one.body.get("spec", {}).get("selector")
    if selector is None or one.namespace != pod.namespace:
        return False
    return LabelSelector.model_validate(selector, by_alias=True, by_name=False).matches(pod.labels)


def _scale(state: ClusterState, pods: Iterable[Pod]) -> int:
    """Pods that the workloads of these pods ask for."""
    owners = {(pod.namespace, pod.metadata.owner) for pod in pods if pod.metadata.owner is not None}
    workloads = (state.of(owner.kind).get((namespace, owner.name)) for namespace, owner in owners)
    return sum(one.body["spec"].get("replicas", 1) for one in workloads if one is not None)


@dataclass(frozen=True, kw_only=True)
class DrainOptions:
    """Options of `kubectl drain`."""

    ignore_daemonsets: bool = False
    force: bool = False
    delete_emptydir_data: bool = False
    disable_eviction: bool = False
    """Delete pods without asking PodDisruptionBudgets."""
    grace: int | None = None
    """Grace period in seconds; None is each pod's own."""
    selector: LabelSelector = field(default_factory=LabelSelector)
    """Pods to evict."""


@dataclass(frozen=True)
class Drained:
    """A drain so far. Texts are kubectl's."""

    state: ClusterState
    """With the node cordoned, even if the drain is refused."""
    evicted: tuple[Pod, ...] = ()
    """Pods that terminate now; the drain is complete when they are gone."""
    blocked: tuple[tuple[Pod, str], ...] = ()
    """Pods that a PodDisruptionBudget keeps, with the reason; try again later."""
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    """Why nothing was evicted."""


DAEMON_SETS = "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"
LOCAL = "Pods with local storage (use --delete-emptydir-data to override)"
UNMANAGED = "Pods that declare no controller (use --force to override)"
_WARNINGS = {
    DAEMON_SETS: "ignoring DaemonSet-managed Pods",
    LOCAL: "deleting Pods with local storage",
    UNMANAGED: "deleting Pods that declare no controller",
}


def drain(state: ClusterState, node: str, options: DrainOptions) -> Drained:
    """Cordon a node and evict its pods. Raises Refused if there is no such node."""
    state = tainted(cordon(state, node))
    chosen = [pod for pod in state.pods_on(node) if options.selector.matches(pod.labels)]
    accepted = {DAEMON_SETS: options.ignore_daemonsets, LOCAL: options.delete_emptydir_data, UNMANAGED: options.force}
    concerns = {pod.uid: tuple(_concerns(pod)) for pod in chosen}
    with_concern = {one: [pod for pod in chosen if one in concerns[pod.uid]] for one in accepted}
    refused = {one: pods for one, pods in with_concern.items() if pods and not accepted[one]}
    if refused:
        return Drained(state, errors=tuple(f"cannot delete {one}: {_names(pods)}" for one, pods in refused.items()))
    warnings = tuple(f"{_WARNINGS[one]}: {_names(pods)}" for one, pods in with_concern.items() if pods)
    return _evicted(state, [pod for pod in chosen if DAEMON_SETS not in concerns[pod.uid]], options, warnings)


def _evicted(state: ClusterState, pods: list[Pod], options: DrainOptions, warnings: tuple[str, ...]) -> Drained:
    going: list[Pod] = []
    blocked: list[tuple[Pod, str]] = []
    for pod in pods:
        try:
            if options.disable_eviction:
                state = state.edited([ended([pod], state.now, options.grace)])
            else:
                state = evict(state, pod.key, options.grace)
            going.append(pod)
        except Refused as refused:
            blocked.append((pod, refused.message))
    return Drained(state, tuple(going), tuple(blocked), warnings)


def _concerns(pod: Pod) -> Iterator[str]:
    """What must be accepted before a pod is evicted, in the order in which kubectl asks."""
    owner = pod.metadata.owner
    if pod.is_finished:
        return
    if owner is not None and owner.kind.name == "DaemonSet":
        yield DAEMON_SETS
        return
    if any("emptyDir" in volume for volume in pod.body.get("spec", {}).get("volumes", ())):
        yield LOCAL
    if owner is None:
        yield UNMANAGED


def _names(pods: Iterable[Pod]) -> str:
    return ", ".join(f"{pod.namespace}/{pod.name}" for pod in pods)
