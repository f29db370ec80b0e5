"""Designs: an attachment combined with a transport. `DESIGNS` holds the predefined ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.designs.attachment import Delivers
from testbed.designs.attachments import ATTACHMENTS
from testbed.designs.design import Design, refusal
from testbed.designs.presets import Presets, plain
from testbed.designs.transports import TRANSPORTS, none
from testbed.spec.design import (
    JOINED,
    NO_TRANSPORT,
    Catalogue,
    Choice,
    CniSpec,
    NetworkTexts,
    ReadCni,
    TransportSpec,
    short_form,
    spelt_out,
)

PLAIN: Mapping[str, Design] = plain.PRESETS
"""The generic designs, not modelled on one CNI."""
DESIGNS: Mapping[str, Design] = Presets()


def _refusal(attach: str, transport: TransportSpec) -> str:
    attachment = ATTACHMENTS[attach]
    if transport.mode and attachment.delivers is Delivers.FRAMES:
        return f"{attach} puts all pods on one Ethernet; mode applies only to routed packets"
    return refusal(attachment, TRANSPORTS[transport.kind])


def _read_network(path: Path) -> NetworkTexts:
    from testbed.cni.network import example_network, read_network  # Most designs need no CNI configuration.

    network = read_network(path)
    if FLANNEL in example_network(network.texts).programs:
        return network._replace(transport=FLANNEL_TRANSPORT)
    return network


FLANNEL = "flannel"
"""The CNI plugin that leaves the traffic between nodes to flanneld."""
FLANNEL_TRANSPORT = "vxlan"
"""flanneld's default."""
_CNI_TRANSPORTS = {NO_TRANSPORT: none.TRANSPORT} | {
    transport.name: transport for transport in TRANSPORTS.values() if Delivers.PACKETS in transport.takes
}

CATALOGUE = Catalogue(
    tuple(DESIGNS),
    tuple(ATTACHMENTS),
    {transport.name: transport.parameters for transport in TRANSPORTS.values()},
    _refusal,
    {transport.name: transport.parameters for transport in _CNI_TRANSPORTS.values()},
    lambda choice, topology: design_of(choice).misfits(topology),
    _read_network,
)
"""The attachments, transports and designs that users can choose from."""


def pairs() -> tuple[str, ...]:
    """All combinations of attachment and transport that work together, as ATTACH+TRANSPORT."""
    return tuple(
        f"{attachment}{JOINED}{transport}"
        for attachment in ATTACHMENTS
        for transport in TRANSPORTS
        if CATALOGUE.goes(attachment, transport)
    )


def design_of(choice: Choice) -> Design:
    """The design that a user chose by name, as ATTACH+TRANSPORT, or in full. Raises KeyError if unknown or invalid."""
    if isinstance(choice, ReadCni) and not any(CATALOGUE.misfits(choice)):
        return _with_plugins(choice)
    if isinstance(choice, CniSpec):
        raise KeyError(choice)
    if isinstance(choice, str) and choice in DESIGNS:
        return DESIGNS[choice]
    spec = short_form(choice) if isinstance(choice, str) else choice
    if spec is None or any(CATALOGUE.misfits(choice)):
        raise KeyError(choice)
    attachment, transport = ATTACHMENTS[spec.attach], TRANSPORTS[spec.transport.kind]
    summary = f"{attachment.summary}; between nodes {transport.summary}"
    return Design(spec.name, attachment, transport, spec.transport, spec.mtu, summary, transport.like)


def design_of_data(spec: Mapping[str, Any]) -> Design:
    """The design of a `spec` in JSON form."""
    if "cni" in spec:
        return design_of(ReadCni.of_data(spec))
    if spec["name"] in DESIGNS:
        return DESIGNS[spec["name"]]
    transport = TransportSpec.model_validate(spec["transport"])
    return design_of(spelt_out(spec["name"], spec["attach"], transport, spec["mtu"]))


def _with_plugins(spec: ReadCni) -> Design:
    """The design of a CNI network configuration."""
    from testbed.cni.network import example_network
    from testbed.cni.standard import programs_of
    from testbed.designs.attachments.cni import attachment_of, needs_of
    from testbed.designs.presets.flannel import pods

    network = example_network(spec.texts)
    needs_agent = FLANNEL in network.programs
    if needs_agent:
        spec = pods.with_plugin(spec)
    attachment, transport = attachment_of(spec, needs_of(spec)), _CNI_TRANSPORTS[spec.transport.kind]
    summary = f"{attachment.summary}; between nodes {transport.summary}"
    programs = programs_of(network)
    page = attachment.page
    design = Design(
        spec.name, attachment, transport, spec.transport, summary=summary, plugins=spec, programs=programs, page=page
    )
    if not needs_agent:
        return design
    from testbed.designs.presets.flannel.of_user import with_agent

    return with_agent(design)


def instead_of(plugin: str) -> str:
    """What to do without a CNI plugin that no known package has; empty if unknown."""
    from testbed.designs.presets.instead import INSTEAD

    return INSTEAD.get(plugin, "")


__all__ = [
    "ATTACHMENTS",
    "CATALOGUE",
    "DESIGNS",
    "PLAIN",
    "TRANSPORTS",
    "Design",
    "design_of",
    "design_of_data",
    "instead_of",
    "pairs",
]
