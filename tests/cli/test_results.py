"""`testbed results`: output and exit codes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.experiment.results import held

GOLDEN = Path(__file__).parent / "golden"


def cli(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "testbed", "results", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def shipped() -> set[str]:
    """The names of the results folders of the repository; others are of the user's own runs."""
    return {"cnis", "designs", "ebpf-host-routing", "example"}


def golden(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        file.write_text(text)
    assert text == file.read_text()


def put(results: Path, name: str, **changes: Any) -> Path:
    """A results folder that contains only a manifest."""
    manifest = {
        "format": 2,
        "scenario": {"name": "quick", "designs": ["l2", "vxlan"], "baseline": "l2", "rounds": 5},
        "started": "2026-11-21T08:40:11+00:00",
        "state": "done",
        "reason": "",
        "rounds_done": 5,
        "machine": {"kernel": "6.1.0"},
    }
    folder = results / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    return folder


def states(*words: str, cwd: Path) -> dict[str, tuple[str, str]]:
    said = cli("list", *words, "--json", cwd=cwd)
    assert (said.returncode, said.stderr) == (0, "")
    return {entry["folder"]: (entry["state"], entry["reason"]) for entry in json.loads(said.stdout)}


def test_each_folder_has_a_line_oldest_first(tmp_path: Path) -> None:
    put(tmp_path / "results", "a-second")
    put(tmp_path / "results", "b-first", started="2026-11-20T08:00:00+00:00", state="interrupted", rounds_done=2)
    scenario = {"name": "aa", "designs": ["l2"], "rounds": "auto"}
    put(tmp_path / "results", "c-third", started="2026-11-22T08:00:00+00:00", scenario=scenario, rounds_done=20)
    said = cli("list", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    golden("results-list", said.stdout)


def test_damaged_folders_are_listed_last_with_the_reason(tmp_path: Path) -> None:
    put(tmp_path, "good")
    (tmp_path / "empty").mkdir()
    for name, text in {
        "half": '{"state": "do',
        "binary": "\udcff\udcfe",
        "list": "[]",
        "scenario": '{"scenario": 3}',
        "machine": '{"scenario": {}, "machine": []}',
        "deep": "[" * 100_000,
    }.items():
        put(tmp_path, name)
        (tmp_path / name / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    put(tmp_path, "directory")
    (tmp_path / "directory/manifest.json").unlink()
    (tmp_path / "directory/manifest.json").mkdir()
    (tmp_path / "a-file").touch()
    (tmp_path / ".hidden").mkdir()
    said = cli("list", ".", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    golden("results-damaged", said.stdout)


def test_values_of_wrong_types_are_tolerated(tmp_path: Path) -> None:
    put(tmp_path, "odd", started=5, state=None, rounds_done="many", scenario={"name": [], "designs": 3, "rounds": {}})
    assert states(".", cwd=tmp_path) == {"odd": ("", "")}
    assert cli("list", ".", cwd=tmp_path).returncode == 0


def test_a_running_run_differs_from_one_that_was_killed(tmp_path: Path) -> None:
    alive, _ = (put(tmp_path, name, state="running", rounds_done=1) for name in ("alive", "dead"))
    with held(alive):
        assert states(".", cwd=tmp_path) == {"alive": ("running", ""), "dead": ("cut short", "")}


def test_only_manifests_are_read(tmp_path: Path) -> None:
    """A folder is listed even if its samples are large or unreadable."""
    folder = put(tmp_path, "run")
    os.mkfifo(folder / "samples.csv")  # opening it would block forever
    assert states(".", cwd=tmp_path) == {"run": ("done", "")}


def test_an_empty_parent_is_fine_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    said = cli("list", ".", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (0, "No results folders in .\n")
    said = cli("list", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    golden("results-nowhere", said.stderr)


def test_a_misspelt_verb_is_exit_code_2(tmp_path: Path) -> None:
    said = cli("lst", cwd=tmp_path)
    assert said.returncode == 2
    golden("results-misspelt-verb", said.stderr)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    folder = tmp_path / "example"
    shutil.copytree(Path(__file__).parent / "format-1", folder)
    return folder


def test_a_folder_is_shown_and_nothing_written(example: Path, tmp_path: Path) -> None:
    before = {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in example.rglob("*")}
    said = cli("show", "example", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    assert "cross-node: client → web-2" in said.stdout
    assert "kernel      6.18.44-fc-v669" in said.stdout
    assert "tools       sockperf 3.7-no.git, iperf3 3.12" in said.stdout
    assert before == {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in example.rglob("*")}


def test_failures_are_shown(example: Path, tmp_path: Path) -> None:
    manifest = json.loads((example / "manifest.json").read_text())
    failure = {"state": "failed", "reason": "2 of 42 pairs do not reach each other", "check": {"failures": ["a to b"]}}
    manifest["designs"]["l2"] |= failure
    manifest |= {"state": "interrupted", "reason": "terminated"}
    (example / "manifest.json").write_text(json.dumps(manifest))
    lines = (example / "samples.csv").read_text().splitlines(keepends=True)
    where = "1,1,vxlan,cross-node,latency"
    kept = [line for line in lines if not line.startswith(where) and ",l2," not in line]
    (example / "samples.csv").write_text("".join(kept) + f"{where},,,,2026-11-21T08:31:00+00:00,sockperf hung\n")
    said = cli("show", "example", cwd=tmp_path).stdout
    assert "l2 failed its check: a to b" in said
    assert "1 sample has no value (vxlan, cross-node, latency): sockperf hung." in said
    assert "The run was interrupted (terminated)" in " ".join(said.split())
    data = json.loads(cli("show", "example", "--json", cwd=tmp_path).stdout)
    assert [(f["reason"], f["samples"]) for f in data["failures"]] == [("sockperf hung", 1)]
    assert {"median", "ratio", "verdict"} <= set(data["summaries"][0])


def test_a_missing_or_damaged_folder_is_exit_code_2(tmp_path: Path) -> None:
    put(tmp_path, "without-samples")
    for name in ("nowhere", "without-samples"):
        said = cli("show", name, cwd=tmp_path)
        assert (said.returncode, said.stdout) == (2, "")
        assert said.stderr.startswith(f"testbed: {name} is not a results folder: ")


PUBLISHED = sorted(path for path in (Path(__file__).parents[2] / "results").iterdir() if path.name in shipped())
LARGEST_BYTES = 3_000_000


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_a_published_folder_is_small_and_can_be_shown_and_compared_without_a_change(folder: Path) -> None:
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert sum(map(len, before.values())) < LARGEST_BYTES
    shown = cli("show", str(folder), cwd=folder.parent)
    assert shown.returncode == 0 and "headline comparisons" in shown.stdout
    compared = subprocess.run(
        [sys.executable, "-m", "testbed", "compare", folder, folder], capture_output=True, text=True, check=True
    )
    assert "headline comparisons" in compared.stdout
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
