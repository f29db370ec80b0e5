"""Ports of Services of every kind, as a proxy reads them."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from testbed.kubernetes.services.ports import Endpoint, ServicePort
from testbed.services.node import ProxyNode

NODE = "node1"
NODES = {
    4: ProxyNode(NODE, ip_address("192.168.0.2"), ip_network("10.0.0.0/8"), (ip_network("172.30.0.0/16"),), "a"),
    6: ProxyNode(NODE, ip_address("fd00::2"), ip_network("fd00:10::/32"), (ip_network("fd00:172::/112"),), "a"),
}


def port(number: int, *endpoints: Endpoint, **fields: object) -> ServicePort:
    """Port 80 of Service `svcN` in namespace `nsN`."""
    plain = ServicePort(f"ns{number}", f"svc{number}", "p80", "tcp", 4, f"172.30.0.{40 + number}", 80, endpoints)
    return replace(plain, **fields)  # type: ignore[arg-type]


def at(number: int, node: str = "", **fields: bool) -> Endpoint:
    return replace(Endpoint(f"10.180.0.{number}", 80, node), **fields)  # type: ignore[arg-type]


PORTS = (
    port(1, at(1)),
    port(
        2,
        at(2),
        node_port=3001,
        external_ips=("192.168.99.22",),
        load_balancer_ips=("1.2.3.4",),
        external_local=True,
        health_port=30000,
    ),
    port(3, at(3), node_port=3003),
    port(4, at(4), at(5, NODE), external_ips=("192.168.99.33",)),
    port(
        5,
        at(3),
        node_port=3002,
        load_balancer_ips=("5.6.7.8",),
        source_ranges=("203.0.113.0/25",),
        affinity_s=10800,
    ),
    port(6),
)
"""ClusterIP, LoadBalancer with the local policy, NodePort, external address, source ranges, no endpoints."""

LOCAL_PORTS = (
    port(7, at(1, NODE), at(2, "node2"), internal_local=True),
    port(8, at(2, "node2"), internal_local=True),
    port(9, at(1, NODE), at(2, "node2"), at(3, NODE), node_port=3004, external_local=True, affinity_s=60),
    port(10, at(1, NODE, ready=False, terminating=True), at(2, "node2"), node_port=3005, external_local=True),
    port(11, at(1, ready=False, serving=False), node_port=3006, name="", protocol="udp"),
    port(
        12,
        at(4),
        load_balancer_ips=("5.6.7.9",),
        source_ranges=("10.1.0.0/16", "192.168.0.0/24", "10.0.0.0/8"),
        protocol="sctp",
    ),
)
"""Local policies, endpoints that terminate, source ranges that overlap and have the node, an unnamed port."""


def in_ipv6(one: ServicePort) -> ServicePort:
    """The same port with addresses of IPv6."""

    def six(text: str) -> str:
        return str(ip_address(f"fd00:172::{text.replace('.', ':')}"))

    return replace(
        one,
        family=6,
        address=six(one.address),
        external_ips=tuple(map(six, one.external_ips)),
        load_balancer_ips=tuple(map(six, one.load_balancer_ips)),
        source_ranges=("2001:db8::/32",) if one.source_ranges else (),
        endpoints=tuple(replace(each, address=six(each.address)) for each in one.endpoints),
    )
