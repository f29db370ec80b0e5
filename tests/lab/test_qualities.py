"""Links with delay, loss, duplication and reordering: packets get the configured qualities, in each direction.

The measured delay is that of the fastest packet of a stream, minus that of the fastest packet over the same links
without delay. In a stream each packet makes the kernel send others that are due; a single packet waits for a timer,
which is half a millisecond late in an emulated machine.
"""

import json
import math
import socket
import time
from collections import Counter
from statistics import fmean

import pytest

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.observe.inspect import inspect
from testbed.observe.reach import check_reach
from testbed.plan.objects import Kind, Netem
from testbed.spec.load import load_topology, topology_of_text
from testbed.spec.topology import Topology
from tests.lab.test_rate import assert_carried

pytestmark = [pytest.mark.sealed, pytest.mark.vm, pytest.mark.needs("netem")]

PACKETS = 2000
STREAM = 500
LATE_MS = 0.45
"""Tolerance for the fastest packet in an emulated machine on a busy host."""
BATCH = 50
"""Packets that are sent at a time: more might overflow queues other than the link's."""


def two_sites(wan: str) -> Topology:
    text = (
        "name: made\ncluster: {pod_cidr: 10.244.0.0/16}\nnodes: {node1: {pods: [client]}, node2: {pods: [web-2]}}\n"
        f"fabric: {{shape: wan, subnet: 192.168.0.0/16, wan: {wan}}}\n"
    )
    return topology_of_text(text, "made.yaml").value


def up(wan: str) -> Lab:
    return Lab(DESIGNS["l3-gateway"].plan(two_sites(wan)))


class Line:
    """Numbered datagrams from a pod to another one, with their arrival times."""

    def __init__(self, lab: Lab, source: str, target: str) -> None:
        address = str(lab.plan[target].reached_at[0])
        with lab.namespaces[target].entered():
            self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with lab.namespaces[source].entered():
            self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind((address, 9000))
        self.sender.connect((address, 9000))
        self.patience(5)
        for _ in range(100):  # Until neighbours are resolved.
            self.sender.send(b"0")
            self.patience(0.2)
            if self.drained():
                return
        raise AssertionError(f"no way from {source} to {target}")

    def patience(self, seconds: float) -> None:
        self.receiver.settimeout(seconds)

    def drained(self) -> list[tuple[int, float]]:
        """The numbers that arrive until the receiver times out, each with its arrival time."""
        found = []
        try:
            while True:
                found.append((int(self.receiver.recv(64)), time.monotonic()))
        except TimeoutError:
            return found

    def took_ms(self, packets: int = STREAM) -> list[float]:
        """The delay of each packet of a stream."""
        self.receiver.setblocking(False)
        sent: dict[int, float] = {}
        took: list[float] = []
        while len(took) < packets:
            number = len(sent) + 1
            sent[number] = time.monotonic()
            self.sender.send(str(number).encode())
            while (answer := self.arrived()) is not None:
                took.append((time.monotonic() - sent[answer]) * 1000)
            assert len(sent) < 20 * packets
        self.patience(0.5)
        self.drained()
        return took

    def arrived(self) -> int | None:
        try:
            return int(self.receiver.recv(64))
        except BlockingIOError:
            return None

    def numbers(self, patience: float = 0.2) -> list[int]:
        """Send the numbers from 1 to PACKETS; those that arrive, in order of arrival."""
        self.patience(patience)
        found: list[int] = []
        for start in range(1, PACKETS + 1, BATCH):
            for number in range(start, start + BATCH):
                self.sender.send(str(number).encode())
            found += (number for number, _ in self.drained())
        return found


WAYS = (("client", "web-2"), ("web-2", "client"))


def quickest(wan: str) -> tuple[float, ...]:
    """The shortest delay of a packet in milliseconds, for each direction."""
    with up(wan) as lab:
        return tuple(min(Line(lab, *ends).took_ms()) for ends in WAYS)


@pytest.mark.exclusive
def test_each_direction_has_its_delay() -> None:
    without = quickest("{}")
    for asked, took, least in zip((10, 5), quickest("{delay: 10ms, back: {delay: 5ms}}"), without, strict=True):
        assert asked - 0.1 < took - least < asked + LATE_MS, (without, took)


@pytest.mark.exclusive
def test_a_delay_may_be_shorter_than_a_millisecond() -> None:
    without, took = quickest("{}")[0], quickest("{delay: 500us}")[0]
    assert 0.4 < took - without < 0.5 + LATE_MS < 1, (without, took)


@pytest.mark.exclusive
def test_jitter_spreads_the_delay_evenly_around_itself() -> None:
    least = quickest("{}")[0]
    with up("{delay: 20ms, jitter: 10ms}") as lab:
        line = Line(lab, *WAYS[0])
        # A busy machine only adds to delays.
        took = min(([each - least for each in line.took_ms()] for _ in range(3)), key=fmean)
    assert 9.9 <= min(took) <= 11 + LATE_MS, took
    assert max(took) >= 29, took
    assert fmean(took) == pytest.approx(20, abs=2), took


def within(count: int, share: float) -> bool:
    """Whether `count` is within five standard deviations, which one run in a million exceeds."""
    return abs(count - share * PACKETS) <= 5 * math.sqrt(PACKETS * share * (1 - share))


def test_each_direction_has_its_losses() -> None:
    with up("{loss: 10%, back: {loss: 2%}}") as lab:
        lost = [PACKETS - len(Line(lab, *ends).numbers()) for ends in WAYS]
    assert within(lost[0], 0.10) and within(lost[1], 0.02), lost


def test_without_losses_nothing_is_lost() -> None:
    with up("{delay: 1ms}") as lab:
        for ends in WAYS:
            # With several CPUs the kernel does not guarantee their order.
            assert sorted(Line(lab, *ends).numbers()) == list(range(1, PACKETS + 1))


def test_the_configured_share_of_packets_is_duplicated() -> None:
    with up("{duplicate: 10%, back: {duplicate: 0%}}") as lab:
        counts, plain = (Counter(Line(lab, *ends).numbers()) for ends in WAYS)
    assert len(counts) == len(plain) == PACKETS
    assert set(plain.values()) == {1}
    assert within(sum(count == 2 for count in counts.values()), 0.10)


def test_the_configured_share_of_packets_overtakes_others() -> None:
    with up("{delay: 50ms, reorder: 10%}") as lab:
        line = Line(lab, *WAYS[0])
        line.patience(0.5)
        early = 0
        for start in range(1, PACKETS + 1, BATCH):
            for number in range(start, start + BATCH):
                line.sender.send(str(number).encode())
            arrived = [number for number, _ in line.drained()]
            assert sorted(arrived) == list(range(start, start + BATCH))
            # Early packets arrive before all delayed ones, and the latter are in order.
            late = next(at for at in range(BATCH) if arrived[at:] == sorted(arrived[at:]))
            early += late
    # An early packet may arrive at the position that it would have anyway.
    assert 0.05 * PACKETS <= early <= 0.15 * PACKETS


@pytest.mark.exclusive
def test_a_rate_after_a_delay_is_reached() -> None:
    """The rate is low, since the virtual machine may be slow."""
    with up("{rate: 2Mbit, delay: 20ms}") as lab:
        assert_carried(2e6, lab, "--time", "10")
        assert_carried(2e6, lab, "--time", "10", "--reverse")


def test_netem_is_as_planned() -> None:
    wan = "{delay: 12.5ms, jitter: 2ms, loss: 0.1%, duplicate: 1%, reorder: 3%, back: {delay: 70us, jitter: 0ms}}"
    with up(wan) as lab:
        (cable,) = lab.plan.of_kind(Kind.CABLE)
        shown = lab.start(cable.name, ["tc", "-json", "qdisc"]).communicate(timeout=30)[0]
        found = {item["dev"]: item["options"] for item in json.loads(shown) if item["kind"] == "netem"}
        assert set(found) == {"x1", "x2"}
        assert found["x1"]["delay"]["delay"] == pytest.approx(0.0125, abs=2e-6)
        assert found["x1"]["delay"]["jitter"] == pytest.approx(0.002, abs=2e-6)
        assert found["x2"]["delay"]["delay"] == pytest.approx(0.00007, abs=2e-6)
        assert found["x1"]["loss-random"]["loss"] == pytest.approx(0.001)
        assert found["x1"]["duplicate"]["duplicate"] == pytest.approx(0.01)
        assert found["x1"]["reorder"]["reorder"] == pytest.approx(0.03)
        assert [netem.limit for netem in cable.of(Netem)] == [found[dev]["limit"] for dev in ("x1", "x2")]
        assert inspect(lab.plan, lab.namespaces) == ()


@pytest.mark.parametrize("design", ["vxlan", "l3-gateway"])
def test_the_shipped_wan_comes_up(design: str, repository: object) -> None:
    topology = load_topology(repository / "topologies/wan.yaml").value  # type: ignore[operator]
    with Lab(DESIGNS[design].plan(topology)) as lab:
        assert check_reach(lab.plan, lab.namespaces).failures == ()
        assert inspect(lab.plan, lab.namespaces) == ()
