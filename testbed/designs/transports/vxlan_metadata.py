"""vxlan-metadata: one VXLAN device per node without its own VNI or forwarding entries (`external`).

The route to each remote node's pods sets VNI and outer addresses of the encapsulation (a lightweight tunnel). eBPF
programs can set them per packet: Cilium's do, with the sender's identity as VNI. A permanent neighbour entry gives the
inner frame the MAC address of the remote device.
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


_TUNNELS = External("VXLAN", DEVICE, PORT, VNI, _make)

TRANSPORT = Transport(
    name="vxlan-metadata",
    summary="inside UDP (VXLAN), one device per node, encapsulation set by routes",
    like=("Cilium tunnel mode (with routes instead of its programs)", "Antrea and OVN-Kubernetes, by Open vSwitch"),
    needs=("vxlan", "lwtunnel"),
    takes=frozenset({Delivers.PACKETS}),
    join=_TUNNELS.join,
    leg=_TUNNELS.leg,
    room=less(VXLAN_HEADERS),
    parameters=("port", "vni", "mode"),
    any_family=True,
    page=__doc__,
)
