"""The schedule of an experiment: the measurements of each round, and their order.

Randomised complete blocks. A block is one probe on one path in one cell of the sweep in one round. It contains each arm
once, in direct succession and in its own random order: drift (temperature, other virtual machines) affects all arms
equally, and no arm always follows the same other one. Orders depend only on the seed and the block, so a resumed run
continues in the same order.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import TypeVar

from testbed.designs import Design, design_of
from testbed.experiment.results import WARM_UP_ROUND
from testbed.spec.design import Choice, name_of
from testbed.spec.load import LoadedScenario
from testbed.spec.scenario import AA, AUTO
from testbed.spec.sweep import Cell
from testbed.spec.topology import Topology

T = TypeVar("T")

FIRST_LOOK = 5
"""With `rounds: auto`, the number of rounds before the first look at the verdicts."""


def is_look(rounds: int) -> bool:
    """Whether `rounds: auto` looks at the verdicts after this number of rounds: 5, 10, 20, 40, ...

    Each look is another chance of a false verdict and reduces the power of the others, so there are few.
    """
    looks, rest = divmod(rounds, FIRST_LOOK)
    return rest == 0 and looks.bit_count() == 1


@dataclass(frozen=True)
class Block:
    """One probe on one path in one cell in one round, measured under each arm."""

    round: int
    cell: Cell
    path: str
    probe: str


@dataclass(frozen=True)
class Site:
    """Cells that can be measured in the same labs, because they do not differ in anything that affects labs."""

    topology: Topology
    offload: bool
    steering: str
    """CPUs that process received packets; empty: the sender's CPU."""
    choices: tuple[Choice, ...]
    """The designs, as in the scenario."""
    cells: tuple[Cell, ...]
    cluster: object = None
    """The Kubernetes objects with which its labs begin, if any."""

    @cached_property
    def designs(self) -> Mapping[str, Design]:
        """The designs by name."""
        return {name_of(choice): design_of(choice) for choice in self.choices}

    def fits(self, design: str) -> bool:
        """Whether the design fits the topology."""
        return next(self.designs[design].misfits(self.topology), None) is None


@dataclass(frozen=True)
class Schedule:
    """All measurements of a scenario."""

    cells: tuple[Cell, ...]
    arms: Mapping[str, str]
    """The design of each arm: all designs, and `aa` for a second measurement of the baseline."""
    rounds: int | None
    """Number of counted rounds; None with `rounds: auto`."""
    rebuild_every: int
    seed: int

    @classmethod
    def of(cls, loaded: LoadedScenario, seed: int) -> "Schedule":
        scenario = loaded.value
        arms = {name: name for name in scenario.design_names} | ({AA: scenario.baseline} if scenario.aa else {})
        rounds = None if scenario.rounds == AUTO else scenario.rounds
        return cls(loaded.cells, arms, rounds, scenario.rebuild_every, seed)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        found: list[Site] = []
        for cell in self.cells:
            pin = cell.scenario.pin
            steering = ("" if isinstance(pin, str) else pin.steering) or ""
            wanted = (cell.topology, cell.scenario.offload, steering, cell.scenario.designs)
            built_of = [(site.topology, site.offload, site.steering, site.choices) for site in found]
            same = built_of.index(wanted) if wanted in built_of else None
            if same is None:
                found.append(Site(*wanted, (cell,), cell.cluster))
            else:
                found[same] = Site(*wanted, (*found[same].cells, cell))
        return tuple(found)

    def builds(self) -> Iterator[tuple[int, ...]]:
        """Groups of rounds that are measured in the same labs: the warm-up alone, then `rebuild_every` together."""
        yield (WARM_UP_ROUND,)
        for first in range(1, self.rounds + 1, self.rebuild_every) if self.rounds else count(1, self.rebuild_every):
            last = first + self.rebuild_every
            yield tuple(range(first, min(last, self.rounds + 1) if self.rounds else last))

    def sites_of(self, number: int) -> tuple[Site, ...]:
        """The sites in the order of a round."""
        return tuple(self._shuffled(self.sites, number, "sites"))

    def arms_to_build(self, site: Site, number: int) -> tuple[str, ...]:
        """The arms in the order in which their labs are built."""
        return tuple(self._shuffled(tuple(self.arms), number, self.sites.index(site), "build"))

    def blocks(self, site: Site, number: int) -> Iterator[tuple[Block, tuple[str, ...]]]:
        """The blocks of a round at a site, each with its arms in order. The warm-up has those of the first path."""
        for cell in self._shuffled(site.cells, number, self.sites.index(site), "cells"):
            paths = tuple(cell.scenario.paths)
            for path in paths[:1] if number == WARM_UP_ROUND else paths:
                for probe in cell.scenario.probes:
                    yield (
                        Block(number, cell, path, probe),
                        tuple(self._shuffled(tuple(self.arms), number, cell.name, path, probe)),
                    )

    def _shuffled(self, items: Sequence[T], *where: object) -> Iterable[T]:
        # A text seeds the generator through SHA-512, so orders of similar blocks are independent.
        draw = random.Random(" ".join(map(str, (self.seed, *where))))
        return draw.sample(items, len(items))
