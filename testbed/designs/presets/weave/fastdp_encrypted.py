"""weave-fastdp-encrypted: Weave Net's fast data path, encrypted by the kernel with ESP in transport mode.

As `weave-fastdp`, with two security associations between each two nodes, one per direction, with AES-GCM (RFC 4106),
keys of 256 bits and extended sequence numbers. Marks select the packets to encrypt:

    iptables-save -t mangle          WEAVE-IPSEC-OUT marks UDP to port 6784 of a peer with 0x20000
    ip xfrm policy                   packets with this mark are encrypted
    ip xfrm state                    the associations and their keys
    iptables-save -t filter          packets with the mark that are not encrypted are not sent; WEAVE-IPSEC-IN drops UDP
                                     to port 6784 that arrived unencrypted: without the mark that mangle sets on ESP
    tcpdump -ni eth0 esp             the encrypted packets on the fabric

ESP adds a header (8 bytes), an initialisation vector (8), padding to four bytes with its length and the next header
(2 to 5), and a tag (16), in addition to VXLAN's 50. They fit Weave's MTU of 1376 if the fabric's is 1464 or more.

Unlike in Weave, keys are random and created with the lab, instead of derived from a password.
Unlike in Weave, security parameter indexes are allocated in order, and a policy refers to its association by a request
number, which is the same as its index.
"""

from dataclasses import replace

from testbed.designs.presets.weave import bridge, fastdp, rules
from testbed.designs.presets.weave.preset import preset
from testbed.designs.transport import Joining, Leg, others
from testbed.designs.transports import ipsec
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.objects import Esp, Plan
from testbed.plan.rulesets import iptables
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec

MARK = 0x20000
_KEY_BITS, _WINDOW = 256, 256


def _join(joining: Joining) -> None:
    fastdp.join(joining)
    layout = joining.layout
    for node in layout.nodes:
        space, incoming = joining.draft[node.name], []
        for peer in others(layout, node):
            out, back = ipsec.spi_of(node, peer, 4), ipsec.spi_of(peer, node, 4)
            ends = node.address(4), peer.address(4)
            space.add(Esp(*ends, fastdp.PORT, out, back, MARK, _KEY_BITS, _WINDOW))
            incoming.append((str(peer.address(4)), back))
        text = rules.ipsec_rules(node, incoming, fastdp.PORT, MARK)
        space.ruleset("weave", "iptables", iptables.read(text))


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    ends = str(one.address(4)), str(other.address(4))
    return Leg(fastdp.DEVICE, Tunnel("ESP", *ends, is_opaque=True), 4)


TRANSPORT = replace(
    fastdp.TRANSPORT,
    name="weave-fastdp-encrypted",
    summary="frames inside UDP (VXLAN) inside ESP, by an Open vSwitch datapath in the kernel",
    needs=(*fastdp.TRANSPORT.needs, "esp", "esp-marks"),
    join=_join,
    leg=_leg,
    room=ipsec.room,
)

PRESET = preset(
    "fastdp-encrypted",
    bridge.attachment(checksums=True),
    TRANSPORT,
    "Weave Net's fast data path, encrypted by the kernel (ESP)",
    __doc__,
    fastdp.UNLIKE,
    programs=("ovs-dpctl",),
)
