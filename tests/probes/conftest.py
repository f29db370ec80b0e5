"""A lab to measure in, and how to measure once."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.probes.placement import placement
from testbed.probes.probe import Ends, Measurement, Probe
from testbed.spec.topology import Topology

Measured = Callable[[Lab, Probe], tuple[Measurement, dict[str, bytes]]]


@pytest.fixture
def lab(two_nodes: Topology) -> "LazyLab":
    """A lab that is built at its first use: inside the capsule, as fixtures are made outside."""
    return LazyLab(two_nodes)


class LazyLab:
    """Passes everything on to a lab built at the first touch; the capsule's end takes it down."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._lab: Lab | None = None

    def __getattr__(self, name: str) -> object:
        if self._lab is None:
            self._lab = Lab(DESIGNS["l3-host-routes"].plan(self._topology))
        return getattr(self._lab, name)


@pytest.fixture
def measured() -> Measured:
    """Runs a probe from `client` to `web-2` and returns what it measured and what its programs printed."""

    def measure(lab: Lab, probe: Probe) -> tuple[Measurement, dict[str, bytes]]:
        with tempfile.TemporaryDirectory() as folder:
            cpus = placement(probe.together)
            with Ends(lab, "client", "web-2", Path(folder), cpus) as ends:
                return probe.measure(ends), ends.raw

    return measure
