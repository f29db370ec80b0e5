"""Applying a change of plans to the kernel: what is to go is removed, then what is to come is made."""

from testbed.kernel.changes import Changes
from testbed.kernel.making import Making, Roots
from testbed.kernel.namespace import Namespace
from testbed.kernel.refusal import Namespaces
from testbed.kernel.removing import remove_all
from testbed.plan.change import diff
from testbed.plan.objects import Plan, Space


class Applied:
    """A change from one plan to another, applied in two steps: what is to go is removed, then what is to come is made.

    In between the caller lets go of namespaces that go. Before the second step all that come must be there, but those
    of pods, which are added here as they come. Both raise PlanRefused with the namespace and the command at fault.
    """

    def __init__(self, old: Plan | None, new: Plan) -> None:
        self._old, self._new = old, new
        self.changes = diff(old, new)
        self._sorted = Changes(self.changes)

    @property
    def coming(self) -> tuple[Space, ...]:
        """The spaces that come."""
        return tuple(self._sorted.fresh)

    @property
    def going(self) -> tuple[str, ...]:
        """The names of the spaces that go; one may come again."""
        return tuple(self._sorted.gone)

    @property
    def spaces(self) -> tuple[str, ...]:
        """The names of all spaces in which something comes or changes."""
        touched = dict.fromkeys((*self._sorted.works, *self._sorted.devices()))
        return tuple(dict.fromkeys((*touched, *(space for space, _, _ in self._sorted.changing))))

    def remove(self, namespaces: Namespaces) -> None:
        """Removes what is to go; what is gone already is no failure."""
        if self._old is not None:
            remove_all(self._sorted, self._old, self._new, namespaces)

    def make(self, namespaces: dict[str, Namespace], roots: Roots) -> None:
        """Makes what is to come, and changes what is to become another."""
        Making(self._sorted, self._old, self._new, namespaces, roots).all()


def bring_up(old: Plan | None, new: Plan, namespaces: dict[str, Namespace], roots: Roots) -> None:
    """Makes all of a plan, or of the rest of it, where nothing goes. Raises PlanRefused."""
    Applied(old, new).make(namespaces, roots)
