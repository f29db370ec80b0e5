"""The descriptor of a kind of device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from testbed.plan.messages import IndexOf

T = TypeVar("T")
Attributes = Mapping[int, memoryview]
"""Attributes of a device's kind (IFLA_INFO_DATA), by number."""
Names = Mapping[int, str]
"""Names of a namespace's devices, by index."""


def _never(_: Any) -> bool:
    return False


@dataclass(frozen=True)
class LinkKind(Generic[T]):
    """One kind of device: how to create, print and read it.

    To add a kind, write one such entry in a separate file and list it in `testbed.plan.objects.links`.
    """

    type: type[T]
    names: tuple[str, ...]
    """The kernel's names of the kind (IFLA_INFO_KIND)."""
    words: Callable[[T], str]
    """Arguments of `ip` that create the device."""
    data: Callable[[T, IndexOf], bytes] | None = None
    """The kind's attributes in a request that creates the device; None if netlink does not create it."""
    name: Callable[[T], str] | None = None
    """The device's name among `names`, if there are several."""
    planned: Callable[[T], str] = lambda _: ""
    """Describes the properties of a planned device that are specific to its kind."""
    read: Callable[[str, Attributes, Names], str] = lambda *_: ""
    """The same description for an existing device, of the kind with this name."""
    needs_cables: Callable[[T], bool] = _never
    """Whether the device must be created after the veth pairs."""
    is_kernels_own: Callable[[T], bool] = _never
    """Whether the kernel or another tool creates the device, so that it is only changed."""
    is_tunnel: bool = False
    """Whether the device encapsulates its packets."""

    def kernel_name(self, link: T) -> str:
        """The kernel's name of the device's kind."""
        return self.name(link) if self.name else self.names[0]
