"""Round trips and throughput between two pods of a lab, compared with the same network built by hand with `ip`.

    sudo .venv/bin/python -m tests.benchmarks.bench_by_hand [--design vxlan] [--rounds 12]

The commands are the output of `testbed plan`, run by `sh`. Both networks, and a second lab (A/A), are up at the same
time and are measured in a random order in each round. The interval of the median ratio is a bootstrap interval.
"""

import argparse
import json
import random
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from mininet.log import setLogLevel
from rich.console import Console
from scipy.stats import bootstrap

from testbed.designs import DESIGNS
from testbed.kernel.namespace import Namespace
from testbed.kernel.refusal import Namespaces
from testbed.lab.capsule import enclosed
from testbed.lab.lab import Lab
from testbed.plan.objects import Plan
from testbed.plan.shell import script
from testbed.spec.load import load_topology

ROOT = Path(__file__).parent.parent.parent
PORT = "7480"


def built_by_hand(plan: Plan) -> Namespaces:
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script(plan))
        file.flush()
        subprocess.run(["sh", "-e", file.name], check=True)
    return {space.name: Namespace.at(Path("/run/netns") / space.name) for space in plan.spaces}


def between(namespaces: Namespaces, server: list[str], client: list[str]) -> str:
    """The output of a client in the pod `client`, with a server in `web-2`; each on a separate CPU."""
    with namespaces["web-2"].entered():
        serving = subprocess.Popen(["taskset", "-c", "1", *server], stdout=subprocess.DEVNULL)
    try:
        subprocess.run(["sleep", "0.2"], check=True)
        with namespaces["client"].entered():
            command = ["taskset", "-c", "0", *client]
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    finally:
        serving.kill()
        serving.wait()


def gbits(namespaces: Namespaces, address: str) -> float:
    client = ["iperf3", "-c", address, "-p", PORT, "-t", "1", "--json"]
    said = json.loads(between(namespaces, ["iperf3", "-s", "-1", "-p", PORT], client))
    return float(said["end"]["sum_received"]["bits_per_second"]) / 1e9


def round_trip_us(namespaces: Namespaces, address: str) -> float:
    client = ["sockperf", "ping-pong", "-i", address, "-p", PORT, "-t", "1", "--full-rtt"]
    said = between(namespaces, ["sockperf", "server", "-i", address, "-p", PORT], client)
    (line,) = [line for line in said.splitlines() if "percentile 50.000" in line]
    return float(line.split("=")[1])


def work(design: str, rounds: int) -> int:
    setLogLevel("critical")
    topology = load_topology(ROOT / "topologies/two-nodes.yaml").value
    plan = DESIGNS[design].plan(topology)
    address = str(plan["web-2"].reached_at[0])
    console = Console()
    with Lab(plan) as lab, Lab(plan) as again:
        networks: dict[str, Namespaces] = {
            "by hand": built_by_hand(plan),
            "lab": lab.namespaces,
            "lab again": again.namespaces,
        }
        for what, measure in (("round trip, us", round_trip_us), ("throughput, Gbit/s", gbits)):
            taken: dict[str, list[float]] = {name: [] for name in networks}
            for number in range(rounds + 1):
                for name in random.sample(list(networks), len(networks)):
                    value = measure(networks[name], address)
                    if number:
                        taken[name].append(value)
            for name in ("lab", "lab again"):
                ratios = np.array(taken[name]) / np.array(taken["by hand"])
                interval = bootstrap((ratios,), np.median, confidence_level=0.95).confidence_interval
                console.print(
                    f"{design}, {what}: {name} {statistics.median(taken[name]):.2f}, by hand "
                    f"{statistics.median(taken['by hand']):.2f}, ratio {np.median(ratios):.3f} "
                    f"({interval.low:.3f} to {interval.high:.3f})"
                )
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--design", choices=list(DESIGNS), default="vxlan")
    parser.add_argument("--rounds", type=int, default=12)
    chosen = parser.parse_args()
    return enclosed(lambda: work(chosen.design, chosen.rounds))


if __name__ == "__main__":
    raise SystemExit(main())
