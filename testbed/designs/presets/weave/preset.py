"""What makes a preset of a data path: its page, and its transport."""

from collections.abc import Callable

from testbed.designs.attachment import Attachment
from testbed.designs.design import Design
from testbed.designs.presets.weave import rules
from testbed.designs.transport import Transport
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.naming import mac_address
from testbed.spec.design import TransportSpec

MTU = 1376
"""Bytes that pods may send if nobody sets WEAVE_MTU: what fits Google's network, of 1460, encrypted as well."""


def preset(
    name: str,
    attachment: Attachment,
    transport: Transport,
    summary: str,
    page: str | None,
    programs: tuple[str, ...] = (),
) -> Design:
    """`weave-NAME`."""
    return Design(
        name=f"weave-{name}",
        attachment=attachment,
        transport=transport,
        options=TransportSpec(kind=transport.name),
        summary=summary,
        like=("Weave Net",),
        agent=rules.run,
        also_needs=rules.NEEDS,
        programs=(*rules.PROGRAMS, *programs),
        page=page or "",
    )


def at_most_default(room: Callable[[int, Layout], int]) -> Callable[[int, Layout], int]:
    """Weave's own MTU, or what fits where that is less."""
    return lambda fabric_mtu, layout: min(MTU, room(fabric_mtu, layout))


def peer_name(node: NodePlace) -> str:
    """By which the others know a node: the MAC address of its bridge."""
    return mac_address(node.name, "weave")
