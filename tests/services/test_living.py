"""Real connections to Services reach the endpoints that the oracle names, and have the source that it names."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.designs import DESIGNS
from testbed.kubernetes.applying import apply
from testbed.kubernetes.reading import read_manifests
from testbed.kubernetes.services.oracle import Answer, Oracle, Source, oracle
from testbed.kubernetes.services.ports import ServicePort, service_ports
from testbed.kubernetes.state import ClusterState
from testbed.kubernetes.workloads import step
from testbed.lab.flows import forget_stale
from testbed.lab.lab import Lab
from testbed.observe.inspect import inspect
from testbed.plan.addressing import Layout
from testbed.plan.cluster import cluster_of
from testbed.plan.objects import DeviceAddress, Kind, Plan
from testbed.services.planned import PROXIES, with_services
from testbed.spec.load import topology_of_text

pytestmark = pytest.mark.sealed
TALKING = Path(__file__).with_name("talking.py")
PORT = 8080
TIMES = 48
"""Of three endpoints one is never chosen in this many connections with a probability of 1 in 100 million."""
TOPOLOGY = """
name: services
cluster: {pod_cidr: [10.244.0.0/16, "fd00:10:244::/56"]}
fabric: {subnet: [192.168.56.0/24, "fd00:56::/64"]}
nodes:
  node1: {pods: [client1, {name: a1, labels: {app: a}}, {name: a2, labels: {app: a}}]}
  node2: {pods: [client2, {name: b1, labels: {app: a, one: b1}}]}
  node3: {pods: [client3]}
"""
BALANCED, EXTERNAL = {4: "203.0.113.10", 6: "2001:db8::10"}, {4: "198.51.100.7", 6: "2001:db8::7"}
GATEWAY = "gateway"
PLACES = ("client1", "a1", "client2", "client3", "node1", "node3", GATEWAY)


def service(name: str, *, protocol: str = "TCP", **spec: Any) -> dict[str, Any]:
    spec = {
        "selector": {"app": "a"},
        "ports": [{"port": 80, "targetPort": PORT, "protocol": protocol}],
        "ipFamilyPolicy": "RequireDualStack",
    } | spec
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


SERVICES = (
    service("web", type="NodePort"),
    service("datagrams", protocol="UDP", type="NodePort"),
    service("sticky", type="NodePort", sessionAffinity="ClientIP"),
    service("here", internalTrafficPolicy="Local"),
    service("edge", type="NodePort", externalTrafficPolicy="Local"),
    service("only-b", type="NodePort", externalTrafficPolicy="Local", selector={"one": "b1"}),
    service("empty", type="NodePort", selector={"app": "nothing"}),
    service("empty-udp", protocol="UDP", selector={"app": "nothing"}),
    service("checked", type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=30090),
    service("outside", externalIPs=list(EXTERNAL.values())),
    service(
        "balanced",
        type="LoadBalancer",
        loadBalancerSourceRanges=["10.244.0.0/24", "fd00:10:244::/64"],
        allocateLoadBalancerNodePorts=False,
    )
    | {"status": {"loadBalancer": {"ingress": [{"ip": one} for one in BALANCED.values()]}}},
)


@dataclass(frozen=True)
class Question:
    """Connections from a place to an address, and what is right."""

    place: str
    service: str
    address: str
    port: int
    protocol: str
    answer: Answer
    is_sticky: bool
    is_internal: bool
    """Whether the address is the cluster address."""

    @property
    def times(self) -> int:
        return TIMES if self.answer.verdict == "endpoints" else 1


class Cluster:
    """A lab with Services."""

    def __init__(self) -> None:
        self.topology = topology_of_text(TOPOLOGY, "services.yaml").value
        self.design = DESIGNS["flannel-vxlan"]
        self.plan: Plan = self.design.plan(self.topology)
        self.layout: Layout = self.design.lay_out(self.topology)
        text = yaml.safe_dump_all(SERVICES)
        self.state: ClusterState = step(apply(cluster_of(self.layout), read_manifests([("s.yaml", text)])).state)
        self.names = {
            str(one.ip): pod.pod.id for node in self.layout.nodes for pod in node.pods for one in pod.addresses
        }
        self.own: dict[str, list[str]] = {}
        """The addresses of each node, of the router and of each pod."""

    def look(self, lab: Lab) -> None:
        for space in lab.plan.spaces:
            self.own[space.name] = [str(one.interface.ip) for one in space.of(DeviceAddress)]
        for address, name in self.names.items():
            self.own[name] = [*self.own.get(name, ()), address]
        for node in self.layout.nodes:
            self.own[node.name] = [*(str(one.ip) for one in node.addresses), *self.own[node.name]]

    def source(self, place: str, family: int) -> Source:
        space = self.plan[place]
        address = next(one for one in self.own[place] if (":" in one) == (family == 6) and not one.startswith("fe80"))
        return Source(address, "" if place == GATEWAY else space.home, space.kind is Kind.POD)

    def questions(self, place: str, family: int, proxy: str) -> Iterator[Question]:
        right: Oracle = oracle(self.state, family, is_closed=PROXIES[proxy].is_closed)
        source = self.source(place, family)
        masks = bool(self.plan[place].snat_addresses)
        for port in right.ports:
            for address, number in self.targets(port, family):
                answer = right.where(source, address, number, port.protocol, via="node1", masks_pods=masks)
                is_internal = address == port.address
                sticks = bool(port.affinity_s)
                yield Question(place, str(port), address, number, port.protocol, answer, sticks, is_internal)
        for address, number in self.unserved(family):
            yield Question(place, "none", address, number, "tcp", right.where(source, address, number), False, True)

    def unserved(self, family: int) -> Iterator[tuple[str, int]]:
        """Another port of a cluster address, and an address that no Service has."""
        yield next(one.address for one in service_ports(self.state, family) if one.service == "web"), 81
        yield {4: "10.96.0.250", 6: "fd00:10:96::fa"}[family], 80

    def targets(self, port: ServicePort, family: int) -> Iterator[tuple[str, int]]:
        for address in (port.address, *port.external_ips, *port.load_balancer_ips):
            yield address, port.port
        for node in self.layout.nodes if port.node_port else ():
            yield str(node.address(family)), port.node_port

    def wrong(self, question: Question, found: list[str]) -> Iterator[str]:
        """What differs from the oracle."""
        answer = question.answer
        what = f"{question.place} -> {question.service} {question.address}:{question.port}/{question.protocol}"
        expected = {"reject": ["refused"], "drop": ["timeout"]}
        if answer.verdict != "endpoints":
            if found != expected.get(answer.verdict, found):
                yield f"{what}: expected {answer.verdict}, found {found}"
            return
        source = self.source(question.place, 6 if ":" in question.address else 4).address
        allowed = {
            (self.names[one.address], seen)
            for one in answer.endpoints
            for seen in (self.own[answer.masked[one]] if one in answer.masked else [source])
        }
        pairs = [(*one.split(), "")[:2] for one in found]
        yield from (f"{what}: unexpected {pair}" for pair in sorted(set(pairs) - allowed))
        reached = {pair[0] for pair in pairs}
        wanted = 1 if question.is_sticky else len(answer.endpoints)
        if len(reached) != wanted:
            yield f"{what}: {len(reached)} endpoints answered, expected {wanted}: {sorted(reached)}"


@contextmanager
def servers(lab: Lab) -> Iterator[None]:
    programs = [
        lab.start(name, [sys.executable, str(TALKING), "serve", name, str(PORT)]) for name in ("a1", "a2", "b1")
    ]
    try:
        for one in programs:
            assert one.stdout is not None
            assert one.stdout.readline() == b"ready\n"
        yield
    finally:
        for one in programs:
            one.terminate()
            one.wait()


def asked(lab: Lab, questions: dict[str, list[Question]]) -> Iterator[tuple[Question, list[str]]]:
    """The answers to questions of several places, which ask at the same time."""
    clients = {}
    for place, own in questions.items():
        words = [[one.address, one.port, one.protocol, one.times] for one in own]
        clients[place] = lab.start(place, [sys.executable, str(TALKING), "ask", json.dumps(words)])
    for place, client in clients.items():
        text, errors = client.communicate(timeout=60)
        assert client.returncode == 0, errors.decode()
        yield from zip(questions[place], json.loads(text), strict=True)


def test_connections_reach_what_the_oracle_names() -> None:
    cluster = Cluster()
    with Lab(cluster.plan) as lab, servers(lab):
        cluster.look(lab)
        for address in (*BALANCED.values(), *EXTERNAL.values()):
            node = cluster.layout.nodes[0].address(6 if ":" in address else 4)
            assert lab.run(GATEWAY, ["ip", "route", "add", address, "via", str(node)]).returncode == 0
        wrong: list[str] = []
        for proxy in ("iptables", "nftables"):
            lab.change(with_services(cluster.plan, cluster.layout, cluster.state, proxy))
            differences = [one for one in inspect(lab.plan, lab.namespaces, lab.ended()) if one.place != GATEWAY]
            assert differences == [], proxy
            questions = {
                place: [
                    one
                    for family in (4, 6)
                    for one in cluster.questions(place, family, proxy)
                    if place != GATEWAY or not one.is_internal
                ]
                for place in PLACES
            }
            wrong += (f"{proxy}: {line}" for pair in asked(lab, questions) for line in cluster.wrong(*pair))
        assert wrong == [], "\n".join(wrong)
        health_checks_are_answered(lab, cluster, cluster.state)
        datagrams_follow_their_endpoints(lab, cluster)
        lab.change(with_services(cluster.plan, cluster.layout, cluster.state, "none"))
        unanswered = [replace(one, answer=Answer("none")) for one in cluster.questions("client1", 4, "none")]
        assert not [pair for pair in asked(lab, {"client1": unanswered}) if " " in pair[1][0]]


def health_checks_are_answered(lab: Lab, cluster: Cluster, state: ClusterState) -> None:
    """Each node says how many ready endpoints it has, and answers 503 if there are none."""
    (port,) = (one for one in service_ports(state, 4) if one.service == "checked")
    for node in cluster.layout.nodes:
        command = ["curl", "-s", "-w", "%{http_code}", "-m", "5", f"http://{node.address(4)}:{port.health_port}/"]
        text = lab.run(GATEWAY, command).stdout
        answer = json.loads(text[:-3])
        count = sum(one.ready and one.node == node.name for one in port.endpoints)
        assert answer["service"] == {"namespace": "default", "name": "checked"}
        assert (text[-3:], answer["localEndpoints"]) == ("200" if count else "503", count)


def datagrams_follow_their_endpoints(lab: Lab, cluster: Cluster) -> None:
    """A client that keeps its port reaches another endpoint when its own is gone, once stale flows are deleted."""
    ports = {family: service_ports(cluster.state, family) for family in (4, 6)}
    for family, own in ports.items():
        (datagrams,) = (one for one in own if one.service == "datagrams")
        targets = [
            (datagrams.address, datagrams.port),
            (str(cluster.layout.nodes[0].address(family)), datagrams.node_port),
        ]
        for number, (address, port) in enumerate(targets):
            once = [sys.executable, str(TALKING), "once", address, str(port), str(12345 + number)]
            first = lab.run("client1", once).stdout.split()[0]
            assert {lab.run("client1", once).stdout.split()[0] for _ in range(3)} == {first}
            gone = cluster.state.of("Pod")["default", first]
            state = step(cluster.state.changed([replace(gone, ready_since=None)]))  # type: ignore[call-arg]
            lab.change(with_services(cluster.plan, cluster.layout, state, "nftables"))
            assert lab.run("client1", once).stdout.split()[0] == first
            health_checks_are_answered(lab, cluster, state)
            left = {each: service_ports(state, each) for each in (4, 6)}
            assert forget_stale(lab.namespaces, ("node1",), left) >= 1
            assert lab.run("client1", once).stdout.split()[0] not in (first, "refused", "timeout")
            assert forget_stale(lab.namespaces, ("node1",), left) == 0
            lab.change(with_services(cluster.plan, cluster.layout, cluster.state, "nftables"))


def test_every_proxy_has_a_summary() -> None:
    assert all(one.summary for one in PROXIES.values())
