"""The chains by which kube-router enforces NetworkPolicies, in a cluster without any: all traffic is accepted.

Each pod has a chain that its packets traverse in both directions. It accepts packets of tracked connections, and those
from the pod's own node. Other packets must be marked 0x10000 by a policy; KUBE-NWPLCY-DEFAULT marks them for pods
without one. Unmarked packets would be logged and rejected. Marked ones get the mark 0x20000 instead, and are accepted
at the end of the calling chain, after the chains of both pods.
"""

import base64
import hashlib

from testbed.plan.addressing import NodePlace, PodPlace, of_family
from testbed.plan.fabric import UPLINK
from testbed.plan.pods import POD_BRIDGE
from testbed.plan.rulesets import Chain, iptables

SERVICES = "10.96.0.0/12"
"""The default range of Services' addresses; there is none for IPv6."""
NODE_PORTS = "30000:32767"
PERMITTED, PASSED = "0x10000/0x10000", "0x20000/0x20000"
_ICMP = {
    4: (
        ("icmp", "icmp --icmp-type", 8, "echo requests"),
        ("icmp", "icmp --icmp-type", 3, "destination unreachable messages"),
        ("icmp", "icmp --icmp-type", 11, "time exceeded messages"),
    ),
    6: (
        ("ipv6-icmp", "icmp6 --icmpv6-type", 128, "echo requests"),
        ("ipv6-icmp", "icmp6 --icmpv6-type", 1, "destination unreachable messages"),
        ("ipv6-icmp", "icmp6 --icmpv6-type", 3, "time exceeded messages"),
        ("ipv6-icmp", "icmp6 --icmpv6-type", 135, "neighbor solicitation messages"),
        ("ipv6-icmp", "icmp6 --icmpv6-type", 136, "neighbor advertisement messages"),
        ("ipv6-icmp", "icmp6 --icmpv6-type", 129, "echo reply messages"),
    ),
}
"""Protocol, match, type and name of the ICMP messages that all policies accept."""


def _hash(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:16]


def pod_chain(namespace: str, name: str) -> str:
    """The name of a pod's chain."""
    return f"KUBE-POD-FW-{_hash(namespace + name)}"


def _comment(comment: str) -> str:
    """The part of a rule with a comment."""
    return f'-m comment --comment "{comment}"'


def _tagged(comment: str, chain: str, behind: str, before: str = "") -> str:
    """A comment with a hash of its rule: chain, `before`, comment and `behind`, without blanks."""
    return _comment(f"{comment} - {_hash(f'{chain}{before}-mcomment--comment{comment}{behind}')}")


def chains(node: NodePlace, family: int) -> tuple[Chain, ...]:
    """The chains of the filter table for one family."""
    pods = [(place, str(of_family(place.addresses, family))) for place in node.pods]
    lines = [*_first(node), *_common(family), *_from_outside(family)]
    for place, address in pods:
        lines += _pod(place, f"{address}/{32 if family == 4 else 128}", family)
    for chain in ("INPUT", "FORWARD", "OUTPUT"):
        note = _comment("rule to explicitly ACCEPT traffic that comply to network policies")
        lines.append(f"-A KUBE-ROUTER-{chain} {note} -m mark --mark {PASSED} -j ACCEPT")
    return iptables.read("\n".join(("*filter", *lines)))


def _first(node: NodePlace) -> list[str]:
    """Jumps from the kernel's chains to kube-router's, which come first; then rules that accept forwarded traffic."""
    jumps = [
        f"-I {chain} {_tagged('kube-router netpol', chain, f'-jKUBE-ROUTER-{chain}')} -j KUBE-ROUTER-{chain}"
        for chain in ("INPUT", "FORWARD", "OUTPUT")
    ]
    uplink = "lo" if node.is_on_loopback else UPLINK
    by_uplink = _comment("allow outbound node port traffic on node interface with which node ip is associated")
    return [
        *jumps,
        f"-A FORWARD -o {uplink} {by_uplink} -j ACCEPT",
        f"-A FORWARD -o {POD_BRIDGE} {_comment('allow inbound traffic to pods')} -j ACCEPT",
        f"-A FORWARD -i {POD_BRIDGE} {_comment('allow outbound traffic from pods')} -j ACCEPT",
    ]


def _common(family: int) -> list[str]:
    """Rules before all policies, and the default policy of pods without one."""
    common, default = "-A KUBE-NWPLCY-COMMON", "-A KUBE-NWPLCY-DEFAULT"
    return [
        f"{common} {_comment('rule to drop invalid state for pod')} -m conntrack --ctstate INVALID -j DROP",
        f"{common} {_comment('rule for stateful firewall for pod')} "
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        *(
            f"{common} -p {protocol} {_comment(f'allow icmp {name}')} -m {match} {number} -j ACCEPT"
            for protocol, match, number, name in _ICMP[family]
        ),
        f"{default} {_comment('rule to mark traffic matching a network policy')} -j MARK --set-xmark {PERMITTED}",
    ]


def _from_outside(family: int) -> list[str]:
    """Traffic to Services skips pods' policies until its pod is known."""
    chain, comment = "KUBE-ROUTER-INPUT", "allow traffic to primary/secondary cluster IP range"
    note = _tagged(comment, chain, f"-d{SERVICES}-jRETURN")
    lines = [f"-A {chain} -d {SERVICES} {note} -j RETURN"] if family == 4 else []
    for protocol in ("tcp", "udp"):
        comment = f"allow LOCAL {protocol.upper()} traffic to node ports"
        ports = f"-m addrtype --dst-type LOCAL -m multiport --dports {NODE_PORTS}"
        note = _tagged(comment, chain, f"{ports.replace(' ', '')}-jRETURN", f"-p{protocol}")
        lines.append(f"-A {chain} -p {protocol} {note} {ports} -j RETURN")
    return lines


def _pod(place: PodPlace, address: str, family: int) -> list[str]:
    """Jumps to a pod's chain, for routed and bridged packets, and the chain."""
    namespace, name = place.pod.namespace, place.pod.name
    chain = pod_chain(namespace, name)
    which = f"POD name:{name} namespace: {namespace}"
    to = f"-d {address} {{}}{_comment(f'rule to jump traffic destined to {which} to chain {chain}')} -j {chain}"
    by = f"-s {address} {{}}{_comment(f'rule to jump traffic from {which} to chain {chain}')} -j {chain}"
    bridged = "-m physdev --physdev-is-bridged "
    own = f"-A {chain}"
    unmarked = f"-m mark ! --mark {PERMITTED}"
    reject = f"REJECT --reject-with icmp{'' if family == 4 else '6'}-port-unreachable"
    from_node = _comment("rule to permit the traffic traffic to pods when source is the pod\\'s local node")
    return [
        f"-A KUBE-ROUTER-FORWARD {to.format('')}",
        f"-A KUBE-ROUTER-OUTPUT {to.format('')}",
        f"-A KUBE-ROUTER-FORWARD {to.format(bridged)}",
        *(f"-A KUBE-ROUTER-{hook} {by.format('')}" for hook in ("INPUT", "FORWARD", "OUTPUT")),
        f"-A KUBE-ROUTER-FORWARD {by.format(bridged)}",
        f"{own} {_comment('run through common network policy chain')} -j KUBE-NWPLCY-COMMON",
        f"{own} -d {address} {from_node} -m addrtype --src-type LOCAL -j ACCEPT",
        f"{own} -s {address} {_comment('run through default egress network policy chain')} -j KUBE-NWPLCY-DEFAULT",
        f"{own} -d {address} {_comment('run through default ingress network policy chain')} -j KUBE-NWPLCY-DEFAULT",
        f"{own} {_comment(f'rule to log dropped traffic {which}')} {unmarked} "
        "-m limit --limit 10/min --limit-burst 10 -j NFLOG --nflog-group 100",
        f"{own} {_comment(f'rule to REJECT traffic destined for {which}')} {unmarked} -j {reject}",
        f"{own} -j MARK --set-xmark 0x0/0x10000",
        f"{own} {_comment('set mark to ACCEPT traffic that comply to network policies')} -j MARK --set-xmark {PASSED}",
    ]
