"""`testbed compare` on results folders that a `ResultsWriter` wrote."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testbed.experiment.results import Histogram, ResultsWriter, Sample, binned

GOLDEN = Path(__file__).parent / "golden"
BASELINE = "l3-host-routes"
ARMS = {"l2": 1.0, BASELINE: 1.0, "vxlan": 0.8, "aa": 1.0}
STARTED = "2026-11-21T06:00:00+00:00"

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a run of four arms on one path; `vxlan` scales the throughput of vxlan, `speed` that of all."""

    def made(name: str, seed: int, vxlan: float = 1.0, speed: float = 1.0, **manifest: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        random = np.random.default_rng(seed)
        with ResultsWriter(folder) as writer:
            writer.write_manifest(manifest_of() | manifest)
            for number in range(8):
                for position, (arm, factor) in enumerate(ARMS.items(), 1):
                    size = factor * speed * (vxlan if arm == "vxlan" else 1)
                    where = (number, position, "", arm, "cross-node")
                    values = 20 / size * random.lognormal(0, 0.1, 2000)
                    rtt = Histogram(number, "", arm, "cross-node", "latency", "rtt", "us", *binned(values))
                    gbits = 20 * size * float(np.exp(0.01 * random.normal()))
                    writer.append(
                        [
                            Sample(*where, "throughput", "throughput", "Gbit/s", gbits, STARTED),
                            *(
                                Sample(*where, "latency", f"rtt_p{q}", "us", rtt.percentile(q), STARTED)
                                for q in (50, 90, 99)
                            ),
                        ],
                        [rtt],
                    )
        return folder

    return made


def manifest_of() -> dict[str, Any]:
    designs = [arm for arm in ARMS if arm != "aa"]
    return {
        "format": 2,
        "testbed": "0.1.0",
        "scenario_text": "name: synthetic\n",
        "topology_text": "name: two-nodes\n",
        "scenario": {
            "name": "synthetic",
            "designs": designs,
            "baseline": BASELINE,
            "paths": {"cross-node": {"from": "client", "to": "web-2"}},
            "probes": {"latency": {"tool": "sockperf"}, "throughput": {"tool": "iperf3"}},
            "rounds": 7,
        },
        "cells": [],
        "started": STARTED,
        "state": "done",
        "machine": {"kernel": "6.1.0", "cpu": "a processor", "cpus": 2},
        "tools": {"iperf3": "3.12"},
        "designs": {design: {"state": "measured"} for design in designs},
    }


def cli(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "testbed", "compare", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def golden(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        file.write_text(text)
    assert text == file.read_text()


def test_a_difference_without_conditions_is_exit_code_0(make: Make, tmp_path: Path) -> None:
    make("old", 1)
    make("new", 2, vxlan=0.7)
    said = cli("old", "new", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    lines = [line.strip() for line in said.stdout.splitlines()]
    # Verdicts that are no headline's have a mark.
    assert sum(line.startswith("vxlan") and line.removesuffix("*").rstrip().endswith("slower") for line in lines) == 3
    assert max(map(len, said.stdout.splitlines())) <= 80


def test_a_resolved_breach_is_exit_code_1(make: Make, tmp_path: Path) -> None:
    make("old", 1)
    make("new", 2, vxlan=0.7)
    said = cli("old", "new", "--fail-if", "cross-node throughput < 0.9", cwd=tmp_path)
    assert said.returncode == 1
    assert "cross-node throughput < 0.9: breached in 1 of 3 comparisons" in said.stdout
    assert "breached: vxlan cross-node throughput 0.7" in said.stdout


def test_conditions_that_are_kept_or_not_resolved_are_printed_and_do_not_fail(make: Make, tmp_path: Path) -> None:
    make("old", 1)
    make("new", 2, vxlan=0.7)
    conditions = ("l2 throughput < 0.9", "l2 throughput <= 200%")
    said = cli("old", "new", *(word for text in conditions for word in ("--fail-if", text)), cwd=tmp_path)
    assert said.returncode == 0
    assert "l2 throughput < 0.9: kept" in said.stdout
    assert "l2 throughput <= 200%: beyond the threshold in 1 of 1 comparison, not resolved" in said.stdout


def test_one_breach_among_several_conditions_is_enough(make: Make, tmp_path: Path) -> None:
    make("old", 1)
    make("new", 2, vxlan=0.7)
    said = cli("old", "new", "--fail-if", "l2 throughput < 0.9", "--fail-if", "vxlan rtt_p50 > 110%", cwd=tmp_path)
    assert said.returncode == 1


def test_relative_ignores_a_faster_machine_and_a_note_names_it(make: Make, tmp_path: Path) -> None:
    make("old", 1)
    make("new", 2, speed=1.5, machine={"kernel": "6.1.0", "cpu": "another", "cpus": 2})
    direct = cli("old", "new", "--json", cwd=tmp_path)
    relative = cli("old", "new", "--json", "--relative", cwd=tmp_path)
    verdicts = [
        {c["verdict"] for c in json.loads(said.stdout)["comparisons"] if c["metric"] != "rtt_p90"}
        for said in (direct, relative)
    ]
    assert verdicts == [{"faster"}, {"not resolved"}]
    assert json.loads(relative.stdout)["relative_to"] == BASELINE
    told = " ".join(cli("old", "new", cwd=tmp_path).stdout.split())
    assert "The machines differ (cpu), which affects every ratio; use --relative to compare" in told


def test_json_has_everything_that_the_table_has(make: Make, tmp_path: Path) -> None:
    make("old", 1)
    make("new", 2, vxlan=0.7, testbed="0.2.0")
    said = cli("old", "new", "--json", "--fail-if", "throughput<0.9", cwd=tmp_path)
    assert said.returncode == 1
    data = json.loads(said.stdout)
    assert data["differences"] == [{"what": "testbed", "old": "0.1.0", "new": "0.2.0"}]
    assert {c["design"] for c in data["comparisons"]} == {"l2", BASELINE, "vxlan"}
    (condition,) = data["conditions"]
    assert (condition["read_as"], condition["state"]) == ("any any throughput < 0.9", "breached")
    assert [c["design"] for c in condition["breached"]] == ["vxlan"]


def test_markdown_is_printed_for_a_pull_request(make: Make, tmp_path: Path) -> None:
    make("old", 1)
    make("new", 2, vxlan=0.7)
    said = cli("old", "new", "--markdown", cwd=tmp_path)
    assert said.stdout.startswith("### old → new\n")
    assert "| **slower** |" in said.stdout
    assert cli("old", "new", "--markdown", "--json", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("name", "condition"),
    [
        ("compare-unknown-path", "cros-node throughput < 0.9"),
        ("compare-no-operator", "cross-node throughput 0.9"),
        ("compare-no-ratio", "cross-node throughput < 0,9"),
        ("compare-no-verdict", "rtt_p90 > 1.1"),
        ("compare-not-swept", "mtu=9000 throughput < 0.9"),
        ("compare-two-designs", "l2 vxlan throughput < 0.9"),
    ],
)
def test_a_malformed_condition_is_exit_code_2(name: str, condition: str, make: Make, tmp_path: Path) -> None:
    make("old", 1)
    make("new", 2)
    said = cli("old", "new", "--fail-if", condition, cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    golden(name, said.stderr)


def test_a_missing_or_damaged_folder_is_exit_code_2(make: Make, tmp_path: Path) -> None:
    make("old", 1)
    said = cli("old", "nowhere", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "testbed: nowhere is not a results folder: manifest.json missing\n"
    damaged = make("damaged", 2)
    (damaged / "manifest.json").write_text("[]")
    said = cli("old", "damaged", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "testbed: damaged cannot be read: manifest.json is not a mapping\n"


def test_results_of_format_1_are_comparable(make: Make, tmp_path: Path) -> None:
    example = Path(__file__).parent / "format-1"
    said = cli(str(example), str(example), "--json", cwd=tmp_path)
    assert said.returncode == 0
    comparisons = json.loads(said.stdout)["comparisons"]
    assert {c["ratio"] for c in comparisons if c["metric"] != "retransmits"} == {1.0}
    new = make("new", 1)
    said = cli(str(example), str(new), "--json", cwd=tmp_path)
    assert {c["path"] for c in json.loads(said.stdout)["comparisons"]} == {"cross-node"}
    assert "the paths node-to-node, same-node" in json.loads(said.stdout)["only_old"]
