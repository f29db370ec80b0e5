"""What Cilium's agent leaves on a node, whatever the mode: `cilium_host`, the programs on devices, and their maps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from testbed.designs.presets.cilium import maps
from testbed.designs.presets.cilium.endpoints import host_end, router_addresses
from testbed.designs.transport import Joining, others, outer_family
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.draft import SpaceDraft
from testbed.plan.naming import mac_address
from testbed.plan.objects import LOCAL_TABLE, BpfEntry, BpfHook, RoutingRule
from testbed.plan.pods import POD_INTERFACE, alone
from testbed.plan.rulesets import Set, iptables
from testbed.spec.types import Network

UNLIKE = """
Unlike in a cluster, no agent runs that watches an API server: all is known and written when the lab comes up, numbers
follow from that, and pods are attached without the CNI plugin `cilium-cni`. No node has an endpoint for health checks.
Unlike Cilium, there are no policies, no connection tracking and no services here: every identity may talk to all.
Unlike Cilium, it can have no endpoint routes (one to each lxc device), no egress gateway, no Geneve and no encryption;
and the rules that lead to proxies (priority 9) and to tables of single endpoints (20 and 111) are never there.
Unlike Cilium, which takes a free address of the share for the router, it is the first one.
Unlike Cilium with host routing in eBPF, which masquerades in eBPF too, packets to whoever is outside take the stack,
which masquerades by iptables.
Unlike Cilium in IPv6, a packet whose hop limit is used up is dropped and counted, without an ICMP message; and where
pods have veth pairs, any address that a pod asks for by NDP is answered, not the router's alone.
Unlike Cilium with its own kube-proxy or host firewall, no program hangs on eth0's way out.
Unlike Cilium since 1.16, which takes tcx links where the kernel has them, programs hang by clsact filters of tc, but
for those on netkit devices.
Unlike Cilium, programs count what each endpoint sends and receives (map `endpoint_metric`).
Unlike Cilium, which keeps them in a file for each device, all programs come from one.
"""
"""In what all presets are."""
SOURCE = "cilium"
HOST_DEVICE, NET_DEVICE, TUNNEL_DEVICE = "cilium_host", "cilium_net", "cilium_vxlan"
PROGRAMS = ("clang", "bpftool", "iptables", "ip6tables", "ipset")
"""Of the system's, that a lab needs."""
LOCAL_PRIORITY = 100
"""Of the rule for a node's own addresses, behind those that rules for proxies would have."""
_SETS = {4: ("cilium_node_set_v4", "inet"), 6: ("cilium_node_set_v6", "inet6")}
"""Of nodes' addresses: name and family of the set."""


@dataclass(frozen=True)
class Agent:
    """What the agent does on each node, with its configuration."""

    tunnel: bool = False
    """Whether pods of other nodes are behind a tunnel."""
    legacy: bool = False
    """Whether the node's stack forwards between nodes."""
    netkit: bool = False

    def __call__(self, joining: Joining) -> None:
        pods = (place.pod for node in joining.layout.nodes for place in node.pods)
        known = maps.identities(pods, joining.draft.numbers)
        for node in joining.layout.nodes:
            self._settle(joining, node, known)

    def _settle(self, joining: Joining, node: NodePlace, known: Mapping[str, int]) -> None:
        draft, layout, space = joining.draft, joining.layout, joining.draft[node.name]
        draft.veth((node.name, HOST_DEVICE), (node.name, NET_DEVICE), joining.mtu, arp=False)
        for dev in (HOST_DEVICE, NET_DEVICE) if 4 in layout.families else ():
            space.sysctl(f"net/ipv4/conf/{dev}/rp_filter", 0, dev=dev)
            space.sysctl(f"net/ipv4/conf/{dev}/accept_local", 1, dev=dev)
        for router, cidr in zip(router_addresses(node), node.pod_cidrs, strict=True):
            space.address(HOST_DEVICE, router)
            if router.version == 4:  # In IPv6 the kernel makes this route of the address.
                space.route(router.network, HOST_DEVICE)
            self._route(space, cidr, node)
        for family in layout.families:
            space.add(RoutingRule(LOCAL_PRIORITY, 4 if family == 4 else 6, LOCAL_TABLE))
        for remote in others(layout, node) if self.tunnel else ():
            for cidr in remote.pod_cidrs:
                self._route(space, cidr, node)
        _masquerade(space, layout, node)
        defines = (name for name in ("tunnel", "legacy", "netkit") if getattr(self, name))
        counts = maps.counts((place.number, place.pod.id) for place in node.pods)
        entries = self._entries(joining, node, known)
        space.bpf(SOURCE, map(str.upper, defines), self._hooks(node), entries, counts)

    def _route(self, space: SpaceDraft, to: Network, node: NodePlace) -> None:
        """By way of the pair that the programs are on. IPv6 takes none of a node's own addresses for a next hop."""
        own = next(router.ip for router in router_addresses(node) if router.version == to.version)
        space.route(to, HOST_DEVICE, via=own if to.version == 4 else None, source=own)

    def _hooks(self, node: NodePlace) -> Iterator[BpfHook]:
        yield BpfHook(HOST_DEVICE, "egress", "cil_from_host")
        yield BpfHook(HOST_DEVICE, "ingress", "cil_to_host")
        for port in node.ports:
            yield BpfHook(port.dev, "ingress", "cil_from_netdev")
        if self.tunnel:
            yield BpfHook(TUNNEL_DEVICE, "ingress", "cil_from_overlay")
            yield BpfHook(TUNNEL_DEVICE, "egress", "cil_to_overlay")
        for place in node.pods:
            yield BpfHook(host_end(place.pod.id), "peer" if self.netkit else "ingress", "cil_from_container")

    def _entries(self, joining: Joining, node: NodePlace, known: Mapping[str, int]) -> Iterator[BpfEntry]:
        draft, layout = joining.draft, joining.layout
        indices = draft.indices(node.name)
        if self.tunnel:
            host_mac = mac_address(node.name, HOST_DEVICE)
            yield maps.config(indices[HOST_DEVICE], host_mac, indices[TUNNEL_DEVICE])
        ports = (address for port in node.ports for address in port.addresses)
        for own in dict.fromkeys(item.ip for item in (*node.addresses, *ports, *router_addresses(node))):
            yield maps.own_address(own)
        for place in node.pods:
            name, dev = place.pod.id, host_end(place.pod.id)
            macs = ("", "") if self.netkit else (mac_address(name, POD_INTERFACE), mac_address(node.name, dev))
            says = f"{name}, endpoint {place.number}"
            for address in place.addresses:
                yield maps.endpoint(address.ip, indices[dev], place.number, known[name], *macs, dev, says)
        for other in layout.nodes:
            yield from self._whereabouts(layout, other, other is node, known)

    def _whereabouts(
        self, layout: Layout, node: NodePlace, is_own: bool, known: Mapping[str, int]
    ) -> Iterator[BpfEntry]:
        """What a node is to know of all that is on another one, or itself."""
        identity = maps.HOST if is_own else maps.REMOTE_NODE
        ports = (address for port in node.ports for address in port.addresses)
        for own in dict.fromkeys(item.ip for item in (*node.addresses, *ports)):
            yield maps.behind(ip_network(own), identity, None)
        for router, cidr in zip(router_addresses(node), node.pod_cidrs, strict=True):
            is_far = self.tunnel and not is_own
            end = node.address(outer_family(cidr.version, layout)) if is_far else None
            yield maps.behind(router.network, identity, end)
            for place in node.pods:
                for address in place.addresses:
                    if address.version == cidr.version:
                        yield maps.behind(alone(address).network, known[place.pod.id], end)
            if end:
                yield maps.behind(cidr, maps.WORLD, end)


def _masquerade(space: SpaceDraft, layout: Layout, node: NodePlace) -> None:
    """Pods' packets to whoever is neither pod nor node get the node's address, so that answers find their way."""
    sets: list[Set] = []
    for cidr, whole in zip(node.pod_cidrs, layout.pod_cidrs, strict=True):
        if cidr.version not in layout.fabric_families:
            continue
        name, family = _SETS[cidr.version]
        items = (item for other in layout.nodes for item in other.addresses if item.version == cidr.version)
        members = tuple(str(item.ip) for item in items)
        sets.append(Set(name, f"hash:ip family {family} hashsize 1024 maxelem 262144", members))
        rules = {
            "POSTROUTING": ["-m comment --comment cilium-feeder -j CILIUM_POST_nat"],
            "CILIUM_POST_nat": [
                f"-s {cidr} -m set --match-set {name} dst -j ACCEPT",
                f"-s {cidr} ! -d {whole} ! -o cilium_+ -j MASQUERADE",
            ],
        }
        space.ruleset("cilium", iptables.tool(cidr.version), iptables.chains("nat", rules))
    if sets:
        space.ruleset("cilium", "ipset", sets=sets)
