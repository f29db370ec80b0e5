"""Encryption between nodes: each lab has its own keys, and unencrypted packets are dropped."""

import subprocess

import pytest

from testbed.designs import design_of
from testbed.lab.lab import Lab
from testbed.observe.inspect import inspect
from testbed.spec.topology import Topology

pytestmark = [pytest.mark.sealed, pytest.mark.vm]


def said(lab: Lab, place: str, *command: str) -> str:
    out, _ = lab.start(place, command).communicate(timeout=120)
    return out.decode()


def answers(lab: Lab) -> bool:
    with lab.namespaces["client"].entered():
        done = subprocess.run(["ping", "-c", "3", "-i", "0.2", "-W", "3", "10.244.1.2"], stdout=subprocess.DEVNULL)
    return done.returncode == 0


@pytest.mark.needs("wireguard")
def test_each_lab_has_its_own_wireguard_keys(two_nodes: Topology) -> None:
    plan = design_of("bridge+wireguard").plan(two_nodes)
    keys = []
    for _ in range(2):
        with Lab(plan) as lab:
            keys += [said(lab, node, "wg", "show", "wg0", "public-key").strip() for node in ("node1", "node2")]
            assert said(lab, "node1", "wg", "show", "wg0", "peers").split() == [keys[-1]]
    assert len(set(keys)) == 4


@pytest.mark.needs("vxlan", "esp")
def test_packets_without_ipsec_are_dropped(two_nodes: Topology) -> None:
    with Lab(design_of("bridge+ipsec").plan(two_nodes)) as lab:
        assert answers(lab)
        states = said(lab, "node1", "ip", "xfrm", "state")
        assert states.count("rfc4106(gcm(aes))") == 2
        # Without policies node1 sends plain VXLAN.
        said(lab, "node1", "ip", "xfrm", "policy", "flush")
        assert not answers(lab)
        said(lab, "node1", "ip", "xfrm", "state", "flush")
        found = inspect(lab.plan, lab.namespaces)
        assert {(one.place, one.what) for one in found} == {
            ("node1", "IPsec association 192.168.56.1 > 192.168.56.2 missing"),
            ("node1", "IPsec association 192.168.56.2 > 192.168.56.1 missing"),
        }
