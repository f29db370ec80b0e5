"""Facts about a run besides its numbers, read from the manifest.

Keys may be missing: the folder may come from an older version or from an interrupted run.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from pydantic import TypeAdapter

from testbed.experiment.doubts import MEANING
from testbed.experiment.results import LAB, LOOPBACK, WARM_UP_ROUND, Results, Sample
from testbed.report import metrics
from testbed.report.counts import Counts, read
from testbed.spec.scenario import AA, HEADLINE, LIMITS
from testbed.spec.types import rate_text

_DURATION = TypeAdapter(timedelta)
"""Reads a duration written as seconds or, as pydantic writes it, in ISO 8601: 2.0 or `PT2S`."""


@dataclass(frozen=True)
class Path:
    """The two pods or nodes that were measured."""

    name: str
    source: str
    target: str

    @property
    def title(self) -> str:
        if self.name == LAB:
            return "lab build"
        return f"{self.name}: {self.source} → {self.target}" if self.source else self.name


@dataclass(frozen=True)
class Design:
    """State and facts of one design in a run."""

    name: str
    summary: str
    state: str
    """`measured`, `failed` (its check failed), `unavailable` (the machine lacks something), `unfit` (does not fit the
    topology), or empty: unknown."""
    reason: str
    asked: int
    """Number of pairs and protocols that the check tested before measuring."""
    passed: int
    failures: tuple[str, ...]
    evidence: tuple[str, ...]
    """Observations which show that packets take the path that the design claims."""
    up_seconds: float | None
    pod_mtu: int | None
    commands: str
    """Commands that build it by hand; empty if the folder has none."""
    left_out: Mapping[str, str]
    """The cells of a sweep in which it is unavailable, each with the reason."""

    @property
    def usable(self) -> bool:
        return self.state in ("measured", "")


@dataclass(frozen=True)
class Cell:
    """One combination of a sweep's values."""

    name: str
    factors: dict[str, str]
    """Values as the user wrote them, by dotted path."""


@dataclass(frozen=True)
class Doubt:
    """Measurements that have a value and a flag."""

    flag: str
    meaning: str
    trials: int
    of: int
    """Number of counted measurements."""
    probes: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """Samples of counted rounds without a value, for one reason."""

    reason: str
    samples: int
    designs: tuple[str, ...]
    paths: tuple[str, ...]
    probes: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A run as reports show it. Designs and paths are in the order of the scenario."""

    name: str
    folder: str
    designs: tuple[Design, ...]
    arms: tuple[str, ...]
    """The designs, then `aa` if the baseline was measured twice in each round."""
    baseline: str
    headline: tuple[str, ...]
    """The metrics that the run is about."""
    cells: tuple[Cell, ...]
    """Of a sweep; empty without one."""
    paths: tuple[Path, ...]
    """Those of the scenario, and `lab` if building was measured."""
    probes: dict[str, str]
    """Short descriptions by name, such as `iperf3 tcp, 1 stream, 2 s`."""
    rounds: int
    """Counted rounds in which at least one probe gave a value."""
    rounds_planned: int | None
    """None with `rounds: auto`."""
    rebuild_every: int
    looks: tuple[int, ...]
    """The numbers of rounds after which verdicts were computed, one for each time."""
    round_seconds: float | None
    """How long a round took, labs included; None if unknown."""
    state: str
    reason: str
    started: str
    ended: str
    seed: int | None
    testbed: str
    machine: dict[str, str]
    tools: dict[str, str]
    devices: tuple[dict[str, Any], ...]
    placement: dict[str, dict[str, str]]
    """The CPUs that each probe's `source` and `target` ran on."""
    scenario_file: str
    scenario_text: str
    topology_text: str
    failures: tuple[Failure, ...]
    doubts: tuple[Doubt, ...]
    counts: Counts
    """Instructions of a TCP round trip; empty if they were not counted."""
    limits: dict[tuple[str, str], float]
    """The probe's best result over loopback, by probe and metric."""

    @property
    def kernel(self) -> str:
        return f"Linux {self.machine['kernel']}" if "kernel" in self.machine else "kernel unknown"

    def design_names(self) -> tuple[str, ...]:
        return tuple(design.name for design in self.designs)

    def arm_title(self, name: str) -> str:
        """The arm's name in text."""
        return f"{self.baseline} again" if name == AA else name

    @property
    def look(self) -> int:
        """The number of this look at the verdicts, from 1. Rounds since the last one make one more."""
        return max(len(self.looks) + (self.rounds > max(self.looks, default=0)), 1)

    def lost_designs(self) -> tuple[Design, ...]:
        """Designs that failed their check or are unavailable."""
        return tuple(design for design in self.designs if not design.usable)

    @property
    def is_exact(self) -> bool:
        """Whether the headline metrics are counts."""
        return all(metrics.known(name).exact for name in self.headline)

    def is_whole(self) -> bool:
        return self.state in ("done", "") and self.rounds >= (self.rounds_planned or 0)


def read_run(results: Results) -> Run:
    manifest = results.manifest
    scenario = _mapping(manifest, "scenario")
    counted = {s.round for s in results.samples if _counts(s) and s.value is not None and s.path != LAB}
    planned = scenario.get("rounds", len(counted))
    designs = _designs(results, scenario)
    return Run(
        name=str(scenario.get("name", results.folder.name)),
        folder=results.folder.name,
        designs=designs,
        arms=(*(d.name for d in designs), *([AA] if any(s.design == AA for s in results.samples) else [])),
        cells=tuple(Cell(cell["name"], cell["factors"]) for cell in manifest.get("cells") or ()),
        baseline=str(scenario.get("baseline", "")),
        headline=tuple(scenario.get("headline") or HEADLINE),
        paths=_paths(results, scenario),
        probes=_probes(results, scenario),
        rounds=len(counted),
        rounds_planned=planned if isinstance(planned, int) else None,
        rebuild_every=int(scenario.get("rebuild_every", 1)),
        looks=tuple(manifest.get("looks") or ()),
        round_seconds=_round_seconds(results.samples),
        state=str(manifest.get("state") or ""),
        reason=str(manifest.get("reason") or ""),
        started=str(manifest.get("started") or ""),
        ended=str(manifest.get("ended") or ""),
        seed=manifest.get("seed", scenario.get("seed")),
        testbed=str(manifest.get("testbed") or ""),
        machine=_machine(_mapping(manifest, "machine")),
        tools={key: str(value) for key, value in _mapping(manifest, "tools").items() if value},
        devices=tuple(manifest.get("devices") or ()),
        placement={key: dict(value) for key, value in _mapping(manifest, "placement").items()},
        scenario_file=str(manifest.get("scenario_file") or ""),
        scenario_text=str(manifest.get("scenario_text") or ""),
        topology_text=str(manifest.get("topology_text") or ""),
        failures=_failures(results),
        doubts=tuple(_doubts(results)),
        counts=read(results.folder),
        limits=_limits(results),
    )


def _round_seconds(samples: Iterable[Sample]) -> float | None:
    """The median time from the first sample of a round to that of the next one; pauses of a resumed run are rare."""
    began: dict[int, datetime] = {}
    for sample in samples:
        if sample.design != LIMITS and sample.started:
            at = datetime.fromisoformat(sample.started)
            began[sample.round] = min(at, began.get(sample.round, at))
    gaps = [(began[number + 1] - at).total_seconds() for number, at in began.items() if number + 1 in began]
    return median(gaps) or None if gaps else None


def _counts(sample: Sample) -> bool:
    return sample.round != WARM_UP_ROUND and sample.design != LIMITS


def _mapping(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _in_order(named: Iterable[str], seen: Iterable[str]) -> tuple[str, ...]:
    """The named ones in their order, then others from the samples."""
    return tuple(dict.fromkeys([*named, *sorted(seen)]))


def _designs(results: Results, scenario: Mapping[str, Any]) -> tuple[Design, ...]:
    recorded = _mapping(results.manifest, "designs")
    commands = {file.stem: file.read_text("utf-8") for file in (results.folder / "plans").glob("*.txt")}
    seen = {s.design for s in results.samples} - {AA, LIMITS}
    written = scenario.get("designs", recorded)
    named = _in_order((str(item["name"]) if isinstance(item, dict) else item for item in written), seen)
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
        left_out=dict(_mapping(entry, "left_out")),
    )


def _paths(results: Results, scenario: Mapping[str, Any]) -> tuple[Path, ...]:
    recorded = _mapping(scenario, "paths")
    seen = {s.path for s in results.samples} - {LOOPBACK, LAB}
    last = [LAB] if any(s.path == LAB for s in results.samples) else []
    named = [*_in_order(recorded, seen), *last]
    ends = {name: _mapping(recorded, name) for name in named}
    return tuple(Path(name, str(end.get("from") or ""), str(end.get("to") or "")) for name, end in ends.items())


def _probes(results: Results, scenario: Mapping[str, Any]) -> dict[str, str]:
    recorded = _mapping(scenario, "probes")
    named = _in_order(recorded, {s.probe for s in results.samples} - {LAB})
    paths = [path.split(".") for path in _mapping(scenario, "sweep")]
    swept = {name: [path[-1] for path in paths if path[:2] == ["probes", name]] for name in named}
    return {name: _description(_mapping(recorded, name), swept[name]) for name in named}


def _description(probe: Mapping[str, Any], swept: Sequence[str]) -> str:
    """A short description of a probe; empty if nothing is known. `swept` are the keys that were swept."""
    words = [" ".join(str(probe[key]) for key in ("tool", "protocol", "test") if key in probe)]
    texts: dict[str, Callable[[Any], str]] = {
        "message": lambda size: f"{size} B messages" if size else "",
        "streams": lambda number: f"{number} stream" + ("s" if number != 1 else ""),
        "direction": lambda direction: "" if direction == "forward" else str(direction),
        "rates": lambda rates: "offered " + ", ".join(map(rate_text, rates)) if rates else "",
        "interval": lambda interval: f"every {_seconds(interval) * 1000:g} ms",
        "connections": lambda number: f"{number} at a time",
        "load": lambda number: f"with {number} TCP stream" + ("s" if number != 1 else "") if number else "",
        "duration": lambda duration: f"{_seconds(duration):g} s",
    }
    for key, text in texts.items():
        if key in probe:
            words.append(f"{key} swept" if key in swept else text(probe[key]))
    return ", ".join(word for word in words if word)


def _seconds(duration: object) -> float:
    return _DURATION.validate_python(duration).total_seconds()


def _machine(recorded: Mapping[str, Any]) -> dict[str, str]:
    """The facts of the machine, with the memory size in GiB."""
    known = {key: str(value) for key, value in recorded.items() if key != "memory_bytes"}
    memory = recorded.get("memory_bytes")
    return known | ({"memory": f"{memory / 2**30:.1f} GiB"} if isinstance(memory, int) else {})


def _failures(results: Results) -> tuple[Failure, ...]:
    """Failures by reason, the most frequent first."""
    without = [s for s in results.samples if (s.round != WARM_UP_ROUND or s.design == LIMITS) and s.value is None]
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


def _doubts(results: Results) -> Iterator[Doubt]:
    """Doubts by flag, in the order of `MEANING`."""
    trials: dict[tuple[int, str, str, str, str], set[str]] = {}
    for s in results.samples:
        if _counts(s) and s.value is not None and s.path != LAB:
            trials.setdefault((s.round, s.cell, s.design, s.path, s.probe), set()).update(s.flags.split())
    for flag, meaning in MEANING.items():
        flagged = [trial for trial, flags in trials.items() if flag in flags]
        if flagged:
            yield Doubt(flag, meaning, len(flagged), len(trials), tuple(sorted({trial[-1] for trial in flagged})))


def _limits(results: Results) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for sample in results.samples:
        if sample.design == LIMITS and sample.value is not None:
            found.setdefault((sample.probe, sample.metric), {}).setdefault(sample.cell, []).append(sample.value)
    # A swept probe has a different limit in each cell.
    return {(probe, name): _best(name, *cells.values()) for (probe, name), cells in found.items() if len(cells) == 1}


def _best(metric: str, values: list[float]) -> float:
    """The best of some repetitions: disturbances only make them worse."""
    better = metrics.known(metric).better
    return max(values) if better == "higher" else min(values) if better == "lower" else median(values)
