"""A design as a user defines it: how pods are attached to their node, and how nodes reach each other's pods.

name: my-overlay
attach: routed
transport: {kind: vxlan, port: 4789, vni: 4096, mode: cross-subnet}
mtu: 1400

It is written in the list of designs of a scenario, or in a separate file. A transport without parameters may be written
as its kind alone; a design without parameters as ATTACH+TRANSPORT, such as `routed+ipip`.

Pods may also be attached by CNI plugins, called as a container runtime calls them:

name: mynet
cni: 10-mynet.conflist
bin: [/usr/lib/cni]
transport: vxlan

The name of the configuration file alone is also a design.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Discriminator, Field, Tag

from testbed.spec.problems import Misfit, Unfit, each
from testbed.spec.types import Name, Spec, durations

if TYPE_CHECKING:
    from testbed.spec.topology import Topology

JOINED = "+"
"""Separates attachment and transport in the short form of a design's name."""


class TransportSpec(Spec):
    """How nodes reach each other's pods: a transport with its parameters."""

    kind: str = Field(description="the transport; `testbed designs` lists them")
    mode: Literal["always", "cross-subnet"] | None = Field(
        default=None,
        description="when to use a tunnel: always (default), or cross-subnet (only between nodes of different subnets)",
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(default=None, description="the UDP port of a tunnel")
    vni: Annotated[int, Field(ge=1, le=2**24 - 1)] | None = Field(
        default=None, description="the network identifier (VNI) of a tunnel"
    )
    flood: Literal["head-end", "multicast"] | None = Field(
        default=None,
        description="how broadcast frames reach all nodes: head-end (default, one copy per node) or multicast",
    )

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the user set."""
        return tuple(name for name in self.model_fields_set if name != "kind" and getattr(self, name) is not None)


def _transport(value: object) -> object:
    """`ipip` is short for `{kind: ipip}`."""
    return {"kind": value} if isinstance(value, str) else value


TransportChoice = Annotated[TransportSpec, BeforeValidator(_transport, json_schema_input_type=str | TransportSpec)]


class DesignSpec(Spec):
    """A design given by its attachment and transport."""

    name: Name = Field(description="name of this design in results and reports")
    attach: str = Field(description="how pods are attached to their node; `testbed designs` lists the attachments")
    transport: TransportChoice = Field(
        description="how nodes reach each other's pods: a kind, or a mapping with the kind and its parameters"
    )
    mtu: Annotated[int, Field(ge=576, le=65535)] | None = Field(
        default=None, description="MTU of pods, in bytes; the largest that fits if absent"
    )

    def misfits(self, catalogue: "Catalogue") -> Iterator[Misfit]:
        """Unknown attachment, transport or parameter, and attachments and transports that do not work together."""
        yield from each(
            self._attachment_misfits(catalogue),
            _transport_misfits(self.transport, catalogue.transports),
            self._pair_misfits(catalogue),
        )

    def _attachment_misfits(self, catalogue: "Catalogue") -> Iterator[Misfit]:
        if self.attach not in catalogue.attachments:
            yield Misfit(("attach",), f"unknown attachment '{self.attach}'", valid=catalogue.attachments)

    def _pair_misfits(self, catalogue: "Catalogue") -> Iterator[Misfit]:
        kind = self.transport.kind
        if self.attach not in catalogue.attachments or kind not in catalogue.transports:
            return
        if not (reason := catalogue.refusal(self.attach, self.transport)):
            return
        if catalogue.goes(self.attach, kind):
            yield Misfit(("transport", "mode"), reason, at_key=True)
            return
        fitting = tuple(name for name in catalogue.transports if catalogue.goes(self.attach, name))
        yield Misfit(("transport",), f"{reason}; {self.attach} goes with {', '.join(fitting)}")


def _transport_misfits(spec: TransportSpec, transports: Mapping[str, tuple[str, ...]]) -> Iterator[Misfit]:
    """Unknown transport or parameter."""
    kind = spec.kind
    if kind not in transports:
        # For a transport written as its kind alone, the location is the transport itself.
        yield Misfit(("transport", "kind"), f"unknown transport '{kind}'", valid=tuple(transports))
        return
    for name in spec.parameters:
        if name not in transports[kind]:
            message = f"transport {kind} has no parameter '{name}'"
            yield Misfit(("transport", name), message, valid=transports[kind], at_key=True)


NETWORKS = (".conflist", ".conf", ".json", ".jsonc")
"""File name extensions of CNI network configurations."""
NO_TRANSPORT = "none"
"""The plugins themselves connect pods of different nodes, or nothing does."""
PLUGINS = "/usr/lib/cni"
"""Where Debian installs CNI plugins."""


def _strings(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, str) else value


class CniSpec(Spec):
    """A design whose pods are attached by CNI plugins."""

    name: Name | None = Field(
        default=None, description="name of this design in results and reports; the network's name if absent"
    )
    cni: str = Field(
        min_length=1,
        description="the network's configuration, relative to this file: a .conflist, .conf, .json or .jsonc, a "
        "NetworkAttachmentDefinition, or a folder (its first configuration is used); it may be a Jinja2 template with "
        "values of each node, such as {{ node.pod_cidr }}",
    )
    bin: Annotated[
        tuple[str, ...], BeforeValidator(_strings, json_schema_input_type=str | list[str]), Field(min_length=1)
    ] = Field(default=(PLUGINS,), description="folders of the plugins' executables, relative to this file")
    transport: TransportChoice = Field(
        default_factory=lambda: TransportSpec(kind=NO_TRANSPORT),
        description="how nodes reach each other's pods; none (default) if the plugins do this; vxlan (default) if they "
        "leave this to flanneld",
        json_schema_extra={"default": NO_TRANSPORT},
    )
    capabilities: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments for all pods, by capability (portMappings, mac, bandwidth, ...); passed to the plugins "
        "that declare the capability",
    )
    pods: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="arguments for single pods, by pod name and capability; they override capabilities",
    )
    addresses: Literal["required", "none"] = Field(
        default="required",
        description="whether pods must get addresses: required (default; `check` fails for pods without one), or none "
        "(a network without IPAM)",
    )
    timeout: Annotated[timedelta, *durations("10s", "500ms")] = Field(
        default=timedelta(seconds=10),
        description="time after which a running plugin is killed",
        json_schema_extra={"default": "10s"},
    )

    def misfits(self, catalogue: "Catalogue") -> Iterator[Misfit]:
        """Transports that cannot carry the pods' packets, unknown transports and parameters."""
        kind = self.transport.kind
        if kind in catalogue.transports and kind not in catalogue.cni_transports:
            fitting = tuple(catalogue.cni_transports)
            message = f"{kind} cannot carry routed packets, which pods attached by CNI plugins require"
            yield Misfit(("transport",), message, valid=fitting)
            return
        yield from _transport_misfits(self.transport, catalogue.cni_transports)


class NetworkTexts(NamedTuple):
    """The parts of a network's configuration that a design uses."""

    name: str
    texts: tuple[tuple[str, str], ...]
    """File and text of the configuration, then of separate plugin configurations; templates are not rendered."""
    capabilities: tuple[str, ...]
    """Capabilities that its plugins declare."""
    transport: str = NO_TRANSPORT
    """The default transport: what the agent of its plugins uses by default."""


class ReadCni(CniSpec):
    """A design with CNI plugins whose configuration has been read."""

    name: str
    texts: tuple[tuple[str, str], ...]
    """File and text of the configuration, then of separate plugin configurations; templates are not rendered."""


DesignChoice = Annotated[
    Annotated[str, Tag("name")] | Annotated[DesignSpec, Tag("full")] | Annotated[CniSpec, Tag("cni")],
    Discriminator(lambda value: _form(value)),
]
"""A design's name, its file, or the design itself."""
Choice = str | DesignSpec | CniSpec


def _form(value: object) -> str:
    if isinstance(value, CniSpec) or (isinstance(value, dict) and "cni" in value):
        return "cni"
    return "full" if isinstance(value, dict | DesignSpec) else "name"


def name_of(choice: Choice) -> str:
    """Name of the design in results."""
    if isinstance(choice, CniSpec):
        return choice.name or choice.cni
    return choice if isinstance(choice, str) else choice.name


def is_file(choice: Choice) -> bool:
    """Whether it is the name of a file with a design."""
    return isinstance(choice, str) and choice.endswith((".yaml", ".yml"))


def is_network(choice: Choice) -> bool:
    """Whether it is the name of a CNI network configuration."""
    return isinstance(choice, str) and choice.endswith(NETWORKS)


@dataclass(frozen=True)
class Catalogue:
    """The designs to choose from; `testbed.designs` creates it."""

    names: tuple[str, ...]
    """Names of the predefined designs."""
    attachments: tuple[str, ...] = ()
    transports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Each with the names of its parameters."""
    refusal: Callable[[str, TransportSpec], str] = lambda attach, transport: ""
    """Why an attachment and a transport do not work together; empty if they do."""
    cni_transports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Transports that work with CNI plugins, each with the names of its parameters."""
    unfit: Callable[[Choice, "Topology"], Iterator[Unfit]] = lambda choice, topology: iter(())
    """Reasons why a valid choice does not fit a topology."""
    read_network: Callable[[Path], NetworkTexts] = lambda path: NetworkTexts(path.stem, (), ())
    """Reads a CNI network configuration. Raises SpecError."""

    def goes(self, attach: str, kind: str) -> bool:
        """Whether an attachment works with a transport without parameters."""
        return not self.refusal(attach, TransportSpec(kind=kind))

    def _half(self, name: str) -> str:
        """Message for an attachment or transport where a design is expected."""
        if name in self.attachments:
            other = next(kind for kind in reversed(list(self.transports)) if self.goes(name, kind))
            return f"'{name}' is an attachment; add a transport, such as {name}{JOINED}{other}"
        other = next(attach for attach in self.attachments if self.goes(attach, name))
        return f"'{name}' is a transport; add an attachment, such as {other}{JOINED}{name}"

    def misfits(self, choice: Choice) -> Iterator[Misfit]:
        """Problems of a user's choice."""
        if isinstance(choice, DesignSpec | CniSpec):
            yield from choice.misfits(self)
        elif choice not in self.names:
            if choice in self.attachments or choice in self.transports:
                yield Misfit((), self._half(choice))
            elif (spec := short_form(choice)) is None:
                yield Misfit((), f"unknown design '{choice}'", valid=self.names)
            else:
                for misfit in spec.misfits(self):
                    yield Misfit((), misfit.message, valid=misfit.valid)


def short_form(name: str) -> DesignSpec | None:
    """The design with the name ATTACH+TRANSPORT; None if the name has another form."""
    attach, plus, transport = name.partition(JOINED)
    return spelt_out(name, attach, TransportSpec(kind=transport)) if plus else None


def spelt_out(name: str, attach: str, transport: TransportSpec, mtu: int | None = None) -> DesignSpec:
    """A design that is not from a user's file; its name may be any text."""
    return DesignSpec.model_construct(name=name, attach=attach, transport=transport, mtu=mtu)
