"""weave-sleeve: Weave Net without the fast data path. A program on each node carries frames to the others, in UDP.

It is what Weave falls back to where the kernel has no Open vSwitch, or packets of its fast data path do not come
through: Weave's bridge type `bridge`. On node1, which is 192.168.56.1 and has 10.32.0.0/24 of the pods' 10.32.0.0/12:

    pod eth0 10.32.0.2/12 - vethwepl... [weave 10.32.0.1/12] vethwe-bridge - vethwe-pcap - program - UDP 6783 to node2

    ip -d link show weave                   the bridge; its MAC address is the node's name among its peers
    bridge link                             its ports: vethwepl... for each pod, and vethwe-bridge
    tcpdump -ni vethwe-pcap                 what goes to other nodes, and comes from them, frame by frame
    tcpdump -nXi eth0 udp port 6783         the same in datagrams: a name, then for each frame two names and a length
    iptables-save; ipset save               who may send and receive, and who is masqueraded

To a pod all others are neighbours, on its own node or not: it asks for them by ARP, and there are no routes. The
program takes up what the bridge sends to `vethwe-bridge`, and learns from what it receives which MAC address is behind
which peer; what is for nobody it knows goes to all. Every frame crosses into user space and back on both nodes. It is
`testbed/programs/sleeve.py`, whose text describes the datagrams.

Pods have `weave` as their way out: to anything that is not a pod, nodes too, their packets come from their node's
address (WEAVE, in the nat table). Their MTU is 1376, Weave's own, or what is left of the fabric's less 62 bytes. A
program that captures frames wants them whole: pods and `weave` compute checksums themselves and send no large segments.

Frames that are bridged pass iptables, which is how Weave's policies work. No policy selects any pod here, so that each
is in the sets that WEAVE-NPC-DEFAULT and WEAVE-NPC-EGRESS-DEFAULT let through; what is in none is dropped.

Unlike in Weave, where peers are connected by TCP (port 6783) in any case, there is no TCP here without a password.
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
Unlike Weave's, which is Go on several threads, the program is in Python on one, and slower.
Unlike Weave's, which tries how large datagrams may be with frames of that size (PMTU), and whether fragments arrive,
the program goes by what the kernel knows of the path's MTU, and takes fragments for granted.
Unlike in Weave, where a smaller fabric needs WEAVE_MTU to be set, or its ICMP errors to be heard, pods' MTU fits it.
Unlike in Weave, `vethwe-bridge` computes checksums as well, in case a node forwards what others have left them out of.
"""
"""In what sleeve is, encrypted or not."""
PORT = 6783
PROGRAM = "sleeve"
CAPTURED = "vethwe-pcap"
PEERS = "/run/weave/peers"
"""The node and its peers, by name and address."""
PASSWORD = "WEAVE_PASSWORD"
"""The environment variable by which Weave is told what to encrypt with."""
_NAME, _LENGTH, _ETHERNET, _NUMBER, _TAG = 6, 2, 14, 8, 16


def transport(encrypts: bool) -> Transport:
    """Frames inside UDP, by a program in user space."""
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
                    # Isolated; only PyNaCl is among the site's packages, without which a Python starts in 15 ms.
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
        summary=f"frames inside UDP, by a program in user space{', encrypted' if encrypts else ''}",
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
    "Weave Net's tunnel in user space: frames of one Ethernet of all pods, inside UDP",
    __doc__,
    UNLIKE,
)
