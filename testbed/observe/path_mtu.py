"""Test the path MTU: a packet of the pod MTU must pass unfragmented, one byte more must not.

All pods of two nodes share one path, so one pair of pods is tested for each pair of nodes.
"""

import errno
import secrets
import select
import socket
from collections.abc import Iterator
from typing import NamedTuple

from testbed.kernel.namespace import Namespace
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
    for source, targets in _paths(plan):
        for target in targets:
            for address in target.reached_at:
                if address.version in {own.version for own in source.reached_at}:
                    tried += 1
                    if what := _misfit(namespaces[source.name], address, plan.pod_mtu):
                        misfits.append(Misfit(source, target, address, what, what.endswith(NO_ANSWER)))
        # On a shared link a source has learned all its targets.
        forget_learned_in(namespaces[space.name] for space in (source, *targets))
    return tried, tuple(misfits)


def _paths(plan: Plan) -> Iterator[tuple[Space, list[Space]]]:
    """The first pod of each node, with the last pod of every node; of its own node only if that has another pod."""
    pods: dict[str, list[Space]] = {}
    for pod in plan.of_kind(Kind.POD):
        if pod.reached_at:
            pods.setdefault(pod.home, []).append(pod)
    for first, *_ in pods.values():
        yield first, [last for *_, last in pods.values() if last is not first]


def _misfit(source: Namespace, address: Address, mtu: int) -> str:
    with source.entered():
        sock = echo_socket(address.version)
    with sock:
        sock.setsockopt(*_DO_NOT_FRAGMENT[address.version])
        if wrong := _answered(sock, address, mtu):
            return f"packet of {mtu} bytes (the pod MTU) does not pass: {wrong}"
        if _answered(sock, address, mtu + 1, tries=1):
            return ""
        return f"packet of {mtu + 1} bytes passes, but the pod MTU is {mtu}"


def _answered(sock: socket.socket, address: Address, size: int, tries: int = _TRIES) -> str:
    """Why a packet of that size was not answered; empty if it was."""
    body = secrets.token_bytes(room_in(address.version, size))
    for _ in range(tries):
        try:
            sock.sendto(echo_request(address.version, body), (str(address), 0))
        except OSError as error:
            return "larger than the device's MTU" if error.errno == errno.EMSGSIZE else str(error.strerror)
        while select.select([sock], [], [], _PATIENCE_S)[0]:
            if reply_in(address.version, sock.recv(_RECEIVE)) == body:
                return ""
    return NO_ANSWER
