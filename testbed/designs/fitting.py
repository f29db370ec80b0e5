"""Whether designs can be had on a topology, before anything is built."""

from testbed.designs import Design, design_of
from testbed.spec.load import Loaded, LoadedScenario
from testbed.spec.problems import Misfit, Problem, SpecError
from testbed.spec.topology import Topology


def check_design(design: Design, topology: Loaded[Topology]) -> None:
    """Raises SpecError, located in the topology's file, if the design cannot be had there."""
    _raise_if([topology.source.problem(misfit) for misfit in design.misfits(topology.value)])


def check_designs(loaded: LoadedScenario) -> None:
    """Raises SpecError if one of a scenario's designs cannot be had on its topology, or in one of its sweep's cells."""
    designs = list(map(design_of, loaded.value.designs))
    _raise_if([loaded.topology.source.problem(m) for design in designs for m in design.misfits(loaded.topology.value)])
    _raise_if(
        [
            loaded.source.problem(Misfit(("sweep",), f"{cell.name}: {misfit.message}", at_key=True))
            for cell in loaded.cells
            for design in map(design_of, cell.scenario.designs)
            for misfit in design.misfits(cell.topology)
        ]
    )


def _raise_if(problems: list[Problem]) -> None:
    if problems:
        raise SpecError(tuple(problems))
