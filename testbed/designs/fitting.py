"""Whether designs can be had on a topology, before anything is built."""

from collections.abc import Iterable, Iterator, Sequence

from testbed.designs import Design, design_of
from testbed.spec.design import Choice, name_of
from testbed.spec.load import Loaded, LoadedScenario
from testbed.spec.problems import Misfit, Problem, SpecError
from testbed.spec.sweep import Cell
from testbed.spec.topology import Topology


def check_design(design: Design, topology: Loaded[Topology]) -> None:
    """Raises SpecError, located in the topology's file, if the design cannot be had there."""
    _raise_if([topology.source.problem(misfit) for misfit in design.misfits(topology.value)])


def check_designs(loaded: LoadedScenario) -> None:
    """Raises SpecError if one of a scenario's designs cannot be had on its topology, or in one of its sweep's cells.

    A scenario that leaves designs out where they do not fit needs to have each in one cell at least, and its baseline
    in all of them.
    """
    scenario = loaded.value
    if scenario.unfit == "refuse":
        found = [loaded.topology.source.problem(m) for m in _misfits(scenario.designs, loaded.topology.value)]
        _raise_if(found)
        wrong = [(cell, misfit) for cell in loaded.cells for misfit in _misfits(cell.scenario.designs, cell.topology)]
    else:
        wrong = list(_nowhere(loaded.cells, scenario.baseline))
    if not scenario.sweep:
        _raise_if([loaded.topology.source.problem(misfit) for _, misfit in wrong])
    _raise_if(
        [
            loaded.source.problem(Misfit(("sweep",), f"{cell.name}: {misfit.message}", at_key=True))
            for cell, misfit in wrong
        ]
    )


def _misfits(choices: Iterable[Choice], topology: Topology) -> Iterator[Misfit]:
    for choice in choices:
        yield from design_of(choice).misfits(topology)


def _nowhere(cells: Sequence[Cell], baseline: str) -> Iterator[tuple[Cell, Misfit]]:
    """Why designs that fit no cell do not fit the first one, and why the baseline does not fit a cell."""
    for number, choice in enumerate(cells[0].scenario.designs):
        found = [(cell, next(design_of(cell.scenario.designs[number]).misfits(cell.topology), None)) for cell in cells]
        wrong = [(cell, misfit) for cell, misfit in found if misfit]
        if name_of(choice) == baseline:
            yield from wrong
        elif len(wrong) == len(cells):
            yield wrong[0]


def _raise_if(problems: list[Problem]) -> None:
    if problems:
        raise SpecError(tuple(problems))
