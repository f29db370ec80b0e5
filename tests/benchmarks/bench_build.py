"""Time to build and tear down a lab, compared with Mininet's SingleSwitchTopo with a Linux bridge.

    sudo .venv/bin/python -m tests.benchmarks.bench_build [--pods 64] [--nodes 4] [--rounds 5]

Both are measured alternately in one run, so that the ratio does not depend on the machine's load. Mininet's hosts are
comparable to our pods: a namespace with a link to a bridge, an address and a route each.

The kernel frees namespaces in the background, after they are released. Therefore two ratios are printed: one of the
time that a user waits, and one that includes the time until the kernel has freed all namespaces.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import SingleSwitchTopo
from rich.console import Console
from rich.table import Table

from testbed.designs import DESIGNS, PLAIN
from testbed.kernel.freeing import await_freed
from testbed.lab.capsule import enclosed
from testbed.lab.lab import Lab
from testbed.spec.topology import Topology
from tests.benchmarks.alternately import spread, topology

Times = tuple[float, float, float]
"""Seconds to build, to tear down, and then until the kernel has freed all namespaces."""


def timed(build: Callable[[], Callable[[], object]]) -> Times:
    start = time.perf_counter()
    tear_down = build()
    built = time.perf_counter()
    tear_down()
    torn_down = time.perf_counter()
    await_freed()
    return built - start, torn_down - built, time.perf_counter() - torn_down


def mininet_lab(hosts: int) -> Callable[[], object]:
    net = Mininet(SingleSwitchTopo(hosts), switch=LinuxBridge, controller=None, waitConnected=False)
    net.start()
    return net.stop


def our_lab(design: str, made: Topology) -> Callable[[], object]:
    return Lab(DESIGNS[design].plan(made)).down


def work(nodes: int, pods: int, rounds: int) -> int:
    setLogLevel("critical")
    made = topology(nodes, pods)
    arms: dict[str, Callable[[], Callable[[], object]]] = {"Mininet": lambda: mininet_lab(pods)}
    for design in PLAIN:
        arms[design] = lambda design=design: our_lab(design, made)  # type: ignore[misc]  # bound now, on purpose
    times: dict[str, list[Times]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, build in arms.items():
            taken = timed(build)
            if number > 0:  # The first round warms up.
                times[name].append(taken)
    show(times, pods)
    return 0


def show(times: dict[str, list[Times]], pods: int) -> None:
    table = Table(title=f"{pods} pods or hosts, median of {len(next(iter(times.values())))} rounds", box=None)
    for title in ("", "up", "down", "freed, ms per pod", "Mininet's up + down / ours", "with freeing"):
        table.add_column(title, justify="left" if not title else "right")
    for name, taken in times.items():
        rounds = list(zip(times["Mininet"], taken, strict=True))
        table.add_row(
            name,
            *(f"{statistics.median(part) / pods * 1000:.2f}" for part in zip(*taken, strict=True)),
            *(spread([sum(theirs[:parts]) / sum(ours[:parts]) for theirs, ours in rounds], ".1f") for parts in (2, 3)),
        )
    Console(width=120).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pods", type=int, default=64)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    return enclosed(lambda: work(chosen.nodes, chosen.pods, chosen.rounds))


if __name__ == "__main__":
    raise SystemExit(main())
