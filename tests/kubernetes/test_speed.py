"""Reading and scheduling are fast enough for large clusters. Times are CPU seconds of this process."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest
import yaml

from testbed.kubernetes.applying import apply
from testbed.kubernetes.cluster import new_cluster
from testbed.kubernetes.deleting import delete
from testbed.kubernetes.reading import read_manifests
from testbed.kubernetes.workloads import due, settled, step
from testbed.plan.collecting import without_collecting
from tests.kubernetes.clusters import Object, nodes, workload

pytestmark = pytest.mark.exclusive
T = TypeVar("T")


def manifest(objects: Iterable[Object]) -> str:
    """Objects as YAML documents."""
    return "---\n".join(yaml.dump(one, Dumper=yaml.CSafeDumper) for one in objects)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result, and the shorter of two times."""
    times = []
    for _ in range(2):
        with without_collecting():
            begin = time.process_time()
            result = work()
            times.append(time.process_time() - begin)
    return result, min(times)


def test_a_thousand_objects_are_read_in_a_second() -> None:
    ports = {"containers": [{"name": "web", "image": "nginx", "ports": [{"containerPort": 80, "name": "http"}]}]}
    text = manifest(workload(name=f"web-{number}", pod=ports) for number in range(1000))
    manifests, seconds = timed(lambda: read_manifests([("shop.yaml", text)]))
    assert len(manifests.objects) == 1000
    assert seconds < 1
    state = apply(new_cluster(nodes(1)), manifests).state
    again, more = timed(lambda: apply(state, manifests).state)
    assert again is state
    assert seconds + more < 1


def test_five_thousand_pods_on_a_hundred_nodes_are_placed_in_seconds() -> None:
    text = manifest(workload(name=f"web-{number}", replicas=50) for number in range(100))
    manifests = read_manifests([("shop.yaml", text)])
    start = new_cluster(nodes(100))
    state, seconds = timed(lambda: settled(apply(start, manifests).state))
    assert Counter(Counter(pod.node for pod in state.pods).values()) == {50: 100}
    assert seconds < 2
    again, seconds = timed(lambda: step(apply(state, manifests).state))
    assert again is state
    assert seconds < 0.3
    victim = state.pods[2500]
    deleted = delete(state, victim.kind, victim.key)
    replaced, seconds = timed(lambda: step(deleted))
    assert len(replaced.pods) == 5001 and replaced.pods[-1].node
    assert seconds < 0.03
    _, seconds = timed(lambda: (step(state), due(state)))
    assert seconds < 0.01
