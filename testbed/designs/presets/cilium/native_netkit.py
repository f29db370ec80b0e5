"""cilium-native-netkit: as `cilium-native`, with netkit devices in place of the veth pairs (bpf.datapathMode=netkit).

    pod eth0 - [cil_from_container] - lxcX node

A netkit pair has no queueing discipline and, in layer 3 mode, no Ethernet addresses: there is no ARP. The program runs
where the pod sends, in the pod's own system call, and before the packet has changed namespaces. It hangs on the primary
device, the node's, by a link that is pinned in `/sys/fs/bpf/cilium/links`; the pod cannot take it away. Between pods of
one node it sends to the other's primary device (bpf_redirect), which is as good as bpf_redirect_peer here, as no packet
waits in a queue between the two.

Unlike Cilium, which has a layer 2 mode of netkit as well (bpf.datapathMode=netkit-l2), it is layer 3 alone here.
Unlike Cilium, which without auto-direct-node-routes leaves pods' ranges to the fabric's routers, or to BGP, nodes have
a route for each other one, and have to be neighbours.
"""

from dataclasses import replace

from testbed.designs.presets import pages
from testbed.designs.presets.cilium import native
from testbed.designs.presets.cilium.datapath import UNLIKE, Agent
from testbed.designs.presets.cilium.endpoints import NETKIT

PRESET = replace(
    native.PRESET,
    name="cilium-native-netkit",
    attachment=NETKIT,
    summary="as cilium-native, with netkit devices instead of veth pairs",
    like=("Cilium with routing-mode=native and bpf.datapathMode=netkit",),
    agent_knows_pods=True,
    agent=Agent(netkit=True),
    page=pages.whole(__doc__, UNLIKE),
)
