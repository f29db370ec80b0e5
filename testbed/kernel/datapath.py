"""Open vSwitch datapaths in the kernel, made and read by ovs-dpctl(8), without Open vSwitch's daemons."""

import re
import struct
from dataclasses import dataclass

from testbed.kernel.netlink import ask, connect
from testbed.kernel.tools import call
from testbed.plan.objects import Datapath, Flow
from testbed.plan.objects.datapath import datapath_commands, flow_lines

_PORT = re.compile(r"^  port (\d+): (\S+)", re.MULTILINE)
_FLOW = re.compile(r"^(?P<match>.*), packets:\d+, bytes:\d+, used:[^,]+(, flags:\S+)?, actions:(?P<actions>.*)$")
_ANY_PROTOCOL = ",eth_type(0/0x0000)"
"""Printed by ovs-dpctl for a flow without a protocol."""
_ANY_FLAGS, _ANY_TTL = ",flags(+key))", ",ttl=0/0)"
"""For a tunnel with any flags and TTL, ovs-dpctl prints the first and expects the second as input."""


_NETLINK_GENERIC, _CTRL_FAMILY, _CTRL_GET_FAMILY, _CTRL_NAME = 16, 16, 3, 2
_FAMILY = b"ovs_datapath\0"


@dataclass(frozen=True)
class DatapathState:
    """The ports of a datapath, without its own port 0, and its flows."""

    ports: tuple[str, ...]
    flows: frozenset[Flow]


def make_datapath(link: Datapath) -> None:
    """Make a datapath in the calling thread's namespace, with its ports, which must exist. Raises ToolFailed."""
    for command in datapath_commands(link):
        call(command.split())
    call(["ovs-dpctl", "add-flows", link.name, "/dev/stdin"], flow_lines(link.flows))


def change_datapath(old: Datapath, new: Datapath) -> None:
    """Change ports and flows of a datapath in the calling thread's namespace. Raises ToolFailed."""
    there = datapath_state(new.name).ports
    for number, port in enumerate(new.ports, start=1):
        if port not in there:
            call(["ovs-dpctl", "add-if", new.name, f"{port},port_no={number}"])
    before = {flow.match: flow for flow in old.flows}
    planned = {flow.match for flow in new.flows}
    for flow in old.flows:
        if flow.match not in planned:
            call(["ovs-dpctl", "del-flow", new.name, flow.match])
    for flow in new.flows:
        if before.get(flow.match) != flow:
            verb = "mod-flow" if flow.match in before else "add-flow"
            call(["ovs-dpctl", verb, new.name, flow.match, flow.actions])


def remove_datapath(link: Datapath) -> None:
    """Remove a datapath from the calling thread's namespace; its ports stay. Raises ToolFailed."""
    call(["ovs-dpctl", "del-dp", link.name])


def datapath_state(name: str) -> DatapathState:
    """The state of a datapath in the calling thread's namespace. Raises ToolFailed if it is missing."""
    ports = sorted((int(number), port) for number, port in _PORT.findall(call(["ovs-dpctl", "show", name])))
    flows = (flow_in(line) for line in call(["ovs-dpctl", "dump-flows", name]).splitlines())
    return DatapathState(tuple(port for number, port in ports if number), frozenset(filter(None, flows)))


def flow_in(line: str) -> Flow | None:
    """Parse a line of `ovs-dpctl dump-flows`; None if it has no flow."""
    found = _FLOW.match(line)
    if not found:
        return None
    return Flow(found["match"].replace(_ANY_PROTOCOL, "").replace(_ANY_FLAGS, _ANY_TTL), found["actions"])


def try_openvswitch() -> None:
    """Raises QueryRefused if the kernel has no Open vSwitch datapaths and loads no module for them."""
    body = struct.pack("=BBHHH", _CTRL_GET_FAMILY, 1, 0, 4 + len(_FAMILY), _CTRL_NAME) + _FAMILY
    with connect(_NETLINK_GENERIC) as sock:
        ask(sock, _CTRL_FAMILY, body + bytes(-len(body) % 4))
