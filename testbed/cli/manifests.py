"""What was left out of manifests, as lines for the user."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.kubernetes.reading import Manifests


def left_out_lines(manifests: "Manifests", skipped: tuple[str, ...] = ()) -> Iterator[str]:
    """A line for each object of a kind that Kubernetes does not have, and for each file without objects."""
    from testbed.kubernetes.verbs import left_out

    yield from left_out(manifests)
    yield from skipped_lines(skipped)


def skipped_lines(skipped: tuple[str, ...]) -> Iterator[str]:
    """A line for each file without objects."""
    for file in skipped:
        yield f"{file}: left out: no Kubernetes objects"
