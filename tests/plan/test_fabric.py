"""Shaped links: where packets are delayed and rate limited, queue lengths, packets in flight."""

import pytest

from testbed.designs import DESIGNS, PLAIN
from testbed.plan.fabric import under_way
from testbed.plan.objects import Bridge, Kind, Netem, Plan, TokenBucket
from testbed.spec.load import topology_of_text
from testbed.spec.topology import Topology
from testbed.spec.underlay import Quality

every_design = pytest.mark.parametrize("design", list(PLAIN))


def with_fabric(topology: Topology, **changes: object) -> Topology:
    return topology.model_copy(update={"fabric": topology.fabric.model_copy(update=changes)})


def bucket(topology: Topology) -> TokenBucket:
    return DESIGNS["l2"].plan(topology)["node1_fabric"].of(TokenBucket)[0]


@every_design
def test_only_the_links_of_nodes_are_rate_limited_in_both_directions(design: str, shaped: Topology) -> None:
    plan = DESIGNS[design].plan(shaped)
    buckets = {(space.name, bucket.dev) for space in plan.spaces for bucket in space.of(TokenBucket)}
    links = ("node1_fabric", "to-fabric"), ("node2_fabric", "to-fabric")
    assert buckets == {*links, ("node1_fabric", "to-node1"), ("node2_fabric", "to-node2")}
    assert not any(space.of(Netem) for space in plan.spaces)


@every_design
def test_without_a_rate_there_is_no_token_bucket(design: str, two_nodes: Topology) -> None:
    assert not any(space.of(TokenBucket) for space in DESIGNS[design].plan(two_nodes).spaces)


def test_the_queue_is_the_configured_one_or_50_ms_of_the_rate(two_nodes: Topology) -> None:
    gigabit = with_fabric(two_nodes, rate=10**9)
    assert bucket(gigabit).limit == 10**9 // 8 // 20
    assert bucket(with_fabric(gigabit, queue=123_456)).limit == 123_456


def test_the_queue_of_a_slow_link_holds_a_large_segment(two_nodes: Topology) -> None:
    assert bucket(with_fabric(two_nodes, rate=10**6)).limit == 70_000


def test_the_burst_is_a_millisecond_of_the_rate_and_at_least_two_frames(two_nodes: Topology) -> None:
    assert bucket(with_fabric(two_nodes, rate=10**9)).burst == 125_000
    assert bucket(with_fabric(two_nodes, rate=10**6)).burst == 2 * 1514
    assert bucket(with_fabric(two_nodes, rate=10**6, mtu=9000)).burst == 2 * 9014


def two_sites(wan: str) -> Plan:
    text = (
        "name: made\ncluster: {pod_cidr: 10.244.0.0/16}\nnodes: 2\n"
        f"fabric: {{shape: wan, subnet: 192.168.0.0/16, wan: {wan}}}\n"
    )
    return DESIGNS["vxlan"].plan(topology_of_text(text, "made.yaml").value)


def test_each_direction_is_delayed_first_and_rate_limited_at_the_exit() -> None:
    """Delay and rate are on different devices, and neither on the sender's device."""
    plan = two_sites("{rate: 100Mbit, delay: 20ms, back: {rate: 10Mbit, delay: 5ms}}")
    (cable,) = plan.of_kind(Kind.CABLE)
    assert [(item.dev, item.delay_us) for item in cable.of(Netem)] == [("x1", 20_000), ("x2", 5_000)]
    assert [(item.dev, item.rate) for item in cable.of(TokenBucket)] == [("to-edge2", 10**8), ("to-edge1", 10**7)]
    masters = {name: getattr(dev, "master", None) for name, dev in plan.devices_of(cable.name).items()}
    assert masters == {"br0": None, "br1": None, "to-edge1": "br0", "x1": "br0", "x2": "br1", "to-edge2": "br1"}
    assert not any(space.of(Netem) or space.of(TokenBucket) for space in plan.spaces if space is not cable)


def test_a_link_with_only_a_rate_has_one_promiscuous_bridge() -> None:
    (cable,) = (plan := two_sites("{rate: 100Mbit}")).of_kind(Kind.CABLE)
    assert [(link.name, link.promiscuous) for link in cable.links if isinstance(link, Bridge)] == [("br0", True)]
    assert set(plan.devices_of(cable.name)) == {"br0", "to-edge1", "to-edge2"}


def test_bridges_after_a_delay_are_not_promiscuous() -> None:
    (cable,) = two_sites("{rate: 100Mbit, delay: 1ms, back: {delay: 0ms}}").of_kind(Kind.CABLE)
    assert [link.promiscuous for link in cable.links if isinstance(link, Bridge)] == [True, False]


def test_a_link_without_qualities_is_a_veth_pair() -> None:
    assert not two_sites("{delay: 0ms}").of_kind(Kind.CABLE)


@pytest.mark.parametrize(
    ("quality", "packets"),
    [
        (Quality(rate=10**8, delay_us=20_000), 10**8 // 8 // 60 * 20 // 1000),
        (Quality(rate=10**6, delay_us=1_000), 1000),
        (Quality(delay_us=500_000), 250_000),
    ],
)
def test_the_packets_in_flight_follow_from_rate_and_delay(quality: Quality, packets: int) -> None:
    assert under_way(quality) == pytest.approx(packets, rel=0.01)


@pytest.mark.parametrize(
    ("wan", "whole"),
    [
        ("{delay: 1ms}", True),
        ("{rate: 1Gbit, offload: off}", False),
        ("{offload: off}", False),
        *(("{delay: 1ms, back: {" + each + ": 1%}}", False) for each in ("loss", "duplicate", "reorder")),
    ],
)
def test_links_that_lose_duplicate_or_reorder_packets_have_no_offload(wan: str, whole: bool) -> None:
    plan = two_sites(wan)
    ends = [("edge1", "to-edge2"), ("edge2", "to-edge1")]
    ends += [
        (cable.name, dev)
        for cable in plan.of_kind(Kind.CABLE)
        for dev in ("x1", "x2")
        if dev in plan.devices_of(cable.name)
    ]
    assert {dev not in plan.without_offload(place) for place, dev in ends} == {whole}
    assert plan.without_offload("site1") == ()
