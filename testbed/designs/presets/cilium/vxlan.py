"""cilium-vxlan: Cilium in tunnel mode, its default: packets between nodes are encapsulated in VXLAN.

    pod eth0 -- lxcX [cil_from_container] - cilium_vxlan ~~ cilium_vxlan [cil_from_overlay] - pod eth0

As `cilium-native`, with these differences on each node:

- `cilium_vxlan`: one device, UDP port 8472, without its own VNI or forwarding entries (external);
- `cilium_ipcache` contains the node to tunnel to for each address of the cluster;
- the routes to other nodes' shares lead to cilium_host, for the node's own packets: `cil_from_host` sends them into the
  tunnel;
- programs on cilium_vxlan: `cil_from_overlay` on ingress, `cil_to_overlay` on egress.

`cil_from_container` sets the outer addresses and, as the VNI, the sender's identity (bpf_skb_set_tunnel_key);
`testbed capture` shows it on the fabric. A node has identity 6, remote-node. The inner frame is the pod's, unchanged.
On the other node `cil_from_overlay` redirects the packet into the pod and decreases its TTL by one; packets with
identity 0 or 1 are dropped.

Nodes need not be in one subnet, and the fabric may have another address family than pods.
"""

from dataclasses import replace

from testbed.designs.presets import pages
from testbed.designs.presets.cilium import native, tunnel
from testbed.designs.presets.cilium.datapath import UNLIKE, Agent
from testbed.designs.presets.cilium.tunnel import TRANSPORT, labelled
from testbed.spec.design import TransportSpec

PRESET = replace(
    native.PRESET,
    name="cilium-vxlan",
    transport=TRANSPORT,
    options=TransportSpec(kind=TRANSPORT.name),
    summary="eBPF programs encapsulate pods' packets in VXLAN, with the sender's identity as VNI",
    like=("Cilium with routing-mode=tunnel",),
    agent_knows_pods=True,
    agent=Agent(tunnel=True),
    labelled=labelled,
    page=pages.whole(__doc__, tunnel.UNLIKE, UNLIKE),
)
