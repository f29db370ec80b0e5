"""The schedule of an experiment: every round holds every design once, in an order of its own.

Randomised complete blocks: whatever drifts (temperature, neighbours on the machine) hits every design alike, and no
design always follows the same other one.
"""

import random

from testbed.experiment.results import WARM_UP_ROUND


def schedule(designs: tuple[str, ...], rounds: int, seed: int) -> dict[int, tuple[str, ...]]:
    """The order of designs in the warm-up (round 0) and in each round that counts.

    The same arguments always give the same orders.
    """
    draw = random.Random(seed)
    return {number: tuple(draw.sample(designs, len(designs))) for number in range(WARM_UP_ROUND, rounds + 1)}
