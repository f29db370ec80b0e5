"""cilium-vxlan-netkit: as `cilium-vxlan`, with netkit devices in place of the veth pairs (bpf.datapathMode=netkit).

    pod eth0 - [cil_from_container] - cilium_vxlan ~~ cilium_vxlan [cil_from_overlay] - pod eth0

What netkit changes is told by `testbed designs cilium-native-netkit`, what differs from Cilium by those of
`cilium-native` and `cilium-vxlan`. The frame inside the tunnel has no MAC addresses but zeros.
"""

from dataclasses import replace

from testbed.designs.presets.cilium import vxlan
from testbed.designs.presets.cilium.datapath import Agent
from testbed.designs.presets.cilium.endpoints import NETKIT

PRESET = replace(
    vxlan.PRESET,
    name="cilium-vxlan-netkit",
    attachment=NETKIT,
    summary="as cilium-vxlan, with netkit devices instead of veth pairs",
    like=("Cilium with routing-mode=tunnel and bpf.datapathMode=netkit",),
    agent=Agent(tunnel=True, netkit=True),
    page=__doc__,
)
