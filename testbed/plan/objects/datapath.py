"""Open vSwitch datapaths in the kernel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed.plan.objects.link_kind import LinkKind


@dataclass(frozen=True)
class Flow:
    """A flow of a datapath: match and actions in the syntax of `ovs-dpctl`."""

    match: str
    actions: str


@dataclass(frozen=True)
class Datapath:
    """An Open vSwitch datapath in the kernel, without a daemon for upcalls: packets that match no flow are dropped.

    Its own device, of the same name, is port 0; the kernel chooses that device's index.
    """

    name: str
    index: int
    mac: str
    mtu: int
    ports: tuple[str, ...]
    """Devices of the space, as ports 1, 2, ..."""
    flows: tuple[Flow, ...]

    master = None


def datapath_commands(link: Datapath) -> Iterator[str]:
    """The commands that create the datapath with its ports, to run in its namespace."""
    yield f"ovs-dpctl add-dp {link.name}"
    ports = " ".join(f"{port},port_no={number}" for number, port in enumerate(link.ports, start=1))
    yield f"ovs-dpctl add-if {link.name} {ports}"
    yield f"ip {DATAPATHS.words(link)}"


def flow_command(name: str, flow: Flow) -> str:
    """The command that adds a flow to the datapath."""
    return f"ovs-dpctl add-flow {name} '{flow.match}' '{flow.actions}'"


def flow_lines(flows: Sequence[Flow]) -> str:
    """The flows in the format of `ovs-dpctl add-flows`."""
    return "".join(f"{flow.match} {flow.actions}\n" for flow in flows)


DATAPATHS = LinkKind(
    type=Datapath,
    names=("openvswitch",),
    words=lambda link: f"link set {link.name} address {link.mac} mtu {link.mtu} up",
    needs_cables=lambda _: True,
    is_kernels_own=lambda _: True,
)
