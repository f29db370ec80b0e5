"""The recorded devices of a lab, compared with `ip` and `ethtool`."""

import json

import pytest

from testbed.designs import DESIGNS, PLAIN
from testbed.lab.lab import Lab
from testbed.observe.devices import devices
from testbed.spec.topology import Topology

pytestmark = pytest.mark.sealed
LONG = {
    "tso": "tcp-segmentation-offload",
    "gso": "generic-segmentation-offload",
    "gro": "generic-receive-offload",
    "checksum": "tx-checksumming",
}


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("design", list(PLAIN))
def test_recorded_devices_equal_the_output_of_ip_and_ethtool(design: str, offload: bool, shaped: Topology) -> None:
    with Lab(DESIGNS[design].plan(shaped, offload)) as lab:
        recorded = devices(lab)
        assert json.loads(json.dumps(recorded)) == recorded
        for entry in recorded:
            place, dev = entry["first"].split()
            (link,) = json.loads(lab.start(place, ["ip", "-json", "link", "show", dev]).communicate(timeout=5)[0])
            assert (entry["mtu"], entry["qdisc"]) == (link["mtu"], link["qdisc"])
            said = lab.start(place, ["ethtool", "--show-features", dev]).communicate(timeout=5)[0].decode()
            lines = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
            for name, long in LONG.items():
                assert entry[name] == lines[long].startswith("on"), (entry, long)


def test_every_device_is_counted_and_equal_devices_are_grouped(two_nodes: Topology) -> None:
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        recorded = devices(lab)
        assert sum(entry["alike"] for entry in recorded) == sum(
            len(lab.plan.devices_of(space.name)) for space in lab.plan.spaces
        )
        assert len({tuple(entry) for entry in recorded}) == 1, "all have the same keys"
        pods = [entry for entry in recorded if entry["of"] == "pod"]
        assert [(entry["first"], entry["alike"], entry["mtu"]) for entry in pods] == [("client eth0", 3, 1450)]
