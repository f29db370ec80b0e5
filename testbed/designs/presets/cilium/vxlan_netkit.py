"""cilium-vxlan-netkit: as `cilium-vxlan`, with netkit devices instead of veth pairs (bpf.datapathMode=netkit).

    pod eth0 - [cil_from_container] - cilium_vxlan ~~ cilium_vxlan [cil_from_overlay] - pod eth0

`testbed designs cilium-native-netkit` describes netkit, `testbed designs cilium-vxlan` the tunnel. The MAC addresses of
the inner frame are zero.

Unlike Cilium, which has a layer 2 mode of netkit as well (bpf.datapathMode=netkit-l2), only layer 3 is supported.
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
