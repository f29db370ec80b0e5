"""Links with a rate: as tc shows it, and as iperf3 measures it."""

import json
import time

import pytest

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.plan.objects import TokenBucket
from testbed.spec.load import topology_of_text
from testbed.spec.qualities import MAX_RATE, MIN_RATE
from testbed.spec.topology import Topology

pytestmark = pytest.mark.sealed

HEADERS = 14 + 20 + 20 + 12
"""Ethernet, IPv4, TCP and its timestamps, in bytes, which iperf3 does not count."""
TRIES, LEAST = 8, 0.9


def with_rate(topology: Topology, rate: int, queue: int | None = None) -> Topology:
    return topology.model_copy(update={"fabric": topology.fabric.model_copy(update={"rate": rate, "queue": queue})})


def carried(lab: Lab, *options: str, around: int = 0) -> float:
    """Bits per second on the links between `client` and `web-2`, including headers; `around` is the outer header."""
    server = lab.start("web-2", ["iperf3", "--server", "--one-off"])
    time.sleep(0.3)
    address = str(lab.plan["web-2"].reached_at[0])
    # Without the first second, in which the queue fills.
    command = ["iperf3", "--client", address, "--time", "2", "--omit", "1", "--json", "--congestion", "reno", *options]
    said = json.loads(lab.start("client", command).communicate(timeout=60)[0])
    server.communicate(timeout=5)
    payload = lab.plan.pod_mtu - (HEADERS - 14)
    return float(said["end"]["sum_received"]["bits_per_second"]) * (payload + HEADERS + around) / payload


def assert_carried(rate: float, lab: Lab, *options: str, around: int = 0) -> None:
    """Never more than 3 % above the rate. On a busy machine it may be less for minutes, so this is measured again."""
    measured = []
    for _ in range(TRIES):
        measured.append(carried(lab, *options, around=around))
        assert measured[-1] <= 1.03 * rate, measured
        if measured[-1] >= LEAST * rate:
            return
    pytest.fail(f"expected {rate:g} bit/s, measured {measured}")


@pytest.mark.parametrize("design", ["l2", "l3-host-routes"])
@pytest.mark.parametrize("rate", [10**7, *(pytest.param(rate, marks=pytest.mark.exclusive) for rate in (10**8, 10**9))])
def test_a_link_carries_its_rate_in_both_directions(rate: int, design: str, two_nodes: Topology) -> None:
    """Also between pods of one Ethernet, where packets are not routed and so not orphaned."""
    with Lab(DESIGNS[design].plan(with_rate(two_nodes, rate))) as lab:
        assert_carried(rate, lab)
        assert_carried(rate, lab, "--reverse")


ASYMMETRIC = """
name: asymmetric
cluster: {pod_cidr: 10.244.0.0/16}
fabric:
  shape: wan
  subnet: 192.168.0.0/16
  wan: {rate: 200Mbit, back: {rate: 10Mbit}}
nodes: {node1: {pods: [client]}, node2: {pods: [web-2]}}
"""


@pytest.mark.parametrize("design", ["vxlan", "l3-gateway"])
def test_the_directions_of_a_link_may_have_different_rates(design: str) -> None:
    """TCP's acknowledgements do not slow down the other direction."""
    with Lab(DESIGNS[design].plan(topology_of_text(ASYMMETRIC, "asymmetric.yaml").value)) as lab:
        around = 0 if design == "l3-gateway" else 50
        assert_carried(2e8, lab, around=around)
        assert_carried(1e7, lab, "--reverse", around=around)


def test_token_buckets_are_as_planned(two_nodes: Topology) -> None:
    for rate in (MIN_RATE, 2 * 10**9, MAX_RATE):
        with Lab(DESIGNS["l2"].plan(with_rate(two_nodes, rate, queue=10**6))) as lab:
            shown = lab.start("node1_fabric", ["tc", "-json", "qdisc"]).communicate(timeout=5)[0]
            found = {item["dev"]: item["options"] for item in json.loads(shown) if item["kind"] == "tbf"}
            assert set(found) == {"to-fabric", "to-node1"}
            for bucket in lab.plan["node1_fabric"].of(TokenBucket):
                assert found[bucket.dev]["rate"] == rate // 8
                assert found[bucket.dev]["burst"] == pytest.approx(bucket.burst, rel=0.02)
