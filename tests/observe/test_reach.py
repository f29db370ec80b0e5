"""Reachability: every design passes, and every fault is found and named."""

import subprocess
import sys

import pytest

from testbed.designs import DESIGNS, PLAIN
from testbed.lab.lab import Lab
from testbed.observe.questions import PROTOCOLS, questions
from testbed.observe.reach import Reach, check_reach
from testbed.observe.share import shared
from testbed.plan.objects import Kind
from testbed.spec.topology import Topology

every_design = pytest.mark.parametrize("design", list(PLAIN))


@every_design
def test_every_pair_is_asked(design: str, two_nodes: Topology) -> None:
    plan = DESIGNS[design].plan(two_nodes)
    places = len(plan.of_kind(Kind.POD, Kind.NODE))
    assert len(list(questions(plan))) == places * (places - 1) * len(PROTOCOLS)


@pytest.mark.sealed
@every_design
def test_every_design_keeps_the_kubernetes_model_in_both_families(design: str, dual_stack: Topology) -> None:
    reach = reach_after(design, dual_stack)
    assert reach.failures == ()
    assert reach.asked == 5 * 4 * 2 * len(PROTOCOLS)


@pytest.mark.sealed
def test_a_deleted_route_is_noticed(two_nodes: Topology) -> None:
    reach = reach_after("l3-host-routes", two_nodes, node1="ip route delete 10.244.1.0/24; ip route delete default")
    assert "node node1 -> pod web-2 tcp 10.244.1.2: Network is unreachable" in reach.failures
    assert any(failure.startswith("pod client -> pod web-2 tcp 10.244.1.2: ") for failure in reach.failures)
    assert "pod client -> pod web-2 icmp 10.244.1.2: no answer" in reach.failures
    assert "pod web-2 -> pod client udp 10.244.0.2: no answer" in reach.failures
    # Pods of one node still reach each other.
    assert not [failure for failure in reach.failures if failure.startswith("pod client -> pod web-1")]


@pytest.mark.sealed
def test_a_link_that_is_down_is_noticed(two_nodes: Topology) -> None:
    reach = reach_after("l2", two_nodes, web_2="ip link set eth0 down")
    assert reach.failures
    assert all("web-2" in failure for failure in reach.failures)


@pytest.mark.sealed
def test_a_pod_without_its_address_is_noticed(two_nodes: Topology) -> None:
    reach = reach_after("l3-host-routes", two_nodes, web_2="ip address flush dev eth0")
    assert any(failure.startswith("pod client -> pod web-2 tcp") for failure in reach.failures)
    assert any(failure.startswith("pod web-2 -> pod client tcp") for failure in reach.failures)


@pytest.mark.sealed
def test_a_missing_fdb_entry_is_noticed(two_nodes: Topology) -> None:
    reach = reach_after(
        "vxlan",
        two_nodes,
        node1="bridge fdb flush dev flannel.1 permanent || bridge fdb delete "
        "$(bridge fdb show dev flannel.1 | head -n 1 | cut -d ' ' -f 1) dev flannel.1 dst 192.168.56.2",
    )
    assert any(failure.startswith("pod client -> pod web-2 tcp") for failure in reach.failures)
    assert not [failure for failure in reach.failures if failure.startswith("pod client -> pod web-1")]


@pytest.mark.sealed
def test_a_translated_source_address_is_noticed(two_nodes: Topology) -> None:
    reach = reach_after(
        "l3-host-routes",
        two_nodes,
        node1="nft 'table ip t { chain c { type nat hook postrouting priority 100; oifname eth0 masquerade; }; }'",
    )
    said = "target saw source address 192.168.56.1, expected 10.244.0.2"
    assert f"pod client -> pod web-2 tcp 10.244.1.2: {said}" in reach.failures


@pytest.mark.sealed
def test_the_wrong_answerer_is_noticed(two_nodes: Topology) -> None:
    reach = reach_after(
        "l3-host-routes",
        two_nodes,
        node1="nft 'table ip t { chain c { type nat hook prerouting priority -100; "
        "ip daddr 10.244.1.2 dnat to 192.168.56.2; }; }'",
    )
    assert "pod client -> pod web-2 tcp 10.244.1.2: answered by node2, expected web-2" in reach.failures


@pytest.mark.sealed
def test_one_dropped_protocol_is_noticed(two_nodes: Topology) -> None:
    reach = reach_after(
        "vxlan",
        two_nodes,
        node2="nft 'table ip t { chain c { type filter hook forward priority 0; "
        "ip daddr 10.244.1.2 meta l4proto udp drop; }; }'",
    )
    assert "pod client -> pod web-2 udp 10.244.1.2: no answer" in reach.failures
    assert not [failure for failure in reach.failures if "-> pod web-2 tcp" in failure]


@pytest.mark.sealed
@pytest.mark.exclusive
def test_more_neighbours_than_the_kernel_keeps_do_not_fail_the_check() -> None:
    """64 pods on one link have 63 neighbours each: four times the kernel's limit."""
    topology = Topology.model_validate(
        {
            "name": "many",
            "cluster": {"pod_cidr": "10.244.0.0/16", "node_prefix": 24},
            "fabric": {"subnet": "192.168.56.0/24"},
            "nodes": {"node1": {"pods": 32}, "node2": {"pods": 32}},
        }
    )
    assert reach_after("l2", topology).failures == ()


@pytest.mark.sealed
@pytest.mark.exclusive
def test_labs_checked_at_the_same_time_on_a_busy_machine_pass() -> None:
    """Their ARP requests exceed the backlog of a CPU, and together they need more neighbours than the kernel keeps."""
    topology = Topology.model_validate(
        {
            "name": "many",
            "cluster": {"pod_cidr": "10.244.0.0/16", "node_prefix": 24},
            "fabric": {"subnet": "192.168.56.0/24"},
            "nodes": {"node1": {"pods": 2}, "node2": {"pods": 80}},
        }
    )
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        failures = shared(lambda *_: reach_after("vxlan", topology).failures, 3)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert failures == [(), (), ()]


@pytest.mark.sealed
def test_questions_that_are_set_aside_at_once_are_answered_later(
    monkeypatch: pytest.MonkeyPatch, two_nodes: Topology
) -> None:
    """Without any time for answers in the first pass."""
    monkeypatch.setattr("testbed.observe.round_trip._SHORTEST_S", 0.0)
    monkeypatch.setattr("testbed.observe.asker._IN_VAIN_S", 0.0)
    assert reach_after("vxlan", two_nodes).failures == ()


@pytest.mark.sealed
def test_two_processes_find_the_same_as_one(monkeypatch: pytest.MonkeyPatch, two_nodes: Topology) -> None:
    cut = "ip route delete 10.244.1.0/24; ip route delete default"
    alone = reach_after("l3-host-routes", two_nodes, node1=cut)
    monkeypatch.setattr("testbed.observe.reach._WORTH_SHARING", 1)
    monkeypatch.setattr("testbed.observe.questions._TILE", 2)
    shared = reach_after("l3-host-routes", two_nodes, node1=cut)
    assert shared.asked == alone.asked
    # Reasons differ: routers limit the rate of ICMP errors, and without one there is just no answer.
    assert [str(question) for question, _ in shared.failed] == [str(question) for question, _ in alone.failed]
    assert reach_after("vxlan", two_nodes).failures == ()


@pytest.mark.parametrize("tile", [1, 2, 3, 64])
def test_tiles_hold_every_question_once(tile: int, monkeypatch: pytest.MonkeyPatch, dual_stack: Topology) -> None:
    plan = DESIGNS["vxlan"].plan(dual_stack)
    whole = {str(question) for question in questions(plan)}
    monkeypatch.setattr("testbed.observe.questions._TILE", tile)
    tiled = [str(question) for question in questions(plan)]
    assert (len(tiled), set(tiled)) == (len(whole), whole)


def reach_after(design: str, topology: Topology, **breakage: str) -> Reach:
    """The result in a lab after a shell command in each of these places (web_2 is web-2)."""
    with Lab(DESIGNS[design].plan(topology)) as lab:
        for place, command in breakage.items():
            with lab.namespaces[place.replace("_", "-")].entered():
                subprocess.run(["sh", "-ec", command], check=True)
        return check_reach(lab.plan, lab.namespaces)
