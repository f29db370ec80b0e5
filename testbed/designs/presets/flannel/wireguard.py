"""flannel-wireguard: packets between nodes are encrypted and authenticated by WireGuard.

    pod eth0 10.244.0.2/24 - veth [cni0 10.244.0.1/24] node1 [flannel-wg 10.244.0.0/32] - eth0 - UDP 51820 to node2

    wg show flannel-wg     peer: KEY, endpoint: 192.168.56.2:51820, allowed ips: 10.244.1.0/24
    ip route               10.244.0.0/16 dev flannel-wg

Every other node is a peer, and one route covers all pods; WireGuard selects the peer by its allowed IPs. With IPv6
there is a second device, `flannel-wg-v6`, which listens on 51821 (Flannel's mode `separate`). Pods' MTU is 80 bytes
less than the fabric's, as IPv6 needs; IPv4 needs 60.

Nodes' own addresses are not allowed IPs. Packets from a pod to another node bypass the tunnel, unencrypted, with their
node's address as source; packets from a node to a pod have the address of its `flannel-wg`.

The keys are created with the lab. CNI plugins and iptables rules are those of `flannel-vxlan`.

Unlike flanneld, which keeps its key in `/run/flannel/wgkey`, the testbed passes it to the kernel only.
"""

from dataclasses import replace
from functools import partial

from testbed.designs.presets.flannel.preset import preset
from testbed.designs.transports import wireguard
from testbed.plan.addressing import Layout

DEVICES = {4: "flannel-wg", 6: "flannel-wg-v6"}
OVERHEAD = 80


def _room(fabric_mtu: int, layout: Layout) -> int:
    return fabric_mtu - OVERHEAD


PRESET = preset(
    "wireguard",
    replace(
        wireguard.TRANSPORT,
        join=partial(wireguard.join, devices=DEVICES, of_nodes=False),
        leg=partial(wireguard.leg, devices=DEVICES),
        room=_room,
        any_family=False,
    ),
    "Flannel with WireGuard: flannel-wg with every other node as a peer",
    __doc__,
)
