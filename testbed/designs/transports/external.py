"""Tunnels with one device per node, where routes set the encapsulation. Not a transport itself."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from testbed.designs.transport import Joining, Leg, outer_family
from testbed.designs.transports.overlay import frame_tunnel, tunnel_address
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.draft import SpaceDraft
from testbed.plan.naming import mac_address
from testbed.plan.objects import Plan, TunnelKey
from testbed.spec.design import TransportSpec


@dataclass(frozen=True)
class External:
    """A tunnel type: protocol name, device, UDP port, network identifier, and a function that creates the device."""

    kind: str
    device: str
    port: int
    number: int
    make: Callable[[SpaceDraft, int, int], None]
    """Adds the device to a node. Arguments: node, MTU, port."""

    def join(self, joining: Joining) -> None:
        draft, layout, options = joining.draft, joining.layout, joining.options
        for node in layout.nodes:
            space = draft[node.name]
            self.make(space, joining.mtu, options.port or self.port)
            for cidr in node.pod_cidrs:
                space.address(self.device, ipaddress.ip_interface(tunnel_address(cidr)))
            for remote in joining.tunnelled(node):
                for cidr in remote.pod_cidrs:
                    outer = outer_family(cidr.version, layout)
                    key = TunnelKey(options.vni or self.number, node.address(outer), remote.address(outer))
                    via = tunnel_address(cidr)
                    space.neighbour(via, mac_address(remote.name, self.device), self.device)
                    space.route(cidr, self.device, via=via, onlink=True, encap=key)

    def leg(
        self, plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int
    ) -> Leg:
        kind = f"{self.kind} {options.vni or self.number}"
        return frame_tunnel(
            plan, self.device, kind, options.port or self.port, outer_family(family, layout), one, other
        )
