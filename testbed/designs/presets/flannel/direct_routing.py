"""flannel-direct-routing: `flannel-vxlan` with `DirectRouting`: no tunnel between nodes that are neighbours.

    ip route        10.244.1.0/24 via 192.168.1.2 dev eth0                (node2 is on the same subnet)
                    10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink     (node3 is behind a router)

To a node that is reached without a gateway there is the route that `host-gw` would have, and no neighbour or forwarding
entry; to any other one there are the three entries of `flannel-vxlan`. The device `flannel.1` is there in any case, and
pods have its MTU, also among neighbours.

Unlike flanneld, which asks the kernel whether a node is reached without a gateway when that node is registered, the
testbed knows it of the topology, and writes all when the lab comes up.
Unlike flanneld, which picks a random MAC address for `flannel.1`, the testbed derives it from the node's name.
Unlike flanneld, which takes off 50 bytes for IPv6 as well, the testbed takes off 70, as IPv6's longer header needs.
"""

from testbed.designs.presets.flannel.preset import preset
from testbed.designs.presets.flannel.vxlan import TRANSPORT

PRESET = preset(
    "direct-routing",
    TRANSPORT,
    "Flannel with VXLAN between subnets, and plain routes inside of them",
    __doc__,
    mode="cross-subnet",
)
