"""Parsing of fping's list and reports, and the probe compared with the kernel's timestamps, drops and queues."""

from pathlib import Path

import numpy as np
import pytest

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.probes import PROBES
from testbed.probes.fping import Fping, every_answer, refined, reported
from testbed.probes.probe import Measurement, ProbeError
from testbed.spec.probes import FpingProbe
from testbed.spec.topology import Topology

REPORTS = b"""CHART fping.10_244_1_2_packets '' 'FPing Packets for host 10.244.1.2' packets '10.244.1.2' fping
BEGIN fping.10_244_1_2_packets
SET xmt = 1
SET rcv = 1
END
BEGIN fping.10_244_1_2_latency
SET min = 73460
SET avg = 73460
SET max = 73460
END
BEGIN fping.10_244_1_2_packets
SET xmt = 1
SET rcv = 0
END
BEGIN fping.10_244_1_2_latency
END
BEGIN fping.10_244_1_2_packets
SET xmt = 2
SET rcv = 2
END
BEGIN fping.10_244_1_2_latency
SET min = 13517
SET avg = 14000
SET max = 14483
END
"""


def probe(**options: object) -> Fping:
    return Fping(FpingProbe.model_validate({"tool": "fping", "duration": "1s", **options}))


def values(measurement: Measurement) -> dict[str, float]:
    return {value.metric: value.value for value in measurement.values}


def test_the_list_of_answers_is_read_with_missing_ones() -> None:
    assert np.array_equal(
        every_answer("10.244.1.2 : 0.073 - 12.4\n"), np.array([73.0, np.nan, 12400.0]), equal_nan=True
    )


@pytest.mark.parametrize("text", ["", "fping: can't create socket", "10.244.1.2 :", "sh: 1: fping: not found"])
def test_output_without_a_list_is_an_error(text: str) -> None:
    with pytest.raises(ProbeError, match="listed no times"):
        every_answer(text)


def test_reports_are_read() -> None:
    assert list(reported(REPORTS)) == [(1, 73.46), (2, 13.517)]


def test_a_report_of_one_answer_refines_its_time_to_the_nanosecond() -> None:
    listed = np.array([73.0, 14.0, 15.0, 2340.0])
    assert refined(listed, [(1, 73.46), (2, 13.517), (1, 2338.1)]).tolist() == [73.46, 14.0, 15.0, 2338.1]


def test_a_report_of_another_answer_changes_nothing() -> None:
    listed = np.array([73.0, 14.0])
    assert refined(listed, [(1, 74.2), (1, 15.9), (1, 14.0)]).tolist() == [73.0, 14.0]


@pytest.mark.sealed
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.exclusive
def test_times_agree_with_the_kernels_timestamps_of_the_same_packets(
    family: int,
    two_nodes: Topology,
    ipv6_only: Topology,
    measured,  # type: ignore[no-untyped-def]
    by_hand,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    lab = Lab(DESIGNS["l3-host-routes"].plan(two_nodes if family == 4 else ipv6_only))
    with by_hand.tapped(lab, tmp_path, "icmp or icmp6") as seen:
        measurement, _ = measured(lab, probe())
    (distribution,) = measurement.distributions
    echo, answer = (8, 0) if family == 4 else (128, 129)
    sent, received = ({body[6:8]: time for time, body in seen.packets if body[0] == kind} for kind in (echo, answer))
    on_the_wire = np.array([received[number] - sent[number] for number in sorted(sent)]) * 1e6
    assert len(on_the_wire) == len(distribution.values) == 500
    # fping's times also include the path from its clock to the device and from the device to its socket.
    added = distribution.values - on_the_wire
    assert added.min() > -1
    assert np.median(added) < 0.5 * np.median(on_the_wire) + 5
    assert np.mean(np.abs(added - np.median(added)) < 0.25 * np.median(on_the_wire) + 2) > 0.5


@pytest.mark.sealed
@pytest.mark.exclusive
def test_times_are_finer_than_fpings_list(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    measurement, _ = measured(lab, probe(interval="1ms"))
    (distribution,) = measurement.distributions
    finer = np.abs(distribution.values - np.round(distribution.values)) > 0.0005
    assert finer.mean() > 0.5
    assert set(values(measurement)) <= set(PROBES["fping"].metrics)
    assert values(measurement)["loss"] == 0


@pytest.mark.sealed
def test_loss_matches_the_kernels_drops(lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    by_hand.drop(lab, "web-2", "icmp type echo-request numgen inc mod 10 0")
    measurement, _ = measured(lab, probe())
    assert values(measurement)["loss"] == 10.0
    assert len(measurement.distributions[0].values) == 450


@pytest.mark.sealed
def test_no_answer_at_all_is_a_loss_of_100_percent(lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    by_hand.drop(lab, "web-2", "icmp type echo-request")
    measurement, _ = measured(lab, probe())
    assert values(measurement) == {"loss": 100.0}
    assert measurement.distributions == ()


@pytest.mark.sealed
@pytest.mark.exclusive
def test_an_answer_that_takes_longer_than_the_interval_is_not_lost(lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    # 500 requests of 98 bytes per second exceed the rate; the rest waits in the queue.
    by_hand.shape(lab, "rate", "300kbit", "burst", "2000", "latency", "2s")
    measurement, raw = measured(lab, probe())
    assert values(measurement)["loss"] == 0
    assert values(measurement)["icmp_rtt_p90"] > 20_000
    listed = every_answer(raw["fping"].decode())
    assert measurement.distributions[0].values == pytest.approx(listed, rel=0.006, abs=0.51)


def test_the_probe_is_bounded() -> None:
    assert probe(duration="10min").seconds == 600


@pytest.mark.sealed
def test_a_large_request_is_measured(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    measurement, _ = measured(lab, probe(message="65000B", interval="20ms"))
    small, _ = measured(lab, probe(interval="20ms"))
    assert values(measurement)["loss"] == 0
    assert values(measurement)["icmp_rtt_p50"] > values(small)["icmp_rtt_p50"]
