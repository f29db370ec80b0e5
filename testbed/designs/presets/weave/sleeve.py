"""weave-sleeve: Weave Net without the fast data path. A process on each node carries frames to the others in UDP.

Weave falls back to it if the kernel has no Open vSwitch, or if packets of the fast data path do not arrive: Weave's
bridge type `bridge`. On node1, which is 192.168.56.1 and has 10.32.0.0/24 of the pods' 10.32.0.0/12:

    pod eth0 10.32.0.2/12 - vethwepl... [weave 10.32.0.1/12] vethwe-bridge - vethwe-pcap - process - UDP 6783 to node2

    ip -d link show weave                   the bridge; its MAC address is the node's name among its peers
    bridge link                             its ports: vethwepl... for each pod, and vethwe-bridge
    tcpdump -ni vethwe-pcap                 the frames to and from other nodes
    tcpdump -nXi eth0 udp port 6783         the same in datagrams: a name, then for each frame two names and a length
    iptables-save; ipset save               the rules and sets of policies and masquerading

All pods are on-link for each other, also across nodes: they use ARP, and there are no routes. The process captures the
frames that the bridge sends to `vethwe-bridge`, and learns from received frames which MAC address is behind which peer;
frames to unknown addresses are sent to all peers. Every frame crosses into user space and back on both nodes. The
process is `testbed/programs/sleeve.py`, whose text describes the datagrams.

`weave` is the pods' gateway. Packets to destinations that are not pods, including nodes, get their node's address
(WEAVE, in the nat table). Pods' MTU is 1376, Weave's default, or the fabric's less 62 bytes if that is smaller.
Captured frames must be complete, so checksum and segmentation offload of pods and `weave` are off.

Bridged frames traverse iptables, which Weave's policies use. No policy selects a pod here, so each pod is in the sets
that WEAVE-NPC-DEFAULT and WEAVE-NPC-EGRESS-DEFAULT accept; other packets are dropped.

Unlike in Weave, where peers always have a TCP connection (port 6783), there is no TCP here without a password.
"""

from testbed.designs.attachment import Delivers
from testbed.designs.presets.weave import bridge
from testbed.designs.presets.weave.preset import peer_name, preset
from testbed.designs.transport import Joining, Leg, Transport, others
from testbed.designs.transports.overlay import UDP_HEADERS
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.objects import OWN_PROGRAMS, PYTHON, Plan, Program, Says, Signal
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec

UNLIKE = """
Unlike Weave's, which is in Go with several threads, the process is in Python with one, and slower.
Unlike Weave's, which probes the path MTU (PMTU) with large frames, and whether fragments arrive, the process uses the
kernel's path MTU and assumes that fragments arrive.
Unlike in Weave, where a fabric with a smaller MTU requires WEAVE_MTU or ICMP errors, pods' MTU fits the fabric.
Unlike in Weave, `vethwe-bridge` also computes checksums, in case a node forwards packets without them.
"""
"""Departures from Weave of sleeve, encrypted or not."""
PORT = 6783
PROGRAM = "sleeve"
CAPTURED = "vethwe-pcap"
PEERS = "/run/weave/peers"
"""File with names and addresses of the node and its peers."""
PASSWORD = "WEAVE_PASSWORD"
"""The environment variable of the password in Weave."""
_NAME, _LENGTH, _ETHERNET, _NUMBER, _TAG = 6, 2, 14, 8, 16


def transport(encrypts: bool) -> Transport:
    """Frames inside UDP, by a process in user space."""
    options = ("-I",) if encrypts else ("-I", "-S")

    def join(joining: Joining) -> None:
        draft, layout = joining.draft, joining.layout
        for node in layout.nodes:
            draft.veth(
                (node.name, bridge.OVERLAY_PORT),
                (node.name, CAPTURED),
                joining.mtu,
                a_master=bridge.BRIDGE,
                a_checksums=False,
            )
            peers = [f"{peer_name(peer)}={peer.address(4)}" for peer in (node, *others(layout, node))]
            draft[node.name].file(PEERS, "".join(f"{peer}\n" for peer in peers))
            draft[node.name].add(
                Program(
                    name=PROGRAM,
                    # Isolated; without site packages, which only PyNaCl requires, Python starts in 15 ms.
                    command=(PYTHON, *options, f"{OWN_PROGRAMS}/{PROGRAM}.py", CAPTURED, str(PORT), f"@{PEERS}"),
                    ready=Says(),
                    reload=Signal(),
                    files=(PEERS,),
                    secret=PASSWORD if encrypts else "",
                    devices=(CAPTURED,),
                    port=PORT,
                )
            )

    def leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
        ends = str(one.address(4)), str(other.address(4))
        return Leg(bridge.OVERLAY_PORT, Tunnel("sleeve", *ends, PORT, is_opaque=encrypts), 4)

    inside = _NAME + (_NUMBER + _TAG if encrypts else 0) + _NAME + _NAME + _LENGTH + _ETHERNET
    return Transport(
        name="weave-sleeve-encrypted" if encrypts else "weave-sleeve",
        summary=f"frames inside UDP, by a process in user space{', encrypted' if encrypts else ''}",
        like=("Weave Net",),
        needs=(),
        takes=frozenset({Delivers.FRAMES}),
        join=join,
        leg=leg,
        room=lambda fabric_mtu, _: fabric_mtu - UDP_HEADERS[4] - inside,
        any_family=True,
        pod_families=(4,),
        outer_families=(4,),
    )


PRESET = preset(
    "sleeve",
    bridge.attachment(checksums=False),
    transport(encrypts=False),
    "Weave Net's tunnel in user space: one Ethernet of all pods, frames inside UDP",
    __doc__,
    UNLIKE,
)
