"""Work in a plan's namespaces, with errors that name the namespace."""

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
    """Turn errors into PlanRefused with the name of the namespace."""
    try:
        yield
    except (KernelRefusal, OSError) as error:
        raise PlanRefused(f"in {name}: {error}") from error
