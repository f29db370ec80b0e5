"""Duration of CLI commands, compared with Python's startup.

    sudo .venv/bin/python -m tests.benchmarks.bench_startup [--rounds 10]

Each verb is timed as a whole process, with its files in the page cache, alternately with `python -c pass`. All runs are
in a capsule, in which no other lab is visible. The next lab is built when the kernel has freed the previous one.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from testbed.cli.verbs import VERBS
from testbed.kernel.freeing import await_freed
from testbed.lab.capsule import enclosed
from testbed.lab.door import Address
from testbed.lab.living import LivingLab
from tests.benchmarks.alternately import Arm, measure_alternately, show, spread

ROOT = Path(__file__).parents[2]
PYTHON = "python -c pass"
SMALL = "topologies/two-nodes.yaml"
DESIGN = ("--design", "vxlan")
LARGE = """
name: large
cluster: {pod_cidr: 10.244.0.0/16}
fabric: {subnet: 192.168.56.0/24}
nodes: 16
pods_per_node: 32
"""
NAME = f"bench-{os.getpid()}"


def process(*words: str) -> float:
    """Seconds from start to end of a process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def verb(*words: str) -> Arm:
    return lambda: process("-m", "testbed", *words)


def up(topology: str) -> tuple[float, float]:
    """Seconds of `testbed up`, and of the build itself."""
    whole = process("-m", "testbed", "up", topology, *DESIGN, "--name", NAME)
    lab = LivingLab(Address(os.geteuid(), NAME))
    built = float(lab.facts["seconds"])
    lab.down()
    await_freed()
    return whole, built


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    return enclosed(lambda: work(rounds))


def work(rounds: int) -> int:
    arms: dict[str, Arm] = {PYTHON: lambda: process("-c", "pass"), "--help": verb("--help")}
    arms |= {f"{name} --help": verb(name, "--help") for name in VERBS}
    show("help", "seconds", measure_alternately(arms, rounds), PYTHON)

    arms = {PYTHON: lambda: process("-c", "pass"), "list": verb("list")}
    arms["exec node1 -- true"] = verb("exec", "--lab", NAME, "node1", "--", "true")
    arms["validate"] = verb("validate", SMALL)
    arms["plan"] = verb("plan", SMALL, *DESIGN)
    arms["designs"] = verb("designs")
    process("-m", "testbed", "up", SMALL, *DESIGN, "--name", NAME)
    try:
        show("verbs", "seconds", measure_alternately(arms, rounds), PYTHON)
    finally:
        LivingLab(Address(os.geteuid(), NAME)).down()
    await_freed()

    taken = measure_alternately({PYTHON: lambda: process("-c", "pass"), "up of 2 nodes": lambda: up(SMALL)[0]}, rounds)
    show("up", "seconds", taken, PYTHON)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as large:
        large.write(LARGE)
        large.flush()
        pairs = [up(large.name) for _ in range(rounds + 1)][1:]
    Console().print(f"\nup of 512 pods on 16 nodes: {statistics.median(whole for whole, _ in pairs):.3f} s")
    Console().print(f"`up` / the build itself: {spread([whole / built for whole, built in pairs])}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
