"""Checks whether designs fit a topology, before anything is built."""

from collections.abc import Iterable, Iterator, Sequence

from testbed.designs import Design, design_of
from testbed.spec.design import Choice, name_of
from testbed.spec.load import Loaded, LoadedScenario
from testbed.spec.problems import Misfit, Problem, SpecError
from testbed.spec.sweep import Cell
from testbed.spec.topology import Topology


def check_design(design: Design, topology: Loaded[Topology]) -> None:
    """Raises SpecError, located in the topology's file, if the design does not fit the topology."""
    _raise_if([topology.source.problem(misfit) for misfit in design.misfits(topology.value)])


def check_designs(loaded: LoadedScenario) -> None:
    """Raises SpecError if one of a scenario's designs does not fit its topology, or a cell of its sweep.

    If the scenario leaves out designs that do not fit, each design must fit at least one cell, and the baseline all of
    them.
    """
    scenario = loaded.value
    if scenario.unfit == "refuse":
        found = [loaded.topology.source.problem(m) for m in _misfits(scenario.designs, loaded.topology.value)]
        _raise_if(found)
        wrong = [(cell, misfit) for cell in loaded.cells for misfit in _misfits(cell.scenario.designs, cell.topology)]
    else:
        wrong = list(_unfit_designs(loaded.cells, scenario.baseline))
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


def _unfit_designs(cells: Sequence[Cell], baseline: str) -> Iterator[tuple[Cell, Misfit]]:
    """Misfits of the baseline in any cell, and those in the first cell of designs that fit no cell."""
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
