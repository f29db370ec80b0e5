"""Designs: a choice of attachment and transport each. `DESIGNS` holds those with a name of their own."""

from testbed.designs.attachment import Hands
from testbed.designs.attachments import ATTACHMENTS
from testbed.designs.design import Design, refusal
from testbed.designs.presets import PRESETS
from testbed.designs.transports import TRANSPORTS
from testbed.spec.design import JOINED, Catalogue, DesignSpec, TransportSpec, short_form

DESIGNS: dict[str, Design] = {design.name: design for design in PRESETS}


def _refusal(attach: str, transport: TransportSpec) -> str:
    attachment = ATTACHMENTS[attach]
    if transport.mode and attachment.hands is Hands.FRAMES:
        return f"pods that {attach} keeps on one Ethernet are never routed, so there is no mode"
    return refusal(attachment, TRANSPORTS[transport.kind])


CATALOGUE = Catalogue(
    tuple(DESIGNS),
    tuple(ATTACHMENTS),
    {transport.name: transport.parameters for transport in TRANSPORTS.values()},
    _refusal,
)
"""What users can choose from."""


def pairs() -> tuple[str, ...]:
    """All designs that there can be without parameters, as ATTACH+TRANSPORT."""
    return tuple(
        f"{attachment}{JOINED}{transport}"
        for attachment in ATTACHMENTS
        for transport in TRANSPORTS
        if CATALOGUE.goes(attachment, transport)
    )


def design_of(choice: str | DesignSpec) -> Design:
    """The design that a user chose by name, as ATTACH+TRANSPORT, or spelt out. Raises KeyError if there is none."""
    if isinstance(choice, str) and choice in DESIGNS:
        return DESIGNS[choice]
    spec = short_form(choice) if isinstance(choice, str) else choice
    if spec is None or any(CATALOGUE.misfits(choice)):
        raise KeyError(choice)
    attachment, transport = ATTACHMENTS[spec.attach], TRANSPORTS[spec.transport.kind]
    summary = f"{attachment.summary}; between nodes {transport.summary}"
    return Design(spec.name, attachment, transport, spec.transport, spec.mtu, summary, transport.like)


__all__ = ["ATTACHMENTS", "CATALOGUE", "DESIGNS", "TRANSPORTS", "Design", "design_of", "pairs"]
