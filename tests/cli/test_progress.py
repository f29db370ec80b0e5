"""The time left of a run, as its progress shows it."""

import random

import pytest

from testbed.cli.progress import _Plan

MEASUREMENTS = 60
ROUND = 6


@pytest.mark.parametrize("slower", [0.7, 1.0, 1.6, 3.0])
@pytest.mark.parametrize("seed", range(5))
def test_after_the_first_round_the_time_left_is_right_to_20_percent(slower: float, seed: int) -> None:
    """A machine may be slower than estimated; measurements differ in how long they take."""
    draw = random.Random(seed)
    took = [slower * draw.uniform(0.9, 1.1) * (2.0 if number % 2 else 1.0) for number in range(MEASUREMENTS)]
    plan, now = _Plan(seconds=1.5 * MEASUREMENTS, is_limit=False, began=0.0), 0.0
    for number, seconds in enumerate(took, 1):
        now += seconds
        plan.done += 1.0 if number % 2 else 2.0
        if number == 2 * ROUND:  # the warm-up, and the first counted round
            assert plan.left(now) == pytest.approx(sum(took[number:]), rel=0.2)
    assert plan.left(now) == 0


def test_a_limit_runs_down_with_the_clock() -> None:
    plan = _Plan(seconds=60.0, is_limit=True, began=100.0)
    assert (plan.left(110.0), plan.left(200.0)) == (50.0, 0.0)
