"""vxlan: one VXLAN device per node with static entries for every remote node, as with Flannel; no learning or flooding.

For each remote node there are three entries: a permanent neighbour (its tunnel address has this MAC address), an FDB
entry (the MAC address is behind its fabric address), and an on-link route to its pods via its tunnel address. The
tunnel address is the first of the node's pod range and is used on no other device. The outer headers reduce the pods'
MTU by 50 bytes over IPv4, by 70 over IPv6.

As with Flannel there is one device per outer family, `flannel.1` and `flannel-v6.1`. Pods' packets use the device of
their own family; if the fabric has only one family, both use its device.

With flat-bridge the device is a port of the bridge, and its FDB entries are the remote pods' MAC addresses. Broadcast
frames are copied to each node (head-end replication), as in Docker's overlay networks.
"""

import ipaddress

from testbed.designs.attachment import Delivers
from testbed.designs.transport import (
    Joining,
    Leg,
    Transport,
    less,
    others,
    outer_families,
    outer_family,
)
from testbed.designs.transports.overlay import (
    VXLAN_HEADERS,
    carried_by,
    frame_tunnel,
    named,
    tunnel_address,
)
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.draft import SpaceDraft
from testbed.plan.naming import mac_address
from testbed.plan.objects import Plan
from testbed.plan.pods import POD_BRIDGE, POD_INTERFACE
from testbed.plan.shell import FLOODED
from testbed.spec.design import TransportSpec

VNI = 1
PORT = 8472
"""The default of the Linux kernel and Flannel; IANA assigned 4789."""


def device(options: TransportSpec, outer: int) -> str:
    """The VXLAN device of an outer family."""
    return named("flannel" if outer == 4 else "flannel-v6", options.vni or VNI)


def join(joining: Joining, dev: str = "") -> None:
    """Adds the devices and the entries for remote nodes. Encapsulated packets leave by `dev`, or as routed if empty."""
    draft, layout, options = joining.draft, joining.layout, joining.options
    flat = joining.delivers is Delivers.FRAMES
    # Frames can hold packets of either family, so one tunnel is enough.
    families = outer_families(layout)[:1] if flat else outer_families(layout)
    for node in layout.nodes:
        space = draft[node.name]
        for family in families:
            space.vxlan(
                device(options, family),
                joining.mtu,
                options.vni or VNI,
                options.port or PORT,
                node.address(family),
                dev=dev,
                master=POD_BRIDGE if flat else None,
            )
        if flat:
            for remote in others(layout, node):
                _reach_flat(space, remote, device(options, families[0]), families[0])
            continue
        for cidr in node.pod_cidrs:
            own = ipaddress.ip_interface(tunnel_address(cidr))
            space.address(device(options, outer_family(cidr.version, layout)), own)
        for remote in joining.tunnelled(node):
            _reach(space, remote, layout, options)


def _reach(space: SpaceDraft, remote: NodePlace, layout: Layout, options: TransportSpec) -> None:
    """The three entries for a remote node. The route is last, so that no packet is sent before the others exist."""
    for family in outer_families(layout):
        dev = device(options, family)
        space.fdb(mac_address(remote.name, dev), dev, remote.address(family))
    for cidr in remote.pod_cidrs:
        dev = device(options, outer_family(cidr.version, layout))
        space.neighbour(tunnel_address(cidr), mac_address(remote.name, dev), dev)
        space.route(cidr, dev, via=tunnel_address(cidr), onlink=True)


def _reach_flat(space: SpaceDraft, remote: NodePlace, dev: str, family: int) -> None:
    """FDB entries for the MAC addresses behind a remote node and for broadcast frames to it."""
    to = remote.address(family)
    space.fdb(FLOODED, dev, to)
    space.fdb(mac_address(remote.name, POD_BRIDGE), dev, to)
    for place in remote.pods:
        space.fdb(mac_address(place.pod.id, POD_INTERFACE), dev, to)


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    devices = {outer: device(options, outer) for outer in (4, 6)}
    outer = carried_by(plan, one, devices, outer_family(family, layout))
    dev = devices[outer]
    return frame_tunnel(plan, dev, f"VXLAN {options.vni or VNI}", options.port or PORT, outer, one, other)


TRANSPORT = Transport(
    name="vxlan",
    summary="inside UDP (VXLAN), static entries for remote nodes",
    like=("Flannel vxlan", "Calico VXLAN", "Docker overlay (with flat-bridge)"),
    needs=("vxlan",),
    takes=frozenset({Delivers.PACKETS, Delivers.FRAMES}),
    knows_pods=frozenset({Delivers.FRAMES}),
    join=join,
    leg=_leg,
    room=less(VXLAN_HEADERS),
    parameters=("port", "vni", "mode"),
    any_family=True,
    page=__doc__,
)
