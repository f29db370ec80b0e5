"""A design as a user spells it out: how pods hang on their node, and how nodes reach each other's pods.

name: my-overlay
attach: routed
transport: {kind: vxlan, port: 4789, vni: 4096, mode: cross-subnet}
mtu: 1400

In a scenario it stands among the designs, or in a file of its own. A transport without parameters may be written as its
bare kind; a design without any as ATTACH+TRANSPORT, such as `routed+ipip`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

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

    def misfits(self, catalogue: "Catalogue") -> Iterator[Misfit]:
        """What there is not: an attachment, a transport, a parameter, or the two together."""
        kind = self.transport.kind
        if self.attach not in catalogue.attachments:
            yield Misfit(("attach",), f"there is no attachment '{self.attach}'", valid=catalogue.attachments)
        if kind not in catalogue.transports:
            # Written without parameters the transport is its kind, which is then where this is found.
            yield Misfit(("transport", "kind"), f"there is no transport '{kind}'", valid=tuple(catalogue.transports))
            return
        parameters = catalogue.transports[kind]
        for name in self.transport.parameters:
            if name not in parameters:
                yield Misfit(
                    ("transport", name), f"the transport {kind} takes no '{name}'", valid=parameters, at_key=True
                )
        if self.attach in catalogue.attachments and (reason := catalogue.refusal(self.attach, self.transport)):
            if catalogue.goes(self.attach, kind):
                yield Misfit(("transport", "mode"), reason, at_key=True)
                return
            fitting = tuple(name for name in catalogue.transports if catalogue.goes(self.attach, name))
            yield Misfit(("transport",), f"{reason}; {self.attach} goes with {', '.join(fitting)}")


DesignChoice = Annotated[
    Annotated[str, Tag("name")] | Annotated[DesignSpec, Tag("spelt")],
    Discriminator(lambda value: "spelt" if isinstance(value, dict | DesignSpec) else "name"),
]
"""A design's name, or the file that it is in, or all of it."""


def name_of(choice: str | DesignSpec) -> str:
    """What results call it."""
    return choice if isinstance(choice, str) else choice.name


def is_file(choice: str | DesignSpec) -> bool:
    """Whether it names a file that holds a design."""
    return isinstance(choice, str) and choice.endswith((".yaml", ".yml"))


@dataclass(frozen=True)
class Catalogue:
    """What designs there are to choose from; `testbed.designs` knows."""

    names: tuple[str, ...]
    """Of designs that have one."""
    attachments: tuple[str, ...] = ()
    transports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Each with the names of its parameters."""
    refusal: Callable[[str, TransportSpec], str] = lambda attach, transport: ""
    """Why an attachment and a transport do not go together; empty if they do."""

    def goes(self, attach: str, kind: str) -> bool:
        """Whether an attachment goes with a transport without parameters."""
        return not self.refusal(attach, TransportSpec(kind=kind))

    def _half(self, name: str) -> str:
        """What is said of an attachment, or a transport, that is taken for a design."""
        if name in self.attachments:
            other = next(kind for kind in reversed(list(self.transports)) if self.goes(name, kind))
            return f"'{name}' is an attachment; a design has a transport too, such as {name}{JOINED}{other}"
        other = next(attach for attach in self.attachments if self.goes(attach, name))
        return f"'{name}' is a transport; a design has an attachment too, such as {other}{JOINED}{name}"

    def misfits(self, choice: str | DesignSpec) -> Iterator[Misfit]:
        """What is wrong with a user's choice, if anything."""
        if isinstance(choice, DesignSpec):
            yield from choice.misfits(self)
        elif choice not in self.names:
            if choice in self.attachments or choice in self.transports:
                yield Misfit((), self._half(choice))
            elif (spelt := short_form(choice)) is None:
                yield Misfit((), f"there is no design '{choice}'", valid=self.names)
            else:
                for misfit in spelt.misfits(self):
                    yield Misfit((), misfit.message, valid=misfit.valid)


def short_form(name: str) -> DesignSpec | None:
    """The design that ATTACH+TRANSPORT names; None if that is not how the name is made."""
    attach, plus, transport = name.partition(JOINED)
    return spelt_out(name, attach, TransportSpec(kind=transport)) if plus else None


def spelt_out(name: str, attach: str, transport: TransportSpec, mtu: int | None = None) -> DesignSpec:
    """A design that is not a user's own, whose name may be any text."""
    return DesignSpec.model_construct(name=name, attach=attach, transport=transport, mtu=mtu)
