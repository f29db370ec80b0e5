"""What a living lab is told to become: its topology edited, and planned anew with the numbers that it has."""

from collections.abc import Callable, Mapping
from typing import Any

from testbed.designs import design_of_data
from testbed.plan.allocation import Exhausted
from testbed.plan.objects import Plan
from testbed.spec import edit
from testbed.spec.topology import Topology

EDITS: Mapping[str, Callable[..., Topology]] = {
    "pod add": edit.with_pod,
    "pod remove": edit.without_pod,
    "node add": edit.with_node,
    "node remove": edit.without_node,
    "link set": edit.with_link,
}
"""By the words of the verbs: functions from a topology to another one."""


class EditRefused(Exception):
    """What was asked for cannot be had, in words for the one who asked."""


def edited(
    topology: object, design_spec: Mapping[str, Any], plan: Plan, verb: str, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], Plan]:
    """The topology that is asked for, ready for JSON, and its plan. Raises EditRefused."""
    before = Topology.of_data(topology)
    design = design_of_data(design_spec)
    try:
        after = EDITS[verb](before, **arguments)
        for misfit in design.misfits(after):
            raise EditRefused(misfit.message)
        return after.as_data(), design.plan(after, plan.offload, plan.allocation)
    except (edit.EditError, Exhausted) as error:
        raise EditRefused(str(error)) from error
