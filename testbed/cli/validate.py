"""testbed validate"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from testbed.cli.errors import WRONG_INPUT
from testbed.spec.problems import Problem, SpecError, counted


@click.command(epilog="Example: testbed validate topologies/*.yaml scenarios/*.yaml")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the mistakes as JSON.")
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Read topologies, scenarios, designs and Kubernetes manifests and report every mistake. Builds nothing.

    A folder is read as manifests that belong together.
    """
    problems: list[Problem] = []
    good: list[str] = []
    for file in files:
        try:
            good += _checked_manifests(file) if _is_manifest(file) else [_checked(file)]
        except SpecError as error:
            problems += error.problems
    if as_json:
        click.echo(json.dumps([asdict(problem) for problem in problems], indent=2))
        sys.exit(WRONG_INPUT if problems else 0)
    for line in good:
        click.echo(line)
    if problems:
        raise SpecError(tuple(problems))


def _checked(file: Path) -> str:
    """What a topology, scenario or design is. Raises SpecError with its mistakes."""
    from testbed.designs import CATALOGUE
    from testbed.spec.design import ReadCni
    from testbed.spec.load import LoadedScenario, load_any

    loaded = load_any(file, CATALOGUE)
    topology = loaded.topology if isinstance(loaded, LoadedScenario) else loaded
    if getattr(topology.value, "manifests", ()) or getattr(loaded.value, "manifests", ()):
        from testbed.experiment.clusters import checked_manifests

        checked_manifests(loaded)
    kind = "design" if isinstance(loaded.value, ReadCni) else type(loaded.value).__name__.lower()
    return f"{file}: {kind.removesuffix('spec')} {loaded.value.name}, no mistake found"


def _checked_manifests(path: Path) -> Iterator[str]:
    """How many objects a manifest has, or each manifest of a folder. Raises SpecError with all mistakes."""
    from testbed.cli.manifests import left_out_lines
    from testbed.kubernetes.reading import read_manifests
    from testbed.lab.manifests import texts_of

    given = texts_of((path,))
    read = read_manifests(given.texts)
    for name, _ in given.texts:
        kinds = Counter(one.kind.name for one in read.objects if one.source.file == name)
        listed = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        yield f"{name}: {counted(kinds.total(), 'object')}{f' ({listed})' if listed else ''}, no mistake found"
    yield from left_out_lines(read, given.skipped)


def _is_manifest(path: Path) -> bool:
    """Whether a file has Kubernetes objects, or is a folder."""
    from testbed.kubernetes.dialect import MAX_BYTES, is_manifest
    from testbed.spec.design import is_network
    from testbed.spec.files import Unreadable, read_text

    if path.is_dir():
        return True
    try:
        return not is_network(str(path)) and is_manifest(read_text(path, MAX_BYTES))
    except Unreadable:
        return False
