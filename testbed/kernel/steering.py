"""Receive packet steering: the CPUs that process packets arriving at a device.

See Documentation/networking/scaling.rst of the kernel. The setting is a file of sysfs, which shows the devices of the
namespace in which it was mounted. So one sysfs is mounted in each namespace, detached from the file tree: it lives only
as long as its descriptor.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from testbed.kernel.cpu import numbers
from testbed.kernel.namespace import Namespace
from testbed.kernel.refusal import PlanRefused
from testbed.kernel.syscalls import detached_mount
from testbed.plan.objects import Plan

_MASK_DIGITS = 8


def steer(plan: Plan, namespaces: Mapping[str, Namespace], cpus: str) -> None:
    """Let these CPUs, such as `0,2-3`, process the packets that arrive at all devices of the plan.

    Raises PlanRefused if the kernel has no packet steering, or the machine lacks one of the CPUs.
    """
    wanted = set(numbers(cpus))
    mask = _mask(wanted)
    for space in plan.spaces:
        with namespaces[space.name].entered():
            mounted = detached_mount("sysfs")
        sysfs = Path(f"/proc/self/fd/{mounted}")
        try:
            _check(wanted, cpus, sysfs)
            for dev in plan.devices_of(space.name):
                for queue in (sysfs / "class/net" / dev / "queues").glob("rx-*"):
                    _steer(queue, mask)
        except OSError as error:
            raise PlanRefused(f"in {space.name}: packets cannot be steered to CPU {cpus}: {error}") from error
        finally:
            os.close(mounted)


def _check(wanted: set[int], cpus: str, sysfs: Path) -> None:
    online = (sysfs / "devices/system/cpu/online").read_text().strip()
    if not wanted <= set(numbers(online)):
        raise PlanRefused(f"packets cannot be steered to CPU {cpus}: this machine has CPU {online}")


def _steer(queue: Path, mask: str) -> None:
    setting = queue / "rps_cpus"
    if not setting.exists():
        raise PlanRefused("packet steering (pin.steering) needs a kernel with CONFIG_RPS")
    setting.write_text(mask)


def _mask(cpus: set[int]) -> str:
    """CPUs as a kernel mask: hexadecimal, in groups of eight digits, the highest first."""
    digits = f"{sum(1 << cpu for cpu in cpus):x}"
    digits = digits.zfill(-(-len(digits) // _MASK_DIGITS) * _MASK_DIGITS)
    return ",".join(digits[i : i + _MASK_DIGITS] for i in range(0, len(digits), _MASK_DIGITS))
