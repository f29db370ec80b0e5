"""testbed validate"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from testbed.cli.errors import WRONG_INPUT
from testbed.spec.problems import Problem, SpecError


@click.command(epilog="Example: testbed validate topologies/*.yaml scenarios/*.yaml")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the mistakes as JSON.")
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Read topologies, scenarios and designs and report every mistake. Builds nothing."""
    from testbed.designs import CATALOGUE
    from testbed.spec.design import ReadCni
    from testbed.spec.load import load_any

    problems: list[Problem] = []
    good: list[str] = []
    for file in files:
        try:
            loaded = load_any(file, CATALOGUE)
            kind = "design" if isinstance(loaded.value, ReadCni) else type(loaded.value).__name__.lower()
            kind = kind.removesuffix("spec")
            good.append(f"{file}: {kind} {loaded.value.name}, no mistake found")
        except SpecError as error:
            problems += error.problems
    if as_json:
        click.echo(json.dumps([asdict(problem) for problem in problems], indent=2))
        sys.exit(WRONG_INPUT if problems else 0)
    for line in good:
        click.echo(line)
    if problems:
        raise SpecError(tuple(problems))
