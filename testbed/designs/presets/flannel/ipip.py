"""flannel-ipip: packets between nodes have an additional IP header (IP in IP), the smallest tunnel.

    pod eth0 10.244.0.2/24 - veth [cni0 10.244.0.1/24] node1 [flannel.ipip 10.244.0.0/32] - eth0 - protocol 4 to node2

    ip -d link show flannel.ipip    ipip remote any local 192.168.56.1, mtu 1480
    ip route                        10.244.1.0/24 via 192.168.56.2 dev flannel.ipip onlink

One device serves all other nodes. It has no remote end; the next hop of the route is the tunnel end. Some kernels also
have a `tunl0` in each namespace, which flanneld does not use; its own device has a local address to distinguish the
two.

The backend supports only IPv4. CNI plugins and iptables rules are those of `flannel-vxlan`.

Unlike flanneld, which puts back deleted routes every ten seconds, the testbed does not.
Unlike flanneld's, this backend does not support `DirectRouting`: neighbours are also reached through the tunnel.
"""

from dataclasses import replace
from functools import partial

from testbed.designs.presets.flannel.preset import preset
from testbed.designs.transports import ipip

DEVICE = "flannel.ipip"

PRESET = preset(
    "ipip",
    replace(
        ipip.TRANSPORT,
        needs=("ipip",),
        join=partial(ipip.join, name=DEVICE),
        leg=partial(ipip.leg, name=DEVICE),
        pod_families=(4,),
    ),
    "Flannel with IP in IP: flannel.ipip, and a route to each other node",
    __doc__,
)
