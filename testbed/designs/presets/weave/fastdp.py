"""weave-fastdp: Weave Net's fast data path. An Open vSwitch datapath in the kernel carries frames in VXLAN.

Weave's default, its bridge type `bridged_fastdp`. On node1, which is 192.168.56.1 and has 10.32.0.0/24 of the pods'
10.32.0.0/12:

    pod eth0 10.32.0.2/12 - vethwepl... [weave 10.32.0.1/12] vethwe-bridge - vethwe-datapath [datapath] vxlan-6784
      - eth0 - UDP 6784 to node2

    ip -d link show                  weave, a bridge; datapath, of openvswitch; its ports vethwe-datapath, vxlan-6784
    ovs-dpctl show                   the datapath's ports, by number
    ovs-dpctl dump-flows             the flows with their matches, actions and packet counts
    tcpdump -ni eth0 udp port 6784   VXLAN, TTL 64, don't fragment, without a UDP checksum
    iptables-save; ipset save        the rules and sets of policies and masquerading

All pods are on-link for each other, also across nodes: they use ARP, and there are no routes. The datapath has one flow
for each MAC address on another node, one for broadcast frames, which go to all nodes, and two for each node that frames
come from. A flow sets the VNI to sender and receiver: every peer has a number of 12 bits, and the VNI has the sender's
in its lower and the receiver's in its upper half. Frames from a peer go only to the bridge, so there are no loops. No
Open vSwitch daemon runs.

`weave` is the pods' gateway. Packets to destinations that are not pods, including nodes, get their node's address
(WEAVE, in the nat table). Pods' MTU is 1376, Weave's default, or the fabric's less 50 bytes if that is smaller.

Bridged frames traverse iptables, which Weave's policies use. No policy selects a pod here, so each pod is in the sets
that WEAVE-NPC-DEFAULT and WEAVE-NPC-EGRESS-DEFAULT accept; other packets are dropped.
"""

from collections.abc import Iterator

from testbed.designs.attachment import Delivers
from testbed.designs.presets.weave import bridge
from testbed.designs.presets.weave.preset import peer_name, preset
from testbed.designs.transport import Joining, Leg, Transport, less, others
from testbed.designs.transports.overlay import VXLAN_HEADERS
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.naming import mac_address
from testbed.plan.objects import Flow, Plan
from testbed.plan.pods import POD_INTERFACE
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec

UNLIKE = """
Unlike weaver, which has a control connection with each peer (TCP 6783), there is none here.
Unlike weaver, which adds a flow for two MAC addresses on their first frame, and removes it when it is not used, the
testbed adds all flows at the start, by destination address only. Frames to MAC addresses that are not in the plan are
dropped.
Unlike weaver, which has the datapath create `vxlan-6784`, the testbed creates the device and adds it as a port of type
netdev, as Open vSwitch itself does today.
Unlike in Weave, whose peers choose their numbers at random, numbers are allocated in order, at first that of the
topology.
Unlike in Weave, where frames with the MTU fail on a fabric with a smaller MTU, so that sleeve is used, pods' MTU fits
the fabric.
"""
"""Departures from Weave of the fast data path, encrypted or not."""
PORT = 6784
DATAPATH, BRIDGE_END, DEVICE = "datapath", "vethwe-datapath", f"vxlan-{PORT}"
OWN_PORT, BRIDGE_PORT, TUNNEL_PORT = 0, 1, 2
"""Port numbers of the datapath: its own device, the bridge, and the tunnel."""
DEVICE_MTU = 65485
"""The maximum of a VXLAN device over IPv4; the pods' devices limit the frames."""
TO_ONE, TO_MANY = "00:00:00:00:00:00/01:00:00:00:00:00", "01:00:00:00:00:00/01:00:00:00:00:00"
"""Matches of unicast and of multicast or broadcast MAC addresses, by the bit sent first."""
_TTL = 64


def join(joining: Joining) -> None:
    draft, layout = joining.draft, joining.layout
    for node in layout.nodes:
        draft.veth((node.name, bridge.OVERLAY_PORT), (node.name, BRIDGE_END), joining.mtu, a_master=bridge.BRIDGE)
        space = draft[node.name]
        space.vxlan(DEVICE, DEVICE_MTU, 0, PORT, None, external=True)
        space.datapath(DATAPATH, joining.mtu, (BRIDGE_END, DEVICE), flows(layout, node))


def number(node: NodePlace) -> int:
    """The 12-bit number of a peer."""
    return node.number + 1


def vni(source: NodePlace, target: NodePlace) -> int:
    return number(source) | number(target) << 12


def flows(layout: Layout, node: NodePlace) -> Iterator[Flow]:
    """The flows of a node's datapath, in the format of ovs-dpctl(8)."""
    flooding = []
    for peer in others(layout, node):
        ends = f"tun_id=0x{vni(node, peer):x},src={node.address(4)},dst={peer.address(4)}"
        sent = f"set(tunnel({ends},ttl={_TTL},flags(df|key))),{TUNNEL_PORT}"
        flooding.append(sent)
        for mac in (peer_name(peer), *(mac_address(place.pod.id, POD_INTERFACE) for place in peer.pods)):
            yield Flow(f"in_port({BRIDGE_PORT}),eth(dst={mac})", sent)
        ends = f"tun_id=0x{vni(peer, node):x},src={peer.address(4)},dst={node.address(4)}"
        received = f"tunnel({ends},ttl=0/0),in_port({TUNNEL_PORT})"
        yield Flow(f"{received},eth(dst={TO_ONE})", f"{BRIDGE_PORT}")
        yield Flow(f"{received},eth(dst={TO_MANY})", f"{BRIDGE_PORT},{OWN_PORT}")
    yield Flow(f"in_port({BRIDGE_PORT}),eth(dst={TO_MANY})", ",".join([*flooding, f"{OWN_PORT}"]))


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    ends = str(one.address(4)), str(other.address(4))
    return Leg(DEVICE, Tunnel(f"VXLAN {vni(one, other)}", *ends, PORT), 4)


TRANSPORT = Transport(
    name="weave-fastdp",
    summary="frames inside UDP (VXLAN), by an Open vSwitch datapath in the kernel",
    like=("Weave Net",),
    needs=("vxlan", "openvswitch"),
    takes=frozenset({Delivers.FRAMES}),
    join=join,
    leg=_leg,
    room=less(VXLAN_HEADERS),
    any_family=True,
    pod_families=(4,),
    outer_families=(4,),
)

PRESET = preset(
    "fastdp",
    bridge.attachment(checksums=True),
    TRANSPORT,
    "Weave Net's default: one Ethernet of all pods, frames in VXLAN by an Open vSwitch datapath",
    __doc__,
    UNLIKE,
    programs=("ovs-dpctl",),
)
