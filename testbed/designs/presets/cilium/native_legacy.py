"""cilium-native-legacy: Cilium with native routing, and with host routing by the node's stack.

    pod eth0 -- lxcX [cil_from_container] - stack - eth0 ~~ eth0 - stack - cilium_host [cil_from_host] - lxcX -- pod

The same devices, routes, maps and programs as `cilium-native`, compiled with LEGACY: what Cilium does where the kernel
or the configuration do not allow more (bpf.hostLegacyRouting=true). A packet to another node is passed to the stack,
which routes it, holds it against iptables, tracks its connection and sends it; at the other end the stack routes it to
cilium_host, where the program puts it into the pod's device. So it has four hops less to live instead of two.

Packets between pods of one node are handed on by the program on the lxc device here too, to the other pod's device
(bpf_redirect instead of bpf_redirect_peer): that is not the stack's business in either mode.

Unlike Cilium, whose iptables rules mark and accept pods' packets in several chains, the node has those for masquerading
alone.
Unlike Cilium, which without auto-direct-node-routes leaves pods' ranges to the fabric's routers, or to BGP, nodes have
a route for each other one, and have to be neighbours.
"""

from dataclasses import replace

from testbed.designs.presets import pages
from testbed.designs.presets.cilium import native
from testbed.designs.presets.cilium.datapath import UNLIKE, Agent

PRESET = replace(
    native.PRESET,
    name="cilium-native-legacy",
    summary="as cilium-native, but between nodes packets take the node's stack and iptables",
    like=("Cilium with routing-mode=native and bpf.hostLegacyRouting=true",),
    agent_knows_pods=True,
    agent=Agent(legacy=True),
    page=pages.whole(__doc__, UNLIKE),
)
