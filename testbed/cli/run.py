"""testbed run"""

import os
import random
import sys
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console

from testbed.cli.errors import INTERRUPTED, NO_NAMESPACES, MachineLacks
from testbed.designs import DESIGNS
from testbed.designs.fitting import check_designs
from testbed.experiment.results import ResultsWriter
from testbed.kernel import programs
from testbed.kernel.features import may_make_namespaces
from testbed.lab.capsule import SCRATCH, enclosed
from testbed.spec.load import LoadedScenario, load_scenario
from testbed.spec.scenario import MAX_SEED


@click.command(epilog="Example: sudo testbed run scenarios/quick.yaml")
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Where the folder of this run is made.",
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), help="Seed of the order of designs.")
def run(scenario: Path, results: Path, seed: int | None) -> None:
    """Build every design of a scenario, check it, measure it round by round, and write the report."""
    loaded = load_scenario(scenario, tuple(DESIGNS))
    check_designs((DESIGNS[name] for name in loaded.value.designs), loaded.topology)
    _need_the_machine(loaded)
    if seed is None:
        seed = loaded.value.seed if loaded.value.seed is not None else random.SystemRandom().randint(0, MAX_SEED)
    folder = _new_folder(results, loaded.value.name)
    try:
        code = enclosed(lambda: _measure(loaded, scenario, seed, folder))
        _report(folder, code)
    finally:
        _give_to_caller(folder)
    sys.exit(code)


def _need_the_machine(loaded: LoadedScenario) -> None:
    """Everything that will be needed, asked for before anything is begun."""
    tools = tuple(dict.fromkeys(probe.tool for probe in loaded.value.probes.values()))
    lines = [
        f"the program {program.name} is missing ({program.purpose}): {program.remedy}"
        for program in programs.missing((*programs.FOR_LABS, *programs.FOR_PROBES, *tools))
    ]
    if lines:
        lines.append("all of them come with ./setup.sh")
    if os.geteuid() != 0:
        lines.append("building labs needs root: run it with sudo, or as root")
    elif not may_make_namespaces():
        lines.append(NO_NAMESPACES)
    if lines:
        raise MachineLacks(lines)


def _new_folder(results: Path, name: str) -> Path:
    """A name that is not taken, for the folder to be made."""
    if results.resolve().is_relative_to(SCRATCH):
        raise click.UsageError(f"results cannot be kept under {SCRATCH}, which a lab has for itself")
    folder = results / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    again = 2
    while folder.exists():
        folder = folder.with_name(f"{name}-{datetime.now():%Y%m%d-%H%M%S}-{again}")
        again += 1
    try:
        if not results.exists():
            results.mkdir(parents=True)
            _give_to_caller(results)
    except OSError as error:
        raise click.UsageError(f"results cannot be kept in {results}: {error.strerror}") from None
    if not os.access(results, os.W_OK):
        raise click.UsageError(f"results cannot be kept in {results}: it may not be written")
    return folder


def _measure(loaded: LoadedScenario, scenario: Path, seed: int, folder: Path) -> int:
    """The work inside the capsule."""
    # Mininet and the probes' libraries: only whoever builds labs pays for their import.
    from testbed.cli.progress import Progress
    from testbed.experiment.run import Run

    with ResultsWriter(folder) as writer, Progress() as progress:
        all_fit = Run(loaded, str(scenario), seed, writer, progress).carry_out()
    return 0 if all_fit else 1


def _report(folder: Path, code: int) -> None:
    if not (folder / "manifest.json").exists():
        return
    from testbed.report import write_report

    made = write_report(folder)
    if code == INTERRUPTED:
        click.echo("Interrupted; this is what had been measured until then.", err=True)
    click.echo()
    Console().print(made.table)
    click.echo(f"\nReport: {made.html}")


def _give_to_caller(folder: Path) -> None:
    """With sudo, the results belong to the user who called it."""
    user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if user is None or group is None or not folder.exists():
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, int(user), int(group), follow_symlinks=False)
