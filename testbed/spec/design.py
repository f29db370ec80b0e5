"""A design as a user spells it out: how pods hang on their node, and how nodes reach each other's pods.

name: my-overlay
attach: routed
transport: {kind: vxlan, port: 4789, vni: 4096, mode: cross-subnet}
mtu: 1400

In a scenario it stands among the designs, or in a file of its own. A transport without parameters may be written as its
bare kind; a design without any as ATTACH+TRANSPORT, such as `routed+ipip`.

Pods may also be attached by CNI plugins, as a container runtime would call them:

name: mynet
cni: 10-mynet.conflist
bin: [/usr/lib/cni]
transport: vxlan

Then the configuration's file may stand for the whole design, too.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Discriminator, Field, Tag

from testbed.spec.problems import Misfit
from testbed.spec.types import Duration, Name, Spec

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


TransportChoice = Annotated[TransportSpec, BeforeValidator(_transport, json_schema_input_type=str | TransportSpec)]


class DesignSpec(Spec):
    """A design spelt out."""

    name: Name = Field(description="what results and reports call this design")
    attach: str = Field(description="how pods hang on their node; `testbed designs` lists the attachments")
    transport: TransportChoice = Field(
        description="how nodes reach each other's pods: a kind, or a mapping with the kind and its parameters"
    )
    mtu: Annotated[int, Field(ge=576, le=65535)] | None = Field(
        default=None, description="the largest packet of pods, in bytes; as large as fits if absent"
    )

    def misfits(self, catalogue: "Catalogue") -> Iterator[Misfit]:
        """What there is not: an attachment, a transport, a parameter, or the two together."""
        kind = self.transport.kind
        if self.attach not in catalogue.attachments:
            yield Misfit(("attach",), f"there is no attachment '{self.attach}'", valid=catalogue.attachments)
        yield from _transport_misfits(self.transport, catalogue.transports)
        if kind not in catalogue.transports:
            return
        if self.attach in catalogue.attachments and (reason := catalogue.refusal(self.attach, self.transport)):
            if catalogue.goes(self.attach, kind):
                yield Misfit(("transport", "mode"), reason, at_key=True)
                return
            fitting = tuple(name for name in catalogue.transports if catalogue.goes(self.attach, name))
            yield Misfit(("transport",), f"{reason}; {self.attach} goes with {', '.join(fitting)}")


def _transport_misfits(spec: TransportSpec, transports: Mapping[str, tuple[str, ...]]) -> Iterator[Misfit]:
    """What there is not: the transport, or a parameter of it."""
    kind = spec.kind
    if kind not in transports:
        # Written without parameters the transport is its kind, which is then where this is found.
        yield Misfit(("transport", "kind"), f"there is no transport '{kind}'", valid=tuple(transports))
        return
    for name in spec.parameters:
        if name not in transports[kind]:
            message = f"the transport {kind} takes no '{name}'"
            yield Misfit(("transport", name), message, valid=transports[kind], at_key=True)


NO_TRANSPORT = "none"
"""Pods of other nodes are reached by what the plugins make, or not at all."""
PLUGINS = "/usr/lib/cni"
"""Where Debian has CNI plugins."""


def _strings(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, str) else value


class CniSpec(Spec):
    """A design whose pods are attached by CNI plugins."""

    name: Name | None = Field(
        default=None, description="what results and reports call this design; the network's own name if absent"
    )
    cni: str = Field(
        min_length=1,
        description="the network's configuration, relative to this file: a .conflist, a .conf, or a folder whose first "
        "one is taken; it may be a template (Jinja2) with values of each node, such as {{ node.pod_cidr }}",
    )
    bin: Annotated[
        tuple[str, ...], BeforeValidator(_strings, json_schema_input_type=str | list[str]), Field(min_length=1)
    ] = Field(default=(PLUGINS,), description="the folders of the plugins' programs, relative to this file")
    transport: TransportChoice = Field(
        default_factory=lambda: TransportSpec(kind=NO_TRANSPORT),
        description="how nodes reach each other's pods: none if the plugins see to that, which is the default",
        json_schema_extra={"default": NO_TRANSPORT},
    )
    capabilities: dict[str, Any] = Field(
        default_factory=dict,
        description="what plugins are told of every pod that declare the capability: portMappings, mac, bandwidth, ...",
    )
    pods: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="the same of single pods, by the pod's name; it goes before that of all pods"
    )
    timeout: Duration = Field(
        default=timedelta(seconds=10),
        description="after how long a plugin that has not ended is ended",
        json_schema_extra={"default": "10s"},
    )

    def misfits(self, catalogue: "Catalogue") -> Iterator[Misfit]:
        """What there is not: a transport that takes the pods' packets, or a parameter of it."""
        kind = self.transport.kind
        if kind in catalogue.transports and kind not in catalogue.cni_transports:
            fitting = tuple(catalogue.cni_transports)
            message = f"{kind} carries no packets that nodes route, as those of pods with CNI plugins are"
            yield Misfit(("transport",), message, valid=fitting)
            return
        yield from _transport_misfits(self.transport, catalogue.cni_transports)


class NetworkTexts(NamedTuple):
    """A network's configuration, as far as a design is about it."""

    name: str
    texts: tuple[tuple[str, str], ...]
    """Its file and text, and those of single plugins beside it; templates as they are."""
    capabilities: tuple[str, ...]
    """What of the runtime's arguments its plugins take."""


class ReadCni(CniSpec):
    """A design with CNI plugins whose configuration has been read."""

    name: str
    texts: tuple[tuple[str, str], ...]
    """The configuration's file and text, and those of single plugins beside it; templates as they are."""


DesignChoice = Annotated[
    Annotated[str, Tag("name")] | Annotated[DesignSpec, Tag("spelt")] | Annotated[CniSpec, Tag("cni")],
    Discriminator(lambda value: _form(value)),
]
"""A design's name, or the file that it is in, or all of it."""
Choice = str | DesignSpec | CniSpec


def _form(value: object) -> str:
    if isinstance(value, CniSpec) or (isinstance(value, dict) and "cni" in value):
        return "cni"
    return "spelt" if isinstance(value, dict | DesignSpec) else "name"


def name_of(choice: Choice) -> str:
    """What results call it."""
    if isinstance(choice, CniSpec):
        return choice.name or choice.cni
    return choice if isinstance(choice, str) else choice.name


def is_file(choice: Choice) -> bool:
    """Whether it names a file that holds a design."""
    return isinstance(choice, str) and choice.endswith((".yaml", ".yml"))


def is_network(choice: Choice) -> bool:
    """Whether it names a file that holds a network's configuration for CNI plugins."""
    return isinstance(choice, str) and choice.endswith((".conflist", ".conf"))


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
    cni_transports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Those that go with CNI plugins, each with the names of its parameters."""
    read_network: Callable[[Path], NetworkTexts] = lambda path: NetworkTexts(path.stem, (), ())
    """Reads the configuration of a network for CNI plugins: its name, and files with texts. Raises SpecError."""

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

    def misfits(self, choice: Choice) -> Iterator[Misfit]:
        """What is wrong with a user's choice, if anything."""
        if isinstance(choice, DesignSpec | CniSpec):
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
