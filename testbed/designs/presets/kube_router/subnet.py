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
the chain of the pod that it is from, and of the one that it is for. There are no policies here, so all may pass.

Unlike kube-router, which has GoBGP in it, BIRD speaks BGP here: what Debian has of GoBGP is a daemon that knows routes
without writing them into the kernel, which kube-router does itself with what its copy tells it.
Unlike kube-router's routes, which have the protocol number 17, BIRD's have 12, `proto bird`.
Unlike kube-router, BIRD waits for a second between two tries to reach a peer that is not there yet.
Unlike kube-router 2, which leaves pods the whole MTU and has them find out by ICMP that a tunnel has less, pods have
what fits through the tunnels, if there are any, as kube-router 1 had it with `--auto-mtu`.
Unlike kube-router, whose names of pods' chains have the time in their hash, the testbed makes them of the pod's name.
Unlike kube-router's IPv6 tunnels, which carry IPv6 alone, the testbed's would carry IPv4 as well.
Unlike kube-router, nobody writes a pod's chain anew when `testbed cni` has given the pod another address.
Unlike kube-router with its service proxy on, there are no Services here, and none of its IPVS.
"""

from testbed.designs.presets.kube_router.preset import preset
from testbed.designs.presets.kube_router.routing import Overlay

PRESET = preset(
    "kube-router",
    Overlay(),
    "kube-router: kube-bridge, routes by BGP, IP in IP where a router is between nodes",
    __doc__,
)
