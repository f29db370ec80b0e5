"""flannel-direct-routing: `flannel-vxlan` with `DirectRouting`: no tunnel between neighbouring nodes.

    ip route        10.244.1.0/24 via 192.168.1.2 dev eth0                (node2 is on the same subnet)
                    10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink     (node3 is behind a router)

A node that is reached without a gateway has the route of `host-gw`, and no neighbour or FDB entry; other nodes have the
three entries of `flannel-vxlan`. The device `flannel.1` always exists, and pods have its MTU, also between neighbours.

Unlike flanneld, which asks the kernel whether a node is reached without a gateway when that node is registered, the
testbed derives it from the topology, and writes all entries when the lab comes up.
Unlike flanneld, which picks a random MAC address for `flannel.1`, the testbed derives it from the node's name.
Unlike flanneld, which subtracts 50 bytes for IPv6 as well, the testbed subtracts 70, as IPv6's longer header needs.
"""

from testbed.designs.presets.flannel.preset import preset
from testbed.designs.presets.flannel.vxlan import TRANSPORT

PRESET = preset(
    "direct-routing",
    TRANSPORT,
    "Flannel with VXLAN between subnets, and direct routes within them",
    __doc__,
    mode="cross-subnet",
)
