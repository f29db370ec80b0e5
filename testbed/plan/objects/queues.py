"""Netlink requests for queueing disciplines at the root of a device."""

import socket
import struct
import sys
from collections.abc import Callable

from testbed.plan.messages import CHANGE, Request, attribute, attributes, text, text_in
from testbed.plan.uapi import RTM_DELQDISC, RTM_GETQDISC, RTM_NEWQDISC, TC_H_ROOT

QUEUE_HEADER = struct.Struct("=BxxxiIII")
"""struct tcmsg: family, index, handle, parent, info."""
TCA_KIND, TCA_OPTIONS = 1, 2
NS_PER_TICK = 64
"""Of the packet scheduler's clock (PSCHED_SHIFT in the kernel)."""
QUEUE_DUMPS = ((RTM_GETQDISC, QUEUE_HEADER.pack(socket.AF_UNSPEC, 0, 0, 0, 0)),)


def new_queue(index: int, kind: str, options: bytes, flags: int, command: Callable[[], str]) -> Request:
    """Request for a queueing discipline at the root of the device with that index."""
    body = QUEUE_HEADER.pack(0, index, 0, TC_H_ROOT, 0) + text(TCA_KIND, kind) + attribute(TCA_OPTIONS, options)
    return Request(RTM_NEWQDISC, flags, body, command)


def no_queue(dev: str, index: int) -> Request:
    """Request that removes the root queueing discipline of the device with that index."""
    body = QUEUE_HEADER.pack(0, index, 0, TC_H_ROOT, 0)
    return Request(RTM_DELQDISC, CHANGE, body, lambda: f"tc {no_queue_words(dev)}")


def no_queue_words(dev: str) -> str:
    """Arguments of `tc` that remove a device's root queueing discipline."""
    return f"qdisc del dev {dev} root"


def options_of(payload: memoryview, kind: str) -> tuple[int, memoryview] | None:
    """The device's index and the options, if the message is for a discipline of that kind."""
    found = attributes(payload, QUEUE_HEADER.size)
    if text_in(found[TCA_KIND]) != kind:
        return None
    return int.from_bytes(payload[4:8], sys.byteorder), found.get(TCA_OPTIONS, memoryview(b""))
