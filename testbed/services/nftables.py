"""kube-proxy's mode nftables, with the layout of Kubernetes 1.36.

One table per family, `kube-proxy`, which no one else uses. A packet to a Service meets:

filter-prerouting-pre-dnat, filter-output-pre-dnat (-110)
                    firewall-check: drops packets to load balancer addresses from sources that are not in their ranges
nat-prerouting, nat-output (-100)
                    services: marks packets to cluster addresses from outside the cluster; one lookup of address,
                    protocol and port finds the chain of the Service, another one that of a node port
  external-...      for addresses besides the cluster address: marks for masquerading; with the local policy only
                    packets of the node itself
  service-, local-  one rule: DNAT to a random element of a map; with session affinity one set per endpoint remembers
                    its clients
filter-input, filter-forward, filter-output (0)
                    rejects or drops packets to addresses without endpoints; rejects other ports of cluster addresses,
                    and drops packets to addresses of the Services' range that no Service has
nat-postrouting (100)
                    masquerades marked packets, and those that an endpoint sent to itself (hairpin-connections)

Source: pkg/proxy/nftables/proxier.go of Kubernetes 1.36. Not here: the layout before 1.36.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import collapse_addresses, ip_network
from typing import Any

from testbed.kubernetes.services.ports import Endpoint, ServicePort
from testbed.plan.rulesets import Chain, Hook, Ruleset, Set
from testbed.plan.rulesets.nftables import canonical, rule, set_of
from testbed.services.node import OWNER, ProxyNode, Served, Ways, remembered, ways

MARK = 0x4000
LONGEST_NAME = 240
"""Characters of a chain's name after its prefix."""
LONGEST_COMMENT = 128
Tree = dict[str, Any]
_FAMILY = {4: "ip", 6: "ip6"}
_ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}
_ICMP = {4: "icmp", 6: "icmpv6"}

_BASE: Mapping[str, Hook] = {
    "filter-prerouting-pre-dnat": Hook("filter", "prerouting", -110),
    "filter-output-pre-dnat": Hook("filter", "output", -110),
    "filter-input": Hook("filter", "input", 0),
    "filter-forward": Hook("filter", "forward", 0),
    "filter-output": Hook("filter", "output", 0),
    "nat-prerouting": Hook("nat", "prerouting", -100),
    "nat-output": Hook("nat", "output", -100),
    "nat-postrouting": Hook("nat", "postrouting", 100),
}


def _jump(chain: str) -> Tree:
    return {"jump": {"target": chain}}


def _goto(chain: str) -> Tree:
    return {"goto": {"target": chain}}


def _match(left: Any, right: Any, op: str = "==") -> Tree:
    return {"match": {"op": op, "left": left, "right": right}}


_DROP: Tree = {"drop": None}
_LOCAL = _match({"fib": {"result": "type", "flags": ["saddr"]}}, "local")
_NEW = _match({"ct": {"key": "state"}}, "new", "in")
_META_MARK: Tree = {"meta": {"key": "mark"}}
_PROTOCOL: Tree = {"meta": {"key": "l4proto"}}
_PORT: Tree = {"payload": {"protocol": "th", "field": "dport"}}
_SET_MARK: Tree = {"mangle": {"key": _META_MARK, "value": {"|": [_META_MARK, MARK]}}}
_MASQUERADE: Tree = {"masquerade": {"flags": "fully-random"}}
_JUMPS = {
    "filter-prerouting-pre-dnat": (rule(_NEW, _jump("firewall-check")),),
    "filter-output-pre-dnat": (rule(_NEW, _jump("firewall-check")),),
    "filter-input": (rule(_NEW, _jump("nodeport-endpoints-check")), rule(_NEW, _jump("service-endpoints-check"))),
    "filter-forward": (rule(_NEW, _jump("service-endpoints-check")), rule(_NEW, _jump("cluster-ips-check"))),
    "filter-output": (rule(_NEW, _jump("service-endpoints-check")), rule(_NEW, _jump("cluster-ips-check"))),
    "nat-prerouting": (rule(_jump("services")),),
    "nat-output": (rule(_jump("services")),),
    "nat-postrouting": (rule(_jump("masquerading")),),
}


def served(ports: Sequence[ServicePort], node: ProxyNode) -> Served:
    """The rules of a node for the ports of one family."""
    pieces = [remembered(port, node, "nftables", partial(_piece, port)) for port in ports]
    hairpin = dict.fromkeys(element for one in pieces for element in one.hairpin.get(node.name, ()))
    table = _table(node.family)
    chains = [Chain(table, name, _JUMPS[name], hook=hook) for name, hook in _BASE.items()]
    chains += (Chain(table, name, rules) for name, rules in _top_chains(node).items())
    chains += (chain for one in pieces for chain in one.chains)
    sets = [*_top_sets(node, pieces, hairpin), *(one for piece in pieces for one in piece.sets)]
    return Served((Ruleset(OWNER, "nftables", tuple(chains), tuple(sets)),))


@dataclass(frozen=True)
class _Piece:
    """What a node has of one port: elements of the shared sets and maps, and its own chains and sets."""

    chains: tuple[Chain, ...]
    sets: tuple[Set, ...]
    cluster_ip: str
    elements: Mapping[str, tuple[str, ...]]
    """By map."""
    hairpin: Mapping[str, tuple[str, ...]]
    """Elements of hairpin-connections, by the node that has the endpoint."""


def _top_chains(node: ProxyNode) -> Mapping[str, tuple[str, ...]]:
    """The chains that do not belong to a Service, without base chains."""
    ip = _FAMILY[node.family]
    source, target = _field(ip, "saddr"), _field(ip, "daddr")
    reject = _reject(node.family)
    to_service = {"concat": [target, _PROTOCOL, _PORT]}
    to_port = {"concat": [_PROTOCOL, _PORT]}
    to_node = _match(target, "@nodeport-ips")
    to_cluster = _match(target, "@cluster-ips")
    unallocated = [_range(one) for one in node.service_ranges]
    return {
        "services": (
            rule(
                to_cluster,
                _match(source, _range(node.pod_range), "!="),
                _SET_MARK,
                comment="masquerade clusterIP traffic from outside cluster",
            ),
            rule(_vmap(to_service, "@service-ips")),
            rule(to_node, _vmap(to_port, "@service-nodeports")),
        ),
        "masquerading": (
            rule(
                _match({"&": [_META_MARK, MARK]}, 0, "!="),
                {"mangle": {"key": _META_MARK, "value": {"^": [_META_MARK, MARK]}}},
                _MASQUERADE,
            ),
            rule(
                _match({"ct": {"key": "status"}}, "dnat", "in"),
                _match({"concat": [source, target, _PROTOCOL, _PORT]}, "@hairpin-connections"),
                _MASQUERADE,
            ),
        ),
        "cluster-ips-check": (
            rule(to_cluster, reject, comment="Reject traffic to invalid ports of ClusterIPs"),
            *(
                (rule(_match(target, _one_of(unallocated)), _DROP, comment="Drop traffic to unallocated ClusterIPs"),)
                if unallocated
                else ()
            ),
        ),
        "reject-chain": (rule(reject),),
        "service-endpoints-check": (rule(_vmap(to_service, "@no-endpoint-services")),),
        "nodeport-endpoints-check": (rule(to_node, _vmap(to_port, "@no-endpoint-nodeports")),),
        "firewall-check": (rule(_vmap(to_service, "@firewall-ips")),),
    }


def _top_sets(node: ProxyNode, pieces: Sequence[_Piece], hairpin: Iterable[str]) -> Iterator[Set]:
    """The sets and maps that do not belong to a Service."""
    table, address = _table(node.family), _ADDRESS[node.family]
    service, port = [address, "inet_proto", "inet_service"], ["inet_proto", "inet_service"]
    maps = {
        "service-ips": service,
        "service-nodeports": port,
        "no-endpoint-services": service,
        "no-endpoint-nodeports": port,
        "firewall-ips": service,
    }
    cluster_ips = dict.fromkeys(one.cluster_ip for one in pieces)
    yield _filled(set_of("cluster-ips", table, address), cluster_ips)
    yield set_of("nodeport-ips", table, address, [] if node.address.is_loopback else [str(node.address)])
    yield _filled(set_of("hairpin-connections", table, [address, *service]), hairpin)
    for name, key in maps.items():
        elements = (element for one in pieces for element in one.elements.get(name, ()))
        yield _filled(set_of(name, table, key, to="verdict"), elements)


def _filled(one: Set, elements: Iterable[str]) -> Set:
    return Set(one.name, one.kind, tuple(elements), one.table)


def _piece(port: ServicePort, node: ProxyNode | None) -> _Piece:
    """What a node has of a port. Without a node: what all nodes have."""
    way = ways(port, node)
    base = port_name(port)
    found: dict[str, list[str]] = {}

    def add(name: str, verdict: Tree, *key: str | int, comment: str = "") -> None:
        found.setdefault(name, []).append(_pair(verdict, key, comment))

    refused = _DROP if way.usable.exist else _goto("reject-chain")
    comment = str(port)[:LONGEST_COMMENT]
    internal = ("local-" if port.internal_local else "service-") + base
    external, firewall = f"external-{base}", f"firewall-{base}"
    at = (port.protocol, port.port)
    if way.internal:
        add("service-ips", _goto(internal), port.address, *at)
    else:
        add("no-endpoint-services", refused, port.address, *at, comment=comment)
    for address in (*port.external_ips, *port.load_balancer_ips):
        if way.usable.exist:
            add("service-ips", _goto(external), address, *at)
        if not way.external:
            add("no-endpoint-services", refused, address, *at, comment=comment)
    if port.source_ranges:
        for address in port.load_balancer_ips:
            add("firewall-ips", _goto(firewall), address, *at)
    if port.node_port:
        if way.usable.exist:
            add("service-nodeports", _goto(external), port.protocol, port.node_port)
        if not way.external:
            add("no-endpoint-nodeports", refused, port.protocol, port.node_port, comment=comment)
    return _Piece(
        tuple(_chains(port, way, base, node)),
        tuple(_affinity_sets(port, way)),
        json.dumps(port.address),
        {name: tuple(elements) for name, elements in found.items()},
        _hairpin(port, way),
    )


def _hairpin(port: ServicePort, way: Ways) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for one in way.usable.all:
        found[one.node] = (*found.get(one.node, ()), _element(one.address, one.address, port.protocol, one.port))
    return found


def _chains(port: ServicePort, way: Ways, base: str, node: ProxyNode | None) -> Iterator[Chain]:
    table, found = _table(port.family), way.usable
    if found.exist and port.is_external:
        pod_range = node.pod_range if node else None
        yield Chain(table, f"external-{base}", tuple(_external(port, way, base, pod_range)))
    if port.load_balancer_ips and port.source_ranges:
        assert node is not None
        yield Chain(table, f"firewall-{base}", (_firewall(port, node),))
    for prefix, endpoints in (("service-", found.cluster), ("local-", found.local)):
        if endpoints:
            yield Chain(table, prefix + base, tuple(_balanced(port, endpoints)))
    for one in found.all if port.affinity_s else ():
        yield Chain(table, f"endpoint-{endpoint_name(port, one)}", tuple(_endpoint(port, one)))


def _external(port: ServicePort, way: Ways, base: str, pod_range: Any) -> Iterator[str]:
    """Packets to external addresses and node ports."""
    if not port.external_local:
        yield rule(_SET_MARK, comment="masquerade")
    else:
        source = _field(_FAMILY[port.family], "saddr")
        to_cluster = _goto(f"service-{base}")
        yield rule(_match(source, _range(pod_range)), to_cluster, comment="short-circuit pod traffic")
        yield rule(_LOCAL, _SET_MARK, comment="masquerade local traffic")
        yield rule(_LOCAL, to_cluster, comment="short-circuit local traffic")
    if way.external:
        yield rule(_goto(("local-" if port.external_local else "service-") + base))


def _firewall(port: ServicePort, node: ProxyNode) -> str:
    """Sources that may not reach a load balancer's address."""
    ranges = [ip_network(one) for one in port.source_ranges]
    if any(node.address in one for one in ranges):
        # The node itself sends from the load balancer's address if it has it.
        ranges += map(ip_network, port.load_balancer_ips)
    # nft merges overlapping ranges too.
    merged = sorted(collapse_addresses(ranges))  # type: ignore[type-var]
    source = _field(_FAMILY[port.family], "saddr")
    return rule(_match(source, _one_of([_range(one) for one in merged]), "!="), _DROP)


def _balanced(port: ServicePort, endpoints: Sequence[Endpoint]) -> Iterator[str]:
    """Known clients to their endpoint, all others to a random one."""
    number = {"numgen": {"mode": "random", "mod": len(endpoints), "offset": 0}}
    ip = _FAMILY[port.family]
    if not port.affinity_s:
        targets = [[place, {"concat": [one.address, one.port]}] for place, one in enumerate(endpoints)]
        address = {"map": {"key": number, "data": {"set": targets}}}
        yield rule(_match(_PROTOCOL, port.protocol), {"dnat": {"family": ip, "addr": address}})
        return
    names = [endpoint_name(port, one) for one in endpoints]
    for name in names:
        yield rule(_match(_field(ip, "saddr"), f"@affinity-{name}"), _goto(f"endpoint-{name}"))
    yield rule(_vmap(number, {"set": [[place, _goto(f"endpoint-{name}")] for place, name in enumerate(names)]}))


def _endpoint(port: ServicePort, endpoint: Endpoint) -> Iterator[str]:
    """Remember the client, then DNAT."""
    source = _field(_FAMILY[port.family], "saddr")
    yield rule({"set": {"op": "update", "elem": source, "set": f"@affinity-{endpoint_name(port, endpoint)}"}})
    yield rule(_match(_PROTOCOL, port.protocol), {"dnat": {"addr": endpoint.address, "port": endpoint.port}})


def _affinity_sets(port: ServicePort, way: Ways) -> Iterator[Set]:
    for one in way.usable.all if port.affinity_s else ():
        yield set_of(
            f"affinity-{endpoint_name(port, one)}",
            _table(port.family),
            _ADDRESS[port.family],
            flags=("timeout",),
            timeout_s=port.affinity_s,
        )


@lru_cache(maxsize=200_000)
def _named(name: str) -> str:
    """A name that begins with its own hash, cut to what nftables takes."""
    code = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()[:8]
    whole = f"{code}-{name}"
    return whole if len(whole) <= LONGEST_NAME else f"{whole[: LONGEST_NAME - 3]}..."


def port_name(port: ServicePort) -> str:
    """The name of a port in chains, such as `ULMVA6XW-ns1/svc1/tcp/p80`."""
    return _named(f"{port.namespace}/{port.service}/{port.protocol}/{port.name}")


def endpoint_name(port: ServicePort, endpoint: Endpoint) -> str:
    """The name of an endpoint in chains and sets, such as `5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80`."""
    address = endpoint.address.replace(":", ".")
    return _named(f"{port.namespace}/{port.service}/{port.protocol}/{port.name}__{address}/{endpoint.port}")


def _table(family: int) -> str:
    return f"{_FAMILY[family]} kube-proxy"


def _field(ip: str, name: str) -> Tree:
    return {"payload": {"protocol": ip, "field": name}}


def _vmap(key: Tree, data: Any) -> Tree:
    return {"vmap": {"key": key, "data": data}}


def _reject(family: int) -> Tree:
    return {"reject": {"type": _ICMP[family], "expr": "port-unreachable"}}


def _range(network: Any) -> Any:
    """A range as nft lists it: one address without a length."""
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}


def _one_of(values: Sequence[Any]) -> Any:
    """A set without a name; nft lists a single element as a value."""
    return values[0] if len(values) == 1 else {"set": list(values)}


def _element(*key: str | int) -> str:
    return canonical({"concat": key})


def _pair(verdict: Tree, key: Sequence[str | int], comment: str) -> str:
    """An element of a verdict map."""
    value: Tree = {"concat": list(key)}
    return canonical([{"elem": {"val": value, "comment": comment}} if comment else value, verdict])
