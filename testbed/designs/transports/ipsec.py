"""ipsec: VXLAN with its UDP packets encrypted between nodes by ESP in transport mode, with AES-GCM (RFC 4106).

Weave Net encrypts its fast data path in this way. Devices and entries are those of `vxlan`, with a different port. The
kernel has a security policy for UDP to that port, and a security association per direction between two nodes, each with
its own key, created with the lab. Unencrypted packets to the port are dropped.

ESP adds a header (8 bytes), an initialisation vector (8), padding to four bytes with its length and the next header
(2 to 5), and a tag (16), in addition to the 50 or 70 bytes of VXLAN.
"""

from testbed.designs.attachment import Delivers
from testbed.designs.transport import Joining, Leg, Transport, others, outer_families, outer_family, skips
from testbed.designs.transports import vxlan
from testbed.designs.transports.overlay import IP_HEADER, VXLAN_HEADERS
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.objects import Esp, Plan
from testbed.plan.sightings import Tunnel
from testbed.spec.design import TransportSpec

PORT = 4790
"""Not the default port, so that other VXLANs are not affected."""
FIRST_SPI = 0x1000
_HEADER, _COUNTER, _TRAILER, _TAG, _ALIGNMENT = 8, 8, 2, 16, 4


def _with_port(options: TransportSpec) -> TransportSpec:
    return options.model_copy(update={"port": options.port or PORT})


def _join(joining: Joining) -> None:
    options = _with_port(joining.options)
    vxlan.TRANSPORT.join(joining._replace(options=options))
    layout, draft = joining.layout, joining.draft
    for node in layout.nodes:
        for remote in others(layout, node):
            for family in () if skips(layout, options, node, remote) else outer_families(layout):
                draft[node.name].add(
                    Esp(
                        node.address(family),
                        remote.address(family),
                        options.port or PORT,
                        spi_of(node, remote, family),
                        spi_of(remote, node, family),
                    )
                )


def spi_of(source: NodePlace, target: NodePlace, family: int) -> int:
    """The SPI of packets from `source` to `target`, unique per direction and family."""
    return FIRST_SPI + (source.number << 17 | target.number << 1 | (family == 6))


def _leg(plan: Plan, layout: Layout, options: TransportSpec, one: NodePlace, other: NodePlace, family: int) -> Leg:
    outer = outer_family(family, layout)
    ends = str(one.address(outer)), str(other.address(outer))
    return Leg(vxlan.device(options, outer), Tunnel("ESP", *ends, is_opaque=True), outer)


def room(fabric_mtu: int, layout: Layout) -> int:
    """The encrypted part holds UDP, VXLAN, frame and trailer; its length is a multiple of four."""
    rooms = []
    for family in outer_families(layout):
        encrypted = (fabric_mtu - IP_HEADER[family] - _HEADER - _COUNTER - _TAG) // _ALIGNMENT * _ALIGNMENT
        rooms.append(encrypted - _TRAILER - (VXLAN_HEADERS[family] - IP_HEADER[family]))
    return min(rooms)


TRANSPORT = Transport(
    name="ipsec",
    summary="VXLAN inside ESP (AES-GCM), encrypted; keys are created with the lab",
    like=("Weave Net, encrypted", "Antrea with IPsec"),
    needs=("vxlan", "esp"),
    takes=frozenset({Delivers.PACKETS}),
    join=_join,
    leg=_leg,
    room=room,
    parameters=("port", "vni", "mode"),
    any_family=True,
    page=__doc__,
)
