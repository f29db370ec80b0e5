"""Whether paths carry what pods may send: the largest packet that fits goes through whole, one byte more does not.

A path between pods is that of their nodes, so one pair stands for all between the same two.
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
"""The first packet may be lost while neighbours are asked for."""
_DO_NOT_FRAGMENT = {4: (socket.IPPROTO_IP, 10, 3), 6: (socket.IPPROTO_IPV6, 23, 3)}
"""IP_MTU_DISCOVER and its like with IP_PMTUDISC_PROBE: nor is a path MTU heeded that was learned before."""
_RECEIVE = 1 << 16
NO_ANSWER = "no answer"


class Misfit(NamedTuple):
    """A path that carries less, or more, than pods may send."""

    source: Space
    target: Space
    address: Address
    what: str
    is_lost: bool
    """Whether that is because the packet went on its way and did not come back."""


def check_path_mtu(plan: Plan, namespaces: Namespaces) -> tuple[int, tuple[Misfit, ...]]:
    """How many paths were tried, and which are not as they should be."""
    tried, misfits = 0, list[Misfit]()
    for source, targets in _paths(plan):
        for target in targets:
            for address in target.reached_at:
                if address.version in {own.version for own in source.reached_at}:
                    tried += 1
                    if what := _misfit(namespaces[source.name], address, plan.pod_mtu):
                        misfits.append(Misfit(source, target, address, what, what.endswith(NO_ANSWER)))
        # On one link with all pods of the others it has learned them all.
        forget_learned_in(namespaces[space.name] for space in (source, *targets))
    return tried, tuple(misfits)


def _paths(plan: Plan) -> Iterator[tuple[Space, list[Space]]]:
    """A pod of each node, and a pod of each node that it sends to; its own node's only if that has another one."""
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
            return f"a packet of {mtu} bytes, the MTU of pods, is too large: {wrong}"
        if _answered(sock, address, mtu + 1, tries=1):
            return ""
        return f"a packet of {mtu + 1} bytes comes through, one more than the MTU of pods"


def _answered(sock: socket.socket, address: Address, size: int, tries: int = _TRIES) -> str:
    """Empty if a packet of that size was answered, else why not."""
    body = secrets.token_bytes(room_in(address.version, size))
    for _ in range(tries):
        try:
            sock.sendto(echo_request(address.version, body), (str(address), 0))
        except OSError as error:
            return "it is larger than the device's MTU" if error.errno == errno.EMSGSIZE else str(error.strerror)
        while select.select([sock], [], [], _PATIENCE_S)[0]:
            if reply_in(address.version, sock.recv(_RECEIVE)) == body:
                return ""
    return NO_ANSWER
