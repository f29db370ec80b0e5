"""Cilium's tunnel: one VXLAN device per node (UDP 8472), with the encapsulation set for each packet.

    lxcX [cil_from_container] - cilium_vxlan ~~ cilium_vxlan [cil_from_overlay] - pod

The program looks up the destination in the map `cilium_ipcache`, which contains the node to send to. The VNI is the
sender's security identity. The device has no forwarding entries.
"""

from dataclasses import replace

from testbed.designs.attachment import Delivers
from testbed.designs.presets.cilium.datapath import HOST_DEVICE, TUNNEL_DEVICE
from testbed.designs.presets.cilium.endpoints import host_end
from testbed.designs.presets.cilium.maps import NO_MAC, REMOTE_NODE, identity
from testbed.designs.transport import Joining, Leg, Transport, less, outer_family
from testbed.designs.transports.overlay import VXLAN_HEADERS
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.objects import Kind, Plan, Space
from testbed.plan.pods import POD_INTERFACE
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec

UNLIKE = """
Unlike Cilium, which treats packets of identity 0 as from an unknown sender and passes frames that are not IP to the
stack, `cil_from_overlay` drops both. It drops identity 1 as Cilium does; nodes send identity 6, remote-node, instead.
Unlike Cilium, which keeps the full MTU on devices and sets the MTU of routes through the tunnel, the pods' and the
cilium_ devices have the smaller MTU.
"""
PORT = 8472


def _join(joining: Joining) -> None:
    for node in joining.layout.nodes:
        joining.draft[node.name].vxlan(TUNNEL_DEVICE, joining.mtu, 0, PORT, None, external=True)


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    outer = outer_family(family, layout)
    ends = str(one.address(outer)), str(other.address(outer))
    return Leg(TUNNEL_DEVICE, Tunnel("VXLAN", *ends, PORT), outer)


def labelled(tunnel: Tunnel, plan: Plan, layout: Layout, sender: Space) -> Tunnel:
    """The tunnel of a packet of that pod or node: the VNI is the sender's identity; the inner frame is unchanged."""
    if sender.kind is Kind.POD:
        own = plan.device(sender.name, POD_INTERFACE).mac
        macs = own or NO_MAC, plan.device(sender.home, host_end(sender.name)).mac or NO_MAC
        home = next(node for node in layout.nodes if node.name == sender.home)
        pod = next(place.pod for place in home.pods if place.pod.id == sender.name)
        return replace(tunnel, kind=f"VXLAN {identity(pod, plan.allocation)}", inner_macs=macs)
    host = plan.device(sender.name, HOST_DEVICE).mac
    return replace(tunnel, kind=f"VXLAN {REMOTE_NODE}", inner_macs=(host, host))


TRANSPORT = Transport(
    name="cilium-vxlan",
    summary="inside UDP (VXLAN), one device per node, encapsulation set by eBPF programs",
    like=("Cilium tunnel mode",),
    needs=("vxlan",),
    takes=frozenset({Delivers.PACKETS}),
    join=_join,
    leg=_leg,
    room=less(VXLAN_HEADERS),
    any_family=True,
    page=__doc__,
)
