"""testbed count"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testbed.cli.choosing import HELP, chosen_for
from testbed.cli.errors import OUTPUT_FAILED, WrongInput

if TYPE_CHECKING:
    from testbed.spec.load import LoadedScenario
    from testbed.spec.topology import Topology

TRACED = "tcp_64_instructions"
OF_SCENARIO = "a scenario names its designs and paths; omit {}"


@click.command(epilog="Example: testbed count topologies/two-nodes.yaml --design vxlan client web-2")
@click.argument("file", metavar="SCENARIO|TOPOLOGY", type=click.Path(path_type=Path))
@click.argument("source", metavar="[A", required=False)
@click.argument("target", metavar="B]", required=False)
@click.option("--design", "designs", multiple=True, help=f"{HELP} For a topology; may be repeated.")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Where to create the folder of the counts.",
)
@click.option("--functions", is_flag=True, help="Also trace a TCP round trip: instructions by layer and function.")
@click.option("--json", "as_json", is_flag=True, help="Print every count as JSON.")
def count(
    file: Path,
    source: str | None,
    target: str | None,
    designs: tuple[str, ...],
    results: Path,
    functions: bool,
    as_json: bool,
) -> None:
    """Count the kernel instructions of packets' paths, exactly, for every design.

    Boots a stock kernel in a virtual machine whose clock counts instructions; the counts are the same on every machine,
    busy or not. FILE is a scenario, whose designs and paths are counted, or a topology with --design; A and B are then
    the ends of the path. Instructions are path length, not speed. Counts whose two rounds differ by more than 0.5 % are
    listed. Exit code 1 if a design fails its checks or a path gives no count.
    """
    from testbed.counting.count import need

    loaded = _loaded(file, designs, source, target)
    version = need()
    sys.exit(_count(loaded, file, version, results, functions, as_json))


def _loaded(file: Path, designs: tuple[str, ...], source: str | None, target: str | None) -> "LoadedScenario":
    """The scenario in the file, or one of the topology in it with these designs, on a path from source to target."""
    from testbed.designs import CATALOGUE
    from testbed.spec.load import LoadedScenario, load_any, scenario_of_text
    from testbed.spec.topology import Topology

    if source and not target:
        raise click.UsageError("give both ends of the path, A and B")
    loaded = load_any(file, CATALOGUE)
    if isinstance(loaded, LoadedScenario):
        for given, what in ((designs, "--design"), (source, "A and B")):
            if given:
                raise click.UsageError(OF_SCENARIO.format(what))
        return loaded
    if not isinstance(loaded.value, Topology):
        raise WrongInput(f"{file}: expected a scenario or a topology, found a design")
    if not designs:
        raise click.UsageError("a topology needs --design; `testbed designs` lists them")
    for name in designs:
        chosen_for(file, name)
    paths = {"path": (source, target)} if source and target else _paths(loaded.value)
    known = (*loaded.value.pod_ids, *loaded.value.nodes)
    for end in (end for ends in paths.values() for end in ends if end not in known):
        from testbed.spec.nearest import unknown

        raise click.UsageError(unknown("pod or node", end, known))
    text = {
        "name": loaded.value.name,
        "topology": str(file),
        "designs": list(designs),
        "baseline": _name_of(designs[0]),
        "paths": {name: {"from": one, "to": other} for name, (one, other) in paths.items()},
        "probes": {"latency": {"tool": "fping"}},
    }
    return scenario_of_text(json.dumps(text, indent=2), Path("testbed count"), CATALOGUE)


def _name_of(design: str) -> str:
    from testbed.cli.choosing import chosen

    return chosen(design).name


def _paths(topology: "Topology") -> dict[str, tuple[str, str]]:
    """From the first pod to another one of its node, and to one of another node."""
    found = {}
    first, *others = [(node, pod.id) for node in topology.nodes for pod in topology.pods_of(node)]
    for name, same in (("same-node", True), ("other-node", False)):
        if target := next((pod for node, pod in others if (node == first[0]) == same), None):
            found[name] = (first[1], target)
    return found


def _count(loaded: "LoadedScenario", file: Path, version: str, results: Path, functions: bool, as_json: bool) -> int:
    from testbed.counting.count import manifest_for
    from testbed.counting.meter import MeterFailed, build
    from testbed.experiment.owner import give_to_caller
    from testbed.experiment.results import ResultsWriter, held, new_folder
    from testbed.experiment.schedule import Schedule
    from testbed.lab.capsule import SCRATCH, enclosed

    if results.resolve().is_relative_to(SCRATCH):
        raise click.UsageError(f"results cannot be written under {SCRATCH}, which is private in a lab")
    try:
        meter = build()
        fresh = not results.exists()
        folder = new_folder(results, f"{loaded.value.name}-count")
    except MeterFailed as reason:
        raise WrongInput(str(reason)) from None
    except OSError as error:
        raise click.UsageError(f"results cannot be written to {results}: {error.strerror}") from None
    schedule = Schedule.of(loaded, 0)

    def work() -> int:
        from testbed.cli.progress import CountProgress
        from testbed.counting.count import Count

        with ResultsWriter(folder) as writer, CountProgress() as progress:
            manifest = manifest_for(loaded, str(file), schedule)
            counting = Count(loaded, schedule, manifest, writer, progress, meter, functions)
            try:
                all_well = counting.carry_out(version)
            except MeterFailed as reason:
                click.echo(f"testbed: {reason}", err=True)
                return 1
        for line in counting.apart():
            click.echo(f"rounds differ: {line}", err=True)
        return OUTPUT_FAILED if writer.waiting else 0 if all_well else 1

    try:
        with held(folder):
            code = enclosed(work)
        _report(folder, as_json)
    finally:
        give_to_caller(results if fresh else folder)
    return code


def _report(folder: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from testbed.report import write_report
    from testbed.report.flame import svg
    from testbed.report.functions import lines as of_functions
    from testbed.report.functions import read_walks
    from testbed.report.instructions import lines, rows

    made = write_report(folder)
    found = rows(made.run, made.summaries)
    walks = read_walks(folder, {(row.cell, row.design, row.path): row.instructions.get(TRACED, 0) for row in found})
    for walk in walks:
        (folder / "plots" / f"flame-{walk.name.replace(' ', '-').replace('/', '_')}.svg").write_text(svg(walk), "utf-8")
    if as_json:
        layers = {walk.name: walk.layers for walk in walks}
        click.echo(json.dumps({"counts": [asdict(row) for row in found], "layers": layers}, indent=2))
        return
    for line in (*lines(found), "", *of_functions(walks)):
        click.echo(line)
    click.echo(f"\nReport: {made.html}")
