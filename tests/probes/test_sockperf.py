"""sockperf's log read, and the probe held against a second way of measuring the same thing."""

import numpy as np
import pytest

from testbed.lab.lab import Lab
from testbed.probes.probe import ProbeError
from testbed.probes.sockperf import Sockperf, round_trips
from testbed.spec.scenario import SockperfProbe

LOG = """------------------------------
test was performed using the following parameters: --mps=600000 --burst=1 --reply-every=1 --msg-size=64 --time=1
------------------------------
sockperf: Summary: Round trip is 55.532 usec
------------------------------
packet, txTime(sec), rxTime(sec), rtt(usec)
0, 2.411476805, 2.411532337, 55.532
1, 2.411532387, 2.411612185, 79.798
------------------------------
"""


def test_every_round_trip_of_the_log_is_read() -> None:
    assert round_trips(LOG).tolist() == [55.532, 79.798]


@pytest.mark.parametrize("log", ["", "sockperf: no messages", LOG[: LOG.index("0, 2.4")], "\0\0"])
def test_a_log_without_round_trips_is_an_error(log: str) -> None:
    with pytest.raises(ProbeError, match="no round trip"):
        round_trips(log)


@pytest.mark.sealed
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_real_run_agrees_with_the_programs_own_summary(protocol: str, lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    measurement, raw = measured(lab, Sockperf(SockperfProbe(tool="sockperf", protocol=protocol, duration="1s")))  # type: ignore[arg-type]
    values = {value.metric: value.value for value in measurement.values}
    assert values["rtt_p50"] <= values["rtt_p90"] <= values["rtt_p99"]
    (distribution,) = measurement.distributions
    assert values["messages"] == len(distribution.values) > 100
    summary = raw["sockperf"].decode()
    said = float(summary.split("percentile 50.000 =")[1].split()[0])
    assert values["rtt_p50"] == pytest.approx(said, rel=0.01)
    mean = float(summary.split("avg-rtt=")[1].split()[0])
    assert float(np.mean(distribution.values)) == pytest.approx(mean, rel=0.01)


@pytest.mark.sealed
def test_no_percentile_without_the_values_behind_it(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    measurement, _ = measured(lab, Sockperf(SockperfProbe(tool="sockperf", duration="1s")))  # type: ignore[arg-type]
    metrics = {value.metric for value in measurement.values}
    assert ("rtt_p99.9" in metrics) == (len(measurement.distributions[0].values) >= 10_000)
