"""Going on with a run: what was measured stays, what was half-written goes."""

from pathlib import Path

import numpy as np
import pytest

from testbed.experiment.results import Histogram, ResultsWriter, Sample, binned, read_results
from testbed.experiment.resume import Measured, measured, mend


def trial(number: int, design: str, *metrics: str) -> list[Sample]:
    started = f"2026-11-21T06:00:{number:02d}.000+00:00"
    return [Sample(number, 1, "", design, "cross-node", "latency", metric, "us", 20.0, started) for metric in metrics]


def histogram(number: int, design: str) -> Histogram:
    return Histogram(number, "", design, "cross-node", "latency", "rtt", "us", *binned(np.array([20.0, 21.0])))


ALL = ("rtt_p50", "rtt_p99", "messages", "cpu_per_request")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three trials, the last of which was cut short by whatever a test cuts off."""
    with ResultsWriter(tmp_path) as writer:
        writer.write_manifest({"state": "running"})
        for number, design in ((1, "l2"), (1, "vxlan"), (2, "l2")):
            writer.append(trial(number, design, *ALL), [histogram(number, design)])
    return tmp_path


def test_whole_trials_stay_as_they_are(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in ("samples.csv", "histograms.jsonl")}
    results = mend(folder)
    assert len(results.samples) == 12
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("cut", [1, 30, 100, 200, 300])
def test_a_trial_cut_short_goes_as_a_whole(folder: Path, cut: int) -> None:
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


def test_a_trial_that_had_only_its_histogram_written_goes(folder: Path) -> None:
    file = folder / "samples.csv"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("2,")))
    assert [(h.round, h.design) for h in mend(folder).histograms] == [(1, "l2"), (1, "vxlan")]


def test_a_trial_that_failed_is_whole(folder: Path) -> None:
    failed = Sample(2, 2, "", "vxlan", "cross-node", "latency", "", "", None, "2026-11-21T06:01:00+00:00", "no luck")
    with ResultsWriter(folder) as writer:
        writer.append([failed])
    assert mend(folder).samples[-1] == failed
