"""testbed probes"""

import json
import re
from dataclasses import asdict, dataclass

import click

from testbed.kernel.programs import PROGRAMS


@dataclass(frozen=True)
class Found:
    """A program of a probe, on this machine."""

    name: str
    installed: bool
    version: str
    """Empty if it is not installed, or reports none."""
    package: str
    """The package that contains it."""
    optional: bool

    @property
    def text(self) -> str:
        if self.installed:
            return f"{self.name} {self.version}".rstrip()
        return f"{self.name} is missing{', optional' if self.optional else ''}: {PROGRAMS[self.name].remedy}"


@click.command(epilog="Example: testbed probes")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def probes(as_json: bool) -> None:
    """List the probes: what each measures, its metrics, and whether its programs are installed."""
    from testbed.probes import PROBES

    here = {tool: [_found(name) for name in kind.programs] for tool, kind in PROBES.items()}
    if as_json:
        listed = [
            {
                "tool": tool,
                "summary": kind.summary,
                "metrics": list(kind.metrics),
                "programs": [asdict(program) for program in here[tool]],
                "available": all(program.installed for program in here[tool]),
            }
            for tool, kind in PROBES.items()
        ]
        click.echo(json.dumps(listed, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 1, 0))
    for title in ("tool", "what it measures", "metrics", "programs"):
        table.add_column(title, no_wrap=title == "tool")
    for tool, kind in PROBES.items():
        table.add_row(tool, kind.summary, _short(kind.metrics), "\n".join(program.text for program in here[tool]))
    Console().print(table)


def _found(name: str) -> Found:
    program = PROGRAMS[name]
    version = program.version() if program.installed else ""
    return Found(name, program.installed, version, program.package, program.optional)


def _short(metrics: tuple[str, ...]) -> str:
    """Metrics in a line, with the name of a metric only at its first percentile: `rtt_p50, p90, p99`."""
    words, before = list[str](), ""
    for metric in metrics:
        found = re.fullmatch(r"(.+)_(p\d.*)", metric)
        words.append(found[2] if found and found[1] == before else metric)
        before = found[1] if found else ""
    return ", ".join(words)
