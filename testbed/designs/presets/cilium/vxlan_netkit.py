"""cilium-vxlan-netkit: as `cilium-vxlan`, with netkit devices in place of the veth pairs (bpf.datapathMode=netkit).

    pod eth0 - [cil_from_container] - cilium_vxlan ~~ cilium_vxlan [cil_from_overlay] - pod eth0

What netkit changes is told by `testbed designs cilium-native-netkit`, what the tunnel is by that of `cilium-vxlan`. The
frame inside the tunnel has no MAC addresses but zeros.

Unlike Cilium, which has a layer 2 mode of netkit as well (bpf.datapathMode=netkit-l2), it is layer 3 alone here.
"""

from dataclasses import replace

from testbed.designs.presets import pages
from testbed.designs.presets.cilium import tunnel, vxlan
from testbed.designs.presets.cilium.datapath import UNLIKE, Agent
from testbed.designs.presets.cilium.endpoints import NETKIT

PRESET = replace(
    vxlan.PRESET,
    name="cilium-vxlan-netkit",
    attachment=NETKIT,
    summary="as cilium-vxlan, with netkit devices instead of veth pairs",
    like=("Cilium with routing-mode=tunnel and bpf.datapathMode=netkit",),
    agent_knows_pods=True,
    agent=Agent(tunnel=True, netkit=True),
    page=pages.whole(__doc__, tunnel.UNLIKE, UNLIKE),
)
