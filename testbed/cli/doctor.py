"""testbed doctor"""

import json
import os
import sys
from dataclasses import asdict, dataclass

import click

from testbed.cli.errors import MACHINE_LACKS


@dataclass(frozen=True)
class Finding:
    """One requirement of the testbed, and whether this machine meets it."""

    kind: str
    name: str
    present: bool | None
    """None: could not be probed."""
    detail: str
    remedy: str
    optional: bool = False
    """Whether everything else works without it."""


@click.command(epilog="Example: testbed doctor")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(as_json: bool) -> None:
    """List what this machine has, what it lacks, and how to install it. Exit code 3 if anything required is missing."""
    from testbed.kernel.machine import facts

    findings = [_root(), *_features(), *_programs()]
    if as_json:
        click.echo(json.dumps({"machine": facts(), "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        machine = facts()
        click.echo(f"{machine['system']}, Linux {machine['kernel']}, {machine['cpus']} CPUs: {machine['cpu']}\n")
        for finding in findings:
            missing = "absent" if finding.optional else "MISSING"
            mark = {True: "ok", False: missing, None: "?"}[finding.present]
            rest = finding.detail if finding.present else finding.remedy
            click.echo(f"{mark:8}{finding.kind:8} {finding.name:10} {rest}")
    if not all(finding.present or finding.optional for finding in findings):
        sys.exit(MACHINE_LACKS)


def _root() -> Finding:
    from testbed.kernel.rights import hindrance

    reason, by = hindrance(), "root" if os.geteuid() == 0 else "this user"
    return Finding("rights", "namespaces", not reason, f"{by} may build labs", reason)


def _features() -> list[Finding]:
    from testbed.kernel.features import FEATURES, FOR_LABS, missing_here

    lacking = missing_here(FEATURES)
    able = lacking is not None
    return [
        Finding(
            "kernel",
            feature.name,
            None if lacking is None else feature not in lacking,
            feature.option,
            feature.remedy if able else "cannot be probed without the right to build labs",
            feature.name not in FOR_LABS,
        )
        for feature in FEATURES.values()
    ]


def _programs() -> list[Finding]:
    from testbed.kernel.programs import PROGRAMS

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
