"""Resuming a run: complete trials are kept, an incomplete one is removed."""

from pathlib import Path

import numpy as np
import pytest

from testbed.experiment.manifest import NotResumable, check_resumable, extended
from testbed.experiment.results import Histogram, ResultsWriter, Sample, binned, read_results, unpack
from testbed.experiment.resume import Measured, changed_plans, measured, mend


def trial(number: int, design: str, *metrics: str) -> list[Sample]:
    started = f"2026-11-21T06:00:{number:02d}.000+00:00"
    return [Sample(number, 1, "", design, "cross-node", "latency", metric, "us", 20.0, started) for metric in metrics]


def histogram(number: int, design: str) -> Histogram:
    return Histogram(number, "", design, "cross-node", "latency", "rtt", "us", *binned(np.array([20.0, 21.0])))


ALL = ("rtt_p50", "rtt_p99", "messages", "cpu_per_request")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three trials; tests cut off a part of the last one."""
    with ResultsWriter(tmp_path) as writer:
        writer.write_manifest({"state": "running"})
        for number, design in ((1, "l2"), (1, "vxlan"), (2, "l2")):
            writer.append(trial(number, design, *ALL), [histogram(number, design)])
    return tmp_path


def test_complete_trials_are_unchanged(folder: Path) -> None:
    unpack(folder)
    before = {name: (folder / name).read_bytes() for name in ("samples.csv", "histograms.jsonl")}
    results = mend(folder)
    assert len(results.samples) == 12
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("cut", [1, 30, 100, 200, 300])
def test_an_incomplete_trial_is_removed_entirely(folder: Path, cut: int) -> None:
    file = folder / "samples.csv"
    file.write_bytes(file.read_bytes()[:-cut])
    results = mend(folder)
    assert {measured(sample) for sample in results.samples} == {
        Measured(1, "", "l2", "cross-node", "latency"),
        Measured(1, "", "vxlan", "cross-node", "latency"),
    }
    assert [(h.round, h.design) for h in results.histograms] == [(1, "l2"), (1, "vxlan")]
    assert read_results(folder).samples == results.samples
    with ResultsWriter(folder) as writer:
        writer.append(trial(2, "l2", *ALL), [histogram(2, "l2")])
    assert len(read_results(folder).samples) == 12


def test_a_histogram_without_samples_is_removed(folder: Path) -> None:
    file = folder / "samples.csv"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("2,")))
    assert [(h.round, h.design) for h in mend(folder).histograms] == [(1, "l2"), (1, "vxlan")]


def test_a_failed_trial_is_complete(folder: Path) -> None:
    failed = Sample(2, 2, "", "vxlan", "cross-node", "latency", "", "", None, "2026-11-21T06:01:00+00:00", "no luck")
    with ResultsWriter(folder) as writer:
        writer.append([failed])
    assert mend(folder).samples[-1] == failed


PLANS = {"l2": "ip link add a\nip link add b\n", "vxlan": "ip link add v\n"}


@pytest.fixture
def planned(folder: Path) -> Path:
    for name, commands in PLANS.items():
        (folder / "plans" / f"{name}.txt").write_text(commands)
    return folder


def test_equal_plans_are_no_change(planned: Path) -> None:
    unmeasured = PLANS | {"unmeasured": "ip link add c\n"}
    assert changed_plans(planned, unmeasured, read_results(planned).samples) == []


def test_a_changed_plan_is_named_with_the_lines_that_differ(planned: Path) -> None:
    now = PLANS | {"l2": "ip link add a\nip link add c\n"}
    assert changed_plans(planned, now, read_results(planned).samples) == ["l2: -ip link add b; +ip link add c"]
    (planned / "plans/vxlan.txt").unlink()
    assert changed_plans(planned, now, read_results(planned).samples)[1] == "vxlan: plans/vxlan.txt missing"


def test_a_finished_run_may_have_more_rounds_but_not_fewer() -> None:
    manifest = {"state": "done", "rounds_done": 5, "looks": [5], "scenario": {"rounds": 5, "budget": "PT5M"}}
    more = extended(manifest, 12)
    assert (more["scenario"], more["looks"]) == ({"rounds": 12, "budget": None}, [5])
    for rounds in (3, 5):
        with pytest.raises(NotResumable, match="it has 5 rounds already; give a larger number to --rounds"):
            extended(manifest, rounds)
    with pytest.raises(NotResumable, match="it is finished; to measure more rounds, add --rounds"):
        check_resumable(manifest)


def test_the_end_of_an_older_run_counts_as_a_look() -> None:
    manifest = {"state": "done", "rounds_done": 10, "looks": [], "scenario": {"rounds": 10}}
    assert extended(manifest, 12)["looks"] == [10]
