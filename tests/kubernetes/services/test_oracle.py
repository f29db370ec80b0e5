"""The endpoints that each node uses, and what becomes of packets."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from testbed.kubernetes.services.oracle import Oracle, Source
from testbed.kubernetes.services.ports import Endpoint, ServicePort, usable

POD = Source("10.244.0.9", "node1", is_pod=True)
REMOTE_POD = Source("10.244.1.9", "node2", is_pod=True)
NODE = Source("192.168.56.1", "node1")
OUTSIDE = Source("203.0.113.5")


def at(host: str, node: str, **fields: object) -> Endpoint:
    return replace(Endpoint(f"10.244.{host}", 8080, node), **fields)  # type: ignore[arg-type]


HERE, THERE = at("0.2", "node1"), at("1.2", "node2")
DRAINING = replace(HERE, ready=False, terminating=True)


def port(*endpoints: Endpoint, **fields: object) -> ServicePort:
    plain = ServicePort("default", "web", "http", "tcp", 4, "10.96.0.5", 80, endpoints, node_port=30080)
    return replace(plain, **fields)  # type: ignore[arg-type]


def asked(one: ServicePort, source: Source, address: str, number: int = 80, **options: bool) -> tuple[str, list[str]]:
    """The verdict, and the endpoints; those that see a node's address are marked with it."""
    judge = Oracle((one,), {"192.168.56.1": "node1", "192.168.56.2": "node2"}, {})
    answer = judge.where(source, address, number, "TCP", via="node1", **options)
    marks = {endpoint: f" as {answer.masked[endpoint]}" for endpoint in answer.masked}
    return answer.verdict, [f"{endpoint.address}{marks.get(endpoint, '')}" for endpoint in answer.endpoints]


@pytest.mark.parametrize(
    ("endpoints", "cluster", "local"),
    [
        ((HERE, THERE), (HERE, THERE), (HERE,)),
        ((THERE,), (THERE,), ()),
        ((DRAINING, THERE), (THERE,), (DRAINING,)),
        ((DRAINING,), (DRAINING,), (DRAINING,)),
        ((replace(HERE, ready=False, serving=False),), (), ()),
        ((replace(HERE, ready=False),), (), ()),
        ((replace(DRAINING, serving=False), THERE), (THERE,), ()),
    ],
)
def test_usable_endpoints(
    endpoints: tuple[Endpoint, ...], cluster: tuple[Endpoint, ...], local: tuple[Endpoint, ...]
) -> None:
    found = usable(port(*endpoints, external_local=True), "node1")
    assert (found.cluster, found.local, found.exist) == (cluster, local, bool(cluster))


@pytest.mark.parametrize(
    ("node", "zone", "wanted"),
    [
        ("node1", "a", ["0.2"]),
        ("node9", "a", ["0.2", "0.3"]),
        ("node9", "b", ["1.2"]),
        ("node9", "z", ["0.2", "0.3", "1.2"]),
    ],
)
def test_hints_choose_the_node_then_the_zone_then_all(node: str, zone: str, wanted: list[str]) -> None:
    hinted = (
        at("0.2", "node1", zones=("a",), nodes=("node1",)),
        at("0.3", "node3", zones=("a",), nodes=("node3",)),
        at("1.2", "node2", zones=("b",), nodes=("node2",)),
    )
    assert [one.address.removeprefix("10.244.") for one in usable(port(*hinted), node, zone).cluster] == wanted


def test_one_endpoint_without_hints_disables_them() -> None:
    mixed = (at("0.2", "node1", zones=("a",)), at("1.2", "node2"))
    assert usable(port(*mixed), "node1", "a").cluster == mixed


@pytest.mark.parametrize(
    ("one", "source", "address", "number", "verdict", "reached"),
    [
        (port(HERE, THERE), POD, "10.96.0.5", 80, "endpoints", ["10.244.0.2", "10.244.1.2"]),
        (port(HERE), replace(POD, address=HERE.address), "10.96.0.5", 80, "endpoints", ["10.244.0.2 as node1"]),
        (port(THERE), NODE, "10.96.0.5", 80, "endpoints", ["10.244.1.2 as node1"]),
        (port(THERE), OUTSIDE, "10.96.0.5", 80, "endpoints", ["10.244.1.2 as node1"]),
        (port(), POD, "10.96.0.5", 80, "reject", []),
        (port(HERE), POD, "10.96.0.5", 81, "none", []),
        (port(HERE, THERE, internal_local=True), POD, "10.96.0.5", 80, "endpoints", ["10.244.0.2"]),
        (port(THERE, internal_local=True), POD, "10.96.0.5", 80, "drop", []),
        (port(THERE), OUTSIDE, "192.168.56.1", 30080, "endpoints", ["10.244.1.2 as node1"]),
        (port(THERE, external_local=True), OUTSIDE, "192.168.56.1", 30080, "drop", []),
        (port(THERE, external_local=True), OUTSIDE, "192.168.56.2", 30080, "endpoints", ["10.244.1.2"]),
        (port(THERE, external_local=True), POD, "192.168.56.1", 30080, "endpoints", ["10.244.1.2"]),
        (port(THERE, external_local=True), NODE, "192.168.56.1", 30080, "endpoints", ["10.244.1.2 as node1"]),
        (port(HERE), POD, "192.168.56.9", 30080, "none", []),
        (port(node_port=30080, external_local=True), OUTSIDE, "192.168.56.1", 30080, "reject", []),
    ],
)
def test_verdicts(
    one: ServicePort, source: Source, address: str, number: int, verdict: str, reached: list[str]
) -> None:
    assert asked(one, source, address, number) == (verdict, reached)


def test_source_ranges_are_of_load_balancer_addresses_alone() -> None:
    one = port(THERE, load_balancer_ips=("198.51.100.1",), source_ranges=("203.0.113.0/24",))
    assert asked(one, OUTSIDE, "198.51.100.1")[0] == "endpoints"
    assert asked(one, POD, "198.51.100.1")[0] == "drop"
    assert asked(one, POD, "192.168.56.1", 30080)[0] == "endpoints"


def test_pods_whose_source_is_masked_are_like_outsiders_to_other_nodes() -> None:
    one = port(THERE, external_local=True)
    assert asked(one, POD, "192.168.56.2", 30080) == ("endpoints", ["10.244.1.2"])
    assert asked(one, POD, "192.168.56.2", 30080, masks_pods=True) == ("endpoints", ["10.244.1.2 as node1"])
    assert asked(one, REMOTE_POD, "192.168.56.1", 30080, masks_pods=True) == ("drop", [])


def test_closed_ranges_reject_other_ports_and_drop_other_addresses() -> None:
    closed = Oracle((port(HERE),), {}, {}, (ip_network("10.96.0.0/12"),))
    found = [closed.where(POD, address, number).verdict for address, number in (("10.96.0.5", 81), ("10.96.0.6", 80))]
    assert found == ["reject", "drop"]
    assert closed.where(POD, "10.112.0.1", 80).verdict == "none"
