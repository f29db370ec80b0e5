"""Designs of a scenario that do not fit a topology, reported where the user chose the design."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from testbed.spec.design import Catalogue, Choice, name_of
from testbed.spec.problems import Invalid, Problem, Unfit, each
from testbed.spec.scenario import Scenario, is_unread
from testbed.spec.source import Source
from testbed.spec.sweep import Cell


def unfit_problems(
    source: Source,
    scenario: Scenario,
    cells: Sequence[Cell],
    topology: Source,
    catalogue: Catalogue,
    design_sources: Mapping[str, Source],
) -> Iterator[Problem]:
    """The problems of each valid design that does not fit the topology of a cell; `topology` is its file.

    With `unfit: leave-out`, only the baseline must fit.
    """
    for number, written in enumerate(scenario.designs):
        with suppress(Invalid):
            is_baseline = name_of(written) == scenario.baseline
            if scenario.unfit == "leave-out" and not is_baseline:
                continue
            unfit = [cell for cell in cells if any(_reasons(cell.scenario.designs[number], cell, catalogue))]
            for reason in _reasons(unfit[0].scenario.designs[number], unfit[0], catalogue) if unfit else ():
                if reason.problem:
                    yield reason.problem
                    continue
                where = f"{_where(unfit, len(cells))}topology {unfit[0].topology.name}{_line(topology, reason)}"
                remedy = _FOR_THE_BASELINE if is_baseline else _FOR_OTHERS
                message = f"does not fit {where}: {reason.message}; {remedy}"
                found = _located(source, number, replace(reason, message=message), design_sources)
                fitting = (name for name in catalogue.names if not any(_reasons(name, unfit[0], catalogue)))
                # Those fit, but are not spelt similarly.
                yield found if reason.in_design else replace(found, valid=tuple(fitting), nearest="")


_FOR_THE_BASELINE = "the baseline must fit"
_FOR_OTHERS = "or write `unfit: leave-out` to run the other designs without it"


def _reasons(choice: Choice, cell: Cell, catalogue: Catalogue) -> Iterator[Unfit]:
    """Why a design does not fit the topology of a cell; nothing for a design that is not valid."""
    if not is_unread(choice) and not any(each(catalogue.misfits(choice))):
        with suppress(Invalid):
            yield from catalogue.unfit(choice, cell.topology)


def _where(unfit: Sequence[Cell], cells: int) -> str:
    if not unfit[0].name:
        return ""
    return f"{len(unfit)} of {cells} cells, such as {unfit[0].name}: "


def _line(topology: Source, reason: Unfit) -> str:
    problem = topology.problem(reason)
    return f" ({problem.file}:{problem.line})"


def _located(source: Source, number: int, reason: Unfit, design_sources: Mapping[str, Source]) -> Problem:
    """At the value at fault in the design's specification; or at the design in the scenario's list."""
    written = source.place(("designs", number)).value.data
    at_fault = replace(reason, loc=reason.in_design)
    if reason.in_design and isinstance(written, str) and written in design_sources:
        return design_sources[written].problem(at_fault)
    inside = reason.in_design if isinstance(written, dict) else ()
    return source.problem(replace(at_fault, loc=("designs", number, *inside), at_key=bool(inside) and reason.at_key))
