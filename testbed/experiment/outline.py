"""The size of a run, before anything is built: cells, trials, labs, time."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from testbed.experiment.results import LOOPBACK, WARM_UP_ROUND
from testbed.experiment.schedule import FIRST_LOOK, Block, Schedule, Site
from testbed.experiment.trial import Trial
from testbed.lab.loopback import SOURCE, TARGET
from testbed.probes import probe_of
from testbed.probes.placement import chosen
from testbed.spec.limits import MAX_ROUNDS
from testbed.spec.load import LoadedScenario
from testbed.spec.problems import Misfit, SpecError
from testbed.spec.scenario import LIMITS
from testbed.spec.types import minutes

LAB_SECONDS = 0.35
"""Typical time to build, check and take down a small lab."""
REPORT_SECONDS = 5.0
"""Typical time to start, and to write the report."""
LIMIT_REPEATS = 2
"""Number of runs of each probe over loopback, to find its own limits; the best counts."""


def _none_left_out(site: Site, design: str) -> bool:
    """For scenarios in which all designs are available."""
    return False


@dataclass(frozen=True)
class Outline:
    """The size of a run."""

    cells: tuple[str, ...]
    arms: tuple[str, ...]
    trials: int
    """Per counted round."""
    warm_up_trials: int
    rounds: int | None
    """None with `rounds: auto`."""
    labs: int
    """Number of labs built for a round."""
    round_seconds: float
    warm_up_seconds: float
    limits_seconds: float
    """Time for the probes' own limits."""
    overhead: float
    """The time of a counted round over that of its measurements alone: labs, and programs that sleep first."""

    @property
    def seconds(self) -> float:
        """The whole run; with `rounds: auto`, without any counted round."""
        return self._around + (self.rounds or 0) * self.round_seconds

    @property
    def _around(self) -> float:
        return REPORT_SECONDS + self.limits_seconds + self.warm_up_seconds

    def rounds_within(self, seconds: float) -> int:
        """The number of rounds that fit into a time, with all that comes before and after them."""
        return int(max(0, seconds - self._around) / self.round_seconds)

    @classmethod
    def of(cls, schedule: Schedule, is_left_out: Callable[[Site, str], bool] = _none_left_out) -> "Outline":
        """The outline of a schedule, without the designs for which `is_left_out` is true at a site."""
        here = [
            (site, [arm for arm, design in schedule.arms.items() if not is_left_out(site, design)])
            for site in schedule.sites
        ]
        warm_up, counted = (
            [
                block
                for site, arms in here
                for block in blocks_of(schedule, site, number, tuple(arm for arm in schedule.arms if arm in arms))
            ]
            for number in (WARM_UP_ROUND, WARM_UP_ROUND + 1)
        )
        labs = sum(len(arms) for _, arms in here)
        building = labs * LAB_SECONDS
        round_seconds = block_seconds(counted) + building / schedule.rebuild_every
        return cls(
            cells=tuple(cell.name for cell in schedule.cells),
            arms=tuple(arm for arm in schedule.arms if any(arm in arms for _, arms in here)),
            trials=sum(map(len, counted)),
            warm_up_trials=sum(map(len, warm_up)),
            rounds=schedule.rounds,
            labs=labs,
            round_seconds=round_seconds,
            warm_up_seconds=block_seconds(warm_up) + building,
            limits_seconds=block_seconds([[trial] for trial in limit_trials(schedule)]),
            overhead=round_seconds / max(sum(trial.seconds for block in counted for trial in block), 1e-9),
        )


def block_seconds(blocks: Sequence[Sequence[Trial]]) -> float:
    """The time of blocks that are measured one after the other.

    A block whose programs sleep before they begin waits for them, except for the time of the block before it if that
    has no such programs: see `is_ahead`.
    """
    seconds = 0.0
    for before, block in zip([(), *blocks], blocks, strict=False):
        asleep = sum(trial.seconds for trial in before) if is_ahead(before) else 0
        seconds += max(0, lead_of(block) - asleep) + sum(trial.seconds for trial in block)
    return seconds


def lead_of(block: Sequence[Trial]) -> float:
    """The seconds that the programs of a block sleep before they begin, all at the same time."""
    return max((trial.lead for trial in block), default=0)


def is_ahead(block: Sequence[Trial]) -> bool:
    """Whether the programs of the next block may be started before this one is measured, to sleep meanwhile.

    Not if this block has such programs itself: both could need the same port of the same pod.
    """
    return not lead_of(block)


def blocks_of(schedule: Schedule, site: Site, number: int, arms: Collection[str]) -> list[list[Trial]]:
    """The trials of a round at a site, block by block; only those of `arms`.

    On each path, probes whose programs sleep before they begin come last, so that they sleep during the others.
    """
    found = []
    for _, same_path in groupby(schedule.blocks(site, number), key=lambda item: (item[0].cell.name, item[0].path)):
        blocks = [trials_of(schedule, block, tuple(arm for arm in order if arm in arms)) for block, order in same_path]
        found += sorted((block for block in blocks if block), key=lead_of)
    return found


def trials_of(schedule: Schedule, block: Block, arms: tuple[str, ...]) -> list[Trial]:
    """The trials of a block, in order."""
    path = block.cell.scenario.paths[block.path]
    return [trial_of(schedule, block, arm, turn, path.source, path.target) for turn, arm in enumerate(arms, start=1)]


def limit_trials(schedule: Schedule) -> list[Trial]:
    """The trials of each probe over loopback, to find its own limits, interleaved."""
    probes: list[Block] = []
    seen = []
    for cell in schedule.cells:
        for name, spec in cell.scenario.probes.items():
            if (name, spec, cell.scenario.pin) not in seen:
                seen.append((name, spec, cell.scenario.pin))
                probes.append(Block(WARM_UP_ROUND, cell, LOOPBACK, name))
    return [
        trial
        for number in range(1, LIMIT_REPEATS + 1)
        for trial in sorted(
            (trial_of(schedule, block, LIMITS, number, SOURCE, TARGET) for block in probes),
            key=lambda trial: trial.lead,
        )
    ]


def trial_of(schedule: Schedule, block: Block, arm: str, position: int, source: str, target: str) -> Trial:
    """A block's trial of an arm, between two ends."""
    cell = block.cell
    probe = probe_of(cell.scenario.probes[block.probe])
    return Trial(
        round=block.round,
        position=position,
        cell=cell.name,
        cell_number=schedule.cells.index(cell) + 1,
        arm=arm,
        path=block.path,
        source=source,
        target=target,
        probe_name=block.probe,
        probe=probe,
        placement=chosen(cell.scenario.pin, probe.together),
    )


def fitted(loaded: LoadedScenario, outline: Outline) -> LoadedScenario:
    """The scenario with the number of rounds that fit its budget, if it has a budget and names no rounds.

    Raises SpecError if the budget is too short for a verdict.
    """
    scenario = loaded.value
    if scenario.budget is None or not scenario.fills_budget:
        return loaded
    rounds = outline.rounds_within(scenario.budget.total_seconds())
    if rounds < FIRST_LOOK:
        needed = replace(outline, rounds=FIRST_LOOK).seconds
        message = (
            f"too short: a verdict requires {FIRST_LOOK} rounds, which take about {minutes(needed)} here; raise the "
            "budget, measure less, or write rounds"
        )
        raise SpecError((loaded.source.problem(Misfit(("budget",), message)),))
    return replace(loaded, value=scenario.model_copy(update={"rounds": min(rounds, MAX_ROUNDS)}))
