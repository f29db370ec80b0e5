"""Time of a check of all pairs, compared with Mininet's pingAll, per pair and protocol; and of a million pairs.

    sudo .venv/bin/python -m tests.benchmarks.bench_check [--pods 200] [--nodes 16] [--rounds 5] [--million]

Both networks are up at the same time and are measured alternately. All pairs of Mininet's hosts would take minutes per
round, so only `--hosts` of them ping each other. This favours Mininet: more hosts would fill the neighbour tables.
"""

import argparse
import time

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import SingleSwitchTopo
from rich.console import Console

from testbed.designs import DESIGNS
from testbed.kernel.namespace import Namespace
from testbed.kernel.neighbours import forget_learned_in
from testbed.lab.capsule import enclosed
from testbed.lab.lab import Lab
from testbed.observe.questions import PROTOCOLS
from testbed.observe.reach import check_reach
from testbed.observe.shots import Protocol
from tests.benchmarks.alternately import measure_alternately, show, topology


def pings(net: Mininet, hosts: int) -> float:
    """Milliseconds per pair."""
    begin = time.perf_counter()
    lost = net.ping(net.hosts[:hosts])
    taken = time.perf_counter() - begin
    assert lost == 0
    # All namespaces share the limit of neighbour entries.
    forget_learned_in(Namespace.of_process(host.pid) for host in net.hosts[:hosts])
    return taken / (hosts * (hosts - 1)) * 1000


def checks(lab: Lab, protocols: tuple[Protocol, ...]) -> float:
    """Milliseconds per pair and protocol."""
    begin = time.perf_counter()
    reach = check_reach(lab.plan, lab.namespaces, protocols)
    assert not reach.failed, reach.failures[:3]
    return (time.perf_counter() - begin) / reach.asked * 1000


def against_mininet(nodes: int, pods: int, hosts: int, rounds: int) -> int:
    setLogLevel("critical")
    net = Mininet(SingleSwitchTopo(pods), switch=LinuxBridge, controller=None, waitConnected=False)
    net.start()
    try:
        for design in ("l3-host-routes", "vxlan"):
            with Lab(DESIGNS[design].plan(topology(nodes, pods))) as lab:
                arms = {"pingAll": lambda: pings(net, hosts), "check": lambda lab=lab: checks(lab, PROTOCOLS)}
                arms |= {p: lambda lab=lab, p=p: checks(lab, (p,)) for p in PROTOCOLS}  # type: ignore[misc]
                title = f"{design}, {pods} pods on {nodes} nodes, {rounds} rounds"
                show(title, "ms per pair and protocol", measure_alternately(arms, rounds), "pingAll", inverse=True)
    finally:
        net.stop()
    return 0


def million() -> int:
    setLogLevel("critical")
    for design in ("l3-host-routes", "vxlan"):
        with Lab(DESIGNS[design].plan(topology(16, 1000))) as lab:
            begin = time.perf_counter()
            reach = check_reach(lab.plan, lab.namespaces, ("udp",))
            taken = time.perf_counter() - begin
        Console().print(f"{design}, 1,000 pods, UDP: {reach.asked} pairs in {taken:.1f} s, {len(reach.failed)} failed")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pods", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--hosts", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--million", action="store_true")
    chosen = parser.parse_args()
    if chosen.million:
        return enclosed(million)
    return enclosed(lambda: against_mininet(chosen.nodes, chosen.pods, chosen.hosts, chosen.rounds))


if __name__ == "__main__":
    raise SystemExit(main())
