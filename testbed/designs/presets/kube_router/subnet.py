"""kube-router: nodes announce their pods' ranges by BGP; between neighbours there is no tunnel.

    pod eth0 10.244.0.2/24 - veth [kube-bridge 10.244.0.1/24] node1 - eth0 - node2

    ip route            10.244.1.0/24 via 192.168.56.2 dev eth0 proto bird

and to a node behind a router, 192.168.1.1 seen from 192.168.0.1:

    ip -d link          tun-ID: ipip remote 192.168.1.1 local 192.168.0.1, mtu 1480
    ip route            10.244.1.0/24 dev tun-ID proto bird src 192.168.0.1
    ip rule             32765: from 10.244.0.0/24 lookup kube-router
    ip route ls t 77    192.168.1.1 dev tun-ID

ID is the start of the SHA-256 of the other node's address without its dots. By the rule and its table, pods also reach
the other node itself through the tunnel; its answers can return only through the tunnel.

All nodes are in one autonomous system, 64512, and have a session with each other node. A node announces only its own
pods' range. `testbed exec node1 -- birdc show protocols` shows the sessions, `birdc show route` the learned routes.
When the BIRD of a node ends, its peers withdraw its routes.

The CNI plugin `bridge` attaches pods to `kube-bridge`, with addresses from `host-local` and a default route. Packets
from pods to pods and nodes keep their source; others get the node's address, by one rule that matches two sets: `ipset
list kube-router-pod-subnets`, `ipset list kube-router-node-ips`. `bridge-nf-call-iptables` is on, so that packets
between pods of one bridge traverse the filter too: KUBE-ROUTER-FORWARD sends each packet to the chain of its source pod
and of its destination pod.
"""

from testbed.designs.presets.kube_router.preset import preset
from testbed.designs.presets.kube_router.routing import Overlay

PRESET = preset(
    "kube-router",
    Overlay(),
    "kube-router: kube-bridge, routes by BGP, IP in IP if a router is between nodes",
    __doc__,
)
