"""10,000 Services with 20,000 endpoints are resolved and planned for 4 nodes in 3 s of CPU time."""

import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from testbed.kubernetes.cluster import Machine, fixed_pod, new_cluster
from testbed.kubernetes.kinds import BY_NAME
from testbed.kubernetes.services.admission import admitted
from testbed.kubernetes.services.controller import EndpointSlices
from testbed.kubernetes.services.ports import service_ports
from testbed.kubernetes.services.ranges import numbers_of
from testbed.kubernetes.state import ClusterState, Metadata, Resource
from testbed.plan.collecting import without_collecting
from testbed.plan.rulesets.transactions import changing, wholes
from testbed.services.node import ProxyNode
from testbed.services.planned import PROXIES

pytestmark = pytest.mark.exclusive
SERVICES = 10_000
NAMES = ("node1", "node2", "node3", "node4")
NODES = tuple(
    ProxyNode(name, ip_address(f"192.168.56.{number}"), ip_network("10.244.0.0/16"), (ip_network("10.96.0.0/12"),))
    for number, name in enumerate(NAMES, 1)
)


def services(state: ClusterState) -> Iterator[Resource]:
    numbers = numbers_of(state)
    for number in range(SERVICES):
        spec = {"selector": {"app": f"s{number}"}, "ports": [{"port": 80, "targetPort": 8080}]}
        made = admitted({"spec": spec}, None, f"default/s{number}", numbers)
        metadata = Metadata(name=f"s{number}", namespace="default")
        yield Resource(kind=BY_NAME["Service"], metadata=metadata, typed=made.typed, body={"spec": made.data["spec"]})


def pods() -> Iterator[Resource]:
    for number in range(2 * SERVICES):
        one = fixed_pod(f"p{number}", "default", NAMES[number % 4], {"app": f"s{number // 2}"})
        yield replace(one, ips=(str(ip_address("10.244.0.2") + number),))


@pytest.mark.parametrize("proxy", ["iptables", "nftables"])
def test_ten_thousand_services(proxy: str) -> None:
    start = new_cluster((Machine(name=name) for name in NAMES), service_ranges=("10.96.0.0/12",))
    with without_collecting():
        state = start.changed([*services(start), *pods()])
        follow = EndpointSlices()
        begin = time.process_time()
        state = follow(state)
        ports = service_ports(state, 4)
        served = [PROXIES[proxy].served(ports, node) for node in NODES]
        seconds = time.process_time() - begin
        assert sum(len(port.endpoints) for port in ports) == 2 * SERVICES
        before = [wholes(one.rulesets) for one in served]

        pod = state.of("Pod")["default", "p7"]
        state = state.changed([replace(pod, ready_since=None)])  # type: ignore[call-arg]
        begin = time.process_time()
        state = follow(state)
        follow_seconds = time.process_time() - begin
        begin = time.process_time()
        ports = service_ports(state, 4)
        after = [wholes(PROXIES[proxy].served(ports, node).rulesets) for node in NODES]
        changes = [changing(*pair) for pair in zip(before, after, strict=True)]
        change_seconds = time.process_time() - begin
    assert all(sum(len(one.text) for one in each) < 2000 for each in changes)
    assert seconds < 3
    assert follow_seconds < 0.1
    assert change_seconds < 3
