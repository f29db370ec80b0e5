"""Sizes of a Deployment's ReplicaSets, and how they change when the Deployment is scaled during an update.

Each ReplicaSet grows or shrinks in proportion to its size, as kubernetes/pkg/controller/deployment/sync.go does. Its
annotations remember for which size of the Deployment it got its own.
"""

from collections.abc import Iterable

from testbed.kubernetes.editing import annotated, scaled
from testbed.kubernetes.models.apps import DeploymentSpec, ReplicaSet, RollingDeployment
from testbed.kubernetes.models.values import share_of
from testbed.kubernetes.state import ClusterState, Resource

DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"


def size(replica_set: Resource) -> int:
    """Pods that a ReplicaSet asks for."""
    assert isinstance(replica_set.typed, ReplicaSet)
    return replica_set.typed.spec.replicas


def surge(spec: DeploymentSpec) -> tuple[int, int]:
    """How many pods an update may add, and how many may be unavailable."""
    if spec.strategy.type == "Recreate":
        return 0, 0
    rolling = spec.strategy.rolling_update or RollingDeployment()
    more = share_of(rolling.max_surge, spec.replicas, round_up=True)
    fewer = share_of(rolling.max_unavailable, spec.replicas, round_up=False)
    return more, min(fewer if more or fewer else 1, spec.replicas)


def sized(replica_set: Resource, replicas: int, spec: DeploymentSpec) -> Resource:
    """A ReplicaSet with another size, and the size of its Deployment noted; itself if both are as they were."""
    noted = {DESIRED: str(spec.replicas), MOST: str(spec.replicas + surge(spec)[0])}
    own = replica_set.metadata.annotations
    one = scaled(replica_set, replicas) if size(replica_set) != replicas else replica_set
    return one if all(own.get(key) == text for key, text in noted.items()) else annotated(one, noted)


def is_scaling(spec: DeploymentSpec, sets: Iterable[Resource]) -> bool:
    """Whether the Deployment got another size since its ReplicaSets got theirs."""
    return any(size(one) and _noted(one, DESIRED, spec.replicas) != spec.replicas for one in sets)


def resized(state: ClusterState, spec: DeploymentSpec, new: Resource | None, old: list[Resource]) -> list[Resource]:
    """The ReplicaSets that change when a Deployment is scaled, without going on with an update."""
    sets = [*old, *([new] if new else [])]
    active = [one for one in sets if size(one)]
    if len(active) < 2:
        sizes = {one.name: spec.replicas for one in active or sets[-1:]}
    elif new is not None and _is_saturated(state, spec, new):
        sizes = {one.name: 0 for one in old if size(one)}
    elif spec.strategy.type == "Recreate":
        sizes = {}
    else:
        sizes = _proportional(spec, active)
    changed = ((one, sized(one, sizes[one.name], spec)) for one in sets if one.name in sizes)
    return [after for one, after in changed if after is not one]


def _proportional(spec: DeploymentSpec, active: list[Resource]) -> dict[str, int]:
    allowed = spec.replicas + surge(spec)[0] if spec.replicas else 0
    missing = allowed - sum(map(size, active))
    is_growing = missing > 0
    # The largest first; of equal ones the newest grows first, and the oldest shrinks first.
    order = sorted(active, key=lambda one: one.metadata.created, reverse=is_growing)
    order.sort(key=size, reverse=True)
    sizes: dict[str, int] = {}
    left = missing
    for one in order:
        wanted = _share(spec, one)
        change = (min(wanted, left) if is_growing else max(wanted, left)) if left else 0
        sizes[one.name] = size(one) + change
        left -= change
    sizes[order[0].name] = max(0, sizes[order[0].name] + left)
    return sizes


def _share(spec: DeploymentSpec, one: Resource) -> int:
    """Pods that a ReplicaSet would gain if its share of all pods stayed the same."""
    if not spec.replicas:
        return -size(one)
    most = spec.replicas + surge(spec)[0]
    before = _noted(one, MOST, most) or most
    return (2 * size(one) * most + before) // (2 * before) - size(one)  # Rounded half up.


def _is_saturated(state: ClusterState, spec: DeploymentSpec, new: Resource) -> bool:
    pods = state.pods_of(new)
    available = sum(pod.is_active and pod.is_available(state.now, spec.min_ready_seconds) for pod in pods)
    return size(new) == _noted(new, DESIRED, -1) == available == spec.replicas


def _noted(one: Resource, annotation: str, default: int) -> int:
    text = one.metadata.annotations.get(annotation, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default
