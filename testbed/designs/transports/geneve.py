"""geneve: Geneve (RFC 8926) inside UDP, with one device per node; routes set the encapsulation.

The header is as long as VXLAN's and can have options; none is used here. The kernel's Geneve device has no forwarding
entries: it needs one device per remote node or, as here, one `external` device.
"""

from testbed.designs.attachment import Delivers
from testbed.designs.transport import Transport, less
from testbed.designs.transports.external import External
from testbed.designs.transports.overlay import GENEVE_HEADERS
from testbed.plan.draft import SpaceDraft

PORT = 6081
VNI = 1
DEVICE = "genev_sys"


def _make(space: SpaceDraft, mtu: int, port: int) -> None:
    space.geneve(DEVICE, mtu, port)


_TUNNELS = External("Geneve", DEVICE, PORT, VNI, _make)

TRANSPORT = Transport(
    name="geneve",
    summary="inside UDP (Geneve), one device per node, encapsulation set by routes",
    like=("Antrea", "OVN-Kubernetes", "Cilium with tunnelProtocol geneve"),
    needs=("geneve", "lwtunnel"),
    takes=frozenset({Delivers.PACKETS}),
    join=_TUNNELS.join,
    leg=_TUNNELS.leg,
    room=less(GENEVE_HEADERS),
    parameters=("port", "vni", "mode"),
    any_family=True,
    page=__doc__,
)
