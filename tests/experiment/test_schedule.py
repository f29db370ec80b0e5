"""The schedule: each block contains each arm once, in an order that depends only on the seed."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.designs import CATALOGUE
from testbed.experiment.outline import Outline, blocks_of, fitted, lead_of
from testbed.experiment.schedule import Schedule, is_look
from testbed.spec.load import LoadedScenario, load_scenario, scenario_of_texts
from testbed.spec.problems import SpecError
from testbed.spec.scenario import AA

ROOT = Path(__file__).parents[2]
COMPARE = load_scenario(ROOT / "scenarios/compare-designs.yaml", CATALOGUE)
seeds = st.integers(0, 2**32 - 1)


def scenario(**changes: str) -> LoadedScenario:
    """compare-designs, with keys added or changed; without its budget."""
    text = COMPARE.source.text
    for key, value in ({"budget": ""} | changes).items():
        text = "\n".join(line for line in text.splitlines() if not line.startswith(f"{key}:")) + "\n"
        text += f"{key}: {value}\n" if value else ""
    return scenario_of_texts((text, "a.yaml"), (COMPARE.topology.source.text, "b.yaml"), CATALOGUE)


def schedule(seed: int = 1, **changes: str) -> Schedule:
    """The schedule of compare-designs, with keys added or changed."""
    return Schedule.of(scenario(**changes), seed)


def outline(loaded: LoadedScenario) -> Outline:
    return Outline.of(Schedule.of(loaded, 1))


@given(seeds, st.integers(0, 50))
def test_each_block_contains_each_arm_once(seed: int, number: int) -> None:
    made = schedule(seed)
    (site,) = made.sites_of(number)
    blocks = list(made.blocks(site, number))
    assert [(block.path, block.probe) for block, _ in blocks] == [
        (path, probe) for path in tuple(COMPARE.value.paths)[: None if number else 1] for probe in COMPARE.value.probes
    ]
    assert all(sorted(arms) == sorted((*COMPARE.value.design_names, AA)) for _, arms in blocks)


@given(seeds)
def test_the_same_seed_gives_the_same_orders(seed: int) -> None:
    first, second = (
        [(made.arms_to_build(site, 3), list(made.blocks(site, 3))) for made in (schedule(seed),) for site in made.sites]
        for _ in range(2)
    )
    assert first == second


def test_more_rounds_keep_the_orders_of_the_first_ones() -> None:
    few, many = schedule(rounds="3"), schedule(rounds="9")
    assert [[arms for _, arms in made.blocks(made.sites[0], 2)] for made in (few,)] == [
        [arms for _, arms in made.blocks(made.sites[0], 2)] for made in (many,)
    ]


def test_each_arm_comes_first_equally_often() -> None:
    """With a fixed order, each design would always follow the same other one."""
    made = schedule()
    (site,) = made.sites
    first = Counter(arms[0] for number in range(100) for _, arms in made.blocks(site, number))
    assert all(50 < count < 110 for count in first.values()), first


def test_the_baseline_is_measured_twice_unless_aa_is_off() -> None:
    assert schedule().arms[AA] == "l3-host-routes"
    assert AA not in schedule(aa="off").arms


@pytest.mark.parametrize(
    ("every", "builds"),
    [("1", [(0,), (1,), (2,), (3,), (4,), (5,)]), ("2", [(0,), (1, 2), (3, 4), (5,)]), ("9", [(0,), (1, 2, 3, 4, 5)])],
)
def test_labs_are_built_every_so_many_rounds(every: str, builds: list[tuple[int, ...]]) -> None:
    assert list(schedule(rounds="5", rebuild_every=every).builds()) == builds


def test_auto_has_no_last_round() -> None:
    made = schedule(rounds="auto", rebuild_every="3")
    assert made.rounds is None
    assert list(islice(made.builds(), 3)) == [(0,), (1, 2, 3), (4, 5, 6)]


def test_auto_looks_at_verdicts_at_doubling_intervals() -> None:
    assert [number for number in range(1, 200) if is_look(number)] == [5, 10, 20, 40, 80, 160]


def test_cells_that_differ_only_in_probes_share_labs() -> None:
    made = schedule(
        sweep="{probes.latency.message: [64B, 1KiB], topology.fabric.mtu: [1500, 9000], offload: [on, off]}"
    )
    assert len(made.cells) == 8
    assert [len(site.cells) for site in made.sites] == [2, 2, 2, 2]
    for site in made.sites:
        assert {cell.topology for cell in site.cells if cell.topology != site.topology} == set()
        assert {cell.scenario.offload for cell in site.cells} == {site.offload}


def test_a_sweep_is_interleaved() -> None:
    """Each round measures all cells, in its own order."""
    made = schedule(sweep="{topology.fabric.mtu: [1500, 4000, 9000]}")
    orders = {tuple(site.topology.fabric.mtu for site in made.sites_of(number)) for number in range(20)}
    assert len(orders) > 3
    assert all(sorted(order) == [1500, 4000, 9000] for order in orders)


def test_probes_that_sleep_first_sleep_during_the_others() -> None:
    made = schedule()
    blocks = blocks_of(made, made.sites[0], 1, made.arms)
    assert [(block[0].path, block[0].probe_name, bool(lead_of(block))) for block in blocks] == [
        (path, probe, probe == "latency") for path in COMPARE.value.paths for probe in ("throughput", "latency")
    ]


def test_a_budget_alone_is_filled_with_rounds() -> None:
    ten, twenty = (fitted(scenario(budget=budget), outline(scenario())) for budget in ("10min", "20min"))
    assert isinstance(ten.value.rounds, int) and isinstance(twenty.value.rounds, int)
    assert 540 < outline(ten).seconds <= 600 < outline(twenty).seconds <= 1200
    assert twenty.value.rounds > 2 * ten.value.rounds > 30


def test_rounds_in_a_scenario_are_kept_beside_a_budget() -> None:
    assert fitted(scenario(rounds="7", budget="60min"), outline(scenario())).value.rounds == 7
    assert fitted(scenario(rounds="auto", budget="60min"), outline(scenario())).value.rounds == "auto"


def test_a_budget_that_is_too_short_for_a_verdict_is_refused() -> None:
    short = scenario(budget="90s")
    with pytest.raises(SpecError) as error:
        fitted(short, outline(short))
    (problem,) = error.value.problems
    assert (problem.where, problem.found) == ("budget", "90s")
    assert problem.message.startswith("too short: a verdict requires 5 rounds, which take about 2.4 min here")


def test_shipped_scenarios_take_the_time_that_they_claim() -> None:
    quick = load_scenario(ROOT / "scenarios/quick.yaml", CATALOGUE)
    assert outline(quick).seconds <= 60
    assert outline(fitted(COMPARE, outline(COMPARE))).seconds <= 300
