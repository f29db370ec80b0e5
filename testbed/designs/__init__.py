"""Designs: a choice of attachment and transport each. `DESIGNS` holds those with a name of their own."""

from testbed.designs.attachments import ATTACHMENTS
from testbed.designs.design import Design, refusal
from testbed.designs.presets import PRESETS
from testbed.designs.transports import TRANSPORTS
from testbed.spec.design import JOINED, DesignSpec, short_form

DESIGNS: dict[str, Design] = {design.name: design for design in PRESETS}


def made_of(spec: DesignSpec) -> Design:
    """The design that a user spelt out; it has no misfits."""
    attachment, transport = ATTACHMENTS[spec.attach], TRANSPORTS[spec.transport.kind]
    summary = f"{attachment.summary}; between nodes {transport.summary}"
    return Design(spec.name, attachment, transport, spec.transport, spec.mtu, summary, transport.like)


def pairs() -> tuple[str, ...]:
    """All designs that there can be without parameters, as ATTACH+TRANSPORT."""
    return tuple(
        f"{attachment.name}{JOINED}{transport.name}"
        for attachment in ATTACHMENTS.values()
        for transport in TRANSPORTS.values()
        if not refusal(attachment, transport)
    )


def design_named(name: str) -> Design:
    """A preset, or ATTACH+TRANSPORT. Raises KeyError if there is none, with what there is."""
    if name in DESIGNS:
        return DESIGNS[name]
    if name in pairs():
        spec = short_form(name)
        assert spec
        return made_of(spec)
    raise KeyError(name)


__all__ = ["ATTACHMENTS", "DESIGNS", "TRANSPORTS", "Design", "design_named", "made_of", "pairs", "refusal"]
