"""Edits of a running lab's topology, and the new plan, which keeps the lab's allocated numbers."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from testbed.designs import Design
from testbed.kernel.features import missing_here
from testbed.kernel.lacking import MachineLacks
from testbed.plan.allocation import Exhausted
from testbed.plan.objects import Plan
from testbed.spec import edit
from testbed.spec.problems import Misfit
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
    """The edited topology and its plan. Raises EditRefused, and MachineLacks if the kernel lacks a feature for it."""
    try:
        after = EDITS[verb](topology, **arguments)
        for misfit in _misfits(design, after, verb):
            raise EditRefused(misfit.message)
        if verb not in _OF_PODS:
            _need(set(design.needs_on(after)) - set(design.needs_on(topology)))
        return after, design.plan(after, plan.offload, plan)
    except (edit.EditError, Exhausted) as error:
        raise EditRefused(str(error)) from error


def _need(features: Iterable[str]) -> None:
    if lacking := missing_here(sorted(features)):
        raise MachineLacks([f"the kernel has no {feature.name}: {feature.remedy}" for feature in lacking])


def _misfits(design: Design, topology: Topology, verb: str) -> Iterator[Misfit]:
    """Why the design does not fit the edited topology, given that it fitted the previous one."""
    return design.pod_misfits(topology) if verb in _OF_PODS else design.misfits(topology)
