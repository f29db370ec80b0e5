"""Delete devices without waiting until the kernel has freed them.

The kernel takes a deleted device out of its namespace at once. Then it waits, for tens of milliseconds, until no
processor can use the device any more, and answers only after that. So a thread of its own sends the request and waits
for the answer. Several devices are deleted as a group, which costs a single wait.
"""

import socket
import time
from collections.abc import Sequence
from threading import Thread

from testbed.kernel import encode
from testbed.kernel.netlink import KernelRefusal, remove
from testbed.plan.messages import Request
from testbed.plan.objects import Device
from testbed.plan.uapi import RTM_DELLINK

_PAUSE_S = 0.0002


def unlink(devices: Sequence[Device]) -> None:
    """Delete devices in the calling thread's namespace. Missing ones are no error. Raises KernelRefusal, OSError."""
    requests = [encode.no_link(device) for device in devices]
    remove(request for request in requests if request.kind != RTM_DELLINK)
    batch = [request for request in requests if request.kind == RTM_DELLINK]
    deleted = [device.index for device, request in zip(devices, requests, strict=True) if request.kind == RTM_DELLINK]
    if not batch:
        return
    sending = _Sending(batch if len(batch) == 1 else encode.no_links(deleted))
    sending.start()
    while sending.is_alive() and any(map(_exists, deleted)):
        time.sleep(_PAUSE_S)
    if not sending.is_alive() and sending.error:
        raise sending.error
    # The kernel executes this after it has also removed the devices' addresses and routes.
    remove(batch[-1:])


class _Sending(Thread):
    """Sends requests in the namespace of the thread that creates it."""

    def __init__(self, requests: Sequence[Request]) -> None:
        super().__init__(name="unlink")
        self.error: KernelRefusal | OSError | None = None
        self._requests = requests

    def run(self) -> None:
        try:
            remove(self._requests)
        except (KernelRefusal, OSError) as error:
            self.error = error


def _exists(index: int) -> bool:
    try:
        socket.if_indextoname(index)
    except OSError:
        return False
    return True
