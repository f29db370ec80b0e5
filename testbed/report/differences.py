"""Differences between the manifests of two runs, as possible causes of different results."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.experiment.results import Results
from testbed.report.run import Run

MACHINE = ("cpu", "cpus", "memory", "hypervisor", "governor", "clock")
"""Facts that identify a machine."""


@dataclass(frozen=True)
class Difference:
    """One fact that differs between two runs."""

    what: str
    old: str
    new: str
    """Both are empty for texts that are too long to show."""

    def __str__(self) -> str:
        return f"{self.what}: {self.old} → {self.new}" if self.old or self.new else self.what


def differences(old: Results, new: Results, *runs: Run) -> tuple[Difference, ...]:
    """Differences of machine, kernel, programs, scenario values, devices and plans.

    A fact that only one run recorded is not a difference. `runs` are the same two as `Run`.
    """
    return tuple(_differences(old, new, runs))


def _differences(old: Results, new: Results, runs: tuple[Run, ...]) -> Iterator[Difference]:
    yield from _between("", {"testbed": runs[0].testbed}, {"testbed": runs[1].testbed})
    yield from _between("", runs[0].machine, runs[1].machine)
    yield from _between("", runs[0].tools, runs[1].tools)
    yield from _between("CPUs of ", runs[0].placement, runs[1].placement)
    yield from _texts("scenario", runs[0].scenario_text, runs[1].scenario_text, old, new)
    yield from _texts("topology", runs[0].topology_text, runs[1].topology_text, old, new)
    yield from _between("", _devices(old, runs[0]), _devices(new, runs[1]))
    commands = [{d.name: _commands(d.commands) for d in run.designs if d.commands} for run in runs]
    for name in commands[0]:
        if name in commands[1] and commands[0][name] != commands[1][name]:
            yield Difference(f"the plan of {name} (plans/{name}.txt)", "", "")


def _between(prefix: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for key, value in old.items():
        if value not in ("", None) and new.get(key) not in ("", None) and new[key] != value:
            yield Difference(f"{prefix}{key}", _text(value), _text(new[key]))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_text(part)}" for key, part in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)


def _texts(key: str, old_text: str, new_text: str, old: Results, new: Results) -> Iterator[Difference]:
    """The values that differ; if only the texts differ (comments, order), one entry for the text."""
    if not old_text or not new_text or old_text == new_text:
        return
    values = [_flat(results.manifest.get(key)) for results in (old, new)]
    found = list(_between(f"{key}: ", *values))
    yield from found or [Difference(f"the {key}'s text", "", "")]


def _flat(value: object, prefix: str = "") -> dict[str, Any]:
    """A tree as a mapping of dotted paths to leaves."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        path: leaf
        for key, part in value.items()
        for path, leaf in _flat(part, f"{prefix}.{key}" if prefix else key).items()
    }


def _devices(results: Results, run: Run) -> dict[str, Any]:
    """MTU, queueing discipline and offloads by device; folders of format 1 have only offloads."""
    facts = {
        f"{device.get('design', '')} {device.get('first')} {fact}".strip(): value
        for device in run.devices
        for fact, value in device.items()
        if fact in ("mtu", "qdisc", "offloads")
    }
    recorded = results.manifest.get("offloads")
    offloads = {
        f"{device} {feature}": value
        for device, features in (recorded if isinstance(recorded, dict) else {}).items()
        for feature, value in features.items()
    }
    return facts | offloads


def _commands(plan: str) -> list[str]:
    """The commands of a plan, without comments."""
    return [line for line in plan.splitlines() if not line.startswith("#")]
