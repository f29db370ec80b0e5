"""Requests that an API server refuses."""

from collections.abc import Iterable
from typing import Literal

from testbed.kubernetes.kinds import Kind
from testbed.kubernetes.state import ClusterState, Key, Resource
from testbed.spec.nearest import nearest

Code = Literal["NotFound", "Forbidden", "Conflict", "Invalid", "BadRequest", "TooManyRequests"]
"""`reason` of the API server's answer."""


class Refused(Exception):
    """A request that is refused; it changes nothing. The message is the API server's, or kubectl's."""

    def __init__(self, code: Code, message: str, nearest: str = "") -> None:
        super().__init__(f"{message}; did you mean '{nearest}'?" if nearest else message)
        self.code = code
        self.message = message
        self.nearest = nearest


def resource_name(kind: Kind) -> str:
    """Name of a kind's objects in messages, such as `deployments.apps`."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def found(state: ClusterState, kind: Kind, key: Key) -> Resource:
    """An object. Raises Refused if it does not exist."""
    one = state.of(kind).get(key)
    if one is None:
        raise not_found(kind, key[1], (name for space, name in state.of(kind) if space == key[0]))
    return one


def not_found(kind: Kind, name: str, others: Iterable[str] = ()) -> Refused:
    """An object that does not exist; `others` are names that do."""
    return Refused("NotFound", f'{resource_name(kind)} "{name}" not found', nearest(name, tuple(others)))
