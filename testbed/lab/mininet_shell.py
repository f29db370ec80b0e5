"""Mininet's command line for a running lab, with its pods and nodes as hosts."""

from collections.abc import Iterator
from typing import Any

from testbed.lab.entering import change_place
from testbed.lab.lab import introduce
from testbed.lab.living import Entrance
from testbed.lab.mininet_nodes import Node
from testbed.plan.objects import Kind, Plan

# After mininet_nodes, which replaces distutils.
from mininet.cli import CLI  # isort: skip
from mininet.net import Mininet  # isort: skip


class _Place(Node):  # type: ignore[misc]  # Mininet has no types
    """A place of the lab as a Mininet node: a shell in the place's existing network and folders."""

    def __init__(self, name: str, enter: Entrance) -> None:
        self._capsule, (self._network,) = enter(name)
        super().__init__(name, inNamespace=False)

    def _popen(self, *arguments: Any, **options: Any) -> Any:
        moved = {"preexec_fn": lambda: change_place(self._capsule, self._network)}
        return super()._popen(*arguments, **options | moved)


class _Net(Mininet):  # type: ignore[misc]  # Mininet has no types
    """A lab as a Mininet network. The shell of a place is started at its first use."""

    def __init__(self, plan: Plan, enter: Entrance) -> None:
        # Mininet's constructor is not called, as it would build a network.
        self._plan = plan
        self._enter = enter
        self._places: dict[str, _Place] = {}
        self.controllers: list[Node] = []
        self.switches: list[Node] = []
        self.links: list[Any] = []
        self.waitConn = False

    def __getitem__(self, name: str) -> _Place:
        if name not in self._places:
            place = self._places[name] = _Place(name, self._enter)
            introduce(place, self._plan[name], self._plan)
        return self._places[name]

    def __iter__(self) -> Iterator[str]:
        return (space.name for space in self._plan.spaces)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._plan.has(name)

    def __len__(self) -> int:
        return len(self._plan.spaces)

    @property
    def hosts(self) -> list[_Place]:
        """Pods and nodes, which `pingall` uses."""
        return [self[space.name] for space in self._plan.of_kind(Kind.POD, Kind.NODE)]

    def stop(self) -> None:
        for place in self._places.values():
            place.terminate()


class _Prompt(CLI):  # type: ignore[misc]  # Mininet has no types
    """Mininet's prompt; names may contain the characters that Kubernetes allows."""

    identchars = CLI.identchars + "-."


def converse(plan: Plan, enter: Entrance) -> None:
    """Run Mininet's prompt until the user leaves it. Must be called inside the lab's capsule."""
    net = _Net(plan, enter)
    try:
        _Prompt(net)
    finally:
        net.stop()
