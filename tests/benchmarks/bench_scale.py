"""Build time per pod of a large lab, compared with a small lab.

sudo .venv/bin/python -m tests.benchmarks.bench_scale [--rounds 3]
"""

import argparse
from functools import partial

from mininet.log import setLogLevel

from testbed.designs import PLAIN
from testbed.lab.capsule import enclosed
from tests.benchmarks.alternately import measure_alternately, show
from tests.benchmarks.bench_floor import lab

SIZES = ((4, 256), (16, 1024), (64, 4096))
"""Nodes and pods."""


def work(rounds: int) -> int:
    setLogLevel("critical")
    for design in PLAIN:
        arms = {f"{pods} pods on {nodes} nodes": partial(ms_per_pod, design, nodes, pods) for nodes, pods in SIZES}
        show(f"{design}, up, {rounds} rounds", "ms per pod", measure_alternately(arms, rounds), next(iter(arms)))
    return 0


def ms_per_pod(design: str, nodes: int, pods: int) -> float:
    return lab(design, nodes, pods) / pods * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    return enclosed(lambda: work(chosen.rounds))


if __name__ == "__main__":
    raise SystemExit(main())
