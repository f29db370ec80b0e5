"""What a pod of a large lab costs, against one of a small lab.

sudo .venv/bin/python -m tests.benchmarks.bench_scale [--rounds 3]
"""

import argparse
from functools import partial

from mininet.log import setLogLevel

from testbed.designs import DESIGNS
from testbed.lab.capsule import enclosed
from tests.benchmarks.bench_floor import lab
from tests.benchmarks.taken_in_turn import show, taken_in_turn

SIZES = ((4, 256), (16, 1024), (64, 4096))
"""Nodes and pods."""


def work(rounds: int) -> int:
    setLogLevel("critical")
    for design in DESIGNS:
        arms = {f"{pods} pods on {nodes} nodes": partial(a_pod, design, nodes, pods) for nodes, pods in SIZES}
        show(f"{design}, up, {rounds} rounds", "ms a pod", taken_in_turn(arms, rounds), next(iter(arms)))
    return 0


def a_pod(design: str, nodes: int, pods: int) -> float:
    return lab(design, nodes, pods) / pods * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    return enclosed(lambda: work(chosen.rounds))


if __name__ == "__main__":
    raise SystemExit(main())
