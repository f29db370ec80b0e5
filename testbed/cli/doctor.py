"""testbed doctor"""

import json
import os
import sys
from dataclasses import asdict, dataclass

import click

from testbed.cli.errors import MACHINE_LACKS, NO_NAMESPACES
from testbed.kernel.features import FEATURES, may_make_namespaces, missing
from testbed.kernel.machine import facts
from testbed.kernel.programs import PROGRAMS


@dataclass(frozen=True)
class Finding:
    """One thing that the testbed wants of a machine."""

    kind: str
    name: str
    present: bool | None
    """None: could not be tried."""
    detail: str
    remedy: str
    optional: bool = False
    """Whether all else works without it."""


@click.command(epilog="Example: sudo testbed doctor")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(as_json: bool) -> None:
    """Say what this machine has, what it lacks, and how to get that. Exit code 3 if anything is missing."""
    findings = [_root(), *_features(), *_programs()]
    if as_json:
        click.echo(json.dumps({"machine": facts(), "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        machine = facts()
        click.echo(f"{machine['system']}, Linux {machine['kernel']}, {machine['cpus']} CPUs: {machine['cpu']}\n")
        for finding in findings:
            missing = "none" if finding.optional else "MISSING"
            mark = {True: "ok", False: missing, None: "?"}[finding.present]
            rest = finding.detail if finding.present else finding.remedy
            click.echo(f"{mark:8}{finding.kind:8} {finding.name:10} {rest}")
    if not all(finding.present or finding.optional for finding in findings):
        sys.exit(MACHINE_LACKS)


def _root() -> Finding:
    if os.geteuid() != 0:
        return Finding("rights", "root", False, "", "to build labs, run as root or with sudo")
    return Finding("rights", "namespaces", may_make_namespaces(), "labs can be built", NO_NAMESPACES)


def _features() -> list[Finding]:
    able = may_make_namespaces()
    lacking = missing(tuple(FEATURES)) if able else ()
    return [
        Finding(
            "kernel",
            feature.name,
            feature not in lacking if able else None,
            feature.option,
            feature.remedy if able else "can only be tried by who may build labs",
        )
        for feature in FEATURES.values()
    ]


def _programs() -> list[Finding]:
    return [
        Finding(
            "program",
            program.name,
            program.installed,
            ", ".join(filter(None, (program.version(), program.purpose))) if program.installed else "",
            f"{program.purpose}; {program.remedy}",
            program.optional,
        )
        for program in PROGRAMS.values()
    ]
