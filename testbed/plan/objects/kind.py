"""What there is to know of one kind of kernel object: its descriptor."""

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from testbed.plan.messages import IndexOf, Request

T = TypeVar("T")


@dataclass(frozen=True)
class ObjectKind(Generic[T]):
    """One kind of kernel object: how it is told from others, made, removed, read back and typed by hand.

    Adding a kind is one such entry, in a file of its own, and its line in `testbed.plan.objects.kinds`.
    """

    type: type[T]
    key: Callable[[T], Hashable]
    """What the kernel tells objects of this kind in one namespace apart by."""
    devices: Callable[[T], Collection[str]]
    """The devices that it hangs on; it goes with the last of them."""
    make: Callable[[T, IndexOf], Request]
    """The request that makes it."""
    remove: Callable[[T, IndexOf], Request]
    """The request that removes it."""
    words: Callable[[T, str], str]
    """The command that adds (`add`), replaces (`replace`) or removes (`del`) it, as a person would type it."""
    told: Callable[[T | None, T | None], str]
    """In a sentence: what is planned (the first) and what is there (the second) of one key; None if there is none."""
    dumps: tuple[tuple[int, bytes], ...]
    """The requests for all of this kind: RTM_GET..., and what is behind the message's header."""
    read: Callable[[memoryview, Mapping[int, str]], T | None]
    """The object in one message of the answer, with the devices' names by number; None for what is none of a plan's."""
    restored_by: str = "add"
    """The verb by which one that is missing is typed."""
    replace: Callable[[T, IndexOf], Request] | None = None
    """The request that has it take the place of the one with the same key at once; None where the kernel cannot."""
