"""The command line: what it prints, and its exit codes."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from testbed.cli import verbs
from testbed.cli.verbs import VERBS
from testbed.designs import ATTACHMENTS, DESIGNS, TRANSPORTS

GOLDEN = Path(__file__).parent / "golden"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"


def cli(
    *words: str, cwd: Path, env: dict[str, str] | None = None, program: Sequence[str] = ("-m", "testbed")
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *program, *words],
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


def test_valid_files_are_reported_as_valid(repository: Path) -> None:
    files = [str(path.relative_to(repository)) for path in sorted(repository.glob("[st][co]*/*.yaml"))]
    said = cli("validate", *files, cwd=repository)
    assert (said.returncode, said.stderr) == (0, "")
    assert "topologies/two-nodes.yaml: topology two-nodes, no mistake found" in said.stdout
    assert "scenarios/compare-designs.yaml: scenario compare-designs, no mistake found" in said.stdout


def test_mistakes_are_located_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "name: bad\ncluster: {pod_cidr: 10.244.0.0/16}\nfabrik: {subnet: 10.244.1.0/24}\nnodes: {node1: {pods: [A]}}\n"
    )
    said = cli("validate", "bad.yaml", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    golden("validate-bad", said.stderr)


def test_mistakes_are_printed_as_json(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "name: bad\ncluster: {pod_cidr: 10.244.0.0/16}\nfabrik: {}\nnodes: {node1: {}}\n"
    )
    said = cli("validate", "bad.yaml", "--json", cwd=tmp_path)
    assert said.returncode == 2
    problems = json.loads(said.stdout)
    assert (problems[1]["line"], problems[1]["column"], problems[1]["nearest"]) == (3, 1, "fabric")


def test_an_import_says_what_it_wrote_and_left_out(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "lab.clab.yml").write_text(
        "name: lab\nprefix: x\ntopology:\n  nodes: {a: {kind: linux}, b: {kind: linux}}\n"
        "  links: [{endpoints: [a:eth1, b:eth1]}, {endpoints: [a:eth2, b:eth2]}]\n"
    )
    (tmp_path / "deep" / "er").mkdir(parents=True)
    said = cli("import", "lab.clab.yml", "-o", "deep/er/lab.yaml", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (0, "wrote deep/er/lab.yaml\n")
    golden("import-left-out", said.stderr)
    text = (tmp_path / "deep/er/lab.yaml").read_text()
    schema = text.partition("$schema=")[2].partition("\n")[0]
    assert (tmp_path / "deep/er" / schema).samefile(repository / "schemas/topology.json")
    assert cli("validate", "deep/er/lab.yaml", cwd=tmp_path).returncode == 0
    printed = cli("import", "lab.clab.yml", cwd=tmp_path)
    assert "$schema" not in printed.stdout
    assert printed.stderr == said.stderr


def test_an_import_does_not_overwrite_a_file(tmp_path: Path) -> None:
    (tmp_path / "kind.yaml").write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n")
    (tmp_path / "mine.yaml").write_text("mine")
    said = cli("import", "kind.yaml", "-o", "mine.yaml", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "testbed: mine.yaml exists already, and is not overwritten\n"
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_an_import_locates_mistakes_in_its_input(tmp_path: Path) -> None:
    (tmp_path / "kind.yaml").write_text(
        "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking:\n  podSubnet: 10.0.0.0/30\n"
    )
    said = cli("import", "kind.yaml", "-o", "mine.yaml", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    golden("import-small-range", said.stderr)
    assert not (tmp_path / "mine.yaml").exists()


def test_an_mtu_too_small_for_a_design_is_located_in_the_topology(tmp_path: Path) -> None:
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


def test_mistakes_of_topology_and_design_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("name: a\ncluster: {pod_cidr: 10.244.0.0/16}\nnodes: 2\nfabrik: {}\n")
    (tmp_path / "mine.yaml").write_text("name: mine\nattach: rooted\ntransport: vxlan\n")
    said = [cli("up", "wrong.yaml", "--design", design, cwd=tmp_path) for design in ("vxlam", "mine.yaml", "l2")]
    assert {one.returncode for one in said} == {2}
    golden("up-two-mistakes", "\n".join(one.stderr for one in said))


def test_a_plan_is_printed_as_commands_and_as_json(repository: Path) -> None:
    commands = cli("plan", "topologies/two-nodes.yaml", "--design", "vxlan", cwd=repository)
    assert commands.stdout == (repository / "tests/designs/golden/two-nodes-vxlan.sh").read_text()
    data = json.loads(cli("plan", "topologies/two-nodes.yaml", "--design", "vxlan", "--json", cwd=repository).stdout)
    assert data["pod_mtu"] == 1450


@pytest.mark.parametrize("name", DESIGNS)
def test_every_design_has_a_page(name: str) -> None:
    said = CliRunner().invoke(verbs.testbed, ["designs", name])
    assert said.exit_code == 0, said.output
    assert said.output.startswith(f"{name}: ")
    assert "--- How nodes reach each other's pods" in said.output


def test_designs_attachments_and_transports_are_listed(repository: Path) -> None:
    listed = json.loads(cli("designs", "--json", cwd=repository).stdout)
    names = {kind: [item["name"] for item in items] for kind, items in listed.items()}
    assert names == {
        "designs": list(DESIGNS),
        "attachments": list(ATTACHMENTS),
        "transports": list(TRANSPORTS),
    }
    by_name = {item["name"]: item for item in listed["transports"]}
    assert by_name["vxlan"]["overhead"] == {"ipv4": 50, "ipv6": 70}
    assert by_name["vxlan"]["goes_with"] == ["bridge", "flat-bridge", "routed", "ptp", "netkit"]
    assert by_name["vxlan"]["parameters"] == ["port", "vni", "mode"]
    text = cli("designs", cwd=repository).stdout
    assert all(name in text for item in names.values() for name in item)


def test_a_pair_and_a_design_file_have_pages(repository: Path, tmp_path: Path) -> None:
    text = cli("designs", "routed+vxlan", cwd=repository).stdout
    assert "169.254.1.1" in text
    assert "For each remote node there are three entries" in text
    (tmp_path / "mine.yaml").write_text("name: mine\nattach: ptp\ntransport: {kind: vxlan, port: 4789}\nmtu: 1400\n")
    facts = json.loads(cli("designs", "mine.yaml", "--json", cwd=tmp_path).stdout)
    assert (facts["attach"], facts["transport"]) == ("ptp", {"kind": "vxlan", "port": 4789})
    assert (facts["mtu"], facts["overhead"]) == (1400, {"ipv4": 50, "ipv6": 70})


def test_a_wrong_design_is_explained(repository: Path, tmp_path: Path) -> None:
    topology = repository / "topologies/two-nodes.yaml"
    (tmp_path / "wrong.yaml").write_text("name: wrong\nattach: router\ntransport: {kind: ipip, port: 4789, mtu: 9}\n")
    (tmp_path / "senseless.yaml").write_text("name: senseless\nattach: macvlan\ntransport: wireguard\n")
    wanted = ("routed+vxlam", "rooted+vxlan", "macvlan+vxlan", "bridge+l2", "wrong.yaml", "senseless.yaml", "none.yaml")
    said = [cli("plan", str(topology), "--design", design, cwd=tmp_path) for design in wanted]
    assert {one.returncode for one in said} == {2}
    golden("plan-wrong-designs", "\n".join(one.stderr for one in said))


def test_a_scenario_may_define_designs(repository: Path, tmp_path: Path) -> None:
    """Inline, in design files, and as ATTACH+TRANSPORT; mistakes are located."""
    (tmp_path / "overlay.yaml").write_text("name: overlay\nattach: routed\ntransport: {kind: vxlan, vni: 4096}\n")
    text = (repository / "scenarios/quick.yaml").read_text().replace("../topologies", f"{repository}/topologies")
    head, _, tail = text.partition("designs:")
    rest = tail.partition("\n")[2]
    good = "designs: [l3-host-routes, vxlan, routed+udp, overlay.yaml, {name: mine, attach: ptp, transport: gateway}]"
    (tmp_path / "good.yaml").write_text(f"{head}{good}\n{rest}")
    assert cli("validate", "good.yaml", cwd=tmp_path).returncode == 0
    said = cli("run", "good.yaml", "--dry-run", cwd=tmp_path)
    assert "arms: l3-host-routes, vxlan, routed+udp, overlay, mine, aa" in said.stdout
    swept = f"{head}{good}\n{rest}\nsweep: {{designs.mine.mtu: [1400, 1300], designs.overlay.transport.port: [4789]}}\n"
    (tmp_path / "swept.yaml").write_text(swept)
    assert "cell 2: mtu=1300 port=4789" in cli("run", "swept.yaml", "--dry-run", cwd=tmp_path).stdout
    bad = "designs: [l3-host-routes, {name: x}, 7]"
    (tmp_path / "bad.yaml").write_text(f"{head}{bad}\n{rest}")
    astray = "designs: [l3-host-routes, routd+vxlan, {name: aa, attach: ptp, transport: l2}, absent.yaml]"
    (tmp_path / "astray.yaml").write_text(f"{head}{astray}\n{rest}")
    worse = (
        "designs: [l3-host-routes, {name: b, attach: flat-bridge, transport: {kind: vxlan, mode: always, flood: 9}}]"
    )
    (tmp_path / "worse.yaml").write_text(f"{head}{worse}\n{rest}")
    said = cli("validate", "bad.yaml", "astray.yaml", "worse.yaml", cwd=tmp_path)
    assert said.returncode == 2
    golden("validate-wrong-designs", said.stderr.replace(str(repository), "REPOSITORY"))


@pytest.mark.root
def test_the_doctor_finds_nothing_missing_here(repository: Path) -> None:
    said = cli("doctor", "--json", cwd=repository)
    assert said.returncode == 0
    findings = json.loads(said.stdout)["findings"]
    assert {finding["name"] for finding in findings} >= {"namespaces", "vxlan", "mnexec", "iperf3", "sockperf"}
    assert "MISSING" not in cli("doctor", cwd=repository).stdout


BARE = "from testbed.kernel import search_path; search_path.SBIN = ();from testbed.cli import main; main()"


def without_programs(*words: str, cwd: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the verb on a machine that has only the programs in a folder."""
    return cli(*words, cwd=cwd, env=os.environ | {"PATH": str(folder)}, program=["-c", BARE])


def test_the_doctor_names_missing_programs_and_their_packages(repository: Path, tmp_path: Path) -> None:
    said = without_programs("doctor", cwd=repository, folder=tmp_path)
    assert said.returncode == 3
    lines = [line for line in said.stdout.splitlines() if "program" in line]
    golden("doctor-without-programs", "\n".join(lines) + "\n")


@pytest.mark.root
def test_a_run_without_the_programs_is_refused_before_it_begins(repository: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    said = without_programs("run", "scenarios/quick.yaml", "--results", str(results), cwd=repository, folder=tmp_path)
    assert (said.returncode, said.stdout) == (3, "")
    golden("run-without-programs", said.stderr)
    assert not results.exists()


@pytest.mark.root
@pytest.mark.parametrize("verb", ["run", "up"])
def test_a_user_who_may_not_make_namespaces_is_refused_before_anything_begins(
    verb: str, repository: Path, tmp_path: Path
) -> None:
    """In a user namespace that allows only one more, the user's own."""
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


def test_a_results_folder_that_the_lab_would_hide_is_refused(repository: Path) -> None:
    said = cli("run", "scenarios/quick.yaml", "--results", "/run/results", cwd=repository)
    assert said.returncode in (2, 3)
    assert not Path("/run/results").exists()


@pytest.mark.root
def test_an_unwritable_results_folder_is_reported_before_anything_is_built(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = cli("run", str(repository / "scenarios/quick.yaml"), "--results", "file/results", cwd=tmp_path)
    assert said.returncode == 2
    assert "results cannot be written to file/results: Not a directory" in said.stderr


@pytest.mark.root
def test_the_doctor_reports_a_container_without_the_right_to_make_namespaces(repository: Path) -> None:
    drop = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
    program = [sys.executable, "-m", "testbed", "doctor"]
    said = subprocess.run([*drop, *program], capture_output=True, text=True, cwd=repository, check=False)
    assert said.returncode == 3
    assert "MISSING rights   namespaces root may not make namespaces here" in said.stdout
    assert "Traceback" not in said.stderr


def test_a_report_that_cannot_be_written_is_exit_code_2(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(repository / "results/example", folder)
    (folder / "summary.csv").unlink()
    (folder / "summary.csv").mkdir()
    said = cli("report", "run", cwd=tmp_path)
    assert said.returncode == 2
    assert "summary.csv cannot be written: Is a directory" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_folder_without_results_is_exit_code_2(tmp_path: Path) -> None:
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


def test_a_closed_pipe_is_not_an_error(repository: Path) -> None:
    pipeline = f"{sys.executable} -m testbed plan topologies/sixteen-nodes.yaml --design vxlan | head -n 1"
    said = subprocess.run(["sh", "-c", pipeline], capture_output=True, text=True, cwd=repository, check=True)
    assert (said.stdout, said.stderr) == ("#!/bin/sh -e\n", "")
