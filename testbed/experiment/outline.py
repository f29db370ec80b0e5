"""The size of a run, before anything is built: cells, trials, labs, time."""

from collections.abc import Callable
from dataclasses import dataclass

from testbed.experiment.results import WARM_UP_ROUND
from testbed.experiment.schedule import Block, Schedule, Site
from testbed.experiment.trial import Trial
from testbed.probes import probe_of
from testbed.probes.placement import chosen

LAB_SECONDS = 0.5
"""Typical time to build, check and take down a small lab."""


def _none_left_out(site: Site, design: str) -> bool:
    """For scenarios in which all designs are available."""
    return False


@dataclass(frozen=True)
class Outline:
    """The size of a run."""

    cells: tuple[str, ...]
    arms: tuple[str, ...]
    trials: int
    """Per round, including the warm-up."""
    rounds: int | None
    """None with `rounds: auto`."""
    labs: int
    """Number of labs built for a round."""
    round_seconds: float

    @classmethod
    def of(cls, schedule: Schedule, is_left_out: Callable[[Site, str], bool] = _none_left_out) -> "Outline":
        """The outline of a schedule, without the designs for which `is_left_out` is true at a site."""
        here = [
            (site, [arm for arm, design in schedule.arms.items() if not is_left_out(site, design)])
            for site in schedule.sites
        ]
        blocks = [
            trials_of(schedule, block, tuple(arm for arm in order if arm in arms))
            for site, arms in here
            for block, order in schedule.blocks(site, WARM_UP_ROUND)
        ]
        trials = [trial for block in blocks for trial in block]
        labs = sum(len(arms) for _, arms in here)
        seconds = sum(trial.seconds for trial in trials) + labs / schedule.rebuild_every * LAB_SECONDS
        seconds += sum(max((trial.lead for trial in block), default=0) for block in blocks)
        names = tuple(cell.name for cell in schedule.cells)
        some = tuple(arm for arm in schedule.arms if any(arm in arms for _, arms in here))
        return cls(names, some, len(trials), schedule.rounds, labs, seconds)


def trials_of(schedule: Schedule, block: Block, arms: tuple[str, ...]) -> list[Trial]:
    """The trials of a block, in order."""
    path = block.cell.scenario.paths[block.path]
    return [trial_of(schedule, block, arm, turn, path.source, path.target) for turn, arm in enumerate(arms, start=1)]


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
