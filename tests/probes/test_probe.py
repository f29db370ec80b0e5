"""Behaviour of all probes: programs end, errors are reported, ends run on the requested CPUs."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.lab.lab import Lab
from testbed.probes.placement import Placement, placement
from testbed.probes.probe import Ends, ProbeError


def ends(lab: Lab, folder: Path) -> Ends:
    return Ends(lab, "client", "web-2", folder, placement(together=True))


def running(mark: str) -> bool:
    return mark in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


@pytest.mark.sealed
def test_programs_still_running_are_ended(lab: Lab, tmp_path: Path) -> None:
    mark = f"1000.{time.time_ns()}"
    with ends(lab, tmp_path) as both:
        both.start("client", ["sleep", mark])
        both.start("web-2", ["sh", "-c", f"sleep {mark} & sleep {mark}"])
        assert running(mark)
    assert not running(mark)


@pytest.mark.sealed
def test_a_missing_program_is_named(lab: Lab, tmp_path: Path) -> None:
    with ends(lab, tmp_path) as both, pytest.raises(ProbeError, match="no-such-program"):
        both.finish(both.start("client", ["no-such-program"]), "no-such-program", 1)


@pytest.mark.sealed
def test_a_server_that_ends_at_once_is_reported_with_its_last_line(lab: Lab, tmp_path: Path) -> None:
    with ends(lab, tmp_path) as both, pytest.raises(ProbeError, match="sh server ended at once: out of cheese"):
        both.serve(["sh", "-c", "echo out of cheese >&2; exit 1"], 7000)


@pytest.mark.sealed
def test_an_error_on_a_continuation_line_of_sockperf_is_reported(lab: Lab, tmp_path: Path) -> None:
    with ends(lab, tmp_path) as both, pytest.raises(ProbeError, match=r"192\.0\.2\.1:7000 \(errno=99 Cannot assign"):
        both.serve(["sockperf", "server", "-i", "192.0.2.1", "-p", "7000"], 7000, "udp")


@pytest.mark.sealed
def test_a_server_that_never_listens_is_reported(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.probes.probe.START_PATIENCE_S", 0.2)
    with ends(lab, tmp_path) as both, pytest.raises(ProbeError, match="did not listen"):
        both.serve(["sleep", "60"], 7000)


@pytest.mark.sealed
def test_a_program_that_hangs_is_ended_and_reported(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.probes.probe.END_PATIENCE_S", 0.2)
    mark = f"1000.{time.time_ns()}"
    with ends(lab, tmp_path) as both, pytest.raises(ProbeError, match="sleep did not end"):
        both.finish(both.start("client", ["sleep", mark]), "sleep", 0.1)
    assert not running(mark)


@pytest.mark.sealed
def test_a_program_that_fails_is_reported_and_its_output_is_kept(lab: Lab, tmp_path: Path) -> None:
    with ends(lab, tmp_path) as both:
        program = both.start("client", ["sh", "-c", "echo some output; echo no luck >&2; exit 4"])
        with pytest.raises(ProbeError, match="tool failed with exit code 4: no luck"):
            both.finish(program, "tool", 1)
        assert both.raw["tool"] == b"some output\nno luck\n"


@pytest.mark.sealed
def test_programs_run_on_the_cpu_of_their_end(lab: Lab, tmp_path: Path) -> None:
    last = max(os.sched_getaffinity(0))
    with ends(lab, tmp_path) as both:
        output = both.finish(both.start("client", ["sh", "-c", "grep Cpus_allowed_list /proc/self/status"]), "sh", 1)
    assert output.split() == [b"Cpus_allowed_list:", str(last).encode()]


def test_latency_shares_a_cpu_and_throughput_gets_halves() -> None:
    assert placement(together=True, cpus={0, 1, 2, 3}) == Placement("3", "3")
    assert placement(together=False, cpus={0, 1, 2, 3}) == Placement("2,3", "0,1")
    assert placement(together=False, cpus={5}) == Placement("5", "5")


@given(st.sets(st.integers(0, 255), min_size=2))
def test_the_ends_never_share_a_cpu_if_there_are_several(cpus: set[int]) -> None:
    place = placement(together=False, cpus=cpus)
    source, target = (set(map(int, part.split(","))) for part in (place.source, place.target))
    assert source
    assert target
    assert not source & target
    assert source | target == cpus
