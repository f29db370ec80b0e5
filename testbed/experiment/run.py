"""A run of a scenario: labs up and checked, rounds measured, every sample on disk as it comes."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from testbed import __version__
from testbed.designs import DESIGNS
from testbed.experiment.results import WARM_UP_ROUND, ResultsWriter
from testbed.experiment.schedule import schedule
from testbed.experiment.trial import Outcome, Trial, carry_out
from testbed.experiment.watcher import Watcher
from testbed.kernel import features, machine
from testbed.kernel.carry_out import PlanRefused
from testbed.kernel.programs import PROGRAMS
from testbed.lab.lab import Lab
from testbed.observe.offloads import offloads
from testbed.observe.reach import check_reach
from testbed.observe.wire import check_crossings
from testbed.plan.shell import script
from testbed.probes import TOOLS, probe_of
from testbed.probes.placement import placement
from testbed.spec.load import LoadedScenario
from testbed.spec.topology import Topology

FORMAT = 1
"""Of the results folder."""


@dataclass
class Prepared:
    """A design's lab, if it is fit to be measured, and what the manifest says of it."""

    lab: Lab | None
    facts: dict[str, Any]


class Run:
    """One run of a scenario into one results folder. To be used inside a capsule."""

    def __init__(self, loaded: LoadedScenario, file: str, seed: int, writer: ResultsWriter, watcher: Watcher) -> None:
        self._loaded = loaded
        self._scenario = loaded.value
        self._topology = loaded.topology.value
        self._seed = seed
        self._writer = writer
        self._watcher = watcher
        self._manifest = _manifest(loaded, file, seed)

    def carry_out(self) -> bool:
        """Measures every design that does what it claims, and says whether all did.

        Ctrl-C and errors are recorded in the manifest, with everything measured until then, before they go on up.
        """
        self._writer.write_manifest(self._manifest)
        for name in self._scenario.designs:
            self._writer.write_plan(name, script(DESIGNS[name].plan(self._topology)))
        state, reason = "failed", "ended unexpectedly"
        try:
            lost = self._rounds()
            state, reason = "done", ""
        except KeyboardInterrupt:
            state, reason = "interrupted", "interrupted by the user"
            raise
        except SystemExit:
            state, reason = "interrupted", "asked to end"
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._note(state=state, reason=reason, ended=_now())
        return not lost

    def _note(self, **changes: Any) -> None:
        self._manifest |= changes
        self._writer.write_manifest(self._manifest)

    def _rounds(self) -> set[str]:
        """Measures all rounds; returns the designs that were left out because they failed.

        Each round builds its labs anew, in the order in which it measures them: two builds of the same design differ by
        a percent or so (where things happen to lie in memory), and that belongs into the interval.
        """
        lost: set[str] = set()
        for number, order in schedule(self._scenario.designs, self._scenario.rounds, self._seed).items():
            with ExitStack() as labs:
                fit = self._prepare([name for name in order if name not in lost], labs, number)
                lost |= set(order) - set(fit)
                if not fit:
                    break
                trials = self._trials(number, tuple(fit))
                if number == WARM_UP_ROUND:
                    self._watcher.planned(
                        len(trials) * (self._scenario.rounds + 1),
                        sum(trial.seconds for trial in trials) * (self._scenario.rounds + 1),
                    )
                self._round(trials, fit)
            self._note(rounds_done=number)
        return lost

    def _prepare(self, designs: list[str], labs: ExitStack, number: int) -> dict[str, Lab]:
        """Every design's lab that is up and does what the design claims."""
        fit: dict[str, Lab] = {}
        for name in designs:
            self._watcher.preparing(name)
            prepared = prepare(name, self._topology, labs)
            if prepared.lab is not None:
                fit[name] = prepared.lab
            if prepared.lab is None and number != WARM_UP_ROUND:
                prepared.facts["reason"] += f" before round {number}; samples until then are kept"
            if number == WARM_UP_ROUND or prepared.lab is None:
                self._manifest["designs"][name] = prepared.facts
                self._watcher.prepared(name, prepared.lab is not None, _news(prepared.facts))
        if fit and not self._manifest["offloads"]:
            self._manifest["offloads"] = offloads(next(iter(fit.values())))
        self._note()
        return fit

    def _trials(self, number: int, order: tuple[str, ...]) -> list[Trial]:
        scenario = self._scenario
        return [
            Trial(number, position, design, path_name, path, probe_name, probe_of(spec))
            for position, design in enumerate(order, start=1)
            for path_name, path in scenario.paths.items()
            for probe_name, spec in scenario.probes.items()
        ]

    def _round(self, trials: list[Trial], labs: Mapping[str, Lab]) -> None:
        for trial in trials:
            self._watcher.began(trial)
            outcome = carry_out(trial, labs[trial.design])
            for name, content in outcome.raw.items():
                self._writer.write_raw(f"{trial.file_name}.{name}", content)
            self._writer.append(outcome.samples, outcome.histograms)
            self._watcher.ended(trial, _outcome_news(outcome), trial.seconds)


def prepare(name: str, topology: Topology, labs: ExitStack) -> Prepared:
    """Brings a design's lab up and checks it: who reaches whom, and by which way.

    A lab that is fit stays up until `labs` closes; any other is taken down at once.
    """
    design = DESIGNS[name]
    facts: dict[str, Any] = {"summary": design.summary, "pod_mtu": design.pod_mtu(topology)}
    if lacking := features.missing(design.needs):
        reason = "; ".join(f"{feature.name}: {feature.remedy}" for feature in lacking)
        return Prepared(None, facts | {"state": "unavailable", "reason": reason})
    with ExitStack() as own:
        try:
            lab = own.enter_context(Lab(design.plan(topology)))
        except PlanRefused as error:
            return Prepared(None, facts | {"state": "failed", "reason": str(error)})
        reach = check_reach(lab.plan, lab.namespaces)
        # Only now: before, switches would flood frames whose way they have not learned yet.
        sent, astray = check_crossings(design, topology, lab.plan, lab.namespaces)
        failures = [*reach.failures, *astray]
        facts |= {
            "up_seconds": round(lab.up_seconds, 4),
            "check": {
                "asked": reach.asked + sent,
                "passed": reach.asked + sent - len(failures),
                "failures": failures,
            },
            "evidence": [] if astray else [f"{sent} packets between nodes were seen on the fabric as claimed"],
        }
        if failures:
            return Prepared(None, facts | {"state": "failed", "reason": f"{len(failures)} checks failed"})
        labs.push(own.pop_all())
        return Prepared(lab, facts | {"state": "measured", "reason": ""})


def _news(facts: Mapping[str, Any]) -> str:
    if "check" not in facts:
        return str(facts["reason"])
    check = facts["check"]
    done = f"up in {facts['up_seconds'] * 1000:.0f} ms, {check['passed']} of {check['asked']} checks passed"
    return "\n".join([done, *(f"  {failure}" for failure in check["failures"])])


def _outcome_news(outcome: Outcome) -> str:
    samples = outcome.samples
    if samples[0].value is None:
        return f"no number: {samples[0].error}"
    return f"{samples[0].metric} {samples[0].value:.4g} {samples[0].unit}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _manifest(loaded: LoadedScenario, file: str, seed: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "testbed": __version__,
        "scenario_file": file,
        "scenario_text": loaded.source.text,
        "topology_text": loaded.topology.source.text,
        "scenario": loaded.value.model_dump(mode="json", by_alias=True),
        "topology": loaded.topology.value.model_dump(mode="json", by_alias=True),
        "seed": seed,
        "started": _now(),
        "ended": None,
        "state": "running",
        "reason": "",
        "rounds_done": 0,
        "machine": machine.facts(),
        "placement": {name: asdict(placement(probe_of(spec).together)) for name, spec in loaded.value.probes.items()},
        "tools": {name: PROGRAMS[name].version() for name in TOOLS},
        "offloads": {},
        # In the scenario's order, whatever order they are built in.
        "designs": {name: {"summary": DESIGNS[name].summary, "state": ""} for name in loaded.value.designs},
    }
