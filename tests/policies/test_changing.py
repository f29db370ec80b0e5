"""Policies that change under traffic: no open moment, no lost packet, and what becomes of established connections."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from testbed.kubernetes.state import ClusterState
from testbed.lab.lab import Lab
from testbed.policies import ENGINES
from tests.kubernetes.policies.cases import cluster
from tests.policies.labs import designed, enforced

pytestmark = pytest.mark.sealed

CHANGES = 100
ENGINES_AND_DESIGNS = (("nftables", "vxlan"), ("calico", "calico-vxlan"))
"""Without kube-router, whose sets change before its chains: for a moment, packets meet old chains with new sets."""
PODS = {f"x/{name}": {"labels": {"app": name}} for name in ("server", "friend", "foe", "other")}
ISOLATED = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: always, namespace: x}}
spec:
  podSelector: {{matchLabels: {{app: server}}}}
  ingress:
    - from: [{{podSelector: {{matchLabels: {{app: friend}}}}}}{peers}]
      ports: [{{port: 7, protocol: UDP}}{ports}]
"""
MORE = """
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: in-{number}, namespace: x}}
spec:
  podSelector: {{{selector}}}
  ingress: [{{from: [{{podSelector: {{matchLabels: {{app: friend}}}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: out-{number}, namespace: x}}
spec:
  podSelector: {{{selector}}}
  policyTypes: [Egress]
  egress: [{{to: [{{podSelector: {{}}}}]}}]
"""
OPEN = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: always, namespace: x}
spec: {podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {}}]}]}
"""


def states() -> Iterator[ClusterState]:
    """Clusters whose policies differ, but all let the friend reach the server at UDP 7, and not the foe."""
    chance = random.Random(3)
    while True:
        peers = chance.choice(
            ["", ", {podSelector: {matchLabels: {app: other}}}", ", {ipBlock: {cidr: 172.16.0.0/12}}"]
        )
        text = ISOLATED.format(peers=peers, ports=chance.choice(["", ", {port: 80}", ", {port: 8000, endPort: 8010}"]))
        for number in range(chance.randrange(3)):
            selector = chance.choice(["matchLabels: {app: server}", "matchLabels: {app: friend}", ""])
            text += MORE.format(number=number, selector=selector)
        yield cluster({"x": {}}, PODS, text)


class Flood:
    """A datagram each millisecond from one pod to another, each of a connection of its own."""

    def __init__(self, lab: Lab, source: str, target: str, address: str, port: int) -> None:
        self.sent: set[int] = set()
        self.received: set[int] = set()
        self._stop = threading.Event()
        self._lab, self._source, self._address, self._port = lab, source, address, port
        with lab.namespaces[target].entered():
            self._server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._server.bind((address, port))
        self._server.settimeout(0.05)
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
            self._server.close()

    def _send(self) -> None:
        number = 0
        with self._lab.namespaces[self._source].entered():
            while not self._stop.is_set():
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made, suppress(OSError):
                    made.sendto(number.to_bytes(4, "big"), (self._address, self._port))
                    self.sent.add(number)
                number += 1
                time.sleep(0.001)

    def _receive(self) -> None:
        while True:
            try:
                self.received.add(int.from_bytes(self._server.recv(4), "big"))
            except TimeoutError:
                if self._stop.is_set():
                    return


@pytest.mark.parametrize(("engine", "design"), ENGINES_AND_DESIGNS)
def test_no_packet_is_lost_or_let_through_while_policies_change(engine: str, design: str) -> None:
    different = states()
    state = next(different)
    plan = designed(state, design)
    with Lab(plan) as lab:
        one = enforced(plan, plan, state, ENGINES[engine])
        server = one.address("server.x")
        unhindered = Flood(lab, "foe.x", "server.x", server, 9)
        with unhindered.running():
            time.sleep(0.05)
        assert unhindered.received
        lab.change(one.plan)
        good, bad = Flood(lab, "friend.x", "server.x", server, 7), Flood(lab, "foe.x", "server.x", server, 8)
        with good.running(), bad.running():
            time.sleep(0.05)
            for _ in range(CHANGES):
                lab.change(enforced(plan, plan, next(different), ENGINES[engine]).plan)
    assert len(good.sent) > CHANGES
    assert len(bad.sent) > CHANGES
    assert good.sent - good.received == set()
    assert bad.received == set()


@pytest.mark.parametrize(
    ("engine", "design", "goes_on"), [("nftables", "vxlan", False), ("calico", "calico-vxlan", True)]
)
def test_established_connections_after_a_policy_forbids_them(engine: str, design: str, goes_on: bool) -> None:
    before, after = cluster({"x": {}}, PODS, OPEN), next(states())
    plan = designed(before, design)
    with Lab(plan) as lab:
        one = enforced(plan, plan, before, ENGINES[engine])
        lab.change(one.plan)
        with lab.namespaces["server.x"].entered():
            server = socket.create_server((one.address("server.x"), 9))
        with lab.namespaces["foe.x"].entered():
            client = socket.create_connection((one.address("server.x"), 9), timeout=2)
        there, _ = server.accept()
        there.settimeout(0.5)
        client.send(b"1")
        assert there.recv(1) == b"1"
        lab.change(enforced(plan, plan, after, ENGINES[engine]).plan)
        client.send(b"2")
        if goes_on:
            assert there.recv(1) == b"2"
        else:
            with pytest.raises(TimeoutError):
                there.recv(1)
            lab.change(one.plan)
            there.settimeout(5)
            assert there.recv(1) == b"2"
        for each in (client, there, server):
            each.close()
