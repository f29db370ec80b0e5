"""iperf3's report read, and the probe held against the kernel's own counters."""

import json
from pathlib import Path

import pytest

from testbed.lab.lab import Lab
from testbed.probes.iperf3 import Iperf3, parse
from testbed.probes.probe import ProbeError
from testbed.spec.scenario import Iperf3Probe


def test_the_receivers_rate_is_read() -> None:
    report = {"end": {"sum_sent": {"retransmits": 7, "bits_per_second": 9e9}, "sum_received": {"bits_per_second": 8e9}}}
    assert parse(json.dumps(report)) == (8.0, 7)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ('{"error": "unable to connect to server: Connection refused"}', "Connection refused"),
        ('{"end": {}}', "has no 'sum_received'"),
        ("Segmentation fault", "no JSON"),
        ("", "no JSON"),
    ],
)
def test_a_report_without_a_rate_is_an_error(output: str, reason: str) -> None:
    with pytest.raises(ProbeError, match=reason):
        parse(output)


@pytest.mark.sealed
@pytest.mark.parametrize("streams", [1, 2])
def test_the_rate_agrees_with_the_bytes_that_the_kernel_counted(streams: int, lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    before = received_bytes(lab)
    measurement, _ = measured(lab, Iperf3(Iperf3Probe(tool="iperf3", streams=streams, duration="1s")))  # type: ignore[arg-type]
    counted = (received_bytes(lab) - before) * 8 / 1e9
    values = {value.metric: value.value for value in measurement.values}
    # The device counts headers too, and the last packets may come a moment after the second is over.
    assert values["throughput"] == pytest.approx(counted, rel=0.10)
    assert values["retransmits"] >= 0


def received_bytes(lab: Lab) -> int:
    with lab.namespaces["web-2"].entered():
        for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
            if line.strip().startswith("eth0:"):
                return int(line.split()[1])
    raise AssertionError("no eth0")
