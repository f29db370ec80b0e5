"""Helpers for benchmarks: arms are measured alternately in one run, so that ratios do not depend on the load."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from testbed.spec.topology import Topology

Arm = Callable[[], float]
"""Runs once, and returns the measured value."""


def topology(nodes: int, pods: int) -> Topology:
    """A topology with `nodes` nodes and `pods` pods in total."""
    return Topology.model_validate(
        {
            "name": "benchmark",
            "cluster": {"pod_cidr": "10.244.0.0/16", "node_prefix": 24},
            "fabric": {"subnet": "192.168.0.0/16"},
            "nodes": {f"node{number}": {"pods": pods // nodes + (number < pods % nodes)} for number in range(nodes)},
        }
    )


def measure_alternately(arms: Mapping[str, Arm], rounds: int) -> dict[str, list[float]]:
    """The values of each arm, by round, without a first round for warm-up."""
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            value = arm()
            if number:
                taken[name].append(value)
    return taken


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median, minimum and maximum, as text."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def show(title: str, unit: str, taken: Mapping[str, Sequence[float]], reference: str, inverse: bool = False) -> None:
    """Print a table of the arms: values, and ratios to the reference in the same round; with `inverse`, from it."""
    table = Table(title=title, box=None)
    ratio = f"{reference} / this" if inverse else f"this / {reference}"
    for heading in ("", unit, ratio):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, values in taken.items():
        pairs = list(zip(values, taken[reference], strict=True))
        ratios = [theirs / own if inverse else own / theirs for own, theirs in pairs]
        table.add_row(name, spread(values, ".3f"), spread(ratios))
    Console(width=110).print(table)
