"""A design as a user spells it out: how pods hang on their node, and how nodes reach each other's pods.

name: my-overlay
attach: routed
transport: {kind: vxlan, port: 4789, vni: 4096, mode: cross-subnet}
mtu: 1400

In a scenario it stands among the designs, or in a file of its own. A transport without parameters may be written as its
bare kind; a design without any as ATTACH+TRANSPORT, such as `routed+ipip`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from testbed.spec.problems import Misfit
from testbed.spec.types import Name, Spec

JOINED = "+"
"""Between attachment and transport in the short form of a design's name."""


class TransportSpec(Spec):
    """How nodes reach each other's pods, with what that way can be told."""

    kind: str = Field(description="which transport; `testbed designs` lists them")
    mode: Literal["always", "cross-subnet"] | None = Field(
        default=None, description="whether a tunnel is used between nodes of one subnet as well; always if absent"
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(default=None, description="the UDP port of a tunnel")
    vni: Annotated[int, Field(ge=1, le=2**24 - 1)] | None = Field(
        default=None, description="the number of a tunnel's network"
    )
    flood: Literal["head-end", "multicast"] | None = Field(
        default=None, description="how frames for everybody reach all nodes; head-end (a copy for each) if absent"
    )

    @property
    def parameters(self) -> tuple[str, ...]:
        """Those that the user gave."""
        return tuple(name for name in self.model_fields_set if name != "kind" and getattr(self, name) is not None)


def _transport(value: object) -> object:
    """`ipip` stands for `{kind: ipip}`."""
    return {"kind": value} if isinstance(value, str) else value


class DesignSpec(Spec):
    """A design spelt out."""

    name: Name = Field(description="what results and reports call this design")
    attach: str = Field(description="how pods hang on their node; `testbed designs` lists the attachments")
    transport: Annotated[TransportSpec, BeforeValidator(_transport, json_schema_input_type=str | TransportSpec)] = (
        Field(description="how nodes reach each other's pods: a kind, or a mapping with the kind and its parameters")
    )
    mtu: Annotated[int, Field(ge=576, le=65535)] | None = Field(
        default=None, description="the largest packet of pods, in bytes; as large as fits if absent"
    )

    def misfits(self, attachments: tuple[str, ...], transports: Mapping[str, tuple[str, ...]]) -> Iterator[Misfit]:
        """What there is not: an attachment, a transport, or a parameter, of which `transports` has those of each."""
        if self.attach not in attachments:
            yield Misfit(("attach",), f"there is no attachment '{self.attach}'", valid=attachments)
        kind = self.transport.kind
        if kind not in transports:
            # Written without parameters the transport is its kind.
            yield Misfit(("transport",), f"there is no transport '{kind}'", valid=tuple(transports))
            return
        for name in self.transport.parameters:
            if name not in transports[kind]:
                yield Misfit(
                    ("transport", name),
                    f"the transport {kind} has no {name}",
                    valid=transports[kind],
                    at_key=True,
                )


def short_form(name: str) -> DesignSpec | None:
    """The design that ATTACH+TRANSPORT names; None if that is not how the name is made."""
    attach, plus, transport = name.partition(JOINED)
    if not plus:
        return None
    # Not validated: a design's own name has no plus.
    return DesignSpec.model_construct(name=name, attach=attach, transport=TransportSpec(kind=transport), mtu=None)
