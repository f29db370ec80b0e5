"""What a report says of a run besides its numbers, read from the manifest.

Keys may be missing: the folder may come from an older version, or from a run that was cut short.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from testbed.experiment.results import WARM_UP_ROUND, Results

_DURATION = TypeAdapter(timedelta)
"""Reads a duration written as seconds or, as pydantic writes it, in ISO 8601: 2.0 or `PT2S`."""


@dataclass(frozen=True)
class Path:
    """Between which pods or nodes was measured."""

    name: str
    source: str
    target: str

    @property
    def title(self) -> str:
        return f"{self.name}: {self.source} → {self.target}" if self.source else self.name


@dataclass(frozen=True)
class Design:
    """What became of one design."""

    name: str
    summary: str
    state: str
    """`measured`, `failed` (its check said no), `unavailable` (the machine lacks it), or empty: unknown."""
    reason: str
    asked: int
    """How many questions the check asked before anything was measured."""
    passed: int
    failures: tuple[str, ...]
    evidence: tuple[str, ...]
    """What showed that packets take the path that the design claims."""
    up_seconds: float | None
    pod_mtu: int | None
    commands: str
    """The commands that would build it by hand; empty where the folder has none."""

    @property
    def usable(self) -> bool:
        return self.state in ("measured", "")


@dataclass(frozen=True)
class Failure:
    """Samples of counted rounds that have no number, for one reason."""

    reason: str
    samples: int
    designs: tuple[str, ...]
    paths: tuple[str, ...]
    probes: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """The run as the reports tell it. Designs and paths are in the order in which the scenario names them."""

    name: str
    folder: str
    designs: tuple[Design, ...]
    baseline: str
    paths: tuple[Path, ...]
    probes: dict[str, str]
    """By name: what it did, such as `iperf3 tcp, 1 stream, 2 s`."""
    rounds: int
    """Rounds that count and in which at least one probe gave a number."""
    rounds_planned: int
    state: str
    reason: str
    started: str
    ended: str
    seed: int | None
    testbed: str
    machine: dict[str, str]
    tools: dict[str, str]
    offloads: dict[str, dict[str, bool]]
    placement: dict[str, dict[str, str]]
    """The CPUs that each probe's `source` and `target` ran on."""
    scenario_file: str
    scenario_text: str
    topology_text: str
    failures: tuple[Failure, ...]

    @property
    def kernel(self) -> str:
        return f"Linux {self.machine['kernel']}" if "kernel" in self.machine else "kernel unknown"

    def design_names(self) -> tuple[str, ...]:
        return tuple(design.name for design in self.designs)

    def lost_designs(self) -> tuple[Design, ...]:
        """Those that failed their check or cannot be built on the machine."""
        return tuple(design for design in self.designs if not design.usable)

    def is_whole(self) -> bool:
        return self.state in ("done", "") and self.rounds >= self.rounds_planned


def read_run(results: Results) -> Run:
    manifest = results.manifest
    scenario = _mapping(manifest, "scenario")
    counted = {s.round for s in results.samples if s.round != WARM_UP_ROUND and s.value is not None}
    return Run(
        name=str(scenario.get("name", results.folder.name)),
        folder=results.folder.name,
        designs=_designs(results, scenario),
        baseline=str(scenario.get("baseline", "")),
        paths=_paths(results, scenario),
        probes=_probes(results, scenario),
        rounds=len(counted),
        rounds_planned=int(scenario.get("rounds", len(counted))),
        state=str(manifest.get("state") or ""),
        reason=str(manifest.get("reason") or ""),
        started=str(manifest.get("started") or ""),
        ended=str(manifest.get("ended") or ""),
        seed=manifest.get("seed", scenario.get("seed")),
        testbed=str(manifest.get("testbed") or ""),
        machine=_machine(_mapping(manifest, "machine")),
        tools={key: str(value) for key, value in _mapping(manifest, "tools").items() if value},
        offloads={key: dict(value) for key, value in _mapping(manifest, "offloads").items()},
        placement={key: dict(value) for key, value in _mapping(manifest, "placement").items()},
        scenario_file=str(manifest.get("scenario_file") or ""),
        scenario_text=str(manifest.get("scenario_text") or ""),
        topology_text=str(manifest.get("topology_text") or ""),
        failures=_failures(results),
    )


def _mapping(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _in_order(named: Iterable[str], seen: Iterable[str]) -> tuple[str, ...]:
    """The named ones as they stand, then what else was seen in the samples."""
    return tuple(dict.fromkeys([*named, *sorted(seen)]))


def _designs(results: Results, scenario: Mapping[str, Any]) -> tuple[Design, ...]:
    recorded = _mapping(results.manifest, "designs")
    commands = {file.stem: file.read_text("utf-8") for file in (results.folder / "plans").glob("*.txt")}
    named = _in_order(scenario.get("designs", recorded), {s.design for s in results.samples})
    return tuple(_design(name, _mapping(recorded, name), commands.get(name, "")) for name in named)


def _design(name: str, entry: Mapping[str, Any], commands: str) -> Design:
    check = _mapping(entry, "check")
    return Design(
        name=name,
        summary=str(entry.get("summary") or ""),
        state=str(entry.get("state") or ""),
        reason=str(entry.get("reason") or ""),
        asked=int(check.get("asked") or 0),
        passed=int(check.get("passed") or 0),
        failures=tuple(check.get("failures") or ()),
        evidence=tuple(entry.get("evidence") or ()),
        up_seconds=entry.get("up_seconds"),
        pod_mtu=entry.get("pod_mtu"),
        commands=commands,
    )


def _paths(results: Results, scenario: Mapping[str, Any]) -> tuple[Path, ...]:
    recorded = _mapping(scenario, "paths")
    named = _in_order(recorded, {s.path for s in results.samples})
    ends = {name: _mapping(recorded, name) for name in named}
    return tuple(Path(name, str(end.get("from") or ""), str(end.get("to") or "")) for name, end in ends.items())


def _probes(results: Results, scenario: Mapping[str, Any]) -> dict[str, str]:
    recorded = _mapping(scenario, "probes")
    named = _in_order(recorded, {s.probe for s in results.samples})
    return {name: _did(_mapping(recorded, name)) for name in named}


def _did(probe: Mapping[str, Any]) -> str:
    """What a probe did, in a few words; empty where nothing is known of it."""
    words = [" ".join(str(probe[key]) for key in ("tool", "protocol") if key in probe)]
    if "message" in probe:
        words.append(f"{probe['message']} B messages")
    if "streams" in probe:
        words.append(f"{probe['streams']} stream" + ("s" if probe["streams"] != 1 else ""))
    if "duration" in probe:
        words.append(f"{_DURATION.validate_python(probe['duration']).total_seconds():g} s")
    return ", ".join(word for word in words if word)


def _machine(recorded: Mapping[str, Any]) -> dict[str, str]:
    """What is known of the machine, with the memory's size in words."""
    known = {key: str(value) for key, value in recorded.items() if key != "memory_bytes"}
    memory = recorded.get("memory_bytes")
    return known | ({"memory": f"{memory / 2**30:.1f} GiB"} if isinstance(memory, int) else {})


def _failures(results: Results) -> tuple[Failure, ...]:
    """By reason, the most frequent first."""
    without = [s for s in results.samples if s.round != WARM_UP_ROUND and s.value is None]
    found = []
    for reason in sorted({s.error for s in without}):
        samples = [s for s in without if s.error == reason]
        found.append(
            Failure(
                reason or "no reason recorded",
                len(samples),
                *(tuple(sorted({getattr(s, name) for s in samples})) for name in ("design", "path", "probe")),
            )
        )
    return tuple(sorted(found, key=lambda failure: -failure.samples))
