"""Import of other tools' files as topologies: kind cluster configurations and containerlab topologies."""

from collections.abc import Callable, Mapping
from typing import Any

from testbed.spec.foreign import containerlab, kind
from testbed.spec.foreign.imported import Imported
from testbed.spec.problems import Misfit, SpecError
from testbed.spec.source import Source

_READERS: Mapping[str, tuple[Callable[[Any], bool], Callable[[Source], Imported]]] = {
    "a kind cluster configuration (kind: Cluster)": (kind.is_one, kind.read),
    "a containerlab topology (topology: with nodes)": (containerlab.is_one, containerlab.read),
}


def imported(source: Source) -> Imported:
    """The topology in a file of another tool. Raises SpecError with every problem."""
    if source.problems:
        raise SpecError(source.problems)
    for is_one, read in _READERS.values():
        if isinstance(source.data, dict) and is_one(source.data):
            return read(source)
    raise SpecError((source.problem(Misfit((), f"expected {' or '.join(_READERS)}")),))


__all__ = ["Imported", "imported"]
