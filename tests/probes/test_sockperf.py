"""Parsing of sockperf's log, and the probe compared with sockperf's own summary."""

import signal
import time
import tracemalloc
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from testbed.kernel.cpu import CpuTimes
from testbed.lab.lab import Lab
from testbed.probes.placement import placement
from testbed.probes.probe import Ends, ProbeError, start_ahead
from testbed.probes.sockperf import SLEEP_S, Sockperf, round_trips
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


def test_all_round_trips_of_the_log_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, LOG) == [55.532, 79.798]


def test_a_single_round_trip_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, LOG.replace("1, 2.411532387, 2.411612185, 79.798\n", "")) == [55.532]


@pytest.mark.parametrize("log", ["", "sockperf: no messages", LOG[:FIRST_ROW] + "-" * 30 + "\n", "\0\0"])
def test_a_log_without_round_trips_is_an_error(log: str, tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="no round trip"):
        read(tmp_path, log)


@pytest.mark.parametrize("end", range(FIRST_ROW, len(LOG), 7))
def test_an_incomplete_log_is_an_error(end: int, tmp_path: Path) -> None:
    """As on a full disk: the last number may lack its last digits."""
    with pytest.raises(ProbeError, match="incomplete"):
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
@pytest.mark.exclusive
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
def test_p999_requires_ten_thousand_values(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    measurement, _ = measured(lab, Sockperf(SockperfProbe(tool="sockperf", duration="1s")))  # type: ignore[arg-type]
    metrics = {value.metric for value in measurement.values}
    assert ("rtt_p99.9" in metrics) == (len(measurement.distributions[0].values) >= 10_000)


@pytest.mark.sealed
def test_the_log_is_kept_as_a_file(lab: Lab, tmp_path: Path) -> None:
    with Ends(lab, "client", "web-2", tmp_path, placement(together=True)) as ends:
        measurement = Sockperf(SockperfProbe(tool="sockperf", duration="1s")).measure(ends)  # type: ignore[arg-type]
        assert round_trips(ends.files["sockperf.csv"]).tolist() == measurement.distributions[0].values.tolist()


@pytest.mark.sealed
def test_ten_minutes_do_not_allocate_gigabytes(lab: Lab, tmp_path: Path) -> None:
    """sockperf allocates memory for all messages that it could send before it sends any."""
    probe = Sockperf(SockperfProbe(tool="sockperf", duration="10min"))  # type: ignore[arg-type]
    with Ends(lab, "client", "web-2", tmp_path, placement(together=True)) as ends:
        finish = ends.finish

        def measured(process, name, seconds):  # type: ignore[no-untyped-def]
            """Record its memory when it begins to send, then end it."""
            while sent_packets(lab) < 1000:
                assert process.poll() is None
            sizes.extend(
                int(line.split()[1])
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
                if line.startswith("VmPeak")
            )
            process.terminate()
            return finish(process, name, seconds)

        sizes: list[int] = []
        ends.finish = measured  # type: ignore[method-assign]
        with pytest.raises(ProbeError):
            probe.measure(ends)
    assert sizes[0] < 1.2 * 1024**2  # In KiB.


ONE_SECOND = Sockperf(SockperfProbe(tool="sockperf", duration="1s"))  # type: ignore[arg-type]


def state(pid: int) -> str:
    """The state as in proc(5): T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.sealed
@pytest.mark.exclusive
def test_a_client_started_ahead_is_stopped_before_it_sends_and_measures_when_resumed(lab: Lab, tmp_path: Path) -> None:
    readings = count()
    before = sent_packets(lab)
    with Ends(
        lab, "client", "web-2", tmp_path, placement(together=True), lambda: CpuTimes(next(readings), 0, 0)
    ) as ends:
        start_ahead([(ONE_SECOND, ends)])
        assert ends.held
        assert state(ends.held.process.pid) == "T"
        time.sleep(SLEEP_S)
        assert state(ends.held.process.pid) == "T"
        assert sent_packets(lab) - before < 20
        waited = next(readings)
        measurement = ONE_SECOND.measure(ends)
        assert len(measurement.distributions[0].values) > 100
        assert ends.began
        assert ends.began.busy > waited, "CPU time before resuming must not count"


@pytest.mark.sealed
def test_a_client_started_ahead_is_ended_if_it_never_measures(lab: Lab, tmp_path: Path) -> None:
    with Ends(lab, "client", "web-2", tmp_path, placement(together=True)) as ends:
        start_ahead([(ONE_SECOND, ends)])
        assert ends.held
        held = ends.held.process
    assert held.poll() == -signal.SIGKILL


@pytest.mark.sealed
@pytest.mark.exclusive
def test_a_client_that_may_have_begun_before_it_was_stopped_is_started_again(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.probes.probe.HOLD_AFTER_S", SLEEP_S / 2 + 0.1)
    with Ends(lab, "client", "web-2", tmp_path, placement(together=True)) as ends:
        start_ahead([(ONE_SECOND, ends)])
        assert ends.held is None
        assert len(ONE_SECOND.measure(ends).distributions[0].values) > 100


@pytest.mark.sealed
def test_an_error_when_starting_ahead_is_reported_when_measuring(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.probes.sockperf.NAME", "no-such-program")
    with Ends(lab, "client", "web-2", tmp_path, placement(together=True)) as ends:
        start_ahead([(ONE_SECOND, ends)])
        assert ends.held is None
        with pytest.raises(ProbeError, match="no-such-program"):
            ONE_SECOND.measure(ends)


def test_long_probes_are_not_started_ahead() -> None:
    """Each would keep its memory while it waits."""
    assert Sockperf(SockperfProbe(tool="sockperf", duration="10min")).lead == 0  # type: ignore[arg-type]


def sent_packets(lab: Lab) -> int:
    with lab.namespaces["client"].entered():
        for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
            if line.strip().startswith("eth0:"):
                return int(line.split()[10])
    raise AssertionError("no eth0")
