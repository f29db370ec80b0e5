"""cilium-native: Cilium with native routing and eBPF host routing. Packets between pods bypass the node's stack.

    pod eth0 -- lxcX [cil_from_container] - eth0 ~~ fabric ~~ eth0 [cil_from_netdev] - pod eth0

On each node:

- each pod has eth0 with its /32 address, a route to the router address, and a default route via it. The node's end of
  the veth pair is named `lxc` and a hash; `tc filter show dev lxcX ingress` shows the program on it;
- `cilium_host` and `cilium_net` are a veth pair without ARP. `cilium_host` has the router address, the first of the
  node's share, and carries the node's own packets to its pods: `10.244.0.0/24 via 10.244.0.1 dev cilium_host`;
- a route to each other node's share via that node (auto-direct-node-routes). Nodes must be in one subnet;
- programs, compiled from `testbed/bpf/cilium.c` and pinned in `/sys/fs/bpf/cilium`: `cil_from_container` on every lxc
  device, `cil_from_netdev` on eth0, `cil_from_host` on cilium_host, `cil_to_host` on cilium_host and cilium_net;
- maps, pinned in `/sys/fs/bpf/tc/globals` and shared by all programs of the node: `cilium_lxc` (the node's own
  addresses and endpoints), `cilium_ipcache` (the identity of every address of the cluster), `cilium_metrics` (forwarded
  and dropped packets, by reason). `testbed exec node1 -- bpftool map dump pinned /sys/fs/bpf/tc/globals/cilium_lxc`
  shows a map, `testbed inspect --counters` the counters;
- the rule for the local table has priority 100 instead of 0; rp_filter is 0;
- iptables masquerades packets from pods to destinations that are neither pods nor nodes.

A packet to a pod of the same node is redirected into that pod's namespace (bpf_redirect_peer); its TTL decreases by
one. A packet to another node is sent to the device and next hop of the node's routes (bpf_fib_lookup) and the MAC
address of its neighbour table (bpf_redirect_neigh); there the program on eth0 redirects it into the pod. It bypasses
both nodes' stacks: no routing, no iptables, no connection tracking. Packets to the node itself, or to addresses that
are not in `cilium_ipcache`, are passed to the stack.

Pods of one namespace with the same labels share an identity, numbered from 256; 1 to 8 are reserved.

Unlike Cilium, which without auto-direct-node-routes leaves pods' ranges to the fabric's routers, or to BGP, nodes have
a route to each other node and must be neighbours.
"""

from testbed.designs.design import Design
from testbed.designs.presets import pages
from testbed.designs.presets.cilium.datapath import PROGRAMS, UNLIKE, Agent
from testbed.designs.presets.cilium.endpoints import VETH
from testbed.designs.transports import TRANSPORTS
from testbed.spec.design import TransportSpec

PRESET = Design(
    name="cilium-native",
    attachment=VETH,
    transport=TRANSPORTS["host-routes"],
    options=TransportSpec(kind="host-routes"),
    summary="eBPF programs forward packets between pods and the fabric, bypassing the node's stack",
    like=("Cilium with routing-mode=native and eBPF host routing",),
    agent_knows_pods=True,
    agent=Agent(),
    also_needs=("masquerade", "ipset"),
    programs=PROGRAMS,
    page=pages.whole(__doc__, UNLIKE),
)
