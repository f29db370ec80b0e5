"""Checks whether a design fits a topology, before anything is built."""

from dataclasses import replace
from pathlib import Path

from testbed.designs import Design
from testbed.spec.design import is_file
from testbed.spec.load import Loaded
from testbed.spec.problems import SpecError
from testbed.spec.source import read_source
from testbed.spec.topology import Topology


def check_design(design: Design, topology: Loaded[Topology], written: str = "") -> None:
    """Raises SpecError if the design does not fit the topology.

    Problems are located in the topology's file; or in the design's file, if `written`, the user's choice, names one and
    the value at fault is there.
    """
    problems = []
    for unfit in design.misfits(topology.value):
        if unfit.in_design and is_file(written):
            source = read_source(Path(written))
            problems.append(source.problem(replace(unfit, loc=unfit.in_design)))
        else:
            problems.append(topology.source.problem(unfit))
    if problems:
        raise SpecError(tuple(problems))
