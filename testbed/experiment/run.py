"""A run of a scenario: builds and checks labs, measures rounds, writes each trial to disk."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

from testbed.experiment.labs import Labs, Prepared, path_watch, plans_of
from testbed.experiment.manifest import now
from testbed.experiment.needs import UNAVAILABLE, UNFIT, left_out
from testbed.experiment.outline import REPORT_SECONDS, Outline, blocks_of, is_ahead, limit_trials
from testbed.experiment.results import LAB, LOOPBACK, WARM_UP_ROUND, Results, ResultsWriter, Sample
from testbed.experiment.resume import Measured, measured
from testbed.experiment.schedule import FIRST_LOOK, Schedule, Site, is_look
from testbed.experiment.trial import Outcome, Trial, Witness, carry_out, ends_of
from testbed.experiment.watcher import Watcher
from testbed.lab.lab import Lab
from testbed.lab.loopback import Loopback
from testbed.observe.devices import devices
from testbed.plan.addressing import layout
from testbed.probes.probe import Ends, reached_by, start_ahead
from testbed.spec.load import LoadedScenario
from testbed.spec.scenario import AA, AUTO_BUDGET, LIMITS
from testbed.spec.sweep import Cell

Judge = Callable[[int], bool]
"""Returns, at the n-th look at the results, whether all verdicts are settled."""


class Run:
    """One run of a scenario into one results folder. Use it inside a capsule."""

    def __init__(
        self,
        loaded: LoadedScenario,
        schedule: Schedule,
        manifest: dict[str, Any],
        writer: ResultsWriter,
        watcher: Watcher,
        judge: Judge,
        earlier: Results | None = None,
    ) -> None:
        """`earlier` are the results of a resumed run; `judge` is used with `rounds: auto`."""
        self._loaded = loaded
        self._schedule = schedule
        self._manifest = manifest
        self._writer = writer
        self._watcher = watcher
        self._judge = judge
        samples = earlier.samples if earlier else ()
        self._done = {measured(sample) for sample in samples}
        self._numbers: dict[Measured, bool] = {}
        for sample in samples:
            self._count(sample)
        self._lost: set[tuple[int, str]] = set()
        """Arms that are not built again, each with the index of the site."""
        self._failed = False
        self._planned = False
        self._overhead = 1.0
        self._unseen = 0
        """The last counted round with a sample since the last look at the verdicts; 0 without any."""
        self._began = time.monotonic()
        self._round_took = 0.0

    def carry_out(self) -> bool:
        """Measure all designs that pass their checks; return whether all did, and gave values.

        Ctrl-C and errors are recorded in the manifest and raised again. Trials measured until then are on disk.
        """
        self._note(state="running", reason="", ended=None)
        for name, commands in plans_of(self._schedule).items():
            self._writer.write_plan(name, commands)
        state, reason = "failed", "ended unexpectedly"
        try:
            self._limits()
            self._rounds()
            state, reason = "done", ""
        except KeyboardInterrupt:
            state, reason = "interrupted", "interrupted by the user"
            raise
        except SystemExit:
            state, reason = "interrupted", "terminated"
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise
        finally:
            # The report that follows shows verdicts, and the run may be resumed after it.
            self._look(self._unseen)
            self._note(state=state, reason=reason, ended=now())
        return not self._failed and all(self._numbers.values())

    def _note(self, **changes: Any) -> None:
        self._manifest |= changes
        self._writer.write_manifest(self._manifest)

    def _look(self, number: int) -> None:
        """Record a look at the verdicts after this round, if it has any verdicts that were not seen before."""
        if number >= FIRST_LOOK and self._unseen:
            self._note(looks=[*self._manifest.get("looks", ()), number])
        self._unseen = 0

    def _count(self, sample: Sample) -> None:
        """Record whether a design has a value for a path and probe in any counted round."""
        if sample.round != WARM_UP_ROUND:
            key = Measured(0, sample.cell, sample.design, sample.path, sample.probe)
            self._numbers[key] = self._numbers.get(key, False) or sample.value is not None

    def _limits(self) -> None:
        """Measure the limits of each probe over loopback. Values close to them may be of the probe itself."""
        topology = self._loaded.topology.value
        families = tuple(sorted({cidr.version for cidr in topology.cluster.pod_cidr}))
        with Loopback(families, layout(topology).fabric_mtu) as lab:
            self._measure(
                [[trial] for trial in limit_trials(self._schedule)], lambda _: lab, lambda *_: lambda: lambda: ""
            )

    def _rounds(self) -> None:
        """Measure all rounds.

        Labs are rebuilt every `rebuild_every` rounds, in the order of the round: two builds of the same design differ
        by about a percent (by memory layout), and the interval must include this difference.
        """
        for rounds in self._schedule.builds():
            with Labs() as labs:
                for number in rounds:
                    began = time.monotonic()
                    for site in self._schedule.sites_of(number):
                        self._round_at(site, number, labs)
                        if len(rounds) == 1:
                            labs.take_down(site)
                    self._round_took = time.monotonic() - began
                    if self._is_over(number):
                        return

    def _is_over(self, number: int) -> bool:
        """Whether the run ends after this round."""
        self._note(rounds_done=max(number, self._manifest["rounds_done"]))
        if number == WARM_UP_ROUND:
            return False
        if self._schedule.rounds is not None:
            return self._is_too_late(number)
        spent = time.monotonic() - self._began >= (self._loaded.value.budget or AUTO_BUDGET).total_seconds()
        if not spent and not is_look(number):
            return False
        self._look(number)
        return self._judge(max(len(self._manifest.get("looks", ())), 1)) or spent

    def _is_too_late(self, number: int) -> bool:
        """Whether the next round would exceed the budget. A run then ends early, but not without enough rounds."""
        budget, rounds = self._loaded.value.budget, self._schedule.rounds
        if budget is None or rounds is None or not FIRST_LOOK <= number < rounds:
            return False
        now = time.monotonic()
        if now - self._began + self._round_took + REPORT_SECONDS <= budget.total_seconds():
            return False
        self._note(scenario={**self._manifest["scenario"], "rounds": number})
        return True

    def _round_at(self, site: Site, number: int, labs: Labs) -> None:
        blocks = blocks_of(self._schedule, site, number, self._schedule.arms)
        if all(trial.measured in self._done for block in blocks for trial in block):
            return
        fit = labs.at(site)
        if fit is None:
            fit = self._build(site, number, labs)
        if not self._planned:
            self._watcher.planned(*self._outlook())
            self._planned = True

        def watch(trial: Trial, lab: Lab) -> Callable[[], Witness]:
            family = reached_by(lab.plan, trial.source, trial.target).version
            return path_watch(site, self._schedule.arms[trial.arm], lab, trial.source, trial.target, family)

        here = [[trial for trial in block if trial.arm in fit] for block in blocks]
        self._measure(here, lambda trial: fit[trial.arm], watch)

    def _outlook(self) -> tuple[int, float]:
        """The number of remaining trials, and their time in seconds; with `rounds: auto` 0, and at most the budget."""
        outline = Outline.of(self._schedule, lambda site, name: bool(left_out(site.designs[name], site.topology)))
        self._overhead = outline.overhead
        if outline.rounds is None:
            return 0, outline.warm_up_seconds + (self._loaded.value.budget or AUTO_BUDGET).total_seconds()
        whole = outline.warm_up_trials + outline.trials * outline.rounds
        left = whole - sum(done.path not in (LAB, LOOPBACK) for done in self._done)
        return left, (outline.warm_up_seconds + outline.rounds * outline.round_seconds) * left / whole

    def _build(self, site: Site, number: int, labs: Labs) -> Mapping[str, Lab]:
        """Build the labs of a site for a round, except designs that failed or were unavailable there before."""
        where = self._schedule.sites.index(site)
        order = [arm for arm in self._schedule.arms_to_build(site, number) if (where, arm) not in self._lost]
        positions = {arm: position for position, arm in enumerate(order, start=1)}
        started = datetime.now(UTC).isoformat(timespec="milliseconds")

        def on_prepared(arm: str, prepared: Prepared) -> None:
            self._record(site, number, arm, prepared)
            # With several cells per lab, the values could not be assigned to a cell.
            if prepared.lab is not None and len(site.cells) == 1:
                self._write_lab(site.cells[0], number, positions[arm], arm, prepared.lab, started)

        self._watcher.preparing(", ".join(order))
        fit = labs.build(site, {arm: self._schedule.arms[arm] for arm in order}, on_prepared)
        self._note()
        return fit

    def _record(self, site: Site, number: int, arm: str, prepared: Prepared) -> None:
        """Record the result of building a lab: each time if it is unfit, otherwise only the first time."""
        facts, unfit = prepared.facts, prepared.lab is None
        where = site.cells[0].name if len(self._schedule.sites) > 1 else ""
        is_left_out = facts["state"] in (UNAVAILABLE, UNFIT)
        entry = self._manifest["designs"].get(arm, {})
        if unfit:
            self._lost.add((self._schedule.sites.index(site), arm))
            self._failed |= not is_left_out
        if is_left_out and where:
            entry.setdefault("left_out", {})[where] = facts["reason"]
            unfit = len(entry["left_out"]) == len(self._schedule.sites)
            # UNAVAILABLE also if it does not fit any: the reasons may differ.
            reasons = dict.fromkeys(entry["left_out"].values())
            facts = facts | {"state": UNAVAILABLE, "reason": "; ".join(reasons)}
        elif unfit:
            facts["reason"] += f" ({where})" if where else ""
            facts["reason"] += f" before round {number}; earlier samples are kept" if number != WARM_UP_ROUND else ""
        if arm != AA and (unfit or not (is_left_out or entry.get("state"))):
            self._manifest["designs"][arm] = facts | {"left_out": entry.get("left_out", {})}
            if prepared.lab is not None:
                self._manifest["devices"] += [{"design": arm} | device for device in devices(prepared.lab)]
        if prepared.lab is None or number == WARM_UP_ROUND:
            self._watcher.prepared(" ".join(filter(None, (where, arm))), prepared.lab is not None, prepared.news)

    def _write_lab(self, cell: Cell, number: int, position: int, arm: str, lab: Lab, started: str) -> None:
        """Write the measurements of building a lab, as samples of the path `lab`."""
        if Measured(number, cell.name, arm, LAB, LAB) in self._done:
            return
        took = [("build_time", "ms", lab.up_seconds * 1000)]
        if lab.attach_seconds is not None:
            took.append(("attach_time", "ms", lab.attach_seconds * 1000))
        if lab.convergence_seconds is not None:
            took.append(("convergence", "ms", lab.convergence_seconds * 1000))
        if lab.pod_memory_kib is not None:
            took.append(("pod_memory", "KiB", lab.pod_memory_kib))
        self._writer.append(
            Sample(number, position, cell.name, arm, LAB, LAB, metric, unit, value, started)
            for metric, unit, value in took
        )

    def _measure(
        self,
        blocks: Iterable[list[Trial]],
        lab_of: Callable[[Trial], Lab],
        watch: Callable[[Trial, Lab], Callable[[], Witness]],
    ) -> None:
        """Carry out the remaining trials of blocks, one after the other.

        Programs that sleep before they begin are started before the block ahead of theirs, if that has none itself.
        """
        left = [rest for block in blocks if (rest := [trial for trial in block if trial.measured not in self._done])]
        with ExitStack() as stack:
            staged: list[_Stage] = []
            for block, following in zip(left, [*left[1:], []], strict=False):
                stages = staged or _staged(stack, block, lab_of)
                staged = _staged(stack, following, lab_of) if is_ahead(block) else []
                for trial, own, ends in stages:
                    with own:
                        self._watcher.began(trial)
                        begin = partial(_begin, watch, trial, ends.lab)
                        self._record_trial(trial, carry_out(trial, ends, begin, self._writer.write_raw))

    def _record_trial(self, trial: Trial, outcome: Outcome) -> None:
        self._writer.append(outcome.samples, outcome.histograms)
        if trial.arm != LIMITS:
            for sample in outcome.samples:
                self._count(sample)
            self._unseen = trial.round
        self._watcher.ended(trial, _news(outcome), trial.seconds * self._overhead)
        if self._writer.trouble:
            self._watcher.trouble(self._writer.trouble, self._writer.waiting)
            self._writer.trouble = ""


_Stage = tuple[Trial, ExitStack, Ends]


def _staged(stack: ExitStack, block: Iterable[Trial], lab_of: Callable[[Trial], Lab]) -> list[_Stage]:
    """The trials of a block with their ends, which `stack` closes, and with their programs that sleep first started."""
    stages = []
    for trial in block:
        own = stack.enter_context(ExitStack())
        stages.append((trial, own, own.enter_context(ends_of(trial, lab_of(trial)))))
    start_ahead([(trial.probe, ends) for trial, _, ends in stages])
    return stages


def _begin(watch: Callable[[Trial, Lab], Callable[[], Witness]], trial: Trial, lab: Lab) -> Witness:
    return watch(trial, lab)()


def _news(outcome: Outcome) -> str:
    first = outcome.samples[0]
    return f"no value: {first.error}" if first.value is None else f"{first.metric} {first.value:.4g} {first.unit}"
