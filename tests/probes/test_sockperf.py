"""sockperf's log read, and the probe held against a second way of measuring the same thing."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from testbed.lab.lab import Lab
from testbed.probes.placement import placement
from testbed.probes.probe import Ends, ProbeError
from testbed.probes.sockperf import Sockperf, round_trips
from testbed.spec.probes import SockperfProbe

LOG = """------------------------------
test was performed using the following parameters: --mps=100000 --burst=1 --reply-every=1 --msg-size=64 --time=1
------------------------------
sockperf: Summary: Round trip is 55.532 usec
------------------------------
packet, txTime(sec), rxTime(sec), rtt(usec)
0, 2.411476805, 2.411532337, 55.532
1, 2.411532387, 2.411612185, 79.798
------------------------------
"""
FIRST_ROW = LOG.index("0, 2.4")


def read(folder: Path, log: str) -> list[float]:
    file = folder / "sockperf.csv"
    file.write_text(log)
    return round_trips(file).tolist()


def test_every_round_trip_of_the_log_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, LOG) == [55.532, 79.798]


def test_a_single_round_trip_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, LOG.replace("1, 2.411532387, 2.411612185, 79.798\n", "")) == [55.532]


@pytest.mark.parametrize("log", ["", "sockperf: no messages", LOG[:FIRST_ROW] + "-" * 30 + "\n", "\0\0"])
def test_a_log_without_round_trips_is_an_error(log: str, tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="no round trip"):
        read(tmp_path, log)


@pytest.mark.parametrize("end", range(FIRST_ROW, len(LOG), 7))
def test_a_log_that_was_cut_short_is_an_error(end: int, tmp_path: Path) -> None:
    """As when the disk is full: the last number may have lost its last digits."""
    with pytest.raises(ProbeError, match="cut short"):
        read(tmp_path, LOG[:end])


@pytest.mark.parametrize("row", ["1, 2.411532387, 2.411612185, no\n", "1, 2.411532387\n", "\0\n"])
def test_a_damaged_log_is_an_error(row: str, tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="cannot be read"):
        read(tmp_path, LOG.replace("1, 2.411532387, 2.411612185, 79.798\n", row))


def test_a_long_log_is_read_in_little_memory(tmp_path: Path) -> None:
    rows = "".join(f"{number}, 2.411476805, 2.411532337, {number % 1000}.532\n" for number in range(200_000))
    file = tmp_path / "sockperf.csv"
    file.write_text(LOG[:FIRST_ROW] + rows + "-" * 30 + "\n")
    tracemalloc.start()
    try:
        values = round_trips(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(values) == 200_000
    assert peak < file.stat().st_size / 2


@pytest.mark.sealed
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_real_run_agrees_with_the_programs_own_summary(protocol: str, lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    measurement, raw = measured(lab, Sockperf(SockperfProbe(tool="sockperf", protocol=protocol, duration="1s")))  # type: ignore[arg-type]
    values = {value.metric: value.value for value in measurement.values}
    assert values["rtt_p50"] <= values["rtt_p90"] <= values["rtt_p99"]
    (distribution,) = measurement.distributions
    assert values["messages"] == len(distribution.values) > 100
    summary = raw["sockperf"].decode()
    valid = next(line for line in summary.splitlines() if "[Valid Duration]" in line)
    assert values["messages"] == measurement.requests == int(valid.rpartition("=")[2])
    said = float(summary.split("percentile 50.000 =")[1].split()[0])
    assert values["rtt_p50"] == pytest.approx(said, rel=0.01)
    mean = float(summary.split("avg-rtt=")[1].split()[0])
    assert float(np.mean(distribution.values)) == pytest.approx(mean, rel=0.01)


@pytest.mark.sealed
def test_no_percentile_without_the_values_behind_it(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    measurement, _ = measured(lab, Sockperf(SockperfProbe(tool="sockperf", duration="1s")))  # type: ignore[arg-type]
    metrics = {value.metric for value in measurement.values}
    assert ("rtt_p99.9" in metrics) == (len(measurement.distributions[0].values) >= 10_000)


@pytest.mark.sealed
def test_the_log_is_kept_as_a_file(lab: Lab, tmp_path: Path) -> None:
    with Ends(lab, "client", "web-2", tmp_path, placement(together=True)) as ends:
        measurement = Sockperf(SockperfProbe(tool="sockperf", duration="1s")).measure(ends)  # type: ignore[arg-type]
        assert round_trips(ends.files["sockperf.csv"]).tolist() == measurement.distributions[0].values.tolist()


@pytest.mark.sealed
def test_ten_minutes_take_no_gigabytes_to_prepare(lab: Lab, tmp_path: Path) -> None:
    """sockperf sets memory aside for all that it could send before it sends anything."""
    probe = Sockperf(SockperfProbe(tool="sockperf", duration="10min"))  # type: ignore[arg-type]
    with Ends(lab, "client", "web-2", tmp_path, placement(together=True)) as ends:
        asked = ends.finish

        def looked_at(process, name, seconds):  # type: ignore[no-untyped-def]
            """What it has set aside when it begins to send; then it is told to end."""
            while sent_packets(lab) < 1000:
                assert process.poll() is None
            sizes.extend(
                int(line.split()[1])
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
                if line.startswith("VmPeak")
            )
            process.terminate()
            return asked(process, name, seconds)

        sizes: list[int] = []
        ends.finish = looked_at  # type: ignore[method-assign]
        with pytest.raises(ProbeError):
            probe.measure(ends)
    assert sizes[0] < 1.2 * 1024**2  # In KiB.


def sent_packets(lab: Lab) -> int:
    with lab.namespaces["client"].entered():
        for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
            if line.strip().startswith("eth0:"):
                return int(line.split()[10])
    raise AssertionError("no eth0")
