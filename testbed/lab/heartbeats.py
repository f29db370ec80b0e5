"""Heartbeats of the nodes: whether each reaches the control plane, which is on the first node.

A kubelet renews its lease every 10 s; here each node sends an ICMP echo request over the fabric instead. A node without
an answer for its grace period is cut off.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from select import POLLIN, poll

from testbed.kernel.namespace import Namespace
from testbed.plan.objects import Kind, Plan

PERIOD_S = 10.0
"""Time between two heartbeats of a node, or a quarter of a shorter grace period."""
MOST_NODES = 200
"""In larger labs no node sends any: each costs two neighbour entries, of which the machine has only 1,024."""
ANSWER_S = 1.0
"""Longest time to wait for an answer."""
_SOL_RAW, _ICMP_FILTER = 255, 1
_KEEP = struct.pack("I", 0xFFFFFFFF ^ (1 << 0))
"""Of ICMP, receive echo replies alone."""
_ICMP6_FILTER = 1
_KEEP6 = struct.pack("8I", *(0xFFFFFFFF if word != 129 // 32 else 0xFFFFFFFF ^ (1 << 129 % 32) for word in range(8)))
_MARK = b"testbed heartbeat"


class Heartbeats:
    """The heartbeats of a lab's nodes."""

    def __init__(self, grace_s: float, notify: Callable[[], None]) -> None:
        """`notify` is called when a node is cut off, or is back."""
        self._grace_s = grace_s
        self._notify = notify
        self._sockets: dict[str, socket.socket] = {}
        self._target = ""
        self._last: dict[str, float] = {}
        self._cut_off: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeats", daemon=True)

    def begin(self) -> None:
        """Sends heartbeats from now on."""
        self._thread.start()

    def down(self) -> None:
        """Sends no more heartbeats."""
        self._ended.set()
        with self._lock:
            for own in self._sockets.values():
                own.close()
            self._sockets.clear()

    def follow(self, plan: Plan, namespaces: Mapping[str, Namespace]) -> None:
        """Adds new nodes of a plan, and drops those that are gone. Raises OSError."""
        nodes = plan.of_kind(Kind.NODE)
        names = [space.name for space in nodes] if len(nodes) <= MOST_NODES else []
        if self._ended.is_set() or self._sockets.keys() == set(names):
            return
        address = nodes[0].reached_at[0]
        with self._lock:
            self._target = str(address)
            for name in [name for name in self._sockets if name not in names]:
                self._sockets.pop(name).close()
                self._last.pop(name, None)
            for name in names:
                if name not in self._sockets:
                    with namespaces[name].entered():
                        self._sockets[name] = _opened(address.version)
                    self._last[name] = time.monotonic()

    @property
    def cut_off(self) -> frozenset[str]:
        """The nodes whose grace period is over."""
        return self._cut_off

    def _beat(self) -> None:
        period_s = min(PERIOD_S, self._grace_s / 4)
        while not self._ended.wait(period_s):
            with self._lock:
                asked = dict(self._sockets)
            for own in asked.values():
                with suppress(OSError):  # The node has no route, or its device is down.
                    own.sendto(_request(own.family), (self._target, 0))
            self._hear(asked)
            late = time.monotonic() - self._grace_s
            with self._lock:
                cut_off = frozenset(name for name, last in self._last.items() if last < late)
            if cut_off != self._cut_off:
                self._cut_off = cut_off
                self._notify()

    def _hear(self, asked: Mapping[str, socket.socket]) -> None:
        waiting = {own.fileno(): (name, own) for name, own in asked.items() if own.fileno() >= 0}
        waiter = poll()
        for number in waiting:
            waiter.register(number, POLLIN)
        end = time.monotonic() + ANSWER_S
        while waiting and (left := end - time.monotonic()) > 0:
            for number, _ in waiter.poll(left * 1000):
                name, own = waiting[number]
                with suppress(OSError):
                    if _MARK not in own.recv(256):
                        continue
                    self._last[name] = time.monotonic()
                waiter.unregister(number)
                del waiting[number]


def _opened(version: int) -> socket.socket:
    family, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    own = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    if version == 4:
        own.setsockopt(_SOL_RAW, _ICMP_FILTER, _KEEP)
    else:
        own.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, _KEEP6)
    return own


def _request(family: int) -> bytes:
    """An echo request. The kernel computes the checksum of ICMPv6."""
    if family == socket.AF_INET6:
        return struct.pack("!BBHHH", 128, 0, 0, 0x7B, 1) + _MARK
    body = struct.pack("!BBHHH", 8, 0, 0, 0x7B, 1) + _MARK + b"\0" * (len(_MARK) % 2)
    total = sum(struct.unpack(f"!{len(body) // 2}H", body))
    total = (total & 0xFFFF) + (total >> 16)
    return body[:2] + struct.pack("!H", 0xFFFF ^ ((total & 0xFFFF) + (total >> 16))) + body[4:]
