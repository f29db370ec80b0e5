"""Which segmentation and checksum offloads are on, since they move throughput more than designs do."""

from testbed.lab.lab import Lab
from testbed.plan.objects import Kind
from testbed.plan.pods import POD_INTERFACE

_SHOWN = (
    "tcp-segmentation-offload",
    "generic-segmentation-offload",
    "generic-receive-offload",
    "tx-checksumming",
)


def offloads(lab: Lab) -> dict[str, dict[str, bool]]:
    """On or off for the veth of the first pod and the fabric interface of the first node, by name of the device."""
    shown: dict[str, dict[str, bool]] = {}
    for kind in (Kind.POD, Kind.NODE):
        for space in lab.plan.of_kind(kind)[:1]:
            shown[f"{space.name} {POD_INTERFACE}"] = _of_device(lab, space.name, POD_INTERFACE)
    return shown


def _of_device(lab: Lab, place: str, device: str) -> dict[str, bool]:
    output, _ = lab.start(place, ["ethtool", "--show-offload", device]).communicate(timeout=5)
    settings = dict(line.split(":", 1) for line in output.decode().splitlines() if ":" in line)
    return {name: settings[name].split()[0] == "on" for name in _SHOWN if settings.get(name, "").strip()}
