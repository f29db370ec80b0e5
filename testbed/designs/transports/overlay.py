"""Functions common to transports with tunnels. Not a transport itself."""

from collections.abc import Mapping

from testbed.designs.transport import Leg
from testbed.plan.addressing import NodePlace
from testbed.plan.naming import IFNAME_LENGTH, interface_name
from testbed.plan.objects import Plan
from testbed.plan.sightings import Tunnel
from testbed.spec.types import Address, Network

_IP = {4: 20, 6: 40}
_UDP, _ETHERNET = 8, 14

IP_HEADER = _IP
"""Size in bytes, by family."""
UDP_HEADERS = {family: size + _UDP for family, size in _IP.items()}
VXLAN_HEADERS = {family: size + _UDP + 8 + _ETHERNET for family, size in _IP.items()}
"""Outer IP, UDP, VXLAN and inner Ethernet header."""
GENEVE_HEADERS = VXLAN_HEADERS
"""Geneve without options has the length of VXLAN."""


def tunnel_address(pod_cidr: Network) -> Address:
    """A node's address on its tunnel device: the first of its share, not used by pods or bridges."""
    return pod_cidr.network_address


def named(kind: str, number: int) -> str:
    """The name of a device with a number, such as `flannel.1`."""
    name = f"{kind}.{number}"
    return name if len(name) <= IFNAME_LENGTH else interface_name(kind, str(number))


def carried_by(plan: Plan, node: NodePlace, devices: Mapping[int, str], outer: int) -> int:
    """The outer family of the node's tunnel. One tunnel carries frames with packets of either family."""
    return outer if devices[outer] in plan.devices_of(node.name) else 10 - outer


def frame_tunnel(plan: Plan, device: str, kind: str, port: int, outer: int, one: NodePlace, other: NodePlace) -> Leg:
    """A leg through a tunnel that carries frames, between devices with the same name on both nodes."""
    macs = plan.device(one.name, device).mac, plan.device(other.name, device).mac
    return Leg(device, Tunnel(kind, str(one.address(outer)), str(other.address(outer)), port, macs), outer)
