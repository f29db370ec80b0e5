"""The stand-in for images: time to serve many containers, memory of each, and requests per second (with wrk).

    sudo .venv/bin/python -m tests.benchmarks.bench_standin [--containers 5000]

Each container is in its own network namespace with one TCP port. Memory is that of the whole process (VmRSS) less that
with one container; the process of the lab is this one.
"""

import argparse
import os
import re
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from testbed.kernel.memory import kernel_memory_kib
from testbed.kernel.namespace import Namespace
from testbed.lab.capsule import enclosed
from testbed.lab.standin import Facts, Port, Served, StandIn

POLL_S = 0.005


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--containers", type=int, default=5000)
    number = parser.parse_args().containers
    return enclosed(lambda: measure(number))


def measure(number: int) -> int:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    networks = list(Namespace.create_many(number))
    standin, say = StandIn(lambda: None), Console().print

    def until(phase: str, how_many: int) -> float:
        begin = time.monotonic()
        wait(lambda: sum(state.phase == phase for state in standin.states().values()) == how_many)
        return time.monotonic() - begin

    all_of_them = [served(place, network) for place, network in enumerate(networks)]
    standin.serve(all_of_them[:1])
    until("serving", 1)
    process, own, kernel = resident_kib(standin.pid), resident_kib(os.getpid()), kernel_memory_kib()
    standin.serve(all_of_them)
    say(f"{number} containers are served after {until('serving', number):.2f} s")
    process, own = resident_kib(standin.pid) - process, resident_kib(os.getpid()) - own
    each = [f"{kib / number:.1f}" for kib in (process, own, kernel_memory_kib() - kernel)]
    say(f"KiB of each: {each[0]} in the stand-in, {each[1]} in the process of the lab, {each[2]} in the kernel")
    say(f"{requests_per_second(networks[number // 2]):,.0f} requests/s over 16 connections that are kept")
    old = standin.pid
    assert old is not None
    os.kill(old, 9)
    wait(lambda: standin.pid not in (old, None))
    say(f"after the process was killed, all are served again {until('serving', number):.2f} s after its start")
    standin.stop([one.id for one in all_of_them])
    say(f"all have ended after {until('ended', number):.2f} s")
    standin.down()
    return 0


def served(place: int, network: Namespace) -> Served:
    address = f"10.{place >> 16}.{place >> 8 & 255}.{place & 255}"
    facts = Facts(f"web-{place}", f"web-{place}", "shop", f"node{place % 100}", "web", "nginx:1.27", (address,))
    return Served(id=f"{place:036}/web", network=network.fd, facts=facts, ports=(Port(80, "TCP"),))


def requests_per_second(network: Namespace) -> float:
    with network.entered():
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        command = ["wrk", "-t1", "-c16", "-d3", "http://127.0.0.1/"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"Requests/sec: +([0-9.]+)", said)
    assert found, said
    return float(found[1])


def resident_kib(pid: int | None) -> int:
    found = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def wait(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(POLL_S)


if __name__ == "__main__":
    raise SystemExit(main())
