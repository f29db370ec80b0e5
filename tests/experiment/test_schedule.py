from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from testbed.experiment.schedule import schedule

designs = st.lists(st.sampled_from(["l2", "l3-gateway", "l3-host-routes", "vxlan"]), min_size=1, unique=True).map(tuple)
seeds = st.integers(0, 2**32 - 1)


@given(designs, st.integers(1, 50), seeds)
def test_every_round_holds_every_design_once(names: tuple[str, ...], rounds: int, seed: int) -> None:
    made = schedule(names, rounds, seed)
    assert list(made) == list(range(rounds + 1))
    assert all(sorted(order) == sorted(names) for order in made.values())


@given(designs, st.integers(1, 50), seeds)
def test_the_same_seed_gives_the_same_orders(names: tuple[str, ...], rounds: int, seed: int) -> None:
    assert schedule(names, rounds, seed) == schedule(names, rounds, seed)


@given(designs, seeds)
def test_more_rounds_keep_the_first_ones(names: tuple[str, ...], seed: int) -> None:
    assert list(schedule(names, 9, seed).items())[:4] == list(schedule(names, 3, seed).items())


def test_every_design_comes_at_every_position() -> None:
    """A fixed order would hand each design the same predecessor every time."""
    made = schedule(("a", "b", "c", "d"), 400, 1)
    first = Counter(order[0] for order in made.values())
    assert all(70 < count < 130 for count in first.values())
