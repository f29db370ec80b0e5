"""A counting: what it writes, what it refuses, and the counts of every design, in the virtual machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.counting.count import Count, manifest_for, need
from testbed.counting.meter import TRACED
from testbed.designs import CATALOGUE
from testbed.experiment.results import ResultsWriter, read_results
from testbed.experiment.resume import mend
from testbed.experiment.schedule import Schedule
from testbed.report import write_report
from testbed.report.instructions import rows
from testbed.spec.load import load_scenario
from testbed.vm import machine

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 0.01
TWO_NODES = "topologies/two-nodes.yaml"
DESIGNS = ("l3-host-routes", "vxlan", "flannel-host-gw", "flannel-vxlan", "flannel-ipip")
"""The designs that a test counts: those whose packets no worker and no program carries."""


class Silent:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def booting(self, kernel: str) -> None:
        self.told.append(kernel)

    def planned(self, designs: int) -> None:
        self.told.append(f"{designs} designs")

    def prepared(self, design: str, ready: bool, news: str) -> None:
        self.told.append(f"{design} {'ready' if ready else 'failed'}: {news}")

    def ended(self, design: str, news: str) -> None:
        self.told.append(f"{design}: {news}")


def cli(*words: str, results: Path | None = None, **options: str) -> subprocess.CompletedProcess[str]:
    where = ["--results", str(results)] if results else []
    command = [sys.executable, "-m", "testbed", "count", *words, *where]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, timeout=1200
    )


def heard(folder: Path, *lines: dict[str, object]) -> tuple[Count, Silent]:
    """A counting of two designs that has heard these lines from its virtual machine, and wrote them to a folder."""
    scenario = folder / "scenario.yaml"
    scenario.write_text(
        f"name: two\ntopology: {ROOT / TWO_NODES}\ndesigns: [vxlan, l3-host-routes]\nbaseline: vxlan\n"
        "paths: {cross: {from: client, to: web-2}}\nprobes: {ping: {tool: fping}}\n"
    )
    loaded = load_scenario(scenario, CATALOGUE)
    schedule, watcher = Schedule.of(loaded, 0), Silent()
    with ResultsWriter(folder / "results") as writer:
        manifest = manifest_for(loaded, "scenario.yaml", schedule)
        counting = Count(loaded, schedule, manifest, writer, watcher, Path("meter"))
        # In pieces, as they come.
        text = b"".join(json.dumps(line).encode() + b"\r\n" for line in lines)
        for at in range(0, len(text), 100):
            counting.hear(text[at : at + 100])
    return counting, watcher


def counts(design: str, number: int, count: int, error: str = "") -> dict[str, object]:
    where = {"cell": "", "design": design, "path": "cross" if design else ""}
    output = "" if error else f"{count + 25} 25 0\n" * 3
    return {"kind": "counts", **where, "metric": TRACED.metric, "round": number, "output": output, "error": error}


def prepared(design: str) -> dict[str, object]:
    facts = {"summary": "s", "state": "measured", "reason": "", "check": {"asked": 3, "passed": 3, "failures": []}}
    return {"kind": "prepared", "cell": "", "design": design, "facts": facts}


def test_counts_are_samples_of_an_ordinary_results_folder(tmp_path: Path) -> None:
    ended: dict[str, object] = {"kind": "design", "cell": "", "design": "vxlan"}
    both = counts("vxlan", 1, 63_000), counts("vxlan", 2, 63_010)
    counting, watcher = heard(tmp_path, counts("", 1, 30_000), prepared("vxlan"), *both, ended)
    assert watcher.told == ["vxlan ready: 3 of 3 checks passed", "vxlan: cross 63,000"]
    assert list(counting.apart()) == []
    report = write_report(tmp_path / "results")
    (row,) = rows(report.run, report.summaries)
    assert (row.design, row.path, row.source, row.target) == ("vxlan", "cross", "client", "web-2")
    assert row.instructions == {TRACED.metric: 63_005}
    assert row.minimum == {TRACED.metric: 63_005}
    assert row.differing == {TRACED.metric: 0}
    assert report.run.limits["instructions", TRACED.metric] == 30_000
    assert "63,005" in report.markdown.read_text()


def test_rounds_that_differ_are_named(tmp_path: Path) -> None:
    counting, _ = heard(tmp_path, prepared("vxlan"), counts("vxlan", 1, 63_000), counts("vxlan", 2, 63_500))
    assert list(counting.apart()) == [f"vxlan cross {TRACED.metric}: 63,000 and 63,500 instructions"]


def test_a_path_without_counts_has_the_reason(tmp_path: Path) -> None:
    heard(tmp_path, prepared("vxlan"), counts("vxlan", 1, 0, "connect: Connection refused\n"))
    (sample,) = read_results(tmp_path / "results").samples
    assert (sample.value, sample.error) == (None, "connect: Connection refused")


def test_a_counting_is_not_resumed_as_a_run(tmp_path: Path) -> None:
    heard(tmp_path, prepared("vxlan"))
    assert mend(tmp_path / "results")
    command = [sys.executable, "-m", "testbed", "run", "--resume", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    assert "it has counts of instructions: run `testbed count` again" in done.stderr


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((TWO_NODES,), "a topology needs --design; `testbed designs` lists them"),
        ((TWO_NODES, "client", "--design", "vxlan"), "give both ends of the path, A and B"),
        ((TWO_NODES, "client", "web-3", "--design", "vxlan"), "unknown pod or node 'web-3'"),
        ((TWO_NODES, "--design", "vxlam"), "did you mean 'vxlan'"),
        (("scenarios/quick.yaml", "--design", "vxlan"), "a scenario names its designs and paths; omit --design"),
        (("scenarios/quick.yaml", "client", "web-2"), "a scenario names its designs and paths; omit A and B"),
        (("examples/my-overlay.yaml",), "expected a scenario or a topology, found a design"),
        (("nowhere.yaml",), "nowhere.yaml"),
    ],
)
def test_wrong_input_is_refused_with_the_fix(words: tuple[str, ...], error: str) -> None:
    done = cli(*words)
    assert done.returncode == 2, done.stderr
    assert error in done.stderr


def test_without_the_virtual_machine_its_parts_are_named(tmp_path: Path) -> None:
    assert machine.kernel(tmp_path, tmp_path) == ""
    assert machine.missing("", search=str(tmp_path)) == [
        "the program virtme-run",
        "the program qemu-system-x86_64",
        "the program busybox",
        "the program modprobe",
        "a kernel in /boot with its modules",
    ]


@pytest.mark.root
def test_without_a_kernel_exit_code_3_names_what_installs_it() -> None:
    script = f"mount -t tmpfs none /boot && exec {sys.executable} -m testbed count {TWO_NODES} --design vxlan"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 3
    assert "a kernel in /boot with its modules is missing: ./setup.sh --vm installs it" in done.stderr


def test_the_newest_6_12_with_modules_is_booted(tmp_path: Path) -> None:
    for version in ("6.1.0-1-amd64", "6.12.9-amd64", "6.12.30-amd64", "6.12.30-cloud-amd64", "6.18.1-amd64"):
        (tmp_path / f"vmlinuz-{version}").touch()
        (tmp_path / version).mkdir()
        (tmp_path / version / "modules.dep").touch()
    (tmp_path / "vmlinuz-6.12.99-amd64").touch()  # without modules
    assert machine.kernel(tmp_path, tmp_path) == "6.12.30-amd64"


@pytest.mark.counts
def test_every_design_costs_what_it_did(tmp_path: Path) -> None:
    """Path lengths to within 1 %. `UPDATE_GOLDEN=1` writes new ones."""
    golden = GOLDEN / f"{need()}.json"
    designs = [word for name in DESIGNS for word in ("--design", name)]
    done = cli(TWO_NODES, "client", "web-2", *designs, "--json", results=tmp_path)
    assert done.returncode == 0, done.stderr
    counted = {row["design"]: row["instructions"] for row in json.loads(done.stdout)["counts"]}
    found = {
        design: {metric: count for metric, count in of_design.items() if not metric.startswith("bulk")}
        for design, of_design in counted.items()
    }
    assert list(found) == list(DESIGNS)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=2) + "\n")
    if not golden.exists():
        pytest.skip(f"no counts of this kernel to compare with; UPDATE_GOLDEN=1 writes {golden.name}")
    expected = json.loads(golden.read_text())
    assert [
        f"{design} {metric}: {found[design][metric]:,.0f}, was {count:,.0f}"
        for design, counts in expected.items()
        for metric, count in counts.items()
        if abs(found[design][metric] / count - 1) > TOLERANCE
    ] == []
