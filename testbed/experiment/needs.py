"""Whether this machine has what labs and runs take, asked before anything is begun."""

import os
from collections.abc import Callable, Iterable, Iterator

from testbed.designs import Design, design_of
from testbed.designs.attachments.cni import plugins_of
from testbed.kernel import features, programs
from testbed.kernel.features import Feature
from testbed.kernel.lacking import MachineLacks, PluginNowhere
from testbed.kernel.programs import DEBIAN_PLUGINS, PLUGINS_REMEDY, Program, installed_plugins
from testbed.kernel.rights import hindrance
from testbed.spec.design import PLUGINS, ReadCni, name_of
from testbed.spec.load import LoadedScenario
from testbed.spec.nearest import unknown
from testbed.spec.topology import Topology

UNAVAILABLE = "unavailable"
"""The state of a design that this machine cannot have, which is nobody's failure."""
UNFIT = "unfit"
"""That of one which a topology cannot carry."""


def need_for_lab(design: Design, topology: Topology) -> None:
    """Raises MachineLacks, or PluginNowhere, for all that a lab of that design takes and that is not here."""
    lines = [*_absent_programs((*programs.FOR_LABS, *design.programs_on(topology)))]
    if reason := hindrance():
        lines.append(reason)
    for feature in features.missing_here(design.needs_on(topology)) or ():
        lines.append(f"the kernel has no {feature.name}: {feature.remedy}")
    if lines:
        raise MachineLacks(lines)
    if design.plugins:
        need_plugins(design.plugins)


def need_for_run(loaded: LoadedScenario) -> None:
    """As `need_for_lab`, for a scenario; a design that cannot be had is left out of it, but not the baseline."""
    from testbed.probes import probe_of  # Which loads what computes percentiles, and labs do without.

    probes = [probe_of(spec) for cell in loaded.cells for spec in cell.scenario.probes.values()]
    tools = dict.fromkeys(tool for probe in probes for tool in probe.tools)
    lines = [*_absent_programs((*programs.FOR_LABS, *programs.FOR_PROBES, *tools))]
    if lines:
        lines.append("all of them come with ./setup.sh")
    lines += _absent_cpus(loaded)
    lines += _absent_baseline(loaded)
    if reason := hindrance():
        lines.append(reason)
    elif os.geteuid() != 0 and any(
        not isinstance(c.scenario.pin, str) and c.scenario.pin.steering for c in loaded.cells
    ):
        lines.append("only root may steer packets to CPUs (pin.steering): run it with sudo, or leave steering out")
    if lines:
        raise MachineLacks(lines)
    for choice in loaded.value.designs:
        if isinstance(choice, ReadCni):
            need_plugins(choice)


def need_plugins(spec: ReadCni) -> None:
    """Raises MachineLacks for CNI plugins that a package would bring, PluginNowhere for others that are not here."""
    from testbed.cni.calls import looked_in, unusable

    there = installed_plugins(spec.bin)
    missing = [name for name in plugins_of(spec) if name not in there]
    for name in missing:
        if name not in DEBIAN_PLUGINS or PLUGINS not in spec.bin:
            found = unknown("CNI plugin", name, there) if there else f"there is no CNI plugin '{name}'"
            folders = ", ".join(map(looked_in, spec.bin))
            raise PluginNowhere(f"{spec.texts[0][0]}: {found} (looked in {folders}){unusable([name], spec.bin)}")
    if missing:
        raise MachineLacks([f"the CNI plugin {name} is missing: {PLUGINS_REMEDY}" for name in missing])


Absent = Callable[[Iterable[str], Iterable[str]], tuple[Feature | Program, ...] | None]
"""Those of the named features and programs that are not here, if that can be told."""


def left_out(design: Design, topology: Topology, absent: Absent = features.absent) -> tuple[str, str] | None:
    """The state and the reason of a design that cannot be had on a topology; None of one that can."""
    if misfit := next(design.misfits(topology), None):
        return UNFIT, misfit.message
    if lacking := absent(design.needs_on(topology), design.programs_on(topology)):
        return UNAVAILABLE, features.unavailable(lacking)
    return None


def all_left_out(loaded: LoadedScenario) -> dict[str, dict[str, str]]:
    """The designs of a scenario that this machine or a topology cannot have: by design and cell the reason."""
    found: dict[str, dict[str, str]] = {}
    for cell in loaded.cells:
        for choice in cell.scenario.designs:
            if out := left_out(design_of(choice), cell.topology, features.absent_here):
                state, reason = out
                told = f"left out: {reason}" if state == UNFIT else reason
                found.setdefault(name_of(choice), {})[cell.name] = told
    return found


def _absent_programs(names: Iterable[str]) -> Iterator[str]:
    for program in programs.missing(names):
        yield f"the program {program.name} is missing ({program.purpose}): {program.remedy}"


def _absent_baseline(loaded: LoadedScenario) -> list[str]:
    """Any other design may be left out, but not the one that all are compared with."""
    baseline = loaded.value.baseline
    absent = all_left_out(loaded).get(baseline, {})
    return [f"the baseline {baseline} is {reason}" for reason in dict.fromkeys(absent.values())]


def _absent_cpus(loaded: LoadedScenario) -> list[str]:
    """What a scenario pins to CPUs that this machine does not have, or that this process may not use."""
    from testbed.kernel.cpu import numbers

    here = os.sched_getaffinity(0)
    pins = [cell.scenario.pin for cell in loaded.cells if not isinstance(cell.scenario.pin, str)]
    wanted = {cpus for pin in pins for cpus in (pin.source, pin.target, pin.steering) if cpus}
    return [
        f"CPU {cpus} (pin) cannot be used; this machine has {', '.join(map(str, sorted(here)))}"
        for cpus in sorted(wanted)
        if not set(numbers(cpus)) <= here
    ]
