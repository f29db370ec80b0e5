"""What there is to know of one kind of device of a namespace: its descriptor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from testbed.plan.messages import IndexOf

T = TypeVar("T")
Attributes = Mapping[int, memoryview]
"""Those of a device's own kind (IFLA_INFO_DATA), by number."""
Names = Mapping[int, str]
"""The devices of a namespace by their numbers."""


def _never(_: Any) -> bool:
    return False


@dataclass(frozen=True)
class LinkKind(Generic[T]):
    """One kind of device: how it is made, typed by hand and read back.

    Adding a kind is one such entry, in a file of its own, and its line in `testbed.plan.objects.links`.
    """

    type: type[T]
    names: tuple[str, ...]
    """What the kernel calls such devices (IFLA_INFO_KIND)."""
    words: Callable[[T], str]
    """What `ip` is told to make one."""
    data: Callable[[T, IndexOf], bytes] | None = None
    """The attributes of its kind in a request that makes it; None of one that netlink does not make."""
    name: Callable[[T], str] | None = None
    """Which of the names it has, where there are several."""
    planned: Callable[[T], str] = lambda _: ""
    """In words what makes it this one, beside what all devices have."""
    read: Callable[[str, Attributes, Names], str] = lambda *_: ""
    """The same of one that is there, of the kind with this name."""
    needs_cables: Callable[[T], bool] = _never
    """Whether it can only be made when the ends of veth pairs are there."""
    is_kernels_own: Callable[[T], bool] = _never
    """Whether it is in each namespace already, and is changed only."""
    is_tunnel: bool = False
    """Whether its packets come out elsewhere in something else."""

    def kernel_name(self, link: T) -> str:
        """What the kernel calls this one's kind."""
        return self.name(link) if self.name else self.names[0]
