"""vxlan-metadata: one VXLAN device for all, without a number or forwarding entries of its own (`external`).

The route to each remote node's pods says what to put around their packets: network number, and outer addresses (a
light-weight tunnel). Programs in the kernel can do the same for each packet: Cilium's do, with the sender's identity as
the number. A permanent neighbour entry gives the inner frame the MAC address of the device at the other end.
"""

from testbed.designs.attachment import Delivers
from testbed.designs.transport import Transport, less
from testbed.designs.transports.external import External
from testbed.designs.transports.overlay import VXLAN_HEADERS
from testbed.plan.draft import SpaceDraft

PORT = 8472
VNI = 1
DEVICE = "vxlan_sys"


def _make(space: SpaceDraft, mtu: int, port: int) -> None:
    space.vxlan(DEVICE, mtu, 0, port, None, external=True)


_WAY = External("VXLAN", DEVICE, PORT, VNI, _make)

TRANSPORT = Transport(
    name="vxlan-metadata",
    summary="inside UDP (VXLAN), by one device that routes tell what to put around packets",
    like=("Cilium tunnel mode (with routes in place of its programs)", "Antrea and OVN-Kubernetes, by Open vSwitch"),
    needs=("vxlan", "lwtunnel"),
    takes=frozenset({Delivers.PACKETS}),
    join=_WAY.join,
    leg=_WAY.leg,
    room=less(VXLAN_HEADERS),
    parameters=("port", "vni", "mode"),
    any_family=True,
    page=__doc__,
)
