"""testbed validate"""

from pathlib import Path

import click

from testbed.designs import DESIGNS
from testbed.designs.fitting import check_designs
from testbed.spec.load import LoadedScenario, load_any
from testbed.spec.problems import Problem, SpecError


@click.command(epilog="Example: testbed validate topologies/*.yaml scenarios/*.yaml")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def validate(files: tuple[Path, ...]) -> None:
    """Read topologies and scenarios and report every mistake in them; nothing is built."""
    problems: list[Problem] = []
    good: list[str] = []
    for file in files:
        try:
            loaded = load_any(file, tuple(DESIGNS))
            if isinstance(loaded, LoadedScenario):
                check_designs((DESIGNS[name] for name in loaded.value.designs), loaded.topology)
            good.append(f"{file}: {type(loaded.value).__name__.lower()} {loaded.value.name}, no mistake found")
        except SpecError as error:
            problems += error.problems
    for line in good:
        click.echo(line)
    if problems:
        raise SpecError(tuple(problems))
