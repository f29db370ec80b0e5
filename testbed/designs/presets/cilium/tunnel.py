"""How packets get to other nodes' pods: in one VXLAN device for all (UDP 8472), told for each packet what to put around
it.

    lxcX [cil_from_container] - cilium_vxlan ~~ cilium_vxlan [cil_from_overlay] - pod

The program looks the target up in the map `cilium_ipcache`, which says the node to send it to, and writes into the
network number (VNI) who sends: the security identity of the pod. The device has no forwarding entries.
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
Unlike Cilium, which takes a packet of identity 0 for one of an unknown sender, and leaves frames that are not IP to the
stack, `cil_from_overlay` drops both. Identity 1 it drops as Cilium's does: a node writes 6, remote-node, instead.
Unlike Cilium, which leaves devices their full MTU and says in routes how large packets for the tunnel may be, pods' and
the cilium_ devices have the smaller MTU themselves.
"""
PORT = 8472


def _join(joining: Joining) -> None:
    for node in joining.layout.nodes:
        joining.draft[node.name].vxlan(TUNNEL_DEVICE, joining.mtu, 0, PORT, None, external=True)


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    outer = outer_family(family, layout)
    ends = str(one.address(outer)), str(other.address(outer))
    return Leg(TUNNEL_DEVICE, Tunnel("VXLAN", *ends, PORT), outer)


def says_who(tunnel: Tunnel, plan: Plan, layout: Layout, sender: Space) -> Tunnel:
    """The tunnel of a packet of that pod or node: its number is the sender's identity, and the frame is untouched."""
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
    summary="inside UDP (VXLAN), by one device that eBPF programs tell what to put around packets",
    like=("Cilium tunnel mode",),
    needs=("vxlan",),
    takes=frozenset({Delivers.PACKETS}),
    join=_join,
    leg=_leg,
    room=less(VXLAN_HEADERS),
    any_family=True,
    page=__doc__,
)
