"""kube-router: nodes tell each other by BGP which pods they have; among neighbours there is no tunnel.

    pod eth0 10.244.0.2/24 - veth [kube-bridge 10.244.0.1/24] node1 - eth0 - node2

    ip route            10.244.1.0/24 via 192.168.56.2 dev eth0 proto bird

and to a node behind a router, 192.168.1.1 seen from 192.168.0.1:

    ip -d link          tun-ID: ipip remote 192.168.1.1 local 192.168.0.1, mtu 1480
    ip route            10.244.1.0/24 dev tun-ID proto bird src 192.168.0.1
    ip rule             32765: from 10.244.0.0/24 lookup 77
    ip route ls t 77    192.168.1.1 dev tun-ID

ID is the beginning of the SHA-256 of the other node's address without its dots. By the rule and its table, pods reach
the other node itself through the tunnel as well, so that its answers, which have no other way, find theirs.

All nodes are in one autonomous system, 64512, and each has a session with each other one. A node tells of its own pods'
range alone. `testbed exec node1 -- birdc show protocols` shows the sessions, `birdc show route` what has come. When the
daemon of a node ends, its peers take its routes back.

Pods are attached by the CNI plugin `bridge` to `kube-bridge`, with addresses by `host-local`, and have a default route.
Packets that they send to pods and nodes keep their source; all others come from the node's address, by one rule that
asks two sets: `ipset list kube-router-pod-subnets`, `ipset list kube-router-node-ips`. `bridge-nf-call-iptables` is on,
so that what goes from pod to pod of the same bridge passes the filter, too: KUBE-ROUTER-FORWARD leads each packet to
the chain of the pod that it is from, and of the one that it is for.
"""

from testbed.designs.presets.kube_router.preset import preset
from testbed.designs.presets.kube_router.routing import Overlay

PRESET = preset(
    "kube-router",
    Overlay(),
    "kube-router: kube-bridge, routes by BGP, IP in IP where a router is between nodes",
    __doc__,
)
