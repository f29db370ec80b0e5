"""Whole runs on the real kernel: what they leave on disk, what they refuse to measure, how they end."""

import contextlib
import csv
import dataclasses
import gzip
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.designs import DESIGNS
from testbed.experiment.results import ResultsWriter, read_results
from testbed.experiment.run import Prepared, Run, prepare
from testbed.experiment.trial import Trial
from testbed.plan.objects import Plan
from testbed.spec.load import load_scenario

SCENARIO = """
name: small
topology: {topology}
designs: [l3-host-routes, vxlan]
baseline: l3-host-routes
paths:
  cross-node: {{from: client, to: web-2}}
probes:
  latency:    {{tool: sockperf, duration: 1s}}
  throughput: {{tool: iperf3, duration: 1s}}
rounds: 1
seed: 7
"""


@pytest.fixture
def scenario(tmp_path: Path, repository: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(SCENARIO.format(topology=repository / "topologies/two-nodes.yaml"))
    return file


class Silent:
    """A watcher that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def preparing(self, design: str) -> None: ...

    def prepared(self, design: str, ready: bool, news: str) -> None:
        self.told.append(f"{design} {'ready' if ready else 'failed'}: {news}")

    def planned(self, trials: int, seconds: float) -> None:
        self.told.append(f"{trials} trials")

    def began(self, trial: Trial) -> None: ...

    def ended(self, trial: Trial, news: str, seconds: float) -> None:
        self.told.append(f"{trial.round} {trial.label}: {news}")


def carry_out(scenario: Path, folder: Path) -> tuple[bool, list[str]]:
    watcher = Silent()
    with ResultsWriter(folder) as writer:
        loaded = load_scenario(scenario, tuple(DESIGNS))
        return Run(loaded, str(scenario), 7, writer, watcher).carry_out(), watcher.told


@pytest.mark.sealed
def test_a_run_measures_every_design_on_every_path_in_every_round(scenario: Path, tmp_path: Path) -> None:
    all_fit, told = carry_out(scenario, tmp_path / "run")
    assert all_fit
    assert "8 trials" in told
    results = read_results(tmp_path / "run")
    assert results.manifest["state"] == "done"
    assert results.manifest["rounds_done"] == 1
    assert results.manifest["seed"] == 7
    assert results.manifest["designs"]["vxlan"]["check"] == {"asked": 42, "passed": 42, "failures": []}
    assert results.manifest["scenario"]["probes"]["latency"]["duration"] == 1.0
    assert results.manifest["scenario_text"] == scenario.read_text()
    throughputs = [sample for sample in results.samples if sample.metric == "throughput"]
    assert sorted((sample.round, sample.design) for sample in throughputs) == [
        (0, "l3-host-routes"),
        (0, "vxlan"),
        (1, "l3-host-routes"),
        (1, "vxlan"),
    ]
    assert all(sample.value and sample.value > 0.1 for sample in throughputs)
    assert len(results.histograms) == 4
    for histogram in results.histograms:
        (p50,) = (
            sample.value
            for sample in results.samples
            if (sample.round, sample.design, sample.metric) == (histogram.round, histogram.design, "rtt_p50")
        )
        assert histogram.percentile(50) == pytest.approx(p50, rel=0.006)
    raw = {path.name for path in (tmp_path / "run/raw").iterdir()}
    assert len([name for name in raw if name.endswith("iperf3-7500.json.gz")]) == 4
    (one, *_) = (tmp_path / "run/raw").glob("*iperf3-7500.json.gz")
    assert "end" in json.loads(gzip.decompress(one.read_bytes()))
    assert (tmp_path / "run/plans/vxlan.txt").read_text().startswith("#!/bin/sh -e\n")


def without_routes_to(node_cidr: str) -> Callable[[Any, int], Plan]:
    """Host routes as a careless author would write them: one node is forgotten."""

    def wire(layout: Any, mtu: int) -> Plan:
        plan = DESIGNS["l3-host-routes"].wire(layout, mtu)
        spaces = tuple(
            dataclasses.replace(space, routes=tuple(route for route in space.routes if str(route.to) != node_cidr))
            for space in plan.spaces
        )
        return dataclasses.replace(plan, spaces=spaces)

    return wire


@pytest.mark.sealed
def test_a_design_that_fails_its_check_is_not_measured_and_the_others_are(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    careless = dataclasses.replace(
        DESIGNS["vxlan"], wire=without_routes_to("10.244.1.0/24"), crossing=DESIGNS["l3-host-routes"].crossing
    )
    monkeypatch.setitem(DESIGNS, "vxlan", careless)
    all_fit, told = carry_out(scenario, tmp_path / "run")
    assert not all_fit
    assert any(line.startswith("vxlan failed: ") and "client -> pod web-2" in line for line in told)
    results = read_results(tmp_path / "run")
    facts = results.manifest["designs"]["vxlan"]
    assert facts["state"] == "failed"
    assert any("pod client -> pod web-2 tcp" in failure for failure in facts["check"]["failures"])
    assert {sample.design for sample in results.samples} == {"l3-host-routes"}
    assert results.manifest["state"] == "done"


@pytest.mark.sealed
def test_a_design_that_takes_another_way_than_claimed_is_not_measured(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything answers, only not through VXLAN."""
    dishonest = dataclasses.replace(DESIGNS["vxlan"], wire=DESIGNS["l3-host-routes"].wire)
    claims = dataclasses.replace(dishonest, crossing=DESIGNS["l3-gateway"].crossing)
    monkeypatch.setitem(DESIGNS, "vxlan", claims)
    all_fit, _ = carry_out(scenario, tmp_path / "run")
    assert not all_fit
    failures = read_results(tmp_path / "run").manifest["designs"]["vxlan"]["check"]["failures"]
    assert len(failures) == 2
    assert all("seen on the fabric" in failure for failure in failures)


@pytest.mark.sealed
def test_a_design_that_fails_later_is_left_out_from_then_on(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labs are built and checked anew for each round."""
    built: list[str] = []

    def careless_the_second_time(name: str, *rest: Any) -> Prepared:
        built.append(name)
        if built.count("vxlan") == 2 and name == "vxlan":
            return Prepared(None, {"summary": "", "state": "failed", "reason": "on purpose"})
        return prepare(name, *rest)

    monkeypatch.setattr("testbed.experiment.run.prepare", careless_the_second_time)
    all_fit, _ = carry_out(scenario, tmp_path / "run")
    assert not all_fit
    assert sorted(built) == ["l3-host-routes", "l3-host-routes", "vxlan", "vxlan"]
    results = read_results(tmp_path / "run")
    assert results.manifest["designs"]["vxlan"]["state"] == "failed"
    assert {(sample.round, sample.design) for sample in results.samples} == {
        (0, "l3-host-routes"),
        (0, "vxlan"),
        (1, "l3-host-routes"),
    }


@pytest.mark.sealed
def test_a_probe_that_fails_costs_its_own_sample_only(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.probes.sockperf.NAME", "false")
    all_fit, _ = carry_out(scenario, tmp_path / "run")
    assert all_fit
    samples = read_results(tmp_path / "run").samples
    failed = [sample for sample in samples if sample.value is None]
    assert len(failed) == 4
    assert {sample.error for sample in failed} == {"false server ended at once: it said nothing"}
    assert len([sample for sample in samples if sample.metric == "throughput"]) == 4


def left_over() -> tuple[object, ...]:
    """Links, mounts and temporary files of the host, and processes of labs."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    marks = ("mininet:", "sockperf", "iperf3", "testbed run")
    return (
        links,
        Path("/proc/self/mounts").read_text().splitlines(),
        sorted(line for line in processes if any(mark in line for mark in marks)),
        sorted(Path(tempfile.gettempdir()).iterdir()),
        sorted(Path("/run").iterdir()),
    )


def namespaces() -> int:
    """How many network namespaces processes of this machine are in."""
    seen = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            seen.add((process / "ns/net").readlink())
    return len(seen)


def start(scenario: Path, results: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "testbed", "run", str(scenario), "--results", str(results)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.root
def test_ctrl_c_keeps_what_was_measured_and_leaves_nothing_else(scenario: Path, tmp_path: Path) -> None:
    before = left_over()
    run = start(scenario, tmp_path / "results")
    assert run.stderr is not None
    seen = ""
    while "[3/8]" not in seen:
        seen = run.stderr.readline()
        assert seen, "the run ended too early"
    run.send_signal(signal.SIGINT)
    output, errors = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "Traceback" not in errors
    (folder,) = (tmp_path / "results").iterdir()
    results = read_results(folder)
    assert results.manifest["state"] == "interrupted"
    assert any(sample.metric == "throughput" for sample in results.samples)
    assert (folder / "report.html").exists()
    assert "Report: " in output
    assert eventually_as(before)


@pytest.mark.root
@pytest.mark.parametrize("attempt", range(6))
def test_sigkill_at_any_moment_leaves_nothing(scenario: Path, tmp_path: Path, attempt: int) -> None:
    before, before_namespaces = left_over(), namespaces()
    run = start(scenario, tmp_path / "results")
    time.sleep(random.uniform(0.2, 6.0))
    run.kill()
    run.communicate(timeout=30)
    assert eventually_as(before)
    assert namespaces() == before_namespaces


@pytest.mark.root
def test_what_was_measured_before_sigkill_is_on_disk_and_can_be_reported(scenario: Path, tmp_path: Path) -> None:
    run = start(scenario, tmp_path / "results")
    assert run.stderr is not None
    while "[2/8]" not in run.stderr.readline():
        pass
    run.kill()
    run.communicate(timeout=30)
    (folder,) = (tmp_path / "results").iterdir()
    with (folder / "samples.csv").open() as file:
        assert [row for row in csv.DictReader(file) if row["metric"] == "throughput"]
    again = subprocess.run(
        [sys.executable, "-m", "testbed", "report", folder], capture_output=True, text=True, check=True
    )
    assert "Report: " in again.stdout
    assert (folder / "report.html").stat().st_size > 0


def eventually_as(before: object) -> bool:
    """The kernel may take a moment to kill and reap everything."""
    deadline = time.monotonic() + 5
    while left_over() != before:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
