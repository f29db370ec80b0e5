"""flannel-ipip: pods' packets cross the fabric inside one more IP header, the smallest tunnel there is.

    pod eth0 10.244.0.2/24 - veth [cni0 10.244.0.1/24] node1 [flannel.ipip 10.244.0.0/32] - eth0 - protocol 4 to node2

    ip -d link show flannel.ipip    ipip remote any local 192.168.56.1, mtu 1480
    ip route                        10.244.1.0/24 via 192.168.56.2 dev flannel.ipip onlink

One device for all other nodes: it has no remote end, so the next hop of the route is it. Some kernels have a `tunl0` in
each namespace besides; flanneld leaves it alone, and so its own device has a local address, by which the two are told
apart.

This backend knows IPv4 alone. The pods are attached by CNI and the rules are those of `flannel-vxlan`.

Unlike flanneld, which looks after its routes every ten seconds, the testbed puts back none that has gone.
Unlike flanneld's, this backend cannot be told `DirectRouting`: neighbours, too, are reached by the tunnel.
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
    "Flannel with IP in IP: flannel.ipip, and a route for each other node",
    __doc__,
)
