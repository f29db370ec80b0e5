"""`testbed probes`: the probes, their metrics and programs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from testbed.kernel.programs import PROGRAMS
from testbed.probes import PROBES, probe_of
from testbed.report.metrics import METRICS
from testbed.spec import probes as spec


def cli(*words: str, env: dict[str, str] | None = None) -> str:
    said = subprocess.run(
        [sys.executable, "-m", "testbed", "probes", *words],
        capture_output=True,
        text=True,
        env=env,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    return said.stdout


def test_every_probe_that_a_scenario_can_name_is_listed() -> None:
    union, *_ = get_args(spec.Probe)
    assert {kind.spec for kind in PROBES.values()} == set(get_args(union))
    for tool, kind in PROBES.items():
        assert kind.spec.model_validate({"tool": tool}).tool == tool


@pytest.mark.parametrize("tool", PROBES)
def test_every_listed_probe_starts_only_the_listed_programs(tool: str) -> None:
    probe = probe_of(PROBES[tool].spec.model_validate({"tool": tool}))
    assert set(probe.tools) <= set(PROBES[tool].programs)


@pytest.mark.parametrize("tool", PROBES)
def test_every_listed_metric_is_known_to_the_report(tool: str) -> None:
    assert set(PROBES[tool].metrics) <= set(METRICS)


def test_json_has_the_version_and_the_package_of_each_program() -> None:
    listed = {probe["tool"]: probe for probe in json.loads(cli("--json"))}
    assert list(listed) == list(PROBES)
    for probe in listed.values():
        assert probe["summary"]
        assert probe["available"] == all(program["installed"] for program in probe["programs"])
        for program in probe["programs"]:
            assert program["package"] == PROGRAMS[program["name"]].package
            assert bool(program["version"]) == program["installed"]
    assert [program["name"] for program in listed["irtt"]["programs"]] == ["irtt", "iperf3"]
    assert all(program["optional"] for program in listed["netperf"]["programs"])


def test_the_table_has_metrics_and_missing_programs(tmp_path: Path) -> None:
    wide = {**os.environ, "COLUMNS": "250"}
    said = cli(env=wide)
    assert "open_rtt_p50, p90, p99, p99.9, loaded_rtt_p50, p90" in said
    assert "ICMP echo at a fixed rate" in said
    without = cli(env={**wide, "PATH": str(tmp_path)})
    assert "irtt is missing: apt-get install irtt" in without
    assert "netperf is missing, optional: apt-get install netperf" in without
