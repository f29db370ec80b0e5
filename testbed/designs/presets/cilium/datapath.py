"""The state that Cilium's agent creates on a node in every mode: `cilium_host`, programs on devices, and their maps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from testbed.designs.presets import pages
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
Unlike in a cluster, no agent runs that watches an API server: everything is written when the lab comes up, with
deterministic identities and endpoint ids. Pods are attached without the CNI plugin `cilium-cni`. Nodes have no endpoint
for health checks.
Unlike Cilium, there are no policies, no connection tracking and no services: all identities may talk to each other.
Unlike Cilium, endpoint routes (one per lxc device), egress gateway, Geneve and encryption are not supported. The
routing rules for proxies (priority 9) and for tables of single endpoints (20 and 111) are never present.
Unlike Cilium, which allocates a free address of the share for the router, the presets use the first one.
Unlike Cilium with host routing in eBPF, which also masquerades in eBPF, packets to destinations outside the cluster
traverse the stack, which masquerades by iptables.
Unlike Cilium in IPv6, a packet whose hop limit is exceeded is dropped and counted, without an ICMP message. If pods
have veth pairs, NDP requests of a pod are answered for every address, not only for the router's.
Unlike Cilium with its own kube-proxy or host firewall, no program is attached to eth0's egress.
Unlike Cilium since 1.16, which uses tcx links if the kernel supports them, programs are attached as clsact filters of
tc, except on netkit devices.
Unlike Cilium, programs count the packets that each endpoint sends and receives (map `endpoint_metric`).
Unlike Cilium, which compiles one object file per device, all programs come from one object file.
"""
UNLIKE += pages.WITHOUT_IPV6
"""Departures from Cilium that all presets share."""
SOURCE = "cilium"
HOST_DEVICE, NET_DEVICE, TUNNEL_DEVICE = "cilium_host", "cilium_net", "cilium_vxlan"
PROGRAMS = ("clang", "bpftool", "iptables", "ip6tables", "ipset")
"""System programs that a lab needs."""
LOCAL_PRIORITY = 100
"""Priority of the rule for a node's own addresses, after the priorities of rules for proxies."""
_SETS = {4: ("cilium_node_set_v4", "inet"), 6: ("cilium_node_set_v6", "inet6")}
"""Name and family of the set of nodes' addresses."""


@dataclass(frozen=True)
class Agent:
    """The agent on each node, with its configuration."""

    tunnel: bool = False
    """Whether a tunnel leads to pods of other nodes."""
    legacy: bool = False
    """Whether the node's stack forwards packets between nodes."""
    netkit: bool = False

    def __call__(self, joining: Joining) -> None:
        pods = (place.pod for node in joining.layout.nodes for place in node.pods)
        known = maps.identities(pods, joining.draft.numbers)
        for node in joining.layout.nodes:
            self._set_up(joining, node, known)

    def _set_up(self, joining: Joining, node: NodePlace, known: Mapping[str, int]) -> None:
        draft, layout, space = joining.draft, joining.layout, joining.draft[node.name]
        draft.veth((node.name, HOST_DEVICE), (node.name, NET_DEVICE), joining.mtu, arp=False)
        for dev in (HOST_DEVICE, NET_DEVICE) if 4 in layout.families else ():
            space.sysctl(f"net/ipv4/conf/{dev}/rp_filter", 0, dev=dev)
            space.sysctl(f"net/ipv4/conf/{dev}/accept_local", 1, dev=dev)
        for router, cidr in zip(router_addresses(node), node.pod_cidrs, strict=True):
            space.address(HOST_DEVICE, router)
            if router.version == 4:  # For IPv6 the kernel adds this route with the address.
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
        """A route through `cilium_host`. IPv6 does not accept a node's own address as next hop."""
        own = next(router.ip for router in router_addresses(node) if router.version == to.version)
        space.route(to, HOST_DEVICE, via=own if to.version == 4 else None, source=own)

    def _hooks(self, node: NodePlace) -> Iterator[BpfHook]:
        yield BpfHook(HOST_DEVICE, "egress", "cil_from_host")
        for dev in (HOST_DEVICE, NET_DEVICE):
            yield BpfHook(dev, "ingress", "cil_to_host")
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
            note = f"{name}, endpoint {place.number}"
            for address in place.addresses:
                yield maps.endpoint(address.ip, indices[dev], place.number, known[name], *macs, dev, note)
        for other in layout.nodes:
            yield from self._ipcache(layout, other, other is node, known)

    def _ipcache(self, layout: Layout, node: NodePlace, is_own: bool, known: Mapping[str, int]) -> Iterator[BpfEntry]:
        """Entries of `cilium_ipcache` on one node for the addresses of `node`; `is_own` if these are the same."""
        identity = maps.HOST if is_own else maps.REMOTE_NODE
        ports = (address for port in node.ports for address in port.addresses)
        for own in dict.fromkeys(item.ip for item in (*node.addresses, *ports)):
            yield maps.location(ip_network(own), identity, None)
        for router, cidr in zip(router_addresses(node), node.pod_cidrs, strict=True):
            is_far = self.tunnel and not is_own
            end = node.address(outer_family(cidr.version, layout)) if is_far else None
            yield maps.location(router.network, identity, end)
            for place in node.pods:
                for address in place.addresses:
                    if address.version == cidr.version:
                        yield maps.location(alone(address).network, known[place.pod.id], end)
            if end:
                yield maps.location(cidr, maps.WORLD, end)


def _masquerade(space: SpaceDraft, layout: Layout, node: NodePlace) -> None:
    """Masquerades packets from pods to destinations that are neither pods nor nodes, so that replies reach the node."""
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
