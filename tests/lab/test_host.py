"""The host's network is the same before, during and after a lab of each design."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.designs import PLAIN

pytestmark = pytest.mark.root

PROGRAM = """
import sys
from pathlib import Path
from testbed.designs import DESIGNS
from testbed.lab.capsule import enclosed
from testbed.lab.lab import Lab
from testbed.observe.reach import check_reach
from testbed.spec.load import load_topology

def work():
    topology = load_topology(Path(sys.argv[1])).value
    with Lab(DESIGNS[sys.argv[2]].plan(topology)) as lab:
        assert not check_reach(lab.plan, lab.namespaces).failures
        print("up", flush=True)
        sys.stdin.readline()
    return 0
sys.exit(enclosed(work))
"""

QUESTIONS = (
    ("ip", "-d", "-o", "link"),
    ("ip", "-o", "address"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("ip", "rule"),
    ("ip", "netns", "list"),
    ("nft", "list", "ruleset"),
    ("bridge", "fdb"),
)


def host() -> dict[str, str]:
    state = {
        " ".join(words): subprocess.run(words, capture_output=True, text=True, check=False).stdout
        for words in QUESTIONS
    }
    for path in sorted(Path("/proc/sys/net").rglob("*")):
        if path.is_file() and path.stat().st_mode & 0o400:
            # A secret that is not set cannot be read.
            with contextlib.suppress(OSError):
                state[str(path)] = path.read_text(errors="replace")
    state["mounts"] = Path("/proc/self/mounts").read_text()
    state["/run"] = "\n".join(sorted(map(str, Path("/run").iterdir())))
    return state


def without_counters(state: dict[str, str]) -> dict[str, str]:
    """Without values that change by themselves."""
    return {key: text for key, text in state.items() if "nr_inodes" not in key and "netdev_rss_key" not in key}


@pytest.mark.parametrize("design", [*PLAIN, "flannel-vxlan", "calico-bgp", "cilium-native"])
@pytest.mark.exclusive
def test_the_host_is_the_same_before_during_and_after(design: str, repository: Path) -> None:
    before = without_counters(host())
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(repository / "topologies/dual-stack.yaml"), design],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
        during = without_counters(host())
        program.communicate("\n", timeout=20)
        assert program.returncode == 0
    assert during == before
    assert without_counters(host()) == before
