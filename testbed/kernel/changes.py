"""The changes between two plans, sorted by kind of object and space."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from testbed.kernel import encode
from testbed.plan.change import Change, Make, Remove, Replace
from testbed.plan.messages import IndexOf
from testbed.plan.objects import LINKS, Child, Device, Link, Plan, Space, Veth
from testbed.plan.objects.links import LINK_KINDS

LOOPBACK_NAME = "lo"
T = TypeVar("T")


@dataclass
class Work:
    """The changes in one space, without devices."""

    made: list[Any] = field(default_factory=list)
    removed: list[Any] = field(default_factory=list)
    replaced: list[tuple[Any, Any]] = field(default_factory=list)

    def coming(self, kind: type[T]) -> tuple[T, ...]:
        """The objects of that type that are made or replace another."""
        return (
            *(item for item in self.made if type(item) is kind),
            *(new for _, new in self.replaced if type(new) is kind),
        )


class Changes:
    """Changes sorted by kind of object."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self.fresh: list[Space] = []
        self.gone: list[str] = []
        self.works: dict[str, Work] = {}
        self.links: dict[str, list[Link]] = {}
        self.veths: list[Veth] = []
        self.children: list[Child] = []
        self.going: list[tuple[str, Any]] = []
        """Devices that are removed."""
        self.changing: list[tuple[str, Any, Any]] = []
        """Devices that stay: old and new."""
        for change in changes:
            self._sort(change)

    def _sort(self, change: Change) -> None:
        item = change.new if isinstance(change, Replace) else change.item
        match change:
            case Make(item=Space()):
                self.fresh.append(item)
            case Remove(item=Space()):
                self.gone.append(item.name)
            case Make(item=Veth()):
                self.veths.append(item)
            case Make(item=Child()):
                self.children.append(item)
            case Make() if isinstance(item, LINKS):
                self.links.setdefault(change.space, []).append(item)
            case Remove() if isinstance(item, (Veth, Child, *LINKS)):
                self.going.append((change.space, item))
            case Replace() if isinstance(item, (Veth, Child, *LINKS)):
                self.changing.append((change.space, change.old, item))
            case Make():
                self._work(change.space).made.append(item)
            case Remove():
                self._work(change.space).removed.append(item)
            case Replace():
                self._work(change.space).replaced.append((change.old, item))

    def _work(self, space: str) -> Work:
        if space not in self.works:
            self.works[space] = Work()
        return self.works[space]

    def devices(self) -> dict[str, dict[str, Device]]:
        """The devices that are made, by space and name."""
        made: dict[str, dict[str, Device]] = {
            space: {link.name: link for link in links} for space, links in self.links.items()
        }
        for veth in self.veths:
            for end in (veth.a, veth.b):
                made.setdefault(end.space, {})[end.name] = end
        for child in self.children:
            made.setdefault(child.space, {})[child.name] = child
        return made


def numbers(plan: Plan, space: str) -> IndexOf:
    """The indices of devices by name, in the space whose namespace the calling thread is in."""

    def index_of(name: str) -> int:
        if name == LOOPBACK_NAME:
            return encode.LOOPBACK
        device = plan.device(space, name)
        return socket.if_nametoindex(name) if is_kernels_own(device) else device.index

    return index_of


def is_kernels_own(device: Device) -> bool:
    """Whether the kernel chooses its index."""
    kind = LINK_KINDS.get(type(device))
    return bool(kind and kind.is_kernels_own(device))
