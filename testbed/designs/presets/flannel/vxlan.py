"""flannel-vxlan: Flannel's default. Packets between nodes are encapsulated in VXLAN, with static entries.

On node1, which has 10.244.0.0/24 and is 192.168.56.1; node2 has 10.244.1.0/24 and is 192.168.56.2:

    pod eth0 10.244.0.2/24 - veth [cni0 10.244.0.1/24] node1 [flannel.1 10.244.0.0/32] - eth0 - UDP 8472 to node2

    ip -d link show flannel.1          vxlan id 1 local 192.168.56.1 dev eth0 dstport 8472 nolearning, mtu 1450
    ip neighbour show dev flannel.1    10.244.1.0 lladdr MAC PERMANENT
    bridge fdb show dev flannel.1      MAC dst 192.168.56.2 self permanent
    ip route                           10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink

There are three entries per remote node, and none per pod: the MAC address of 10.244.1.0, the node behind this MAC
address, and a route to the node's pods via 10.244.1.0. Nothing is flooded or learned. The port is the Linux kernel's
default, not IANA's 4789. `flannel.1` has an address so that the node's own packets to pods have a source that pods can
answer; its /32 adds no further route.

Pods' MTU is 50 bytes less than the fabric's. With IPv6 there is a second device, `flannel-v6.1`, for IPv6 packets,
which travel between the nodes' IPv6 addresses.

Pods are attached by CNI, as `testbed exec node1 -- cat /etc/cni/net.d/10-flannel.conflist /run/flannel/subnet.env`
shows. `testbed exec node1 -- iptables-save` shows the rules: packets between pods are unchanged; packets from pods to
other destinations, including nodes, get their node's address.

Unlike flanneld, which writes the three entries when another node is registered with its MAC and address, the route
last, and takes them back when that node is gone, the testbed writes those of all nodes when the lab comes up.
Unlike flanneld, which picks a random MAC address for `flannel.1`, the testbed derives it from the node's name.
Unlike flanneld, which subtracts 50 bytes for IPv6 as well, the testbed subtracts 70, as IPv6's longer header needs.
"""

from dataclasses import replace
from functools import partial

from testbed.designs.presets.flannel.preset import preset
from testbed.designs.transports import vxlan
from testbed.plan.fabric import UPLINK

TRANSPORT = replace(vxlan.TRANSPORT, join=partial(vxlan.join, dev=UPLINK), any_family=False)

PRESET = preset(
    "vxlan",
    TRANSPORT,
    "Flannel's default: cni0, flannel.1, and three entries for each other node",
    __doc__,
)
