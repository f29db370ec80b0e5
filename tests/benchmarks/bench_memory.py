"""Memory of the processes of a lab, per pod; without the kernel's memory for namespaces and devices.

    sudo .venv/bin/python tests/benchmarks/bench_memory.py [--design l3-host-routes]

Proportional set sizes (smaps_rollup): shared pages are counted once.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from testbed.designs import DESIGNS

SIZES = ((4, 256), (16, 512), (16, 1024), (64, 4096))
"""Nodes and pods."""
FILE = """
name: benchmark-memory
cluster: {{pod_cidr: 10.244.0.0/16}}
fabric: {{subnet: 192.168.0.0/16}}
nodes: {nodes}
pods_per_node: {pods}
"""


def testbed(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "testbed", *words], check=True, stdout=subprocess.DEVNULL)


def proportional_kib(process: Path) -> int:
    found = re.search(r"^Pss:\s+(\d+)", (process / "smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def processes_in(name: str) -> list[Path]:
    """The processes in the lab's PID namespace."""
    command = [sys.executable, "-m", "testbed", "exec", "--lab", name, "fabric", "--", "readlink", "/proc/self/ns/pid"]
    inside = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "ns/pid").readlink()) == inside:
                found.append(process)
        except OSError:
            continue
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--design", choices=list(DESIGNS), default="l3-host-routes")
    design = parser.parse_args().design
    for nodes, pods in SIZES:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(FILE.format(nodes=nodes, pods=pods // nodes))
            file.flush()
            name = f"benchmark-memory-{pods}"
            testbed("up", file.name, "--design", design, "--name", name)
            try:
                found = processes_in(name)
                taken = sum(map(proportional_kib, found))
            finally:
                testbed("down", name)
        Console().print(
            f"{design}, {pods} pods on {nodes} nodes: {len(found)} processes, {taken / 1024:.0f} MiB, "
            f"{taken / pods:.0f} KiB per pod"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
