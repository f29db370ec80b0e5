"""Felix' rules in a cluster without policies. Packets traverse them even so.

Each packet from or to a pod is dispatched by its interface's name to the pod's own chain, where the profile of the
pod's namespace accepts new connections. Marks record the decisions so far. IPv4 packets from pods to destinations
outside the pod ranges, including nodes, get their node's address as source (`natOutgoing`), as with Calico's default
pools.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from testbed.designs.attachments.routed import host_end
from testbed.plan.addressing import Layout, NodePlace
from testbed.plan.draft import SpaceDraft
from testbed.plan.rulesets import Chain, Set, iptables
from testbed.spec.topology import Pod

ACCEPT, PASS, FROM_POD = 0x10000, 0x20000, 0x80000
"""Bits of a packet's mark: accepted; passed to the next tier; received from a pod."""
ALL_BITS = 0x1B0000
POD_DEVICES = "cali+"
CHAIN_LENGTH = 28
_IS_ACCEPTED = f"-m mark --mark {ACCEPT:#x}/{ACCEPT:#x}"
MASQUERADED = (4,)
"""The families in which packets from pods to destinations outside the pod ranges get their node's address."""
_IPIP = "ipencap"
Chains = Mapping[str, list[str]]
"""By name of the chain: the rules, each without `-A NAME`."""
_LAST: Mapping[str, Chains] = {
    "filter": {
        "FORWARD": [
            f'-m comment --comment "Policy explicitly accepted packet." {_IS_ACCEPTED} -j ACCEPT',
            f"-j MARK --set-xmark {ACCEPT:#x}/{ACCEPT:#x}",
        ]
    }
}
"""By table: rules appended after those of all others."""


@dataclass(frozen=True)
class Tunnels:
    """The tunnels of a node, which the rules on its own traffic accept."""

    vxlan_port: int = 0
    """0 without VXLAN."""
    has_ipip: bool = False
    wireguard_ports: tuple[tuple[int, int], ...] = ()
    """Family and port."""
    devices: tuple[tuple[int, str], ...] = ()
    """Family and name."""

    def of(self, family: int) -> tuple[str, ...]:
        return tuple(name for version, name in self.devices if version == family)

    def wireguard_port(self, family: int) -> int:
        return dict(self.wireguard_ports).get(family, 0)


def protect(space: SpaceDraft, layout: Layout, node: NodePlace, tunnels: Tunnels) -> None:
    """Adds the sets and rules of a node, for each family of the pods."""
    families = sorted(cidr.version for cidr in layout.pod_cidrs)
    space.ruleset("felix", "ipset", sets=(one for family in families for one in _sets(layout, family, tunnels)))
    for family in families:
        space.ruleset("felix", iptables.tool(family), _chains(node, family, tunnels))


def _sets(layout: Layout, family: int, tunnels: Tunnels) -> Iterator[Set]:
    pools = [str(cidr) for cidr in layout.pod_cidrs if cidr.version == family]
    nodes = [str(node.address(family)) for node in layout.nodes] if family in layout.fabric_families else []
    wanted = {"masq-ipam-pools": pools if family in MASQUERADED else [], "network-ip-pools": pools}
    if tunnels.has_ipip and family == 4:
        wanted["all-hosts-net"] = nodes
    if tunnels.vxlan_port:
        wanted["all-vxlan-net"] = nodes
    kind = "inet" if family == 4 else "inet6"
    for name, members in wanted.items():
        yield Set(_set(family, name), f"hash:net family {kind} hashsize 1024 maxelem 1048576", tuple(members))


def _set(family: int, name: str) -> str:
    return f"cali{family}0{name}"


def _chains(node: NodePlace, family: int, tunnels: Tunnels) -> Iterator[Chain]:
    pods = [place.pod for place in node.pods]
    tables: dict[str, Chains] = {
        "raw": _raw(family, tunnels),
        "mangle": _mangle(),
        "nat": _nat(node, family, tunnels),
        "filter": _filter(family, tunnels) | _endpoints(pods, tunnels),
    }
    for name, chains in tables.items():
        yield from iptables.chains(name, chains, _LAST.get(name))


def _clear(bits: int) -> str:
    return f"-j MARK --set-xmark 0x0/{bits:#x}"


def _set_mark(bits: int) -> str:
    return f"-j MARK --set-xmark {bits:#x}/{bits:#x}"


def _comment(comment: str) -> str:
    return f'-m comment --comment "{comment}"'


def _raw(family: int, tunnels: Tunnels) -> dict[str, list[str]]:
    untracked = [f"-p udp -m udp --dport {tunnels.vxlan_port} -j CT --notrack"] if tunnels.vxlan_port else []
    from_pod = f"-m mark --mark {FROM_POD:#x}/{FROM_POD:#x}"
    return {
        "PREROUTING": ["-j cali-PREROUTING"],
        "OUTPUT": ["-j cali-OUTPUT"],
        "cali-PREROUTING": [
            _clear(ALL_BITS),
            *untracked,
            f"-i {POD_DEVICES} {_set_mark(FROM_POD)}",
            f"{from_pod} -j cali-rpf-skip",
            f"{from_pod} -m rpfilter --validmark --invert -j DROP",
            f"-m mark --mark 0x0/{FROM_POD:#x} -j cali-from-host-endpoint",
            f"{_IS_ACCEPTED} -j ACCEPT",
        ],
        "cali-OUTPUT": [
            _clear(ALL_BITS),
            "-j cali-to-host-endpoint",
            *untracked,
            f"{_IS_ACCEPTED} -j ACCEPT",
        ],
        "cali-rpf-skip": [],
        "cali-from-host-endpoint": [],
        "cali-to-host-endpoint": [],
    }


def _mangle() -> dict[str, list[str]]:
    return {
        "PREROUTING": ["-j cali-PREROUTING"],
        "POSTROUTING": ["-j cali-POSTROUTING"],
        "cali-PREROUTING": [
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            f"{_IS_ACCEPTED} -j ACCEPT",
            "-j cali-from-host-endpoint",
            f"{_comment('Host endpoint policy accepted packet.')} {_IS_ACCEPTED} -j ACCEPT",
        ],
        "cali-POSTROUTING": [
            f"{_IS_ACCEPTED} -j RETURN",
            _clear(ALL_BITS),
            "-m conntrack --ctstate DNAT -j cali-to-host-endpoint",
            f"{_comment('Host endpoint policy accepted packet.')} {_IS_ACCEPTED} -j RETURN",
        ],
        "cali-from-host-endpoint": [],
        "cali-to-host-endpoint": [],
    }


def _nat(node: NodePlace, family: int, tunnels: Tunnels) -> dict[str, list[str]]:
    local_but_not_of_device = "-m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL"
    leaving = (
        f"-m set --match-set {_set(4, 'masq-ipam-pools')} src -m set ! --match-set {_set(4, 'network-ip-pools')} dst"
    )
    return {
        "PREROUTING": ["-j cali-PREROUTING"],
        "OUTPUT": ["-j cali-OUTPUT"],
        "POSTROUTING": ["-j cali-POSTROUTING"],
        "cali-PREROUTING": ["-j cali-fip-dnat"],
        "cali-OUTPUT": ["-j cali-fip-dnat"],
        "cali-POSTROUTING": [
            "-j cali-fip-snat",
            "-j cali-nat-outgoing",
            *(f"-o {dev} {local_but_not_of_device} -j MASQUERADE --random-fully" for dev in tunnels.of(family)),
        ],
        "cali-fip-dnat": [],
        "cali-fip-snat": [],
        "cali-nat-outgoing": [f"{leaving} {_outgoing(node, family)}"] if family in MASQUERADED else [],
    }


def _outgoing(node: NodePlace, family: int) -> str:
    """The target that sets the source of outgoing packets: the device's address, or Felix' `natOutgoingAddress`."""
    if node.is_on_loopback:
        return f"-j SNAT --to-source {node.address(family)} --random-fully"
    return "-j MASQUERADE --random-fully"


def _filter(family: int, tunnels: Tunnels) -> dict[str, list[str]]:
    accepted = f"{_comment('Host endpoint policy accepted packet.')} {_IS_ACCEPTED} -j ACCEPT"
    return {
        "INPUT": ["-j cali-INPUT"],
        "FORWARD": ["-j cali-FORWARD"],
        "OUTPUT": ["-j cali-OUTPUT"],
        "cali-INPUT": [
            *_tunnels_in(family, tunnels),
            f"-i {POD_DEVICES} -g cali-wl-to-host",
            f"{_IS_ACCEPTED} -j ACCEPT",
            _clear(ALL_BITS),
            "-j cali-from-host-endpoint",
            accepted,
        ],
        "cali-FORWARD": [
            _clear(ALL_BITS & ~ACCEPT),
            f"-m mark --mark 0x0/{ACCEPT:#x} -j cali-from-hep-forward",
            f"-i {POD_DEVICES} -j cali-from-wl-dispatch",
            f"-o {POD_DEVICES} -j cali-to-wl-dispatch",
            "-j cali-to-hep-forward",
            "-j cali-cidr-block",
        ],
        "cali-OUTPUT": [
            f"{_IS_ACCEPTED} -j ACCEPT",
            f"-o {POD_DEVICES} -j RETURN",
            *_tunnels_out(family, tunnels),
            _clear(ALL_BITS),
            "-m conntrack ! --ctstate DNAT -j cali-to-host-endpoint",
            accepted,
        ],
        "cali-wl-to-host": [
            *(_router_solicitations() if family == 6 else ()),
            "-j cali-from-wl-dispatch",
            f"{_comment('Configured DefaultEndpointToHostAction')} -j ACCEPT",
        ],
        "cali-from-hep-forward": [],
        "cali-to-hep-forward": [],
        "cali-from-host-endpoint": [],
        "cali-to-host-endpoint": [],
        "cali-cidr-block": [],
    }


def _router_solicitations() -> Iterator[str]:
    """Accepts ICMPv6 that a router needs from pods: multicast listener reports, router and neighbour solicitations."""
    for kind in (130, 131, 132, 133, 135, 136):
        yield f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT"


def _tunnels_in(family: int, tunnels: Tunnels) -> Iterator[str]:
    """Accepts tunnel packets only from other nodes."""
    local = "-m addrtype --dst-type LOCAL"
    if tunnels.has_ipip and family == 4:
        known = f"-m set --match-set {_set(4, 'all-hosts-net')} src {local}"
        yield f"-p {_IPIP} {_comment('Allow IPIP packets from Calico hosts')} {known} -j ACCEPT"
        yield f"-p {_IPIP} {_comment('Drop IPIP packets from non-Calico hosts')} -j DROP"
    if tunnels.vxlan_port:
        what = f"IPv{family} VXLAN packets from"
        start, port = "-p udp", f"-m multiport --dports {tunnels.vxlan_port}"
        known = f"-m set --match-set {_set(family, 'all-vxlan-net')} src {local}"
        yield f"{start} {_comment(f'Allow {what} allowed hosts')} {port} {known} -j ACCEPT"
        yield f"{start} {_comment(f'Drop {what} non-allowed hosts')} {port} {local} -j DROP"
    if number := tunnels.wireguard_port(family):
        what = _comment(f"Allow incoming IPv{family} Wireguard packets")
        yield f"-p udp {what} -m multiport --dports {number} {local} -j ACCEPT"


def _tunnels_out(family: int, tunnels: Tunnels) -> Iterator[str]:
    local = "-m addrtype --src-type LOCAL"
    if tunnels.has_ipip and family == 4:
        known = f"-m set --match-set {_set(4, 'all-hosts-net')} dst {local}"
        yield f"-p {_IPIP} {_comment('Allow IPIP packets to other Calico hosts')} {known} -j ACCEPT"
    if tunnels.vxlan_port:
        port = f"-m multiport --dports {tunnels.vxlan_port}"
        known = f"{local} -m set --match-set {_set(family, 'all-vxlan-net')} dst"
        yield f"-p udp {_comment(f'Allow IPv{family} VXLAN packets to other allowed hosts')} {port} {known} -j ACCEPT"
    if number := tunnels.wireguard_port(family):
        what = _comment(f"Allow outgoing IPv{family} Wireguard packets")
        yield f"-p udp {what} -m multiport --dports {number} {local} -j ACCEPT"


def _endpoints(pods: Iterable[Pod], tunnels: Tunnels) -> dict[str, list[str]]:
    """Chains that dispatch by interface name, chains of pods, and chains of profiles."""
    by_device = {host_end(pod): pod for pod in pods}
    chains = dispatch("cali-from-wl-dispatch", "-i", "cali-fw-", sorted(by_device))
    chains |= dispatch("cali-to-wl-dispatch", "-o", "cali-tw-", sorted(by_device))
    port = tunnels.vxlan_port or 4789
    encapsulated = [
        f"-p udp {_comment('Drop VXLAN encapped packets originating in workloads')} "
        f"-m multiport --dports {port} -j DROP",
        f"-p {_IPIP} {_comment('Drop IPinIP encapped packets originating in workloads')} -j DROP",
    ]
    for dev, pod in by_device.items():
        profiles = (f"kns.{pod.namespace}", f"ksa.{pod.namespace}.default")
        for chain, prefix, dropped in (
            (f"cali-fw-{dev}", "cali-pro-", encapsulated),
            (f"cali-tw-{dev}", "cali-pri-", []),
        ):
            chains[chain] = [
                "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                "-m conntrack --ctstate INVALID -j DROP",
                _clear(ACCEPT | PASS),
                *dropped,
                *(rule for profile in profiles for rule in _by_profile(_chain(prefix, profile))),
                f"{_comment('Drop if no profiles matched')} -j DROP",
            ]
            namespace, account = (_chain(prefix, profile) for profile in profiles)
            chains[namespace] = [_set_mark(ACCEPT), f"{_IS_ACCEPTED} -j RETURN"]
            chains[account] = []
    return chains


def _by_profile(chain: str) -> tuple[str, str]:
    return f"-j {chain}", f"{_comment('Return if profile accepted')} {_IS_ACCEPTED} -j RETURN"


def _chain(prefix: str, name: str) -> str:
    """The name of a chain, hashed if too long for iptables."""
    if len(prefix + name) <= CHAIN_LENGTH:
        return prefix + name
    digest = base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode()
    return f"{prefix}_{digest}"[:CHAIN_LENGTH]


def dispatch(chain: str, option: str, to: str, devices: list[str]) -> dict[str, list[str]]:
    """A tree of chains with two levels: by the first character in which names differ, then by name."""
    unknown = f"{_comment('Unknown interface')} -j DROP"
    common = _common_length(devices[0], devices[-1]) if devices else 0
    chains: dict[str, list[str]] = {chain: []}
    for prefix, group in groupby(devices, key=lambda dev: dev[: common + 1]):
        rules = [f"{option} {dev} -g {to}{dev}" for dev in group]
        if len(rules) == 1:
            chains[chain] += rules
        else:
            below = f"{chain}-{prefix[common:]}"
            chains[chain].append(f"{option} {prefix}+ -g {below}")
            chains[below] = [*rules, unknown]
    chains[chain].append(unknown)
    return chains


def _common_length(one: str, other: str) -> int:
    """Length of the common prefix."""
    return next((number for number, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))
