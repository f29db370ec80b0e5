"""What benchmarks have in common: arms taken in turn in one run, so that ratios hold whatever the machine is doing."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from testbed.spec.topology import Topology

Arm = Callable[[], float]
"""Does it once, and returns what it took."""


def topology(nodes: int, pods: int) -> Topology:
    """Of so many nodes and, on all of them together, so many pods."""
    return Topology.model_validate(
        {
            "name": "benchmark",
            "cluster": {"pod_cidr": "10.244.0.0/16", "node_prefix": 24},
            "fabric": {"subnet": "192.168.0.0/16"},
            "nodes": {f"node{number}": {"pods": pods // nodes + (number < pods % nodes)} for number in range(nodes)},
        }
    )


def taken_in_turn(arms: Mapping[str, Arm], rounds: int) -> dict[str, list[float]]:
    """What each arm took in each round, after one that warms up."""
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            value = arm()
            if number:
                taken[name].append(value)
    return taken


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def show(title: str, unit: str, taken: Mapping[str, Sequence[float]], reference: str, inverse: bool = False) -> None:
    """A row for each arm: what it took, and its ratio to the reference in the same round; `inverse` the other way."""
    table = Table(title=title, box=None)
    ratio = f"{reference} / this" if inverse else f"this / {reference}"
    for heading in ("", unit, ratio):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, values in taken.items():
        pairs = list(zip(values, taken[reference], strict=True))
        ratios = [theirs / own if inverse else own / theirs for own, theirs in pairs]
        table.add_row(name, spread(values, ".3f"), spread(ratios))
    Console(width=110).print(table)
