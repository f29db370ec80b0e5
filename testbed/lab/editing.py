"""Edits of a running lab's topology, and the new plan, which keeps the lab's allocated numbers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from testbed.designs import Design
from testbed.kernel.features import missing_here
from testbed.kernel.lacking import MachineLacks
from testbed.lab.lab import Lab
from testbed.plan.addressing import Layout
from testbed.plan.allocation import Exhausted
from testbed.plan.change import Change
from testbed.plan.objects import Plan
from testbed.plan.parts import parts_of
from testbed.spec import edit
from testbed.spec.topology import Topology

EDITS: Mapping[str, Callable[..., Topology]] = {
    "pod add": edit.with_pod,
    "pod remove": edit.without_pod,
    "node add": edit.with_node,
    "node remove": edit.without_node,
    "link set": edit.with_link,
}
"""By the words of the CLI verbs: the function that edits a topology."""
_OF_PODS = ("pod add", "pod remove")


class EditRefused(Exception):
    """An invalid edit, described for the user."""


def edited(
    topology: Topology, design: Design, plan: Plan, verb: str, arguments: Mapping[str, Any]
) -> tuple[Topology, Plan]:
    """The topology after an edit of `EDITS`, and its plan, which follows the plan before.

    Raises EditRefused, and MachineLacks if the kernel lacks a feature for it.
    """
    only_pods = verb in _OF_PODS
    after = _checked(design, lambda: EDITS[verb](topology, **arguments), only_pods)
    if not only_pods:
        _need(set(design.needs_on(after)) - set(design.needs_on(topology)))
    return after, _planned(design, after, plan.offload, plan)


def planned_with(
    topology: Topology,
    design: Design,
    offload: bool,
    work: Callable[[Topology], Topology],
    before: Plan | None = None,
) -> tuple[Topology, Plan]:
    """The topology after `work`, which edits pods alone, and its plan. Raises EditRefused."""
    after = _checked(design, lambda: work(topology), only_pods=True)
    return after, _planned(design, after, offload, before)


def _checked(design: Design, work: Callable[[], Topology], only_pods: bool) -> Topology:
    """The topology that `work` returns, if the design fits it as it fitted the previous one. Raises EditRefused."""
    try:
        after = work()
    except edit.EditError as error:
        raise EditRefused(str(error)) from error
    for misfit in design.pod_misfits(after) if only_pods else design.misfits(after):
        raise EditRefused(misfit.message)
    return after


def _planned(design: Design, topology: Topology, offload: bool, before: Plan | None) -> Plan:
    try:
        return design.plan(topology, offload, before)
    except Exhausted as error:
        raise EditRefused(str(error)) from error


def _need(features: Iterable[str]) -> None:
    if lacking := missing_here(sorted(features)):
        raise MachineLacks([f"the kernel has no {feature.name}: {feature.remedy}" for feature in lacking])


class Editing:
    """A lab with its design and its current topology."""

    def __init__(
        self, lab: Lab, design: Design, topology: Topology, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """`on_change` is called after each change, also after one that failed halfway."""
        self.lab = lab
        self.design = design
        self.topology = topology
        self.dress: Callable[[Plan], Plan] = lambda plan: plan
        """Adds to a design's plan what depends on Kubernetes objects: see `testbed.lab.agents`."""
        self._on_change = on_change

    @property
    def layout(self) -> Layout:
        """The addresses of the topology."""
        parts = parts_of(self.lab.drawn)
        return parts.layout if parts else self.design.lay_out(self.topology, self.lab.drawn.allocation)

    def change(self, verb: str, arguments: Mapping[str, Any]) -> tuple[Change, ...]:
        """Carries out an edit of `EDITS`.

        Raises like `edited`, with nothing changed; PlanRefused and OSError if the change failed halfway.
        """
        return self._change(*edited(self.topology, self.design, self.lab.drawn, verb, arguments))

    def change_pods(self, work: Callable[[Topology], Topology]) -> tuple[Change, ...]:
        """Carries out an edit of pods; raises like `change`."""
        drawn = self.lab.drawn
        return self._change(*planned_with(self.topology, self.design, drawn.offload, work, drawn))

    def dress_again(self) -> tuple[Change, ...]:
        """Lets the lab follow changes of what `dress` adds; raises like `change`."""
        return self._change(self.topology, self.lab.drawn)

    def _change(self, topology: Topology, plan: Plan) -> tuple[Change, ...]:
        plan = self.dress(plan)
        if plan is self.lab.drawn:
            return ()
        self.topology = topology
        try:
            return self.lab.change(plan)
        finally:
            self._on_change()
