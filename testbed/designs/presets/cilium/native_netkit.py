"""cilium-native-netkit: as `cilium-native`, with netkit devices instead of veth pairs (bpf.datapathMode=netkit).

    pod eth0 - [cil_from_container] - lxcX node

A netkit pair has no queueing discipline and, in layer 3 mode, no Ethernet addresses and no ARP. The program runs when
the pod sends, in the pod's system call, before the packet changes namespaces. It is attached to the primary device, the
node's, by a link that is pinned in `/sys/fs/bpf/cilium/links`; the pod cannot remove it. Between pods of one node it
redirects to the other's primary device (bpf_redirect). This equals bpf_redirect_peer, because no packet waits in a
queue in between.

Unlike Cilium, which has a layer 2 mode of netkit as well (bpf.datapathMode=netkit-l2), only layer 3 is supported.
Unlike Cilium, which without auto-direct-node-routes leaves pods' ranges to the fabric's routers, or to BGP, nodes have
a route to each other node and must be neighbours.
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
