"""cilium-native: Cilium with native routing and eBPF host routing. Packets between pods skip the node's stack.

    pod eth0 -- lxcX [cil_from_container] - eth0 ~~ fabric ~~ eth0 [cil_from_netdev] - pod eth0

On each node:

- each pod has eth0 with its address alone (/32), a route to the router address, and a default route by way of it; the
  node's end of its veth pair is `lxc` and a hash. `tc filter show dev lxcX ingress` names the program on it;
- `cilium_host` and `cilium_net`, a pair without ARP, of which `cilium_host` has the router address, the first one of
  the node's share. The node's own packets to its pods go out there: `10.244.0.0/24 via 10.244.0.1 dev cilium_host`;
- a route for each other node's share by way of that node (auto-direct-node-routes). Nodes are in one subnet;
- programs, compiled from `testbed/bpf/cilium.c`, pinned in `/sys/fs/bpf/cilium`: `cil_from_container` on every lxc
  device, `cil_from_netdev` on eth0, `cil_from_host` and `cil_to_host` on cilium_host;
- maps, pinned in `/sys/fs/bpf/tc/globals`, shared by all programs of the node: `cilium_lxc` (its own addresses and
  endpoints), `cilium_ipcache` (the identity behind every address of the cluster), `cilium_metrics` (what was forwarded
  and dropped, and why). `testbed exec node1 -- bpftool map dump pinned /sys/fs/bpf/tc/globals/cilium_lxc` shows one,
  `testbed inspect --counters` reads those that count;
- the rule for the local table at priority 100 instead of 0; rp_filter 0;
- iptables masquerades what pods send to whoever is neither pod nor node.

A packet to a pod of the same node is put straight into that pod's namespace (bpf_redirect_peer), with one hop less to
live. One to another node leaves by the device and next hop that the node's routes say (bpf_fib_lookup), to the MAC
address that its neighbour table says (bpf_redirect_neigh); there the program on eth0 puts it into the pod. Neither
node's stack sees it: no routing, no iptables, no connection tracking. A packet to the node itself, or to anybody whom
`cilium_ipcache` does not know, is the stack's.

Pods of one namespace with the same labels share an identity, numbered from 256; 1 to 8 are reserved.

Unlike Cilium, which without auto-direct-node-routes leaves pods' ranges to the fabric's routers, or to BGP, nodes have
a route for each other one, and have to be neighbours.
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
    summary="eBPF programs put pods' packets into pods and onto the fabric, past the node's stack",
    like=("Cilium with routing-mode=native and eBPF host routing",),
    agent_knows_pods=True,
    agent=Agent(),
    also_needs=("masquerade", "ipset"),
    programs=PROGRAMS,
    page=pages.whole(__doc__, UNLIKE),
)
