"""Checks, before a lab or run begins, that this machine has all it requires."""

import os
from collections.abc import Callable, Iterable, Iterator

from testbed.designs import Design, design_of, instead_of
from testbed.designs.attachments.cni import plugins_of
from testbed.kernel import features, programs
from testbed.kernel.features import Feature, Lacking
from testbed.kernel.lacking import MachineLacks, PluginNowhere
from testbed.kernel.programs import (
    DEBIAN_PLUGINS,
    PLUGINS_REMEDY,
    MissingPlugin,
    Program,
    installed_plugins,
)
from testbed.kernel.rights import hindrance
from testbed.spec.design import PLUGINS, ReadCni, name_of
from testbed.spec.load import LoadedScenario
from testbed.spec.nearest import nearest, unknown
from testbed.spec.topology import Topology

UNAVAILABLE = "unavailable"
"""State of a design for which this machine lacks something; not a failure."""
UNFIT = "unfit"
"""State of a design that does not fit a topology."""


def need_for_lab(design: Design, topology: Topology) -> None:
    """Raise MachineLacks or PluginNowhere, naming everything that a lab of the design requires and that is missing."""
    lines = [*_absent_programs((*programs.FOR_LABS, *design.programs_on(topology)))]
    if reason := hindrance():
        lines.append(reason)
    for feature in features.missing_here(design.needs_on(topology)) or ():
        lines.append(f"the kernel has no {feature.name}: {feature.remedy}")
    if design.plugins:
        lines += _absent_plugins(design.plugins)
    if lines:
        raise MachineLacks(lines)


def need_for_run(loaded: LoadedScenario) -> None:
    """`need_for_lab` for a scenario. Unavailable designs are left out of a run, but the baseline must be available."""
    from testbed.probes import probe_of  # here, because it loads numpy, which labs do not need

    probes = [probe_of(spec) for cell in loaded.cells for spec in cell.scenario.probes.values()]
    tools = dict.fromkeys(tool for probe in probes for tool in probe.tools)
    lines = [*_absent_programs((*programs.FOR_LABS, *programs.FOR_PROBES, *tools))]
    if lines:
        lines.append("./setup.sh installs all of them")
    lines += _absent_cpus(loaded)
    lines += _absent_baseline(loaded)
    if reason := hindrance():
        lines.append(reason)
    elif os.geteuid() != 0 and any(
        not isinstance(c.scenario.pin, str) and c.scenario.pin.steering for c in loaded.cells
    ):
        lines.append("only root may steer packets to CPUs (pin.steering): run it with sudo, or omit steering")
    if lines:
        raise MachineLacks(lines)


def _absent_plugins(spec: ReadCni) -> Iterator[str]:
    for plugin in missing_plugins(spec):
        where = "" if plugin.remedy == PLUGINS_REMEDY else f" (looked in {plugin.looked_in})"
        yield f"the CNI plugin {plugin.name} is missing{where}{f': {plugin.remedy}' if plugin.remedy else ''}"


def missing_plugins(spec: ReadCni) -> tuple[MissingPlugin, ...]:
    """The CNI plugins of a design that are not installed.

    Raises PluginNowhere for one that is probably a mistake: it is expected in the user's own folders only, or an
    installed one has almost the same name.
    """
    from testbed.cni.calls import looked_in, unusable

    installed = installed_plugins(spec.bin)
    found = []
    for name in plugins_of(spec):
        if name in installed:
            continue
        folders, locked = ", ".join(map(looked_in, spec.bin)), unusable([name], spec.bin)
        remedy = PLUGINS_REMEDY if name in DEBIAN_PLUGINS and PLUGINS in spec.bin else instead_of(name)
        if not remedy and (PLUGINS not in spec.bin or nearest(name, installed)):
            what = unknown("CNI plugin", name, installed) if installed else f"there is no CNI plugin '{name}'"
            raise PluginNowhere(f"{spec.texts[0][0]}: {what} (looked in {folders}){locked}")
        found.append(MissingPlugin(name, f"{folders}{locked}", remedy))
    return tuple(found)


Absent = Callable[[Iterable[str], Iterable[str]], tuple[Feature | Program, ...] | None]
"""The missing ones of the named features and programs; None if unknown."""


def left_out(design: Design, topology: Topology, absent: Absent = features.absent) -> tuple[str, str] | None:
    """The state and the reason of a design that is unavailable on a topology; None if it is available."""
    if misfit := next(design.misfits(topology), None):
        return UNFIT, misfit.message
    lacking: list[Lacking] = [*(absent(design.needs_on(topology), design.programs_on(topology)) or ())]
    lacking += missing_plugins(design.plugins) if design.plugins else ()
    if lacking:
        return UNAVAILABLE, features.unavailable(lacking)
    return None


def all_left_out(loaded: LoadedScenario) -> dict[str, dict[str, str]]:
    """The reasons for the unavailable designs of a scenario, by design and cell."""
    found: dict[str, dict[str, str]] = {}
    for cell in loaded.cells:
        for choice in cell.scenario.designs:
            if out := left_out(design_of(choice), cell.topology, features.absent_here):
                state, reason = out
                text = f"left out: {reason}" if state == UNFIT else reason
                found.setdefault(name_of(choice), {})[cell.name] = text
    return found


def _absent_programs(names: Iterable[str]) -> Iterator[str]:
    for program in programs.missing(names):
        yield f"the program {program.name} is missing ({program.purpose}): {program.remedy}"


def _absent_baseline(loaded: LoadedScenario) -> list[str]:
    """A line for each reason why the baseline is unavailable; unlike other designs, it cannot be left out."""
    baseline = loaded.value.baseline
    absent = all_left_out(loaded).get(baseline, {})
    return [f"the baseline {baseline} is {reason}" for reason in dict.fromkeys(absent.values())]


def _absent_cpus(loaded: LoadedScenario) -> list[str]:
    """A line for each pinned CPU list that this machine lacks, or that this process may not use."""
    from testbed.kernel.cpu import numbers

    here = os.sched_getaffinity(0)
    pins = [cell.scenario.pin for cell in loaded.cells if not isinstance(cell.scenario.pin, str)]
    wanted = {cpus for pin in pins for cpus in (pin.source, pin.target, pin.steering) if cpus}
    return [
        f"CPU {cpus} (pin) cannot be used; this machine has {', '.join(map(str, sorted(here)))}"
        for cpus in sorted(wanted)
        if not set(numbers(cpus)) <= here
    ]
