"""flannel-host-gw: no tunnel. Each node has a route to each other node's pods via that node.

    pod eth0 10.244.0.2/24 - veth [cni0 10.244.0.1/24] node1 - eth0 - node2

    ip route        10.244.1.0/24 via 192.168.56.2 dev eth0

One route per node and no device, so pods have the fabric's MTU. All nodes must be neighbours, because the next hop must
be on the node's link.

CNI plugins and iptables rules are those of `flannel-vxlan`: pods' packets to nodes and destinations outside the cluster
have their node's address.

Unlike flanneld, which puts back deleted routes every ten seconds, the testbed does not.
"""

from testbed.designs.presets.flannel.preset import preset
from testbed.designs.transports import host_routes

PRESET = preset(
    "host-gw",
    host_routes.TRANSPORT,
    "Flannel without a tunnel: cni0, and a route to each other node",
    __doc__,
)
