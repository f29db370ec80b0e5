"""testbed run"""

import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from testbed.cli.errors import INTERRUPTED, OUTPUT_FAILED, WrongInput
from testbed.spec.limits import MAX_ROUNDS, MAX_SEED

WAITING = "Another run is measuring on this machine and would disturb this one; waiting for its end. Ctrl-C gives up."

if TYPE_CHECKING:
    from testbed.experiment.schedule import Schedule, Site
    from testbed.spec.load import LoadedScenario

    LeftOut = Mapping[str, Mapping[str, str]]
    """Reasons for unavailable designs, by design and cell."""


@click.command(epilog="Example: testbed run scenarios/quick.yaml")
@click.argument("scenario", type=click.Path(path_type=Path), required=False)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Where to create the folder of this run.",
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), help="Seed of the order of designs in each round.")
@click.option("--dry-run", is_flag=True, help="Print what would be measured and how long that takes; needs no root.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Continue a run in its own folder: one that was interrupted, or with --rounds any; instead of SCENARIO.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, MAX_ROUNDS),
    metavar="N",
    help="With --resume: measure until the run has N rounds. Verdicts account for each look at earlier ones.",
)
def run(
    scenario: Path | None, results: Path, seed: int | None, dry_run: bool, resume: Path | None, rounds: int | None
) -> None:
    """Build every design of a scenario, check it, measure it round by round, and write the report."""
    if (scenario is None) == (resume is None):
        raise click.UsageError("give either SCENARIO or --resume FOLDER")
    if resume is not None:
        if seed is not None or dry_run:
            raise click.UsageError("a resumed run keeps its own seed; omit --seed and --dry-run")
        sys.exit(_resume(resume, rounds))
    if rounds is not None:
        raise click.UsageError("--rounds requires --resume FOLDER; in a scenario, write `rounds: N`")
    assert scenario is not None
    from testbed.designs import CATALOGUE
    from testbed.spec.load import load_scenario

    loaded = load_scenario(scenario, CATALOGUE)
    if loaded.value.manifests or loaded.topology.value.manifests:
        from testbed.experiment.clusters import with_manifests

        loaded = with_manifests(loaded)
    if seed is None:
        seed = loaded.value.seed if loaded.value.seed is not None else random.SystemRandom().randint(0, MAX_SEED)
    sys.exit(_outline(loaded, seed) if dry_run else _begin(loaded, scenario, seed, results))


def _outline(loaded: "LoadedScenario", seed: int) -> int:
    from testbed.experiment.needs import all_left_out
    from testbed.experiment.outline import Outline
    from testbed.experiment.schedule import Schedule
    from testbed.spec.scenario import AUTO_BUDGET
    from testbed.spec.types import minutes

    left_out = all_left_out(loaded)
    loaded = _with_rounds(loaded, left_out)
    outline = Outline.of(Schedule.of(loaded, seed), _is_in(left_out))
    for number, name in enumerate(outline.cells, start=1):
        if name:
            click.echo(f"cell {number}: {name}")
    click.echo(f"arms: {', '.join(outline.arms)}")
    for name, reasons in left_out.items():
        for reason in dict.fromkeys(reasons.values()):
            cells = [cell for cell, why in reasons.items() if why == reason]
            where = f" ({', '.join(cells)})" if len(cells) < len(loaded.cells) else ""
            click.echo(f"{name}{where}: {reason}")
    click.echo(f"a round: {outline.labs} labs, {outline.trials} measurements, about {minutes(outline.round_seconds)}")
    if outline.rounds is None:
        budget = loaded.value.budget or AUTO_BUDGET
        click.echo(f"rounds: until all verdicts are settled, at most {minutes(budget.total_seconds())}")
    else:
        click.echo(f"total: {outline.rounds} rounds and a warm-up, about {minutes(outline.seconds)}")
    return 0


def _is_in(left_out: "LeftOut") -> "Callable[[Site, str], bool]":
    """Whether a design is left out at a site."""
    return lambda site, name: site.cells[0].name in left_out.get(name, {})


def _with_rounds(loaded: "LoadedScenario", left_out: "LeftOut") -> "LoadedScenario":
    """The scenario with the number of rounds that its budget allows."""
    from testbed.experiment.outline import Outline, fitted
    from testbed.experiment.schedule import Schedule

    return fitted(loaded, Outline.of(Schedule.of(loaded, 0), _is_in(left_out)))


def _begin(loaded: "LoadedScenario", scenario: Path, seed: int, results: Path) -> int:
    from testbed.experiment.manifest import manifest_of
    from testbed.experiment.needs import all_left_out, need_for_run
    from testbed.experiment.results import new_folder
    from testbed.experiment.schedule import Schedule
    from testbed.lab.capsule import SCRATCH

    need_for_run(loaded)
    loaded = _with_rounds(loaded, all_left_out(loaded))
    try:
        place = results.resolve()
    except FileNotFoundError:
        raise click.UsageError("the working folder was removed; change to another one") from None
    if place.is_relative_to(SCRATCH):
        raise click.UsageError(f"results cannot be written under {SCRATCH}, which is private in a lab")
    fresh = not results.exists()
    try:
        folder = new_folder(results, loaded.value.name)
    except OSError as error:
        raise click.UsageError(f"results cannot be written to {results}: {error.strerror}") from None
    schedule = Schedule.of(loaded, seed)
    return _carry_out(
        results if fresh else folder,
        folder,
        lambda: _measure(loaded, schedule, manifest_of(loaded, str(scenario), schedule), folder),
    )


def _resume(folder: Path, rounds: int | None) -> int:
    """Resumes a run from its folder, which has everything it needs; `rounds` is the number that it is to have then."""
    from testbed.experiment.labs import plans_of
    from testbed.experiment.manifest import NotResumable, check_resumable, extended, scenario_in
    from testbed.experiment.needs import need_for_run
    from testbed.experiment.results import ResultsError, read_results
    from testbed.experiment.resume import changed_plans
    from testbed.experiment.schedule import Schedule

    try:
        found = read_results(folder)
        manifest = extended(found.manifest, rounds) if rounds else found.manifest
        check_resumable(manifest)
        loaded = scenario_in(manifest)
        need_for_run(loaded)
        schedule = Schedule.of(loaded, manifest["seed"])
        if changed := changed_plans(folder, plans_of(schedule), found.samples):
            lines = "".join(f"\n  {line}" for line in changed)
            raise NotResumable(f"its designs have changed, so its rounds cannot be compared with new ones:{lines}")
    except ResultsError as error:
        raise WrongInput(str(error)) from None
    except NotResumable as reason:
        raise WrongInput(f"{folder} cannot be resumed: {reason}") from None
    return _carry_out(folder, folder, lambda: _measure(loaded, schedule, manifest, folder))


def _carry_out(made: Path, folder: Path, work: Callable[[], int]) -> int:
    """Measures in a capsule, then reports. Gives the folder `made` to the user behind sudo."""
    from testbed.experiment.alone import alone
    from testbed.experiment.owner import give_to_caller
    from testbed.experiment.results import ResultsError, held
    from testbed.lab.capsule import enclosed

    try:
        with held(folder), alone(lambda: click.echo(WAITING, err=True)):
            code = enclosed(work)
        if (folder / "manifest.json").exists():
            code = _report(folder, code)
    except ResultsError as error:
        raise WrongInput(str(error)) from None
    finally:
        give_to_caller(made)
    return code


def _measure(loaded: "LoadedScenario", schedule: "Schedule", manifest: dict[str, Any], folder: Path) -> int:
    """The work inside the capsule."""
    # These import Mininet and the probes' libraries, which takes long.
    from testbed.cli.progress import Progress
    from testbed.experiment.results import ResultsWriter
    from testbed.experiment.resume import mend
    from testbed.experiment.run import Run

    def judge(look: int) -> bool:
        from testbed.report import is_settled  # here, as scipy takes a second to import

        return is_settled(folder, look, loaded.value.settle)

    earlier = mend(folder) if (folder / "manifest.json").exists() else None
    with ResultsWriter(folder) as writer, Progress() as progress:
        all_well = Run(loaded, schedule, manifest, writer, progress, judge, earlier).carry_out()
    if writer.waiting:
        return OUTPUT_FAILED
    return 0 if all_well else 1


def _report(folder: Path, code: int) -> int:
    from rich.console import Console

    from testbed.report import write_report

    try:
        made = write_report(folder)
    except OSError as error:
        click.echo(f"testbed: the report cannot be written: {error}; to try again: testbed report {folder}", err=True)
        return OUTPUT_FAILED
    if code == INTERRUPTED:
        click.echo(
            f"Interrupted; the report covers what was measured so far. To continue: testbed run --resume {folder}",
            err=True,
        )
    click.echo()
    Console().print(made.table)
    click.echo(f"\nReport: {made.html}")
    if code != INTERRUPTED and made.rounds_to_resolve:
        click.echo(f"More rounds: testbed run --resume {folder} --rounds {made.rounds_to_resolve}")
    return code
