"""Test the path MTU: a packet of the pod MTU must pass unfragmented, one byte more must not.

All pods of two nodes share one path, so one pair of pods is tested for each pair of nodes.
"""

import errno
import secrets
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from typing import NamedTuple

from testbed.kernel.neighbours import forget_learned_in
from testbed.kernel.refusal import Namespaces
from testbed.observe.echo import echo_request, echo_socket, reply_in, room_in
from testbed.plan.objects import Kind, Plan, Space
from testbed.spec.types import Address

_PATIENCE_S = 0.5
_TRIES = 3
"""The first packet may be lost while neighbours are resolved."""
_DO_NOT_FRAGMENT = {4: (socket.IPPROTO_IP, 10, 3), 6: (socket.IPPROTO_IPV6, 23, 3)}
"""IP_MTU_DISCOVER or IPV6_MTU_DISCOVER with IP_PMTUDISC_PROBE, which also ignores a learned path MTU."""
_RECEIVE = 1 << 16
_AT_ONCE = 50
"""Paths that are tried at a time: each may need eight of the 1,024 neighbours."""
NO_ANSWER = "no answer"


class Misfit(NamedTuple):
    """A path that carries less or more than the pod MTU."""

    source: Space
    target: Space
    address: Address
    what: str
    is_lost: bool
    """Whether the packet was sent and not answered."""


def check_path_mtu(plan: Plan, namespaces: Namespaces) -> tuple[int, tuple[Misfit, ...]]:
    """How many paths were tried, and which do not match the pod MTU."""
    tried, misfits = 0, list[Misfit]()
    for some in paths_in_batches(plan):
        with ExitStack() as stack:
            pings = [_Ping(path, stack.enter_context(_socket(namespaces, path))) for path in some]
            too_small = _try(pings, plan.pod_mtu, _TRIES)
            others = [ping for ping in pings if ping not in too_small]
            refused = _try(others, plan.pod_mtu + 1, 1)
        for ping, what in too_small.items():
            said = f"packet of {plan.pod_mtu} bytes (the pod MTU) does not pass: {what}"
            misfits.append(Misfit(*ping.path, said, what == NO_ANSWER))
        for ping in (ping for ping in others if ping not in refused):
            said = f"packet of {plan.pod_mtu + 1} bytes passes, but the pod MTU is {plan.pod_mtu}"
            misfits.append(Misfit(*ping.path, said, False))
        tried += len(pings)
        # On a shared link a source has learned all its targets.
        forget_learned_in(namespaces[space.name] for path in some for space in (path.source, path.target))
    return tried, tuple(misfits)


class Path(NamedTuple):
    """A path between two pods, in one family."""

    source: Space
    target: Space
    address: Address


def paths_in_batches(plan: Plan) -> Iterator[list[Path]]:
    """All paths between nodes, see `paths`; those of a batch can be tried at a time."""
    tried = paths(plan)
    while some := list(islice(tried, _AT_ONCE)):
        yield some


def paths(plan: Plan) -> Iterator[Path]:
    """From the first pod of each node to the last pod of every node; of its own node only if that has another pod."""
    for source, targets in _pairs(plan):
        families = {own.version for own in source.reached_at}
        for target in targets:
            yield from (Path(source, target, address) for address in target.reached_at if address.version in families)


def _pairs(plan: Plan) -> Iterator[tuple[Space, list[Space]]]:
    """The first pod of each node, with the last pod of every node that is another one."""
    pods: dict[str, list[Space]] = {}
    for pod in plan.of_kind(Kind.POD):
        if pod.reached_at:
            pods.setdefault(pod.home, []).append(pod)
    for first, *_ in pods.values():
        yield first, [last for *_, last in pods.values() if last is not first]


class _Ping(NamedTuple):
    """A path and the socket that tries it."""

    path: Path
    sock: socket.socket


def _socket(namespaces: Namespaces, path: Path) -> socket.socket:
    version = path.address.version
    with namespaces[path.source.name].entered():
        sock = echo_socket(version)
    sock.setsockopt(*_DO_NOT_FRAGMENT[version])
    return sock


def _try(pings: Sequence[_Ping], size: int, tries: int) -> dict[_Ping, str]:
    """The paths on which a packet of that size was not answered, each with the reason."""
    failed, open_ = dict[_Ping, str](), dict[socket.socket, tuple[_Ping, bytes]]()
    for ping in pings:
        open_[ping.sock] = ping, secrets.token_bytes(room_in(ping.path.address.version, size))
    for _ in range(tries):
        for ping, body in list(open_.values()):
            version, to = ping.path.address.version, (str(ping.path.address), 0)
            try:
                ping.sock.sendto(echo_request(version, body), to)
            except OSError as error:
                failed[ping] = "larger than the device's MTU" if error.errno == errno.EMSGSIZE else str(error.strerror)
                del open_[ping.sock]
        deadline = time.monotonic() + _PATIENCE_S
        while open_ and (ready := select.select(list(open_), [], [], max(deadline - time.monotonic(), 0))[0]):
            for sock in ready:
                ping, body = open_[sock]
                with suppress(OSError):
                    if reply_in(ping.path.address.version, sock.recv(_RECEIVE)) == body:
                        del open_[sock]
    return failed | {ping: NO_ANSWER for ping, _ in open_.values()}
