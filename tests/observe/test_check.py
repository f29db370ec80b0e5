"""`check` names the failing pairs and the reason."""

import subprocess
import time

import pytest

from testbed.designs import DESIGNS, PLAIN
from testbed.lab.lab import Lab
from testbed.observe.check import check
from testbed.observe.messages import has_sctp
from testbed.observe.verdict import Verdict, matrix
from testbed.spec.topology import Topology

pytestmark = pytest.mark.sealed


def checked(topology: Topology, *commands: str, place: str = "node1") -> Verdict:
    design = DESIGNS["vxlan"]
    with Lab(design.plan(topology)) as lab:
        for command in commands:
            with lab.namespaces[place].entered():
                subprocess.run(["sh", "-ec", command], check=True)
        return check(design, topology, lab.plan, lab.namespaces)


@pytest.mark.parametrize("design", list(PLAIN))
def test_every_design_passes_repeated_checks(design: str, dual_stack: Topology) -> None:
    with Lab(DESIGNS[design].plan(dual_stack)) as lab:
        for _ in range(2):
            verdict = check(DESIGNS[design], dual_stack, lab.plan, lab.namespaces)
            assert verdict.is_good
            # 20 pairs, 3 protocols, 2 families; 3 paths, 2 families, packets and messages; 4 packets on the fabric.
            assert verdict.asked == 120 + 6 + 6 + 4
            assert (verdict.failures, verdict.astray, verdict.causes) == ((), (), ())
            assert set(matrix(verdict).values()) == {""}


def test_the_reason_is_a_missing_route(two_nodes: Topology) -> None:
    verdict = checked(two_nodes, "ip route del 10.244.1.0/24")
    assert not verdict.is_good
    cells = matrix(verdict)
    assert cells["client", "web-2"] == "tcp udp icmp"
    assert cells["client", "web-1"] == cells["node2", "web-2"] == ""
    (cause,) = [cause for cause in verdict.causes if ("client", "web-2") in cause.pairs]
    missing = "node1: route 10.244.1.0/24 via 10.244.1.0 dev flannel.1 missing"
    assert cause.reason == f"last seen at eth0 of gateway; gateway: no route for the packet; {missing}"
    assert ("web-2", "client") in cause.pairs


def test_only_the_dropped_protocol_fails(two_nodes: Topology) -> None:
    rules = "table ip t { chain c { type filter hook forward priority 0; tcp dport 7471 drop; }; }"
    verdict = checked(two_nodes, f"nft '{rules}'", place="node2")
    assert matrix(verdict)["client", "web-2"] == "tcp"
    (cause,) = [cause for cause in verdict.causes if ("client", "web-2") in cause.pairs]
    rule = "`ip t c tcp dport 7471 drop`, which is not in the plan, may have dropped the packet"
    assert cause.reason.startswith("last seen at flannel.1 of node2; node2: nftables: ")
    assert cause.reason.endswith(rule)


def test_the_device_that_translates_a_source_address_is_named(two_nodes: Topology) -> None:
    rules = 'table ip t { chain c { type nat hook postrouting priority 100; oifname "flannel.1" masquerade; }; }'
    verdict = checked(two_nodes, f"nft '{rules}'")
    assert {failure.what for failure in verdict.failures if failure.source == "client"} == {
        "target saw source address 10.244.0.0, expected 10.244.0.2"
    }
    (cause,) = verdict.causes
    assert cause.reason.startswith(
        "target saw source address 10.244.0.0, expected 10.244.0.2; "
        "NAT: source 10.244.0.2 > 10.244.0.0 at flannel.1 of node1"
    )


def test_the_answer_of_a_wrong_place_comes_before_the_traced_packet(two_nodes: Topology) -> None:
    """The trace itself uses ports that the wrong place does not answer on: 'port unreachable' misleads."""
    rules = (
        "table ip t { chain c { type nat hook prerouting priority -100; "
        "ip daddr 10.244.1.2 meta l4proto {tcp, udp} dnat to 10.244.0.3; }; }"
    )
    verdict = checked(two_nodes, f"nft '{rules}'")
    (cause,) = [cause for cause in verdict.causes if ("client", "web-2") in cause.pairs]
    assert cause.reason.startswith("answered by web-1, expected web-2; ")


def test_a_difference_at_the_far_end_is_quoted(two_nodes: Topology) -> None:
    """A smaller MTU drops packets on input, which no counter of the walk shows."""
    verdict = checked(two_nodes, "ip link set eth0 mtu 1400", place="node2")
    assert {failure.protocol for failure in verdict.failures} == {"mtu"}
    assert all("node2: eth0: MTU 1400, expected 1500" in cause.reason for cause in verdict.causes)
    assert ("client", "web-2") in {pair for cause in verdict.causes for pair in cause.pairs}


def test_dropped_fragments_fail_large_messages_alone(two_nodes: Topology) -> None:
    rules = "table ip t { chain c { type filter hook forward priority -500; ip frag-off & 0x1fff != 0 drop; }; }"
    verdict = checked(two_nodes, f"nft '{rules}'", place="node2")
    assert {failure.protocol for failure in verdict.failures} == {"large"}
    assert {failure.what for failure in verdict.failures} == {
        "2000-byte messages do not come back over udp (no answer)"
    }
    (cause,) = verdict.causes
    assert "smaller ones do; node2: nftables: unexpected table `ip t`" in cause.reason


@pytest.mark.vm
def test_parts_of_the_network_model_that_are_not_asked_are_listed(two_nodes: Topology) -> None:
    """With SCTP, messages must come back over it, too."""
    verdict = checked(two_nodes)
    assert verdict.failures == ()
    assert ("SCTP (needs a kernel with CONFIG_IP_SCTP)" in verdict.unasked) is not has_sctp()
    for part in ("egress (no external host in the topology)", "hostPort", "Services", "NetworkPolicies"):
        assert part in verdict.unasked


@pytest.mark.exclusive
def test_a_failed_check_takes_at_most_five_seconds_longer(two_nodes: Topology) -> None:
    design = DESIGNS["vxlan"]

    def seconds(lab: Lab) -> float:
        begin = time.monotonic()
        check(design, two_nodes, lab.plan, lab.namespaces)
        return time.monotonic() - begin

    with Lab(design.plan(two_nodes)) as lab:
        good = seconds(lab)
        with lab.namespaces["node1"].entered():
            subprocess.run(["ip", "route", "del", "10.244.1.0/24"], check=True)
        # A busy machine may delay one check.
        assert any(seconds(lab) < good + 5 for _ in range(3))


def test_a_bypassed_tunnel_fails_the_check_although_all_pairs_pass(two_nodes: Topology) -> None:
    verdict = checked(two_nodes, "ip route replace 10.244.1.0/24 via 192.168.56.2 dev eth0")
    assert verdict.failures == ()
    assert not verdict.is_good
    (line,) = verdict.astray
    assert line.startswith("packet client -> web-2 10.244.1.2: seen on the fabric: to-node1 of fabric in")


def test_a_path_mtu_below_the_pod_mtu_is_named(two_nodes: Topology) -> None:
    design = DESIGNS["l3-host-routes"]
    with Lab(design.plan(two_nodes)) as lab:
        with lab.namespaces["node1"].entered():
            subprocess.run(["ip", "link", "set", "eth0", "mtu", "1400"], check=True)
        verdict = check(design, two_nodes, lab.plan, lab.namespaces)
    (failure,) = [failure for failure in verdict.failures if failure.source == "client"]
    assert (failure.target, failure.protocol) == ("web-2", "mtu")
    assert failure.what == "packet of 1500 bytes (the pod MTU) does not pass: no answer"
    assert matrix(verdict)["client", "web-2"] == "mtu"
    (cause,) = [cause for cause in verdict.causes if ("client", "web-2") in cause.pairs]
    assert "too big, the next link's MTU is 1400" in cause.reason


def test_a_path_mtu_above_the_pod_mtu_is_named(two_nodes: Topology) -> None:
    design = DESIGNS["l3-host-routes"]
    with Lab(design.plan(two_nodes)) as lab:
        for place, device in (("client", "eth0"), ("web-1", "eth0"), ("node1", "veth-client"), ("node1", "veth-web-1")):
            with lab.namespaces[place].entered():
                subprocess.run(["ip", "link", "set", device, "mtu", "1600"], check=True)
        with lab.namespaces["node1"].entered():
            subprocess.run(["ip", "link", "set", "kube-bridge", "mtu", "1600"], check=True)
        verdict = check(design, two_nodes, lab.plan, lab.namespaces)
    assert [(failure.source, failure.target, failure.what) for failure in verdict.failures] == [
        ("client", "web-1", "packet of 1501 bytes passes, but the pod MTU is 1500")
    ]
