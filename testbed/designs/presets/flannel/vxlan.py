"""flannel-vxlan: Flannel's default. Pods' packets cross the fabric inside VXLAN, by entries known in advance.

On node1, which has 10.244.0.0/24 and is 192.168.56.1; node2 has 10.244.1.0/24 and is 192.168.56.2:

    pod eth0 10.244.0.2/24 - veth [cni0 10.244.0.1/24] node1 [flannel.1 10.244.0.0/32] - eth0 - UDP 8472 to node2

    ip -d link show flannel.1          vxlan id 1 local 192.168.56.1 dev eth0 dstport 8472 nolearning, mtu 1450
    ip neighbour show dev flannel.1    10.244.1.0 lladdr MAC PERMANENT
    bridge fdb show dev flannel.1      MAC dst 192.168.56.2 self permanent
    ip route                           10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink

Three entries for each other node, and none for a pod: who 10.244.1.0 is on the link, where its MAC address is to be
found, and that the pods behind it are reached by way of it. Nothing is flooded or learned. The port is the Linux
kernel's own, not IANA's 4789. `flannel.1` has an address so that what the node itself sends to pods comes from an
address that pods can answer; with its /32 it makes no further route.

A pod's packets have 50 bytes less than the fabric's. With IPv6 there is a second device, `flannel-v6.1`, for packets of
that family, which travel between the nodes' IPv6 addresses.

The pods are attached by CNI, as `testbed exec node1 -- cat /etc/cni/net.d/10-flannel.conflist /run/flannel/subnet.env`
shows. `testbed exec node1 -- iptables-save` shows the rules: a pod's packets to another pod are left as they are; to
anything else, other nodes too, they come from its node's address.

Unlike flanneld, which writes the three entries when another node is registered with its MAC and address, the route
last, and takes them back when that node is gone, the testbed writes those of all nodes when the lab comes up.
Unlike flanneld, which picks a random MAC address for `flannel.1`, the testbed derives it from the node's name.
Unlike flanneld, which takes off 50 bytes for IPv6 as well, the testbed takes off 70, as IPv6's longer header needs.
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
