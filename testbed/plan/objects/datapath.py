"""Open vSwitch datapaths in the kernel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed.plan.objects.link_kind import LinkKind


@dataclass(frozen=True)
class Flow:
    """Which packets of a datapath's ports something is done to, and what, in the words of `ovs-dpctl`."""

    match: str
    actions: str


@dataclass(frozen=True)
class Datapath:
    """An Open vSwitch datapath in the kernel, with nobody to ask of what no flow matches: that is dropped.

    Its own device, of the same name, is port 0; the kernel numbers that device by itself.
    """

    name: str
    index: int
    mac: str
    mtu: int
    ports: tuple[str, ...]
    """Devices of the space, from port 1 on."""
    flows: tuple[Flow, ...]

    master = None


def datapath_commands(link: Datapath) -> Iterator[str]:
    """The commands that make a datapath with its ports, to be run in its namespace."""
    yield f"ovs-dpctl add-dp {link.name}"
    ports = " ".join(f"{port},port_no={number}" for number, port in enumerate(link.ports, start=1))
    yield f"ovs-dpctl add-if {link.name} {ports}"
    yield f"ip {DATAPATHS.words(link)}"


def flow_command(name: str, flow: Flow) -> str:
    """The command that adds a flow to the datapath of that name."""
    return f"ovs-dpctl add-flow {name} '{flow.match}' '{flow.actions}'"


def flow_lines(flows: Sequence[Flow]) -> str:
    """As `ovs-dpctl add-flows` reads them."""
    return "".join(f"{flow.match} {flow.actions}\n" for flow in flows)


DATAPATHS = LinkKind(
    type=Datapath,
    names=("openvswitch",),
    words=lambda link: f"link set {link.name} address {link.mac} mtu {link.mtu} up",
    needs_cables=lambda _: True,
    is_kernels_own=lambda _: True,
)
