"""The state that kube-router creates on every node: sets of addresses, masquerading, chains of policies, and routes."""

from testbed.designs.presets.kube_router import policies, routing
from testbed.designs.transport import Joining
from testbed.plan.addressing import Layout
from testbed.plan.rulesets import Chain, Set, iptables

POD_SUBNETS, NODE_IPS = "kube-router-pod-subnets", "kube-router-node-ips"


def run(joining: Joining, overlay: routing.Overlay) -> None:
    """Adds this state to the draft."""
    layout = joining.layout
    for node in joining.nodes:
        space = joining.draft[node.name]
        families = sorted(cidr.version for cidr in layout.pod_cidrs)
        space.ruleset("kube-router", "ipset", sets=(one for family in families for one in sets(layout, family)))
        for family in families:
            chains = (*policies.chains(node, family), masquerading(family))
            space.ruleset("kube-router", iptables.tool(family), chains)
        routing.run(space, layout, node, overlay)


def _named(name: str, family: int) -> str:
    return name if family == 4 else f"inet6:{name}"


def sets(layout: Layout, family: int) -> tuple[Set, ...]:
    """The sets of all pods' ranges and of all nodes' addresses, for one family."""
    inet = "inet" if family == 4 else "inet6"
    pods, nodes = (_named(name, family) for name in (POD_SUBNETS, NODE_IPS))
    ranges = [cidr for node in layout.nodes for cidr in node.pod_cidrs if cidr.version == family]
    kind = f"family {inet} hashsize 1024 maxelem 65536 timeout 0"
    return (
        Set(pods, f"hash:net {kind}", tuple(f"{cidr} timeout 0" for cidr in ranges)),
        Set(nodes, f"hash:ip {kind}", tuple(f"{node.address(family)} timeout 0" for node in layout.nodes)),
    )


def masquerading(family: int) -> Chain:
    """Masquerades packets from pods to destinations that are neither pods nor nodes."""
    pods, nodes = (_named(name, family) for name in (POD_SUBNETS, NODE_IPS))
    leaving = f"-m set --match-set {pods} src -m set ! --match-set {pods} dst -m set ! --match-set {nodes} dst"
    return Chain("nat", "POSTROUTING", last=(f"{leaving} -j MASQUERADE --random-fully",))
