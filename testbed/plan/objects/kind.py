"""The descriptor of a kind of kernel object."""

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from testbed.plan.messages import IndexOf, Request

T = TypeVar("T")


@dataclass(frozen=True)
class ObjectKind(Generic[T]):
    """One kind of kernel object: how to identify, create, remove, read and print it.

    To add a kind, write one such entry in a separate file and list it in `testbed.plan.objects.kinds`.
    """

    type: type[T]
    key: Callable[[T], Hashable]
    """The kernel's key of the object, unique in a namespace."""
    devices: Callable[[T], Collection[str]]
    """The devices that it depends on; the kernel removes it with the last of them."""
    make: Callable[[T, IndexOf], Request]
    """The request that creates it."""
    remove: Callable[[T, IndexOf], Request]
    """The request that removes it."""
    words: Callable[[T, str], str]
    """The command that adds (`add`), replaces (`replace`) or removes (`del`) it."""
    describe: Callable[[T | None, T | None], str]
    """Describes a difference between the planned object and the existing one with the same key; either may be None."""
    dumps: tuple[tuple[int, bytes], ...]
    """The requests that list all objects of this kind: RTM_GET..., and the message's body."""
    read: Callable[[memoryview, Mapping[int, str]], T | None]
    """The object in one message of the answer, given the devices' names by index; None if it is not part of a plan."""
    restored_by: str = "add"
    """The verb of the command that restores a missing object."""
    replace: Callable[[T, IndexOf], Request] | None = None
    """The request that atomically replaces the object with the same key; None if the kernel does not support this."""
