"""Receive packet steering: the masks in sysfs, and the CPUs that process packets."""

import os
from pathlib import Path

import pytest

from testbed.designs import DESIGNS
from testbed.kernel.refusal import PlanRefused
from testbed.kernel.steering import steer
from testbed.lab.lab import Lab
from testbed.spec.topology import Topology

pytestmark = pytest.mark.sealed

several_cpus = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")


def masks(lab: Lab, place: str, dev: str) -> set[str]:
    """The masks of a device, read through the namespace's own sysfs."""
    read = f"cat /sys/class/net/{dev}/queues/rx-*/rps_cpus"
    output, errors = lab.start(place, ["sh", "-c", read]).communicate(timeout=5)
    assert not errors
    return set(output.decode().split())


@several_cpus
def test_every_device_is_steered(two_nodes: Topology) -> None:
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        for cpus, mask in (("1", 2), ("0-1", 3), ("0", 1)):
            steer(lab.plan, lab.namespaces, cpus)
            for space in lab.plan.spaces:
                for dev in lab.plan.devices_of(space.name):
                    assert {int(text.replace(",", ""), 16) for text in masks(lab, space.name, dev)} == {mask}


def steered() -> list[int]:
    """By CPU: how often another CPU woke it to process packets (tenth column of softnet_stat)."""
    return [int(line.split()[9], 16) for line in Path("/proc/net/softnet_stat").read_text().splitlines()]


@several_cpus
def test_packets_are_processed_on_the_chosen_cpus(two_nodes: Topology) -> None:
    with Lab(DESIGNS["l3-host-routes"].plan(two_nodes)) as lab:

        def handed_over() -> list[int]:
            before = steered()
            # Both ends on CPU 0, so that nothing reaches CPU 1 by itself.
            command = ["taskset", "--cpu-list", "0", "ping", "-q", "-f", "-c", "2000", "10.244.1.2"]
            lab.start("client", command).communicate(timeout=10)
            return [after - earlier for earlier, after in zip(before, steered(), strict=True)]

        assert handed_over()[:2] == [0, 0]
        steer(lab.plan, lab.namespaces, "1")
        assert handed_over()[1] > 100


def test_steering_leaves_nothing_behind(two_nodes: Topology) -> None:
    def left() -> tuple[str, int]:
        return Path("/proc/self/mounts").read_text(), len(list(Path("/proc/self/fd").iterdir()))

    with Lab(DESIGNS["l2"].plan(two_nodes)) as lab:
        before = left()
        steer(lab.plan, lab.namespaces, "0")
        assert left() == before


def test_a_missing_cpu_is_refused(two_nodes: Topology) -> None:
    online = Path("/sys/devices/system/cpu/online").read_text().strip()
    refused = pytest.raises(PlanRefused, match=rf"to CPU 0,4095: this machine has CPU {online}$")
    with Lab(DESIGNS["l2"].plan(two_nodes)) as lab, refused:
        steer(lab.plan, lab.namespaces, "0,4095")


def test_a_kernel_without_steering_is_refused(
    two_nodes: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sysfs has queues, but not the file."""
    with Lab(DESIGNS["l2"].plan(two_nodes)) as lab:
        for name in {dev for space in lab.plan.spaces for dev in lab.plan.devices_of(space.name)}:
            (tmp_path / "class/net" / name / "queues/rx-0").mkdir(parents=True)
        (tmp_path / "devices/system/cpu").mkdir(parents=True)
        (tmp_path / "devices/system/cpu/online").write_text("0\n")
        monkeypatch.setattr("testbed.kernel.steering.detached_mount", lambda _: os.open(tmp_path, os.O_RDONLY))
        with pytest.raises(PlanRefused, match="needs a kernel with CONFIG_RPS"):
            steer(lab.plan, lab.namespaces, "0")
