"""kube-proxy's mode iptables.

A packet to a Service meets, in the table nat:

PREROUTING, OUTPUT    -> KUBE-SERVICES
KUBE-SERVICES         one rule per cluster address and port -> KUBE-SVC-..., or KUBE-SVL-... if only endpoints of this
                      node may answer; external addresses -> KUBE-EXT-... (by KUBE-FW-... with source ranges); last,
                      addresses of the node -> KUBE-NODEPORTS -> KUBE-EXT-...
KUBE-EXT-...          marks the packet for masquerading; with the local policy only packets of the node itself
KUBE-SVC-, KUBE-SVL-  marks packets from outside the cluster; sends a client that it knows to its endpoint; chooses
                      among n endpoints with the probabilities 1/n, 1/(n-1), ..., 1
KUBE-SEP-...          marks a packet of the endpoint itself (hairpin), then DNAT
POSTROUTING           -> KUBE-POSTROUTING: masquerades marked packets

In the table filter, packets to addresses without endpoints are rejected, or dropped if endpoints exist on other nodes
only. The order of jumps in built-in chains follows from kube-proxy's inserting each at the head.

Source: pkg/proxy/iptables/proxier.go of Kubernetes 1.36. Not here: counters by nfacct, localhost NodePorts through a
user-space proxy (alpha in 1.37).
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from ipaddress import ip_network

from testbed.kubernetes.services.ports import Endpoint, ServicePort
from testbed.plan.objects import Sysctl
from testbed.plan.rulesets import Chain, Ruleset, iptables
from testbed.services.node import OWNER, ProxyNode, Served, Ways, remembered, ways

MARK = "0x4000/0x4000"
LARGE = 1000
"""With more endpoints than this in the cluster, rules of endpoints have no comments."""
_MASQUERADE = "-j KUBE-MARK-MASQ"
_NEW = "-m conntrack --ctstate NEW"
_UNREACHABLE = {4: "icmp-port-unreachable", 6: "icmp6-port-unreachable"}
_HOST = {4: "32", 6: "128"}
_WHOLE_MASK = {4: "255.255.255.255", 6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
_PROBABILITY_UNIT = 0x80000000
Rules = tuple[str, ...]

_JUMPS: Mapping[str, Mapping[str, Rules]] = {
    "filter": {
        "INPUT": (
            "-j KUBE-FIREWALL",
            f'{_NEW} -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
            '-m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS',
            f'{_NEW} -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES',
        ),
        "FORWARD": (
            f'{_NEW} -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
            '-m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
            f'{_NEW} -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
            f'{_NEW} -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES',
        ),
        "OUTPUT": (
            "-j KUBE-FIREWALL",
            f'{_NEW} -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
            f'{_NEW} -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        ),
    },
    "nat": {
        "PREROUTING": ('-m comment --comment "kubernetes service portals" -j KUBE-SERVICES',),
        "OUTPUT": ('-m comment --comment "kubernetes service portals" -j KUBE-SERVICES',),
        "POSTROUTING": ('-m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',),
    },
}


def served(ports: Sequence[ServicePort], node: ProxyNode) -> Served:
    """The rules of a node for the ports of one family."""
    is_large = sum(len(port.endpoints) for port in ports) > LARGE
    what = ("iptables", is_large)
    pieces = [remembered(one, node, what, partial(_piece, one, str(node.pod_range), is_large)) for one in ports]
    chains = [*_filter_chains(pieces, node.family), *_nat_chains(pieces, node.family)]
    chains += (Chain(table, "KUBE-PROXY-CANARY") for table in ("mangle", "nat", "filter"))
    # NodePorts answer at 127.0.0.1 too; KUBE-FIREWALL closes what this opens for others.
    settings = (Sysctl("net.ipv4.conf.all.route_localnet", "1"),) if node.family == 4 else ()
    return Served((Ruleset(OWNER, iptables.tool(node.family), tuple(chains)),), settings)


@dataclass(frozen=True)
class _Piece:
    """The rules of one port: those in shared chains, and its own chains."""

    services: Rules = ()
    node_ports: Rules = ()
    rejected: Rules = ()
    """In the table filter, like the following."""
    rejected_outside: Rules = ()
    firewall: Rules = ()
    health: Rules = ()
    chains: tuple[Chain, ...] = ()


def _filter_chains(pieces: Sequence[_Piece], family: int) -> Iterable[Chain]:
    firewall: Rules = (
        (
            "! -s 127.0.0.0/8 -d 127.0.0.0/8 "
            '-m comment --comment "block incoming localnet connections" '
            "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
        )
        if family == 4
        else ()
    )
    forward = (
        "-m conntrack --ctstate INVALID -j DROP",
        f'-m comment --comment "kubernetes forwarding rules" -m mark --mark {MARK} -j ACCEPT',
        '-m comment --comment "kubernetes forwarding conntrack rule" '
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    )
    return iptables.chains(
        "filter",
        {
            **_JUMPS["filter"],
            "KUBE-FIREWALL": firewall,
            "KUBE-FORWARD": forward,
            "KUBE-SERVICES": [rule for one in pieces for rule in one.rejected],
            "KUBE-EXTERNAL-SERVICES": [rule for one in pieces for rule in one.rejected_outside],
            "KUBE-NODEPORTS": [rule for one in pieces for rule in one.health],
            "KUBE-PROXY-FIREWALL": [rule for one in pieces for rule in one.firewall],
        },
    )


def _nat_chains(pieces: Sequence[_Piece], family: int) -> Iterable[Chain]:
    excluded = "" if family == 4 else "! -d ::1/128 "
    comment = _comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
    tail = f"{excluded}{comment} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"
    yield from iptables.chains(
        "nat",
        {
            **_JUMPS["nat"],
            "KUBE-MARK-MASQ": (f"-j MARK --set-xmark {MARK}",),
            "KUBE-POSTROUTING": (
                f"-m mark ! --mark {MARK} -j RETURN",
                "-j MARK --set-xmark 0x4000/0x0",
                '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
            ),
            "KUBE-SERVICES": [*(rule for one in pieces for rule in one.services), tail],
            "KUBE-NODEPORTS": [rule for one in pieces for rule in one.node_ports],
        },
    )
    for one in pieces:
        yield from one.chains


def _piece(port: ServicePort, pod_range: str, is_large: bool, node: ProxyNode | None) -> _Piece:
    """The rules of a port. Without a node: those that all nodes have."""
    way = ways(port, node)
    names = _Names.of(port)
    verdict = _verdicts(port, way)
    to_balancer = names.firewall if way.usable.exist and _has_firewall(port) else names.external
    services: list[str] = []
    outside: list[str] = []
    firewall: list[str] = []
    if way.internal:
        services.append(_to(port, port.address, f"{port} cluster IP", f"-j {names.internal}"))
    for address in port.external_ips:
        if way.usable.exist:
            services.append(_to(port, address, f"{port} external IP", f"-j {names.external}"))
        if not way.external:
            outside.append(_to(port, address, *verdict))
    for address in port.load_balancer_ips:
        if way.usable.exist:
            services.append(_to(port, address, f"{port} loadbalancer IP", f"-j {to_balancer}"))
            if _has_firewall(port):
                firewall.append(_to(port, address, f"{port} traffic not accepted by {names.firewall}", "-j DROP"))
    outside += (_to(port, address, *verdict) for address in port.load_balancer_ips if not way.external)
    node_ports: list[str] = []
    if port.node_port:
        at_port = f"-m {port.protocol} --dport {port.node_port}"
        if way.usable.exist:
            node_ports.append(f"-p {port.protocol} {_comment(str(port))} {at_port} -j {names.external}")
        if not way.external:
            comment, jump = verdict
            outside.append(f"-p {port.protocol} {_comment(comment)} -m addrtype --dst-type LOCAL {at_port} {jump}")
    health = _comment(f"{port} health check node port")
    return _Piece(
        tuple(services),
        tuple(node_ports),
        () if way.internal else (_to(port, port.address, *_verdicts(port, way)),),
        tuple(outside),
        tuple(firewall),
        (f"-p tcp {health} -m tcp --dport {port.health_port} -j ACCEPT",) if port.health_port else (),
        tuple(_chains(port, way, names, pod_range, is_large, node)),
    )


def _verdicts(port: ServicePort, way: Ways) -> tuple[str, str]:
    """Comment and target of packets that reach no endpoint."""
    if not way.usable.exist:
        return f"{port} has no endpoints", f"-j REJECT --reject-with {_UNREACHABLE[port.family]}"
    return f"{port} has no local endpoints", "-j DROP"


def _chains(
    port: ServicePort, way: Ways, names: "_Names", pod_range: str, is_large: bool, node: ProxyNode | None
) -> Iterable[Chain]:
    found = way.usable
    # Only the chain to which the cluster address leads marks packets from outside the cluster.
    mark = (
        _to(port, port.address, f"{port} cluster IP", _MASQUERADE, source=f"! -s {pod_range} ") if way.internal else ""
    )
    if found.exist and port.is_external:
        yield _chain(names.external, _external(port, way, names, pod_range))
    if found.exist and _has_firewall(port):
        assert node is not None
        yield _chain(names.firewall, _firewall(port, names, node))
    if found.cluster:
        own = (mark,) if mark and not port.internal_local else ()
        yield _chain(names.cluster, (*own, *_balanced(port, found.cluster, is_large)))
    if found.local:
        own = (mark,) if mark and port.internal_local else ()
        yield _chain(names.local, (*own, *_balanced(port, found.local, is_large)))
    for endpoint in found.all:
        yield _chain(endpoint_chain(port, endpoint), _endpoint(port, endpoint, is_large))


def _chain(name: str, rules: Iterable[str]) -> Chain:
    return Chain("nat", name, tuple(rules))


def _external(port: ServicePort, way: Ways, names: "_Names", pod_range: str) -> Iterable[str]:
    """Packets to external addresses and node ports."""
    if not port.external_local:
        yield f"{_comment(f'masquerade traffic for {port} external destinations')} {_MASQUERADE}"
    else:
        is_local = "-m addrtype --src-type LOCAL"
        yield f"-s {pod_range} {_comment(f'pod traffic for {port} external destinations')} -j {names.cluster}"
        yield f"{_comment(f'masquerade LOCAL traffic for {port} external destinations')} {is_local} {_MASQUERADE}"
        yield f"{_comment(f'route LOCAL traffic for {port} external destinations')} {is_local} -j {names.cluster}"
    if way.external:
        yield f"-j {names.local if port.external_local else names.cluster}"


def _firewall(port: ServicePort, names: "_Names", node: ProxyNode) -> Iterable[str]:
    """Sources that may reach a load balancer's address; KUBE-PROXY-FIREWALL drops what is not translated here."""
    comment = _comment(f"{port} loadbalancer IP")
    ranges = [ip_network(one) for one in port.source_ranges]
    sources = [str(one) for one in ranges]
    if any(node.address in one for one in ranges):
        # The node itself sends from the load balancer's address if it has it.
        sources += (f"{one}/{_HOST[port.family]}" for one in port.load_balancer_ips)
    yield from (f"-s {source} {comment} -j {names.external}" for source in sources)
    yield _comment(f"other traffic to {port} will be dropped by KUBE-PROXY-FIREWALL")


def _balanced(port: ServicePort, endpoints: Sequence[Endpoint], is_large: bool) -> Iterable[str]:
    """Known clients to their endpoint, all others to a random one."""
    comments = ["" if is_large else f"{_comment(f'{port} -> {one}')} " for one in endpoints]
    chains = [endpoint_chain(port, one) for one in endpoints]
    if port.affinity_s:
        for comment, chain in zip(comments, chains, strict=True):
            known = f"-m recent --rcheck --seconds {port.affinity_s} --reap {_list_of(chain, port.family)}"
            yield f"{comment}{known} -j {chain}"
    for number, (comment, chain) in enumerate(zip(comments, chains, strict=True)):
        yield f"{comment}{_chance(len(endpoints) - number)}-j {chain}"


@cache
def _chance(remaining: int) -> str:
    """A match of one in so many packets, as iptables-save rounds it: kube-proxy writes ten digits."""
    if remaining == 1:
        return ""
    probability = round(_PROBABILITY_UNIT * float(f"{1 / remaining:.10f}")) / _PROBABILITY_UNIT
    return f"-m statistic --mode random --probability {probability:.11f} "


def _endpoint(port: ServicePort, endpoint: Endpoint, is_large: bool) -> Rules:
    comment = "" if is_large else f"{_comment(str(port))} "
    chain = endpoint_chain(port, endpoint)
    seen = f"-m recent --set {_list_of(chain, port.family)} " if port.affinity_s else ""
    return (
        f"-s {endpoint.address}/{_HOST[port.family]} {comment}{_MASQUERADE}",
        f"-p {port.protocol} {comment}{seen}-m {port.protocol} -j DNAT --to-destination {endpoint}",
    )


def _list_of(chain: str, family: int) -> str:
    """The list of an endpoint's clients in xt_recent."""
    return f"--name {chain} --mask {_WHOLE_MASK[family]} --rsource"


def _to(port: ServicePort, address: str, comment: str, jump: str, source: str = "") -> str:
    """A rule for packets to the port at an address."""
    return (
        f"{source}-d {address}/{_HOST[port.family]} -p {port.protocol} {_comment(comment)} "
        f"-m {port.protocol} --dport {port.port} {jump}"
    )


def _comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


def _has_firewall(port: ServicePort) -> bool:
    return bool(port.load_balancer_ips and port.source_ranges)


@dataclass(frozen=True)
class _Names:
    """Names of a port's chains."""

    cluster: str
    local: str
    external: str
    firewall: str
    internal: str
    """The chain for the cluster address: one of the first two."""

    @staticmethod
    def of(port: ServicePort) -> "_Names":
        code = chain_hash(str(port), port.protocol)
        cluster, local = f"KUBE-SVC-{code}", f"KUBE-SVL-{code}"
        return _Names(cluster, local, f"KUBE-EXT-{code}", f"KUBE-FW-{code}", local if port.internal_local else cluster)


@lru_cache(maxsize=200_000)
def chain_hash(*parts: str) -> str:
    """The end of a chain's name: of a port from its name and protocol, of an endpoint also from its address."""
    return base64.b32encode(hashlib.sha256("".join(parts).encode()).digest()).decode()[:16]


def endpoint_chain(port: ServicePort, endpoint: Endpoint) -> str:
    """The name of an endpoint's chain."""
    return f"KUBE-SEP-{chain_hash(str(port), port.protocol, str(endpoint))}"
