"""flannel-host-gw: no tunnel. Each node has a route to each other node's pods, by way of that node.

    pod eth0 10.244.0.2/24 - veth [cni0 10.244.0.1/24] node1 - eth0 - node2

    ip route        10.244.1.0/24 via 192.168.56.2 dev eth0

That is all there is: one route a node, and no device, so that pods have the fabric's whole MTU. All nodes have to be
neighbours, as the next hop must be on the node's own link.

The pods are attached by CNI and the rules are those of `flannel-vxlan`: to other nodes and beyond, pods' packets come
from their node's address.

Unlike flanneld, which looks after its routes every ten seconds, the testbed puts back none that has gone.
"""

from testbed.designs.presets.flannel.preset import preset
from testbed.designs.transports import host_routes

PRESET = preset(
    "host-gw",
    host_routes.TRANSPORT,
    "Flannel without a tunnel: cni0, and a route for each other node",
    __doc__,
)
