"""weave-fastdp-encrypted: Weave Net's fast data path, whose packets the kernel encrypts by ESP in transport mode.

All is as in `weave-fastdp`, and between each two nodes there are two security associations besides, one each way, with
AES-GCM (RFC 4106), keys of 256 bits and extended sequence numbers. What they are used for is decided by marks:

    iptables-save -t mangle          WEAVE-IPSEC-OUT marks UDP to port 6784 of a peer with 0x20000
    ip xfrm policy                   what has that mark is to be encrypted
    ip xfrm state                    the associations and their keys
    iptables-save -t filter          what has the mark and is not encrypted is not sent; WEAVE-IPSEC-IN drops UDP to
                                     port 6784 that was not marked as it came in encrypted (by its like in mangle)
    tcpdump -ni eth0 esp             what is seen of it on the fabric

ESP adds a header (8 bytes), a counter (8), padding to four bytes with its length and the next header (2 to 5), and a
tag (16), beside VXLAN's 50. Weave's MTU of 1376 has room for them where the fabric's is 1464 or more.

Unlike in Weave, keys are random, instead of made of a password; they are made with the lab.
Unlike in Weave, security parameter indexes are numbered, and a policy names its association by a request number, which
is the same as its index.
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
    summary="frames inside UDP (VXLAN) inside ESP, by a datapath of Open vSwitch in the kernel",
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
