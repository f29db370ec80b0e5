"""Weave's rules and sets on a node of a cluster without network policies.

weave writes the nat table: it masquerades packets between pods and destinations outside the pods' range, in both
directions. weave-npc writes the filter table, which accepts traffic of pods that no policy selects: each namespace has
sets of its pods that may receive and send.
"""

import hashlib
from collections.abc import Iterable, Iterator

from testbed.designs.transport import Joining
from testbed.plan.addressing import Layout, NodePlace, PodPlace
from testbed.plan.rulesets import Set, iptables
from testbed.spec.types import Network

PROGRAMS = ("iptables", "ipset")
NEEDS = ("ipset", "masquerade", "bridge-nf")

LOCAL_SET = "weaver-no-masq-local"
MULTICAST = "224.0.0.0/4"
MARK = "0x40000/0x40000"
"""Mark of packets that egress policies accept, or that no policy selects."""
_SYMBOLS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789(){}[]+=_$%^!*|/?.;:@#~"
_CREATE = "family inet hashsize {size} maxelem 65536 comment"
_LEAST_HASH = 1024


def run(joining: Joining) -> None:
    """Adds them to the draft."""
    layout = joining.layout
    for node in layout.nodes:
        space = joining.draft[node.name]
        for own, network in zip(node.pod_cidrs, layout.pod_cidrs, strict=True):
            if network.version == 4:
                pods = _namespaces(layout)
                space.ruleset("weave", "ipset", sets=(local_set(own),))
                space.ruleset("weave", "iptables", iptables.read(nat_rules(network)))
                space.ruleset("weave-npc", "ipset", sets=sets(pods))
                space.ruleset("weave-npc", "iptables", iptables.read(filter_rules(pods)))


def set_name(meaning: str) -> str:
    """The name that weave-npc gives a set: a SHA-1 in the base of `_SYMBOLS`, lowest digit first."""
    number, digits = int.from_bytes(hashlib.sha1(meaning.encode(), usedforsecurity=False).digest(), "big"), ""
    while number:
        number, digit = divmod(number, len(_SYMBOLS))
        digits += _SYMBOLS[digit]
    return f"weave-{digits}"


def all_pods(namespace: str) -> str:
    return set_name(f"{namespace}:")


def may_receive(namespace: str) -> str:
    return set_name(f"ingress-default-allow:{namespace}")


def may_send(namespace: str) -> str:
    return set_name(f"egress-default-allow:{namespace}")


def _namespaces(layout: Layout) -> dict[str, list[PodPlace]]:
    """Namespaces by name, with their pods on all nodes."""
    found: dict[str, list[PodPlace]] = {}
    for place in (place for node in layout.nodes for place in node.pods):
        found.setdefault(place.pod.namespace, []).append(place)
    return dict(sorted(found.items()))


def local_set(own: Network) -> Set:
    """The set with the node's share of the range."""
    return Set(LOCAL_SET, f"hash:net {_CREATE.format(size=_LEAST_HASH)}", (str(own),))


def sets(namespaces: dict[str, list[PodPlace]]) -> Iterator[Set]:
    """Three sets of the pods of each namespace."""
    for namespace, places in namespaces.items():
        size = max(_LEAST_HASH, 1 << (len(places) - 1).bit_length())
        members = tuple(
            f'{address.ip} comment "namespace: {namespace}, pod: {place.pod.name}"'
            for place in places
            for address in place.addresses
            if address.version == 4
        )
        for name in (all_pods(namespace), may_receive(namespace), may_send(namespace)):
            yield Set(name, f"hash:ip {_CREATE.format(size=size)}", members)


def nat_rules(network: Network) -> str:
    return f"""*nat
:WEAVE - [0:0]
-A POSTROUTING -j WEAVE
-A WEAVE -m set --match-set {LOCAL_SET} dst -m comment --comment "Prevent SNAT to locally running containers" -j RETURN
-A WEAVE -s {network} -d {MULTICAST} -j RETURN
-A WEAVE ! -s {network} -d {network} -j MASQUERADE
-A WEAVE -s {network} ! -d {network} -j MASQUERADE
COMMIT
"""


def filter_rules(namespaces: dict[str, list[PodPlace]]) -> str:
    """Packets between pods of one node traverse egress and ingress rules; those from the overlay only ingress."""
    note = "NOTE: this must go before \\'-j KUBE-FORWARD\\'"  # As iptables-save prints it.
    before = f'-m comment --comment "{note}"'
    ingress, egress = "", ""
    for name in namespaces:
        comment = f'-m comment --comment "DefaultAllow {{}} isolation for namespace: {name}"'
        match = f"-m set --match-set {may_send(name)} src {comment.format('egress')}"
        egress += f"-A WEAVE-NPC-EGRESS-DEFAULT {match} -j WEAVE-NPC-EGRESS-ACCEPT\n"
        egress += f"-A WEAVE-NPC-EGRESS-DEFAULT {match} -j RETURN\n"
        match = f"-m set --match-set {may_receive(name)} dst {comment.format('ingress')}"
        ingress += f"-A WEAVE-NPC-DEFAULT {match} -j ACCEPT\n"
    return f"""*filter
:WEAVE-NPC - [0:0]
:WEAVE-NPC-DEFAULT - [0:0]
:WEAVE-NPC-EGRESS - [0:0]
:WEAVE-NPC-EGRESS-ACCEPT - [0:0]
:WEAVE-NPC-EGRESS-CUSTOM - [0:0]
:WEAVE-NPC-EGRESS-DEFAULT - [0:0]
:WEAVE-NPC-INGRESS - [0:0]
-I INPUT -i weave -j WEAVE-NPC-EGRESS
-I FORWARD -i weave {before} -j WEAVE-NPC-EGRESS
-I FORWARD -o weave {before} -j WEAVE-NPC
-I FORWARD -o weave -m state --state NEW -j NFLOG --nflog-group 86
-I FORWARD -o weave -j DROP
-I FORWARD -i weave ! -o weave -j ACCEPT
-I FORWARD -o weave -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC -m state --state RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC -d {MULTICAST} -j ACCEPT
-A WEAVE-NPC -m physdev --physdev-out vethwe-bridge --physdev-is-bridged -j ACCEPT
-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-DEFAULT
-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-INGRESS
{ingress}-A WEAVE-NPC-EGRESS -m state --state RELATED,ESTABLISHED -j ACCEPT
-A WEAVE-NPC-EGRESS -m physdev --physdev-in vethwe-bridge --physdev-is-bridged -j RETURN
-A WEAVE-NPC-EGRESS -m addrtype --dst-type LOCAL -j RETURN
-A WEAVE-NPC-EGRESS -d {MULTICAST} -j RETURN
-A WEAVE-NPC-EGRESS -m state --state NEW -j WEAVE-NPC-EGRESS-DEFAULT
-A WEAVE-NPC-EGRESS -m state --state NEW -m mark ! --mark {MARK} -j WEAVE-NPC-EGRESS-CUSTOM
-A WEAVE-NPC-EGRESS -m state --state NEW -m mark ! --mark {MARK} -j NFLOG --nflog-group 86
-A WEAVE-NPC-EGRESS -m mark ! --mark {MARK} -j DROP
-A WEAVE-NPC-EGRESS-ACCEPT -j MARK --set-xmark {MARK}
{egress}COMMIT
"""


def ipsec_rules(node: NodePlace, peers: Iterable[tuple[str, int]], port: int, mark: int) -> str:
    """Rules that mark packets to encrypt and drop unencrypted ones.

    `peers` are the addresses of the other nodes, with the SPI of packets from them.
    """
    own, marked = node.address(4), f"0x{mark:x}/0x{mark:x}"
    marking = inward = outward = ""
    for address, spi in peers:
        inbound, outbound = f"-s {address}/32 -d {own}/32", f"-s {own}/32 -d {address}/32"
        marking += f"-A WEAVE-IPSEC-IN {inbound} -p esp -m esp --espspi {spi} -j WEAVE-IPSEC-IN-MARK\n"
        inward += f"-A WEAVE-IPSEC-IN {inbound} -p udp -m udp --dport {port} -m mark ! --mark {marked} -j DROP\n"
        outward += f"-A WEAVE-IPSEC-OUT {outbound} -p udp -m udp --dport {port} -j WEAVE-IPSEC-OUT-MARK\n"
    return f"""*mangle
:WEAVE-IPSEC-IN - [0:0]
:WEAVE-IPSEC-IN-MARK - [0:0]
:WEAVE-IPSEC-OUT - [0:0]
:WEAVE-IPSEC-OUT-MARK - [0:0]
-I INPUT -j WEAVE-IPSEC-IN
-I OUTPUT -j WEAVE-IPSEC-OUT
{marking}-A WEAVE-IPSEC-IN-MARK -j MARK --set-xmark {marked}
{outward}-A WEAVE-IPSEC-OUT-MARK -j MARK --set-xmark {marked}
COMMIT
*filter
:WEAVE-IPSEC-IN - [0:0]
-I INPUT -j WEAVE-IPSEC-IN
-I OUTPUT ! -p esp -m policy --dir out --pol none -m mark --mark {marked} -j DROP
{inward}COMMIT
"""
