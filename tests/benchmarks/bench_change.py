"""What one more pod costs a lab that lives, against the share of a pod in a fresh lab, and against a small lab.

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
from tests.benchmarks.taken_in_turn import show, spread, taken_in_turn, topology

SIZES = ((4, 16), (16, 500), (80, 4000))
"""Nodes and pods: no node has so many that a block of Calico's would be full."""
PODS = 5
"""Added one after the other to each lab."""


def work(design: str, rounds: int, most: int) -> int:
    setLogLevel("critical")
    chosen = design_of(design)
    shares: dict[str, list[float]] = {}
    arms = {f"{pods} pods": partial(a_pod_more, chosen, nodes, pods, shares) for nodes, pods in SIZES if pods <= most}
    taken = taken_in_turn(arms, rounds)
    show(f"{design}, a pod more, {rounds} rounds", "ms", taken, next(iter(arms)))
    for name, values in taken.items():
        ratios = [more / share for more, share in zip(values, shares[name][1:], strict=True)]
        Console().print(f"{name}: {spread(ratios)} times its share of a fresh lab")
    return 0


def a_pod_more(design: Design, nodes: int, pods: int, shares: dict[str, list[float]]) -> float:
    """Milliseconds, from the edit of the topology until the pod is attached: the middle one of several."""
    first = topology(nodes, pods)
    begin = time.perf_counter()
    with Lab(design.plan(first)) as lab:
        shares.setdefault(f"{pods} pods", []).append((time.perf_counter() - begin) / pods * 1000)
        gc.freeze()  # As the process does that keeps a lab.
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
    parser.add_argument("--most", type=int, default=SIZES[-1][1], help="leave out labs of more pods")
    chosen = parser.parse_args()
    return enclosed(lambda: work(chosen.design, chosen.rounds, chosen.most))


if __name__ == "__main__":
    raise SystemExit(main())
