"""Work in a plan's namespaces, with errors that name the namespace."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import KernelRefusal

Namespaces = Mapping[str, Namespace]
"""By space."""


class PlanRefused(Exception):
    """The kernel refused a part of a plan."""


class NotAttached(PlanRefused):
    """CNI plugins could not attach some pods, or detach others; everything else was done."""

    def __init__(self, pods: Mapping[str, str], others: Sequence[str] = ()) -> None:
        """`pods` are the errors of pods that are not attached, by place; `others` those of detached pods."""
        super().__init__("\n".join((*others, *pods.values())))
        self.pods = pods
        self.others = tuple(others)


@contextmanager
def inside(name: str, namespaces: Namespaces) -> Iterator[None]:
    with namespaces[name].entered(), refused_in(name):
        yield


@contextmanager
def refused_in(name: str) -> Iterator[None]:
    """Turn errors into PlanRefused with the name of the namespace."""
    try:
        yield
    except (KernelRefusal, OSError) as error:
        raise PlanRefused(f"in {name}: {error}") from error
