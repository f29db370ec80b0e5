"""The fabric's rate: where it is limited, how much waits, how much may be sent at once."""

import pytest

from testbed.designs import DESIGNS
from testbed.plan.objects import TokenBucket
from testbed.spec.topology import Topology

every_design = pytest.mark.parametrize("design", list(DESIGNS))


def with_fabric(topology: Topology, **changes: object) -> Topology:
    return topology.model_copy(update={"fabric": topology.fabric.model_copy(update=changes)})


def bucket(topology: Topology) -> TokenBucket:
    return DESIGNS["l2"].plan(topology)["node1_fabric"].token_buckets[0]


@every_design
def test_each_nodes_link_is_limited_both_ways_and_nothing_else(design: str, shaped: Topology) -> None:
    plan = DESIGNS[design].plan(shaped)
    buckets = {(space.name, bucket.dev) for space in plan.spaces for bucket in space.token_buckets}
    links = ("node1_fabric", "to-fabric"), ("node2_fabric", "to-fabric")
    assert buckets == {*links, ("node1_fabric", "to-node1"), ("node2_fabric", "to-node2")}
    assert not any(space.netems for space in plan.spaces)


@every_design
def test_without_a_rate_nothing_is_limited(design: str, two_nodes: Topology) -> None:
    assert not any(space.token_buckets for space in DESIGNS[design].plan(two_nodes).spaces)


def test_the_queue_is_the_users_or_what_the_link_carries_in_50_ms(two_nodes: Topology) -> None:
    gigabit = with_fabric(two_nodes, rate=10**9)
    assert bucket(gigabit).limit == 10**9 // 8 // 20
    assert bucket(with_fabric(gigabit, queue=123_456)).limit == 123_456


def test_the_queue_of_a_slow_link_holds_a_large_segment(two_nodes: Topology) -> None:
    assert bucket(with_fabric(two_nodes, rate=10**6)).limit == 70_000


def test_a_link_sends_a_millisecond_at_once_and_two_frames_at_least(two_nodes: Topology) -> None:
    assert bucket(with_fabric(two_nodes, rate=10**9)).burst == 125_000
    assert bucket(with_fabric(two_nodes, rate=10**6)).burst == 2 * 1514
    assert bucket(with_fabric(two_nodes, rate=10**6, mtu=9000)).burst == 2 * 9014
