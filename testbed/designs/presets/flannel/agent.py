"""The state that flanneld creates on every node with every backend: subnet.env and iptables rules."""

from testbed.designs.transport import Joining
from testbed.plan.addressing import NodePlace, at
from testbed.plan.rulesets import iptables
from testbed.spec.types import Network

UNLIKE = """
Unlike in a cluster, no flanneld runs: its state is written once, when the lab comes up. There are no annotations
`flannel.alpha.coreos.com/*`, by which nodes discover each other, and no node is added or taken away later.
Unlike flanneld, which puts back deleted rules every few seconds, the testbed does not; `testbed inspect` shows what is
missing.
Unlike flanneld, which can use nftables instead (`EnableNFTables`), the presets use iptables only.
Unlike Flannel's own, which is in Go, the CNI plugin `flannel` is the testbed's, in Python.
"""
SUBNET_FILE = "/run/flannel/subnet.env"
MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}


def run(joining: Joining) -> None:
    """Adds this state to the draft."""
    layout = joining.layout
    for node in joining.nodes:
        space = joining.draft[node.name]
        space.file(SUBNET_FILE, subnet_env(node, layout.pod_cidrs, joining.mtu))
        for own, network in zip(node.pod_cidrs, layout.pod_cidrs, strict=True):
            space.ruleset("flannel", iptables.tool(own.version), iptables.read(rules(own, network)))


def subnet_env(node: NodePlace, networks: tuple[Network, ...], mtu: int) -> str:
    """The file by which flanneld passes the node's values to the CNI plugin."""
    lines = []
    for own, network in zip(node.pod_cidrs, networks, strict=True):
        family = "" if own.version == 4 else "IPV6_"
        lines += [f"FLANNEL_{family}NETWORK={network}", f"FLANNEL_{family}SUBNET={at(own, 1)}"]
    return "\n".join([*lines, f"FLANNEL_MTU={mtu}", "FLANNEL_IPMASQ=true", ""])


def rules(own: Network, network: Network) -> str:
    """The rules of one family: they accept pods' packets and masquerade those that leave the cluster.

    Packets with the mark 0x4000 are excluded, because kube-proxy masquerades them.
    """
    forwarded = '-m comment --comment "flanneld forward"'
    masked = '-m comment --comment "flanneld masq"'
    return f"""*filter
:FLANNEL-FWD - [0:0]
-A FORWARD {forwarded} -j FLANNEL-FWD
-A FLANNEL-FWD -s {network} {forwarded} -j ACCEPT
-A FLANNEL-FWD -d {network} {forwarded} -j ACCEPT
COMMIT
*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING {masked} -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 {masked} -j RETURN
-A FLANNEL-POSTRTG -s {own} -d {network} {masked} -j RETURN
-A FLANNEL-POSTRTG -s {network} -d {own} {masked} -j RETURN
-A FLANNEL-POSTRTG ! -s {network} -d {own} {masked} -j RETURN
-A FLANNEL-POSTRTG -s {network} ! -d {MULTICAST[own.version]} {masked} -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s {network} -d {network} {masked} -j MASQUERADE --random-fully
COMMIT
"""
