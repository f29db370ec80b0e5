"""Whether designs can be had on a topology, before anything is built."""

from collections.abc import Iterable

from testbed.designs.design import Design
from testbed.spec.load import Loaded
from testbed.spec.problems import SpecError
from testbed.spec.topology import Topology


def check_designs(designs: Iterable[Design], topology: Loaded[Topology]) -> None:
    """Raises SpecError, located in the topology's file, if one of the designs cannot be had there."""
    misfits = [misfit for design in designs for misfit in design.misfits(topology.value)]
    if misfits:
        raise SpecError(tuple(topology.source.problem(misfit) for misfit in misfits))
