"""cilium-native-legacy: Cilium with native routing, and with host routing by the node's stack.

    pod eth0 -- lxcX [cil_from_container] - stack - eth0 ~~ eth0 - stack - cilium_host [cil_from_host] - lxcX -- pod

The devices, routes, maps and programs of `cilium-native`, compiled with LEGACY. Cilium uses this mode if the kernel or
the configuration does not allow eBPF host routing (bpf.hostLegacyRouting=true). A packet to another node is passed to
the stack, which routes it through iptables and connection tracking. On the other node the stack routes it to
cilium_host, where the program redirects it to the pod's device. Its TTL decreases by four instead of two.

Between pods of one node, the program on the lxc device redirects packets to the other pod's device, here with
bpf_redirect instead of bpf_redirect_peer. Both modes bypass the stack for these.

Unlike Cilium, whose iptables rules mark and accept pods' packets in several chains, the node has only the rules for
masquerading.
Unlike Cilium, which without auto-direct-node-routes leaves pods' ranges to the fabric's routers, or to BGP, nodes have
a route to each other node and must be neighbours.
"""

from dataclasses import replace

from testbed.designs.presets import pages
from testbed.designs.presets.cilium import native
from testbed.designs.presets.cilium.datapath import UNLIKE, Agent

PRESET = replace(
    native.PRESET,
    name="cilium-native-legacy",
    summary="as cilium-native, but packets between nodes traverse the node's stack and iptables",
    like=("Cilium with routing-mode=native and bpf.hostLegacyRouting=true",),
    agent_knows_pods=True,
    agent=Agent(legacy=True),
    page=pages.whole(__doc__, UNLIKE),
)
