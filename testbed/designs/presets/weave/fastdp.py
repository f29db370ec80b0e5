"""weave-fastdp: Weave Net's fast data path. A datapath of Open vSwitch in the kernel carries frames in VXLAN.

Weave's default, its bridge type `bridged_fastdp`. On node1, which is 192.168.56.1 and has 10.32.0.0/24 of the pods'
10.32.0.0/12:

    pod eth0 10.32.0.2/12 - vethwepl... [weave 10.32.0.1/12] vethwe-bridge - vethwe-datapath [datapath] vxlan-6784
      - eth0 - UDP 6784 to node2

    ip -d link show                  weave, a bridge; datapath, of openvswitch; its ports vethwe-datapath, vxlan-6784
    ovs-dpctl show                   the datapath's ports, by number
    ovs-dpctl dump-flows             what is done to which frames, and how many those were
    tcpdump -ni eth0 udp port 6784   VXLAN, TTL 64, not to be fragmented, without a UDP checksum
    iptables-save; ipset save        who may send and receive, and who is masqueraded

To a pod all others are neighbours, on its own node or not: it asks for them by ARP, and there are no routes. The
datapath has a flow for each MAC address on another node, one for what is for everybody, which goes to all nodes, and
two for each node that frames come from. Each puts around a frame from whom and for whom it is: every peer has a number
of 12 bits, and the network's number (VNI) is the sender's in its lower half and the receiver's in its upper one. What
has come from a peer goes to the bridge alone, so nothing goes in circles. There is no daemon of Open vSwitch.

Pods have `weave` as their way out: to anything that is not a pod, nodes too, their packets come from their node's
address (WEAVE, in the nat table). Their MTU is 1376, Weave's own, or what is left of the fabric's less 50 bytes.

Frames that are bridged pass iptables, which is how Weave's policies work. No policy selects any pod here, so that each
is in the sets that WEAVE-NPC-DEFAULT and WEAVE-NPC-EGRESS-DEFAULT let through; what is in none is dropped.
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
Unlike weaver, which adds a flow for two MAC addresses when their first frame has come up to it, and takes it away again
when it is not used, the testbed has all flows from the start, for the target's address alone. A MAC address that the
plan does not know is thus sent nothing.
Unlike weaver, which has the datapath make `vxlan-6784`, the testbed makes that device first and then a port of it, as
Open vSwitch itself does today; the datapath calls it a port of the kind netdev.
Unlike in Weave, whose peers choose their numbers at random, they are numbered as they come, at first
in the topology's order.
Unlike in Weave, where a smaller fabric makes frames as large as the MTU fail, so that sleeve is used, pods' MTU fits
it.
"""
"""In what the fast data path is, encrypted or not."""
PORT = 6784
DATAPATH, BRIDGE_END, DEVICE = "datapath", "vethwe-datapath", f"vxlan-{PORT}"
OWN_PORT, BRIDGE_PORT, TUNNEL_PORT = 0, 1, 2
"""The datapath's ports: its own device, the bridge's, and the tunnel's."""
DEVICE_MTU = 65485
"""As large as a VXLAN device's can be with IPv4 around it. What a frame may be is decided before."""
TO_ONE, TO_MANY = "00:00:00:00:00:00/01:00:00:00:00:00", "01:00:00:00:00:00/01:00:00:00:00:00"
"""MAC addresses by their first bit that is sent: whether a frame is for several."""
_TTL = 64


def join(joining: Joining) -> None:
    draft, layout = joining.draft, joining.layout
    for node in layout.nodes:
        draft.veth((node.name, bridge.OVERLAY_PORT), (node.name, BRIDGE_END), joining.mtu, a_master=bridge.BRIDGE)
        space = draft[node.name]
        space.vxlan(DEVICE, DEVICE_MTU, 0, PORT, None, external=True)
        space.datapath(DATAPATH, joining.mtu, (BRIDGE_END, DEVICE), flows(layout, node))


def number(node: NodePlace) -> int:
    """By which a peer is known in 12 bits."""
    return node.number + 1


def vni(source: NodePlace, target: NodePlace) -> int:
    return number(source) | number(target) << 12


def flows(layout: Layout, node: NodePlace) -> Iterator[Flow]:
    """Of one node's datapath, in the words in which ovs-dpctl(8) prints them."""
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
    summary="frames inside UDP (VXLAN), by a datapath of Open vSwitch in the kernel",
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
    "Weave Net's default: frames of one Ethernet of all pods, in VXLAN by Open vSwitch's datapath",
    __doc__,
    UNLIKE,
    programs=("ovs-dpctl",),
)
