"""Where something is done to a plan's namespaces, and how it is said that the kernel refused it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import KernelRefusal

Namespaces = Mapping[str, Namespace]
"""By space."""


class PlanRefused(Exception):
    """The kernel refused a part of a plan."""


@contextmanager
def inside(name: str, namespaces: Namespaces) -> Iterator[None]:
    with namespaces[name].entered(), refused_in(name):
        yield


@contextmanager
def refused_in(name: str) -> Iterator[None]:
    """What goes wrong is said to have gone wrong in that namespace."""
    try:
        yield
    except (KernelRefusal, OSError) as error:
        raise PlanRefused(f"in {name}: {error}") from error
