"""geneve: inside UDP with Geneve's header (RFC 8926), by one device that routes tell what to put around packets.

The header is as long as VXLAN's, but has room for options, of which none is used here. The kernel's Geneve device knows
no forwarding entries, so it is either one device for each remote node or, as here, an `external` one.
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


_WAY = External("Geneve", DEVICE, PORT, VNI, _make)

TRANSPORT = Transport(
    name="geneve",
    summary="inside UDP (Geneve), by one device that routes tell what to put around packets",
    like=("Antrea", "OVN-Kubernetes", "Cilium with tunnelProtocol geneve"),
    needs=("geneve", "lwtunnel"),
    takes=frozenset({Delivers.PACKETS}),
    join=_WAY.join,
    leg=_WAY.leg,
    room=less(GENEVE_HEADERS),
    parameters=("port", "vni", "mode"),
    any_family=True,
    page=__doc__,
)
