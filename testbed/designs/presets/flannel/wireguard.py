"""flannel-wireguard: pods' packets cross the fabric inside WireGuard, encrypted and authenticated.

    pod eth0 10.244.0.2/24 - veth [cni0 10.244.0.1/24] node1 [flannel-wg 10.244.0.0/32] - eth0 - UDP 51820 to node2

    wg show flannel-wg     peer: KEY, endpoint: 192.168.56.2:51820, allowed ips: 10.244.1.0/24
    ip route               10.244.0.0/16 dev flannel-wg

One peer a node, and one route for all pods: to which peer a packet goes WireGuard tells by the addresses that are
allowed to come from it. With IPv6 there is a second device, `flannel-wg-v6`, which listens on 51821 (Flannel's mode
`separate`). A pod's packets have 80 bytes less than the fabric's: what IPv6 outside needs; with IPv4 60 would do.

Nodes' own addresses are not allowed inside. What a pod sends to another node goes around the tunnel, unencrypted, from
its own node's address; what a node sends to a pod comes from its `flannel-wg`.

The keys are made with the lab. The pods are attached by CNI and the rules are those of `flannel-vxlan`.

Unlike flanneld, which keeps its key in `/run/flannel/wgkey`, the testbed gives it to the kernel alone.
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
