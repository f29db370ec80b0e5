"""What makes a preset of a data path: its page, and its transport."""

from testbed.designs.attachment import Attachment
from testbed.designs.design import Design
from testbed.designs.presets.weave import rules
from testbed.designs.transport import Transport
from testbed.plan.addressing import NodePlace
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
        on_link="packets that it masquerades have the address of the device that they leave by",
        programs=(*rules.PROGRAMS, *programs),
        usual_mtu=MTU,
        page=page or "",
    )


def peer_name(node: NodePlace) -> str:
    """By which the others know a node: the MAC address of its bridge."""
    return mac_address(node.name, "weave")
