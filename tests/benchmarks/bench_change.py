"""Time to add a pod to a running lab, compared with the time per pod of a new lab, and with a small lab.

sudo .venv/bin/python -m tests.benchmarks.bench_change [--rounds 3] [--design vxlan] [--most 4000]
"""

import argparse
import gc
import time
from functools import partial

from mininet.log import setLogLevel
from rich.console import Console

from testbed.designs import Design, design_of
from testbed.lab.capsule import enclosed
from testbed.lab.editing import edited
from testbed.lab.lab import Lab
from tests.benchmarks.alternately import measure_alternately, show, spread, topology

SIZES = ((4, 16), (16, 500), (80, 4000))
"""Nodes and pods; few enough per node that no block of Calico is full."""
PODS = 5
"""Number of pods added to each lab, one after the other."""


def work(design: str, rounds: int, most: int) -> int:
    setLogLevel("critical")
    chosen = design_of(design)
    shares: dict[str, list[float]] = {}
    arms = {f"{pods} pods": partial(add_pods, chosen, nodes, pods, shares) for nodes, pods in SIZES if pods <= most}
    taken = measure_alternately(arms, rounds)
    show(f"{design}, add a pod, {rounds} rounds", "ms", taken, next(iter(arms)))
    for name, values in taken.items():
        ratios = [more / share for more, share in zip(values, shares[name][1:], strict=True)]
        Console().print(f"{name}: {spread(ratios)} times the time per pod of a new lab")
    return 0


def add_pods(design: Design, nodes: int, pods: int, shares: dict[str, list[float]]) -> float:
    """Median time from the edit of the topology until the pod is attached, in milliseconds."""
    first = topology(nodes, pods)
    begin = time.perf_counter()
    with Lab(design.plan(first)) as lab:
        shares.setdefault(f"{pods} pods", []).append((time.perf_counter() - begin) / pods * 1000)
        gc.freeze()  # Like the process that runs a lab.
        now, took = first, []
        for number in range(PODS):
            begin = time.perf_counter()
            pod = {"name": f"more-{number}", "node": "node1"}
            now, plan = edited(now, design, lab.drawn, "pod add", pod)
            lab.change(plan)
            took.append((time.perf_counter() - begin) * 1000)
    gc.unfreeze()
    return sorted(took)[PODS // 2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--design", default="vxlan")
    parser.add_argument("--most", type=int, default=SIZES[-1][1], help="skip labs with more pods")
    chosen = parser.parse_args()
    return enclosed(lambda: work(chosen.design, chosen.rounds, chosen.most))


if __name__ == "__main__":
    raise SystemExit(main())
