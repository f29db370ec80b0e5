"""Apply the change from one plan to another to the kernel: remove, then make."""

from testbed.kernel.changes import Changes
from testbed.kernel.making import Making, Roots
from testbed.kernel.namespace import Namespace
from testbed.kernel.refusal import Namespaces
from testbed.kernel.removing import remove_all
from testbed.plan.change import diff
from testbed.plan.objects import Plan, Space


class Applied:
    """The change from one plan to another, applied in two steps: `remove`, then `make`.

    In between, the caller closes the namespaces that are removed and creates the new ones, except those of pods, which
    `make` creates. Both steps raise PlanRefused with the namespace and the failed command.
    """

    def __init__(self, old: Plan | None, new: Plan) -> None:
        self._old, self._new = old, new
        self.changes = diff(old, new)
        self._sorted = Changes(self.changes)

    @property
    def coming(self) -> tuple[Space, ...]:
        """The spaces that are made."""
        return tuple(self._sorted.fresh)

    @property
    def going(self) -> tuple[str, ...]:
        """The names of the spaces that are removed; some may be made again."""
        return tuple(self._sorted.gone)

    @property
    def spaces(self) -> tuple[str, ...]:
        """The names of all spaces in which something is made or changed."""
        touched = dict.fromkeys((*self._sorted.works, *self._sorted.devices()))
        return tuple(dict.fromkeys((*touched, *(space for space, _, _ in self._sorted.changing))))

    def remove(self, namespaces: Namespaces) -> None:
        """Remove what the new plan does not have. What is already missing is no error."""
        if self._old is not None:
            remove_all(self._sorted, self._old, self._new, namespaces)

    def make(self, namespaces: dict[str, Namespace], roots: Roots) -> None:
        """Make and change what the new plan has."""
        Making(self._sorted, self._old, self._new, namespaces, roots).all()


def bring_up(old: Plan | None, new: Plan, namespaces: dict[str, Namespace], roots: Roots) -> None:
    """Make all of a plan, or what `old` lacks of it; nothing is removed. Raises PlanRefused."""
    Applied(old, new).make(namespaces, roots)
