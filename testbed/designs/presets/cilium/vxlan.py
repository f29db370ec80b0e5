"""cilium-vxlan: Cilium in tunnel mode, which is its default: pods' packets travel between nodes inside VXLAN.

    pod eth0 -- lxcX [cil_from_container] - cilium_vxlan ~~ cilium_vxlan [cil_from_overlay] - pod eth0

As `cilium-native`, with these differences on each node:

- `cilium_vxlan`: one device, UDP port 8472, without a network number or forwarding entries of its own (external);
- `cilium_ipcache` says of each address of the cluster which node to tunnel to;
- the routes to other nodes' shares lead to cilium_host, for the node's own packets: `cil_from_host` puts them into the
  tunnel;
- programs on cilium_vxlan: `cil_from_overlay` on its way in, `cil_to_overlay` on its way out.

`cil_from_container` sets the outer addresses and, as the network number (VNI), the identity of the sender
(bpf_skb_set_tunnel_key): `testbed capture` shows it on the fabric. A node is 6, remote-node. The frame inside is the
pod's as it was. At the other end `cil_from_overlay` puts the packet into the pod; one that claims to come from identity
0 or 1 is dropped. Packets lose one hop, where they are put into the pod.

Nodes need not be in one subnet, and the fabric may have another address family than pods.
"""

from dataclasses import replace

from testbed.designs.presets import pages
from testbed.designs.presets.cilium import native, tunnel
from testbed.designs.presets.cilium.datapath import UNLIKE, Agent
from testbed.designs.presets.cilium.tunnel import TRANSPORT, says_who
from testbed.spec.design import TransportSpec

PRESET = replace(
    native.PRESET,
    name="cilium-vxlan",
    transport=TRANSPORT,
    options=TransportSpec(kind=TRANSPORT.name),
    summary="eBPF programs put pods' packets into VXLAN, with the sender's identity as its number",
    like=("Cilium with routing-mode=tunnel",),
    agent_knows_pods=True,
    agent=Agent(tunnel=True),
    labelled=says_who,
    page=pages.whole(__doc__, tunnel.UNLIKE, UNLIKE),
)
