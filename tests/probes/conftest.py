"""A lab to measure in, a function to measure once, and tools to observe traffic independently."""

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dpkt
import pytest

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.probes.placement import placement
from testbed.probes.probe import Ends, Measurement, Probe
from testbed.spec.load import load_topology
from testbed.spec.topology import Topology

Measured = Callable[[Lab, Probe], tuple[Measurement, dict[str, bytes]]]


@pytest.fixture
def lab(two_nodes: Topology) -> "LazyLab":
    """A lab that is built at its first use, inside the capsule; fixtures are made outside."""
    return LazyLab(two_nodes)


class LazyLab:
    """Forwards all attributes to a lab that is built at first access; the capsule's end takes it down."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._lab: Lab | None = None

    def __getattr__(self, name: str) -> object:
        if self._lab is None:
            self._lab = Lab(DESIGNS["l3-host-routes"].plan(self._topology))
        return getattr(self._lab, name)


@pytest.fixture
def measured() -> Measured:
    """Run a probe from `client` to `web-2`; return its measurement and the output of its programs."""

    def measure(lab: Lab, probe: Probe) -> tuple[Measurement, dict[str, bytes]]:
        with tempfile.TemporaryDirectory() as folder:
            cpus = placement(probe.together)
            with Ends(lab, "client", "web-2", Path(folder), cpus) as ends:
                return probe.measure(ends), ends.raw

    return measure


@dataclass
class Seen:
    """Packets at `client`'s eth0, available after the tap is closed."""

    packets: list[tuple[float, bytes]] = field(default_factory=list)
    """The kernel's timestamp in seconds since 1970, and the payload after the IP header."""


class Hands:
    """Manual changes to a lab."""

    @staticmethod
    def run(lab: Lab, place: str, *command: str) -> str:
        """Run a command that must succeed; return its output."""
        program = lab.start(place, command)
        output, errors = program.communicate(timeout=10)
        assert program.returncode == 0, errors
        return output.decode()

    def drop(self, lab: Lab, place: str, what: str) -> None:
        """Make the kernel drop and count incoming packets that match."""
        self.run(lab, place, "nft", "add table inet lossy")
        self.run(lab, place, "nft", "add chain inet lossy input { type filter hook input priority 0; }")
        self.run(lab, place, "nft", f"add rule inet lossy input {what} counter drop")

    def shape(self, lab: Lab, *how: str) -> None:
        """Add a token bucket to the port of the fabric's switch to node2."""
        self.run(lab, "fabric", "tc", "qdisc", "add", "dev", "to-node2", "root", "tbf", *how)

    @staticmethod
    @contextmanager
    def tapped(lab: Lab, folder: Path, what: str) -> Iterator[Seen]:
        """Capture matching packets at `client`'s eth0 with tcpdump."""
        seen, file = Seen(), folder / "seen.pcap"
        # Without immediate mode, the last packets are still in its buffer when it ends.
        options = ["-i", "eth0", "-Z", "root", "-s", "160", "-B", "65536", "--immediate-mode", "-U", "-w", str(file)]
        tcpdump = lab.start("client", ["tcpdump", *options, "--time-stamp-precision=nano", what])
        assert tcpdump.stderr
        while b"listening on" not in tcpdump.stderr.readline():
            assert tcpdump.poll() is None
        yield seen
        tcpdump.send_signal(signal.SIGINT)
        _, said = tcpdump.communicate(timeout=10)
        assert b"0 packets dropped by kernel" in said.splitlines()
        with file.open("rb") as capture:
            for time, frame in dpkt.pcap.Reader(capture):
                seen.packets.append((float(time), bytes(dpkt.ethernet.Ethernet(frame).data.data)))


@pytest.fixture
def by_hand() -> Hands:
    return Hands()


@pytest.fixture
def ipv6_only(tmp_path: Path) -> Topology:
    """The two nodes, without IPv4."""
    file = tmp_path / "topology.yaml"
    file.write_text(
        "name: two-nodes\ncluster: {pod_cidr: 'fd00:10:244::/56', node_prefix: 64}\n"
        "fabric: {subnet: 'fd00:192:168:56::/64'}\nnodes: {node1: {pods: [client]}, node2: {pods: [web-2]}}\n"
    )
    return load_topology(file).value
