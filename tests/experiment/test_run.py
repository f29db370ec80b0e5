"""Whole runs on the real kernel: files on disk, refused designs, termination.

One run uses the real programs; tests of values use its results. Other tests use a probe that takes 0.05 s
(`tests.experiment.quick`).
"""

import contextlib
import csv
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from testbed.designs import CATALOGUE, DESIGNS, PLAIN, TRANSPORTS, Design
from testbed.designs.transport import Joining, others
from testbed.experiment.labs import Prepared, plan_of, prepare
from testbed.experiment.manifest import extended, manifest_of
from testbed.experiment.results import LAB, ResultsWriter, Sample, read_results
from testbed.experiment.resume import mend
from testbed.experiment.run import Run
from testbed.experiment.schedule import Schedule, Site
from testbed.experiment.trial import Trial
from testbed.lab.capsule import enclosed
from testbed.plan.objects import Plan
from testbed.probes import sockperf
from testbed.probes.probe import ProbeError
from testbed.report import write_report
from testbed.report.run import read_run
from testbed.spec.load import load_scenario
from testbed.spec.scenario import LIMITS
from tests.conftest import ROOT
from tests.experiment import quick

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
LIMIT_REPEATS = 2
ARMS = ["aa", "l3-host-routes", "vxlan"]
AT = ("at=rack1", "at=rack2")


def small(folder: Path) -> Path:
    file = folder / "small.yaml"
    file.write_text(SCENARIO.format(topology=ROOT / "topologies/two-nodes.yaml"))
    return file


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    return small(tmp_path)


@pytest.fixture(autouse=True)
def fewer_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests do not need limits."""
    monkeypatch.setattr("testbed.experiment.outline.LIMIT_REPEATS", LIMIT_REPEATS)


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    quick.install(monkeypatch)


uses_quick_probes = pytest.mark.usefixtures("quick_probes")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a run with the real programs, and its watcher's log; `small.yaml` is next to it."""
    folder = tmp_path_factory.mktemp("measured")

    def measure() -> int:
        all_well, log = carry_out(small(folder), folder / "run")
        (folder / "log.json").write_text(json.dumps(log))
        return 0 if all_well else 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("testbed.experiment.outline.LIMIT_REPEATS", LIMIT_REPEATS)
        assert enclosed(measure) == 0
    return folder / "run", json.loads((folder / "log.json").read_text())


def throughput_only(scenario: Path, *lines: str) -> Path:
    """The scenario with only its throughput probe, and more lines, which replace lines with the same key."""
    whole = [line for line in scenario.read_text().splitlines() if "sockperf" not in line]
    keys = [line.partition(":")[0] for line in lines]
    kept = [line for line in whole if line.partition(":")[0] not in keys]
    scenario.write_text("\n".join([*kept, *lines]) + "\n")
    return scenario


class Recorder:
    """A watcher that records its calls as text."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def preparing(self, design: str) -> None: ...

    def prepared(self, design: str, ready: bool, news: str) -> None:
        self.log.append(f"{design} {'ready' if ready else 'failed'}: {news}")

    def planned(self, trials: int, seconds: float) -> None:
        self.log.append(f"{trials} trials")

    def began(self, trial: Trial) -> None: ...

    def ended(self, trial: Trial, news: str, seconds: float) -> None:
        self.log.append(f"{trial.round} {trial.label}: {news}")

    def trouble(self, reason: str, waiting: int) -> None:
        self.log.append(f"trouble: {reason}")


def carry_out(
    scenario: Path, folder: Path, judge: Callable[[int], bool] = lambda look: True, budget: timedelta | None = None
) -> tuple[bool, list[str]]:
    """Run a scenario, or resume the run in the folder. `budget` may be less than a scenario file allows."""
    watcher = Recorder()
    loaded = load_scenario(scenario, CATALOGUE)
    if budget:
        loaded = replace(loaded, value=loaded.value.model_copy(update={"budget": budget}))
    schedule = Schedule.of(loaded, 7)
    earlier = mend(folder) if folder.exists() else None
    manifest = earlier.manifest if earlier else manifest_of(loaded, str(scenario), schedule)
    folder.mkdir(exist_ok=True)
    with ResultsWriter(folder) as writer:
        return Run(loaded, schedule, manifest, writer, watcher, judge, earlier).carry_out(), watcher.log


def counted(samples: tuple[Sample, ...], metric: str) -> list[Sample]:
    """The samples of a metric, without the limits."""
    return [sample for sample in samples if sample.metric == metric and sample.design != LIMITS]


Measured = tuple[Path, list[str]]


@pytest.mark.root
@pytest.mark.exclusive
def test_each_round_measures_each_design_on_each_path(measured: Measured) -> None:
    run, log = measured
    assert "12 trials" in log
    results = read_results(run)
    assert results.manifest["state"] == "done"
    assert results.manifest["rounds_done"] == 1
    assert results.manifest["seed"] == 7
    assert results.manifest["designs"]["vxlan"]["check"] == {"asked": 62, "passed": 62, "failures": []}
    assert results.manifest["scenario"]["probes"]["latency"]["duration"] == 1.0
    assert results.manifest["scenario_text"] == (run.parent / "small.yaml").read_text()
    throughputs = counted(results.samples, "throughput")
    assert sorted((sample.round, sample.design) for sample in throughputs) == [
        (number, arm) for number in (0, 1) for arm in ARMS
    ]
    assert sorted(sample.position for sample in throughputs) == [1, 1, 2, 2, 3, 3]
    assert all(sample.value and sample.value > 0.1 for sample in throughputs)
    histograms = [histogram for histogram in results.histograms if histogram.design != LIMITS]
    assert len(histograms) == 6
    for histogram in histograms:
        (p50,) = (
            sample.value
            for sample in results.samples
            if (sample.round, sample.design, sample.metric) == (histogram.round, histogram.design, "rtt_p50")
        )
        assert histogram.percentile(50) == pytest.approx(p50, rel=0.006)
    raw = {path.name for path in (run / "raw").iterdir()}
    assert len([name for name in raw if name.endswith("iperf3-7500.json.gz")]) == 6 + LIMIT_REPEATS
    (one, *_) = (run / "raw").glob("*iperf3-7500.json.gz")
    assert "end" in json.loads(gzip.decompress(one.read_bytes()))
    assert (run / "plans/vxlan.txt").read_text().startswith("#!/bin/sh -e\n")


@pytest.mark.root
@pytest.mark.exclusive
def test_samples_include_cpu_cost_idle_and_steal_time(measured: Measured) -> None:
    samples = read_results(measured[0]).samples
    for throughput, cost in zip(counted(samples, "throughput"), counted(samples, "cpu_per_gbit"), strict=True):
        assert throughput.value is not None
        assert cost.value is not None
        assert throughput.idle is not None
        assert throughput.steal is not None
        # The CPU time per Gbit, computed from the idle time.
        cpus = os.sysconf("SC_NPROCESSORS_ONLN")
        assert cost.value == pytest.approx(cpus * (1 - throughput.idle - throughput.steal) / throughput.value, rel=0.25)


@pytest.mark.root
@pytest.mark.exclusive
def test_building_labs_is_measured(measured: Measured) -> None:
    for metric, low, high in (("build_time", 5, 5000), ("attach_time", 0.1, 500)):
        found = counted(read_results(measured[0]).samples, metric)
        assert sorted((sample.round, sample.design) for sample in found) == [(n, arm) for n in (0, 1) for arm in ARMS]
        assert all(sample.path == LAB and sample.value and low < sample.value < high for sample in found), found


@pytest.mark.root
@pytest.mark.exclusive
def test_limits_are_measured_first_over_loopback(measured: Measured) -> None:
    samples = read_results(measured[0]).samples
    limits = [sample for sample in samples if sample.design == LIMITS]
    assert [s.position for s in limits if s.metric == "throughput"] == list(range(1, LIMIT_REPEATS + 1))
    assert samples[: len(limits)] == tuple(limits)
    floor = min(sample.value or 0 for sample in limits if sample.metric == "rtt_p50")
    assert 0 < floor < min(sample.value or 0 for sample in counted(samples, "rtt_p50"))


@uses_quick_probes
@pytest.mark.sealed
def test_a_sweep_measures_each_cell(scenario: Path, tmp_path: Path) -> None:
    sweep = "sweep: {topology.fabric.mtu: [1500, 9000], probes.throughput.streams: [1, 2]}"
    all_well, _ = carry_out(throughput_only(scenario, "rounds: 1", "offload: off", sweep), tmp_path / "run")
    assert all_well
    results = read_results(tmp_path / "run")
    found = counted(results.samples, "throughput")
    cells = {f"mtu={mtu} streams={streams}" for mtu in (1500, 9000) for streams in (1, 2)}
    assert {sample.cell for sample in found} == cells
    assert {cell["name"] for cell in results.manifest["cells"]} == cells
    assert len(found) == 2 * 3 * 4

    # Each cell has its own MTU and number of streams; VXLAN takes 50 bytes.
    assert {(sample.cell, sample.design): sample.value for sample in found} == {
        (f"mtu={mtu} streams={streams}", arm): (mtu - 50 * (arm == "vxlan")) * streams
        for mtu in (1500, 9000)
        for streams in (1, 2)
        for arm in ARMS
    }


@uses_quick_probes
@pytest.mark.sealed
def test_a_design_is_left_out_of_cells_whose_topology_it_does_not_fit(tmp_path: Path, repository: Path) -> None:
    file = tmp_path / "unfit.yaml"
    text = SCENARIO.format(topology=repository / "topologies/two-subnets.yaml").replace("seed: 7", "unfit: leave-out")
    text = text.replace("baseline: l3-host-routes", "baseline: vxlan").replace("  throughput:", "  #")
    file.write_text(f"{text}sweep: {{topology.nodes.node2.at: [rack1, rack2]}}\n")
    all_well, _ = carry_out(file, tmp_path / "run")
    assert all_well
    results = read_results(tmp_path / "run")
    designs = {cell: {s.design for s in counted(results.samples, "rtt_p50") if s.cell == cell} for cell in AT}
    assert designs == {"at=rack1": {*ARMS}, "at=rack2": {"aa", "vxlan"}}
    assert results.manifest["designs"]["l3-host-routes"]["state"] == "measured"
    (reason,) = results.manifest["designs"]["l3-host-routes"]["left_out"].items()
    assert reason[0] == "at=rack2"
    assert reason[1].startswith("l3-host-routes needs all nodes in one subnet")
    write_report(tmp_path / "run")
    report = (tmp_path / "run/report.md").read_text()
    assert "l3-host-routes was left out with at=rack2: needs all nodes in one subnet" in report


@uses_quick_probes
@pytest.mark.sealed
def test_auto_continues_until_verdicts_are_settled(scenario: Path, tmp_path: Path) -> None:
    looks: list[int] = []

    def settled_at_the_second_look(look: int) -> bool:
        looks.append(look)
        return look == 2

    carry_out(throughput_only(scenario, "rounds: auto", "aa: off"), tmp_path / "run", settled_at_the_second_look)
    manifest = read_results(tmp_path / "run").manifest
    assert looks == [1, 2]
    assert manifest["looks"] == [5, 10]
    assert manifest["rounds_done"] == 10


@uses_quick_probes
@pytest.mark.sealed
def test_auto_ends_with_its_budget(scenario: Path, tmp_path: Path) -> None:
    scenario = throughput_only(scenario, "rounds: auto", "aa: off")
    carry_out(scenario, tmp_path / "run", lambda look: False, timedelta(seconds=2))
    manifest = read_results(tmp_path / "run").manifest
    assert manifest["state"] == "done"
    assert 0 < manifest["rounds_done"] < 10
    assert manifest["looks"] == ([manifest["rounds_done"]] if manifest["rounds_done"] >= 5 else [])


@uses_quick_probes
@pytest.mark.sealed
def test_a_finished_run_gets_more_rounds_and_each_look_is_recorded(scenario: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    carry_out(throughput_only(scenario, "rounds: 5", "aa: off"), folder)
    before = read_results(folder)
    assert (before.manifest["looks"], before.manifest["state"]) == ([5], "done")
    assert (folder / "histograms.jsonl.gz").exists() and not (folder / "histograms.jsonl").exists()

    changed = extended(before.manifest, 7)
    with ResultsWriter(folder) as writer:
        writer.write_manifest(changed)
    all_well, log = carry_out(throughput_only(scenario, "rounds: 7", "aa: off"), folder)
    after = read_results(folder)
    assert all_well
    assert "4 trials" in log
    assert (after.manifest["looks"], after.manifest["rounds_done"]) == ([5, 7], 7)
    assert after.samples[: len(before.samples)] == before.samples
    assert len(after.histograms) > len(before.histograms)
    assert read_run(after).look == 2


@uses_quick_probes
@pytest.mark.sealed
def test_an_interrupted_run_resumes_with_the_missing_trials(scenario: Path, tmp_path: Path) -> None:
    throughput_only(scenario, "rounds: 2")
    carry_out(scenario, tmp_path / "whole")
    folder = tmp_path / "run"
    shutil.copytree(tmp_path / "whole", folder)
    lines = (folder / "samples.csv").read_text().splitlines(keepends=True)
    first_of_round_2 = next(i for i, line in enumerate(lines) if line.startswith("2,") and ",throughput," in line)
    kept = "".join(lines[: first_of_round_2 + 2])
    (folder / "samples.csv").write_text(kept)
    all_well, log = carry_out(scenario, folder)
    assert all_well
    again = (folder / "samples.csv").read_text()
    assert again.startswith("".join(lines[:first_of_round_2])), "complete trials are neither lost nor measured again"
    whole, resumed = read_results(tmp_path / "whole").samples, read_results(folder).samples
    assert [(s.round, s.position, s.design, s.path, s.metric) for s in resumed if s.path != LAB] == [
        (s.round, s.position, s.design, s.path, s.metric) for s in whole if s.path != LAB
    ]
    assert sum(line.startswith("2 ") for line in log) == 3
    assert "3 trials" in log


@uses_quick_probes
@pytest.mark.sealed
def test_a_sample_whose_packets_took_another_path_is_an_error(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lab is rewired after its check."""

    def rewired(site: Site, design: str, labs: contextlib.ExitStack) -> Prepared:
        prepared = prepare(site, design, labs)
        if design == "vxlan" and prepared.lab is not None:
            for node, cidr, via in (
                ("node1", "10.244.1.0/24", "192.168.56.2"),
                ("node2", "10.244.0.0/24", "192.168.56.1"),
            ):
                command = ["ip", "route", "replace", cidr, "via", via]
                assert prepared.lab.start(node, command).wait(5) == 0
        return prepared

    monkeypatch.setattr("testbed.experiment.labs.prepare", rewired)
    all_well, _ = carry_out(throughput_only(scenario), tmp_path / "run")
    assert not all_well
    samples = read_results(tmp_path / "run").samples
    assert {s.design for s in counted(samples, "throughput")} == {"l3-host-routes", "aa"}
    errors = {sample.error for sample in samples if sample.design == "vxlan" and sample.value is None}
    assert errors
    assert all("flannel.1" in error for error in errors), errors


def careless(joining: Joining) -> None:
    """Host routes with a mistake: the routes to one node are missing."""
    for node in joining.layout.nodes:
        for remote in others(joining.layout, node):
            for cidr in remote.pod_cidrs if str(remote.pod_cidrs[0]) != "10.244.1.0/24" else ():
                joining.draft[node.name].route(cidr, "eth0", via=remote.address(cidr.version))


def with_transport(name: str, **changes: Any) -> Design:
    """The design vxlan, with another transport."""
    return replace(DESIGNS["vxlan"], transport=replace(TRANSPORTS[name], **changes))


@uses_quick_probes
@pytest.mark.sealed
def test_only_designs_that_pass_their_checks_are_measured(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.designs.DESIGNS", {**PLAIN, "vxlan": with_transport("host-routes", join=careless)})
    all_fit, log = carry_out(throughput_only(scenario), tmp_path / "run")
    assert not all_fit
    assert any(line.startswith("vxlan failed: ") and "client -> pod web-2" in line for line in log)
    results = read_results(tmp_path / "run")
    facts = results.manifest["designs"]["vxlan"]
    assert facts["state"] == "failed"
    assert any("pod client -> pod web-2 tcp" in failure for failure in facts["check"]["failures"])
    assert {sample.design for sample in results.samples} == {"l3-host-routes", "aa", LIMITS}
    assert results.manifest["state"] == "done"


def without_plan(site: Site, design: str) -> Plan:
    if design == "vxlan":
        raise ValueError("no way to plan this")
    return plan_of(site, design)


@uses_quick_probes
@pytest.mark.sealed
def test_a_design_that_cannot_be_planned_costs_no_other_its_samples(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "ValueError: no way to plan this"
    monkeypatch.setattr("testbed.experiment.labs.plan_of", without_plan)
    all_fit, _ = carry_out(throughput_only(scenario), tmp_path / "run")
    assert not all_fit
    results = read_results(tmp_path / "run")
    assert (results.manifest["state"], results.manifest["designs"]["vxlan"]["state"]) == ("done", "failed")
    assert results.manifest["designs"]["vxlan"]["reason"] == reason
    assert {sample.design for sample in counted(results.samples, "throughput")} == {"l3-host-routes", "aa"}
    write_report(tmp_path / "run")
    assert reason in (tmp_path / "run/report.md").read_text()


@uses_quick_probes
@pytest.mark.sealed
def test_an_error_in_a_trial_costs_only_its_own_sample(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(site: Site, design: str, *_: Any) -> Callable[[], Any]:
        if design == "vxlan":
            raise ProbeError("client and web-2 have no address family in common")
        return lambda: lambda: ""

    monkeypatch.setattr("testbed.experiment.run.path_watch", watch)
    all_well, _ = carry_out(throughput_only(scenario), tmp_path / "run")
    assert not all_well
    samples = read_results(tmp_path / "run").samples
    errors = {sample.design: sample.error for sample in samples if sample.value is None}
    assert errors == {"vxlan": "client and web-2 have no address family in common"}
    assert {sample.design for sample in counted(samples, "throughput")} == {"l3-host-routes", "aa"}


@uses_quick_probes
@pytest.mark.sealed
def test_a_design_that_takes_another_path_than_claimed_is_not_measured(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pods reach each other, but not through VXLAN."""
    monkeypatch.setattr("testbed.designs.DESIGNS", {**PLAIN, "vxlan": with_transport("host-routes", by_router=True)})
    all_fit, _ = carry_out(throughput_only(scenario), tmp_path / "run")
    assert not all_fit
    failures = read_results(tmp_path / "run").manifest["designs"]["vxlan"]["check"]["failures"]
    assert len(failures) == 2
    assert all("seen on the fabric" in failure for failure in failures)


@uses_quick_probes
@pytest.mark.sealed
def test_a_design_that_fails_in_a_later_round_is_left_out_of_the_rest(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labs are rebuilt and checked for each round."""
    built: list[str] = []

    def failing_the_second_time(site: Site, name: str, labs: contextlib.ExitStack) -> Prepared:
        built.append(name)
        if built.count("vxlan") == 2 and name == "vxlan":
            return Prepared(None, {"summary": "", "state": "failed", "reason": "on purpose"})
        return prepare(site, name, labs)

    monkeypatch.setattr("testbed.experiment.labs.prepare", failing_the_second_time)
    all_fit, _ = carry_out(throughput_only(scenario, "rounds: 2", "aa: off"), tmp_path / "run")
    assert not all_fit
    assert sorted(built) == ["l3-host-routes"] * 3 + ["vxlan", "vxlan"]
    results = read_results(tmp_path / "run")
    assert results.manifest["designs"]["vxlan"]["state"] == "failed"
    assert {(sample.round, sample.design) for sample in counted(results.samples, "throughput")} == {
        (0, "l3-host-routes"),
        (0, "vxlan"),
        (1, "l3-host-routes"),
        (2, "l3-host-routes"),
    }


@uses_quick_probes
@pytest.mark.sealed
def test_a_failed_probe_affects_only_its_own_sample(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = {"sockperf": sockperf.Sockperf}
    monkeypatch.setattr("testbed.experiment.outline.probe_of", lambda spec: real.get(spec.tool, quick.Quick)(spec))
    monkeypatch.setattr("testbed.probes.sockperf.NAME", "false")
    all_well, _ = carry_out(scenario, tmp_path / "run")
    assert not all_well, "a run in which a design has no value for a path and probe is not successful"
    samples = read_results(tmp_path / "run").samples
    failed = [sample for sample in samples if sample.value is None]
    assert len(failed) == 6 + LIMIT_REPEATS
    assert {sample.error for sample in failed} == {"false server ended at once: no output"}
    assert len(counted(samples, "throughput")) == 6


@pytest.fixture
def own_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for temporary files that only this test's programs use."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))


def left_over() -> tuple[object, ...]:
    """Links, mounts and temporary files of the host, and processes of labs. The host is the test's capsule."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    marks = ("mininet:", "sockperf", "iperf3", "quick run", "testbed run")
    return (
        links,
        Path("/proc/self/mounts").read_text().splitlines(),
        sorted(line for line in processes if any(mark in line for mark in marks)),
        # Found features are cached until the next boot.
        sorted(file for file in Path(os.environ["TMPDIR"]).iterdir() if not file.name.startswith("testbed-features-")),
        sorted(Path("/run").iterdir()),
    )


def namespaces() -> int:
    """The number of network namespaces that processes of this capsule use."""
    seen = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            seen.add((process / "ns/net").readlink())
    return len(seen)


def start(scenario: Path, results: Path, program: str = "tests.experiment.quick") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", program, "run", str(scenario), "--results", str(results)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )


ends_by_itself = pytest.mark.usefixtures("own_temporary_files")


@ends_by_itself
@pytest.mark.sealed
@pytest.mark.parametrize("program", ["testbed", "tests.experiment.quick"])
def test_ctrl_c_keeps_samples_and_cleans_up(scenario: Path, tmp_path: Path, program: str) -> None:
    before = left_over()
    run = start(throughput_only(scenario), tmp_path / "results", program)
    assert run.stderr is not None
    seen = ""
    while "round 1" not in seen:
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


@ends_by_itself
@pytest.mark.sealed
@pytest.mark.parametrize("attempt", range(6))
def test_sigkill_at_any_time_leaves_no_labs_or_processes(scenario: Path, tmp_path: Path, attempt: int) -> None:
    """Two of six attempts use the real programs. Half of them kill from the start, half after the first lab is up."""
    before, before_namespaces = left_over(), namespaces()
    program, most_s = ("testbed", 6.0) if attempt < 2 else ("tests.experiment.quick", 2.0)
    run = start(scenario, tmp_path / "results", program)
    if attempt % 2:
        assert run.stderr is not None
        while not run.stderr.readline().startswith("ready"):
            assert run.poll() is None
    time.sleep(random.uniform(0, most_s))
    run.kill()
    run.communicate(timeout=30)
    assert eventually_as(before)
    assert eventually(lambda: namespaces() == before_namespaces)


@ends_by_itself
@pytest.mark.sealed
def test_samples_before_sigkill_are_on_disk_and_can_be_reported(scenario: Path, tmp_path: Path) -> None:
    run = start(scenario, tmp_path / "results")
    assert run.stderr is not None
    while "round 1" not in run.stderr.readline():
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
    return eventually(lambda: left_over() == before)


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition holds within 10 s: the kernel takes time to kill and reap processes."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
