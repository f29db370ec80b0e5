"""What kube-router leaves on every node besides routes: sets of addresses, masquerading, and the chains of policies."""

from testbed.designs.presets.kube_router import policies, routing
from testbed.designs.transport import Joining
from testbed.plan.addressing import Layout

POD_SUBNETS, NODE_IPS = "kube-router-pod-subnets", "kube-router-node-ips"


def run(joining: Joining, overlay: routing.Overlay) -> None:
    """Adds it to the draft."""
    layout = joining.layout
    for number, node in enumerate(layout.nodes):
        space = joining.draft[node.name]
        for family in sorted(cidr.version for cidr in layout.pod_cidrs):
            space.firewall("ipset", sets(layout, family))
            text = policies.rules(node, family) + masquerading(family)
            space.firewall("iptables" if family == 4 else "ip6tables", text)
        routing.run(space, layout, node, number, overlay)


def _named(name: str, family: int) -> str:
    return name if family == 4 else f"inet6:{name}"


def sets(layout: Layout, family: int) -> str:
    """All pods' ranges, and all nodes' addresses, of one family."""
    inet = "inet" if family == 4 else "inet6"
    pods, nodes = (_named(name, family) for name in (POD_SUBNETS, NODE_IPS))
    ranges = [cidr for node in layout.nodes for cidr in node.pod_cidrs if cidr.version == family]
    lines = [
        f"create {pods} hash:net family {inet} hashsize 1024 maxelem 65536 timeout 0",
        *(f"add {pods} {cidr} timeout 0" for cidr in ranges),
        f"create {nodes} hash:ip family {inet} hashsize 1024 maxelem 65536 timeout 0",
        *(f"add {nodes} {node.address(family)} timeout 0" for node in layout.nodes),
    ]
    return "\n".join([*lines, ""])


def masquerading(family: int) -> str:
    """What pods send to neither pods nor nodes comes from their node's address."""
    pods, nodes = (_named(name, family) for name in (POD_SUBNETS, NODE_IPS))
    return f"""*nat
-A POSTROUTING -m set --match-set {pods} src -m set ! --match-set {pods} dst \
-m set ! --match-set {nodes} dst -j MASQUERADE --random-fully
COMMIT
"""
