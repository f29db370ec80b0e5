"""The command line as a user meets it: what it prints, and its exit codes."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cli.verbs import VERBS
from testbed.designs import DESIGNS

GOLDEN = Path(__file__).parent / "golden"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"


def cli(*words: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "testbed", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def golden(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.txt"
    if UPDATE:
        file.write_text(text)
    assert text == file.read_text()


def test_the_command_and_the_module_are_the_same_program(repository: Path) -> None:
    command = subprocess.run(
        [Path(sys.executable).parent / "testbed", "--help"], capture_output=True, text=True, cwd=repository, check=True
    )
    assert command.stdout == cli("--help", cwd=repository).stdout
    assert all(verb in command.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, repository: Path) -> None:
    said = cli(verb, "--help", cwd=repository)
    assert said.returncode == 0
    assert "Example: " in said.stdout


def test_good_files_are_said_to_be_good(repository: Path) -> None:
    files = [str(path.relative_to(repository)) for path in sorted(repository.glob("[st][co]*/*.yaml"))]
    said = cli("validate", *files, cwd=repository)
    assert (said.returncode, said.stderr) == (0, "")
    assert "topologies/two-nodes.yaml: topology two-nodes, no mistake found" in said.stdout
    assert "scenarios/compare-designs.yaml: scenario compare-designs, no mistake found" in said.stdout


def test_mistakes_are_located_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "name: bad\ncluster: {pod_cidr: 10.244.0.0/16}\nfabrik: {subnet: 10.244.1.0/24}\nnodes: {node1: {pods: [A]}}\n"
    )
    said = cli("validate", "bad.yaml", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    golden("validate-bad", said.stderr)


def test_mistakes_are_printed_as_data_too(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "name: bad\ncluster: {pod_cidr: 10.244.0.0/16}\nfabrik: {}\nnodes: {node1: {}}\n"
    )
    said = cli("validate", "bad.yaml", "--json", cwd=tmp_path)
    assert said.returncode == 2
    problems = json.loads(said.stdout)
    assert (problems[1]["line"], problems[1]["column"], problems[1]["nearest"]) == (3, 1, "fabric")


def test_a_design_without_room_in_the_mtu_is_located_in_the_topology(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(
        "name: small\ncluster: {pod_cidr: 10.244.0.0/16}\nfabric:\n  subnet: 192.168.56.0/24\n  mtu: 600\n"
        "nodes: {node1: {pods: 1}, node2: {pods: 1}}\n"
    )
    said = cli("plan", "small.yaml", "--design", "vxlan", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    golden("plan-small-mtu", said.stderr)
    assert cli("plan", "small.yaml", "--design", "l2", cwd=tmp_path).returncode == 0


def test_an_unknown_design_is_exit_code_2(repository: Path) -> None:
    said = cli("plan", "topologies/two-nodes.yaml", "--design", "vxlam", cwd=repository)
    assert said.returncode == 2
    golden("plan-unknown-design", said.stderr)


def test_a_plan_is_printed_as_commands_and_as_data(repository: Path) -> None:
    commands = cli("plan", "topologies/two-nodes.yaml", "--design", "vxlan", cwd=repository)
    assert commands.stdout == (repository / "tests/designs/golden/two-nodes-vxlan.sh").read_text()
    data = json.loads(cli("plan", "topologies/two-nodes.yaml", "--design", "vxlan", "--json", cwd=repository).stdout)
    assert data["pod_mtu"] == 1450


def test_designs_are_listed(repository: Path) -> None:
    listed = json.loads(cli("designs", "--json", cwd=repository).stdout)
    assert [design["name"] for design in listed] == list(DESIGNS)
    assert set(listed[0]) == {"name", "summary", "like", "needs", "available"}
    text = cli("designs", cwd=repository).stdout
    assert all(name in text for name in DESIGNS)


@pytest.mark.root
def test_the_doctor_finds_this_machine_fit(repository: Path) -> None:
    said = cli("doctor", "--json", cwd=repository)
    assert said.returncode == 0
    findings = json.loads(said.stdout)["findings"]
    assert {finding["name"] for finding in findings} >= {"namespaces", "vxlan", "mnexec", "iperf3", "sockperf"}
    assert "MISSING" not in cli("doctor", cwd=repository).stdout


def without_programs(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"PATH": str(tmp_path)}


def test_the_doctor_says_what_is_missing_and_what_brings_it(repository: Path, tmp_path: Path) -> None:
    said = cli("doctor", cwd=repository, env=without_programs(tmp_path))
    assert said.returncode == 3
    lines = [line for line in said.stdout.splitlines() if "program" in line]
    golden("doctor-without-programs", "\n".join(lines) + "\n")


@pytest.mark.root
def test_a_run_without_the_programs_is_refused_before_it_begins(repository: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    said = cli("run", "scenarios/quick.yaml", "--results", str(results), cwd=repository, env=without_programs(tmp_path))
    assert (said.returncode, said.stdout) == (3, "")
    golden("run-without-programs", said.stderr)
    assert not results.exists()


@pytest.mark.root
@pytest.mark.parametrize("verb", ["run", "up"])
def test_a_user_who_may_make_no_namespaces_is_refused_before_anything_begins(
    verb: str, repository: Path, tmp_path: Path
) -> None:
    """In a user namespace in which there may be one more, which is the user's own."""
    words = {
        "run": ["scenarios/quick.yaml", "--results", str(tmp_path / "results")],
        "up": ["topologies/two-nodes.yaml", "--design", "vxlan"],
    }
    inner = shlex.join(["unshare", "--user", "--map-user", "1000", sys.executable, "-m", "testbed", verb, *words[verb]])
    outer = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    said = subprocess.run(
        [*outer, f"echo 1 > /proc/sys/user/max_user_namespaces; exec {inner}"],
        capture_output=True,
        text=True,
        cwd=repository,
        check=False,
    )
    assert (said.returncode, said.stdout) == (3, "")
    golden("no-namespaces", said.stderr)
    assert not (tmp_path / "results").exists()


def test_results_are_not_kept_where_the_lab_would_hide_them(repository: Path) -> None:
    said = cli("run", "scenarios/quick.yaml", "--results", "/run/results", cwd=repository)
    assert said.returncode in (2, 3)
    assert not Path("/run/results").exists()


@pytest.mark.root
def test_results_that_cannot_be_kept_are_said_before_anything_is_built(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = cli("run", str(repository / "scenarios/quick.yaml"), "--results", "file/results", cwd=tmp_path)
    assert said.returncode == 2
    assert "results cannot be kept in file/results: Not a directory" in said.stderr


@pytest.mark.root
def test_a_container_without_the_right_to_make_namespaces_is_told(repository: Path) -> None:
    drop = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
    program = [sys.executable, "-m", "testbed", "doctor"]
    said = subprocess.run([*drop, *program], capture_output=True, text=True, cwd=repository, check=False)
    assert said.returncode == 3
    assert "MISSING rights   namespaces this root may not make namespaces" in said.stdout
    assert "Traceback" not in said.stderr


def test_a_report_that_cannot_be_written_is_exit_code_2(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(repository / "results/example", folder)
    (folder / "summary.csv").unlink()
    (folder / "summary.csv").mkdir()
    said = cli("report", "run", cwd=tmp_path)
    assert said.returncode == 2
    assert "the report cannot be written: " in said.stderr
    assert "Traceback" not in said.stderr


def test_a_folder_that_is_no_result_is_exit_code_2(tmp_path: Path) -> None:
    said = cli("report", "nowhere", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    golden("report-nowhere", said.stderr)


@pytest.mark.parametrize("kind", ["topology", "scenario"])
def test_the_schema_is_the_shipped_one(kind: str, repository: Path) -> None:
    assert cli("schema", kind, cwd=repository).stdout == (repository / f"schemas/{kind}.json").read_text()


def test_a_misspelt_verb_is_exit_code_2(repository: Path) -> None:
    said = cli("validat", cwd=repository)
    assert said.returncode == 2
    assert "Traceback" not in said.stderr
    golden("misspelt-verb", said.stderr)


def test_a_reader_that_has_had_enough_is_no_error(repository: Path) -> None:
    pipeline = f"{sys.executable} -m testbed plan topologies/sixteen-nodes.yaml --design vxlan | head -n 1"
    said = subprocess.run(["sh", "-c", pipeline], capture_output=True, text=True, cwd=repository, check=True)
    assert (said.stdout, said.stderr) == ("#!/bin/sh -e\n", "")
