"""What pods request of a node: CPU, memory, storage, extended resources, and a place among its pods.

A node that does not state its CPU, memory or ephemeral storage has no limit of it. It has none of any other resource
that it does not state.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from testbed.kubernetes.cluster import MAX_PODS
from testbed.kubernetes.models.core import Node
from testbed.kubernetes.models.pods import PodSpec
from testbed.kubernetes.models.values import quantity
from testbed.kubernetes.state import Resource

TOO_MANY = "Too many pods"
PODS = "pods"
UNLIMITED = ("cpu", "memory", "ephemeral-storage")
"""Resources without limit on a node that does not state them."""


def units(name: str, value: str | int | float) -> int:
    """An amount of a resource: CPU in thousandths, all else in whole units, rounded up."""
    return -(-quantity(value) * (1000 if name == "cpu" else 1) // 1)


def requests(spec: PodSpec) -> Mapping[str, int]:
    """What a pod requests: all its containers together, or an init container that needs more while it runs."""
    sidecars: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    for container in spec.init_containers:
        own = _amounts(container.resources.requests, container.resources.limits)
        if container.restart_policy == "Always":
            sidecars.update(own)
            peak |= sidecars
        else:
            peak |= sidecars + own
    total = Counter(sidecars)
    for container in spec.containers:
        total.update(_amounts(container.resources.requests, container.resources.limits))
    return {**(total | peak), PODS: 1}


def _amounts(asked: Mapping[str, str | int | float], limits: Mapping[str, str | int | float]) -> Counter[str]:
    """Requests of a container; a resource with a limit alone is requested up to it."""
    return Counter({name: units(name, value) for name, value in {**limits, **asked}.items()})


def allocatable(node: Resource) -> Mapping[str, int]:
    """What a node has for pods, of each resource that it states."""
    assert isinstance(node.typed, Node)
    status = node.typed.status
    stated = {PODS: MAX_PODS, **status.capacity, **status.allocatable}
    return {name: units(name, value) for name, value in stated.items()}


def lacking(wanted: Mapping[str, int], used: Mapping[str, int], has: Mapping[str, int]) -> Iterator[str]:
    """Why a node has not enough for a pod, as the scheduler words it."""
    for name, amount in wanted.items():
        if amount and (name in has or name not in UNLIMITED) and used.get(name, 0) + amount > has.get(name, 0):
            yield TOO_MANY if name == PODS else f"Insufficient {name}"
