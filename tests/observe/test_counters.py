"""The counters of a sample: every design's own path passes, any other is reported."""

import subprocess
import time

import pytest

from testbed.designs import DESIGNS, PLAIN
from testbed.lab.lab import Lab
from testbed.observe.counters import astray, passage, read
from testbed.observe.reach import check_reach
from testbed.spec.topology import Topology

every_design = pytest.mark.parametrize("design", list(PLAIN))

PATHS = (
    ("client", "web-2"),
    ("node1", "web-2"),
    ("client", "node2"),
    ("node1", "node2"),
    ("client", "web-1"),
    ("node1", "client"),
    ("client", "node1"),
)
BULK, BACK, SMALL = ("--bytes", "5M"), ("--bytes", "5M", "--reverse"), ("ping",)


def traffic(lab: Lab, source: str, target: str, family: int, kind: tuple[str, ...]) -> None:
    address = str(next(address for address in lab.plan[target].reached_at if address.version == family))
    if kind == SMALL:
        lab.start(source, ["ping", "-c", "10", "-i", "0.01", address]).communicate(timeout=10)
        return
    server = lab.start(target, ["iperf3", "--server", "--one-off", "--forceflush"])
    assert server.stdout
    while b"listening" not in server.stdout.readline():
        assert server.poll() is None
    client = lab.start(source, ["iperf3", "--client", address, *kind])
    output, _ = client.communicate(timeout=20)
    assert client.returncode == 0, output
    server.communicate(timeout=5)


def verdict(lab: Lab, topology: Topology, ends: tuple[str, str], family: int, kind: tuple[str, ...]) -> str:
    """The verdict of the counters on real traffic between two ends."""
    watched = passage(DESIGNS[lab.plan.design], topology, lab.plan, *ends, family)
    before = read(watched, lab.namespaces)
    traffic(lab, *ends, family, kind)
    return astray(watched, before, read(watched, lab.namespaces))


@pytest.mark.sealed
@every_design
def test_traffic_on_the_designs_path_passes(design: str, dual_stack: Topology) -> None:
    with Lab(DESIGNS[design].plan(dual_stack)) as lab:
        check_reach(lab.plan, lab.namespaces)
        # Every device reports its IPv6 groups twice within two seconds (RFC 3810), and switches flood that: too much
        # next to ten pings.
        time.sleep(2.5)
        for ends in PATHS:
            for family in (4, 6):
                for kind in (BULK, BACK, SMALL):
                    assert verdict(lab, dual_stack, ends, family, kind) == "", (ends, family, kind)


@pytest.mark.sealed
@every_design
def test_segments_that_are_split_on_the_path_pass(design: str, two_nodes: Topology) -> None:
    """A link with a rate limit splits them; the smallest MTU has the largest share of headers."""
    fabric = two_nodes.fabric.model_copy(update={"rate": 10**8, "mtu": 626})
    small = two_nodes.model_copy(update={"fabric": fabric})
    with Lab(DESIGNS[design].plan(small)) as lab:
        check_reach(lab.plan, lab.namespaces)
        for ends in PATHS[:4]:
            for kind in (BULK, BACK):
                assert verdict(lab, small, ends, 4, kind) == "", (ends, kind)


@pytest.mark.sealed
def test_lost_packets_are_not_astray(two_nodes: Topology) -> None:
    """The sender sends ten times the rate of the link."""
    slow = two_nodes.model_copy(update={"fabric": two_nodes.fabric.model_copy(update={"rate": 10**7})})
    with Lab(DESIGNS["vxlan"].plan(slow)) as lab:
        check_reach(lab.plan, lab.namespaces)
        flood = ("--udp", "--bitrate", "100M", "--time", "1", "--length", "1000")
        assert verdict(lab, slow, ("client", "web-2"), 4, flood) == ""


def by_hand(lab: Lab, place: str, command: str) -> None:
    with lab.namespaces[place].entered():
        subprocess.run(command.split(), check=True)


@pytest.mark.sealed
@pytest.mark.parametrize("kind", [BULK, BACK, SMALL])
def test_a_bypassed_tunnel_is_reported(kind: tuple[str, ...], two_nodes: Topology) -> None:
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        check_reach(lab.plan, lab.namespaces)
        by_hand(lab, "node1", "ip route replace 10.244.1.0/24 via 192.168.56.2 dev eth0")
        said = verdict(lab, two_nodes, ("client", "web-2"), 4, kind)
    assert said.startswith("flannel.1 of node1 sent 0 packets (0 MB), expected ")


@pytest.mark.sealed
@pytest.mark.parametrize("kind", [BULK, BACK, SMALL])
def test_answers_that_bypass_the_tunnel_are_reported(kind: tuple[str, ...], two_nodes: Topology) -> None:
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        check_reach(lab.plan, lab.namespaces)
        by_hand(lab, "node2", "ip route replace 10.244.0.0/24 via 192.168.56.1 dev eth0")
        assert "flannel.1 of node2 sent 0 packets" in verdict(lab, two_nodes, ("client", "web-2"), 4, kind)


@pytest.mark.sealed
@pytest.mark.parametrize("kind", [BULK, BACK, SMALL])
def test_a_detour_by_the_gateway_is_reported(kind: tuple[str, ...], two_nodes: Topology) -> None:
    with Lab(DESIGNS["l3-host-routes"].plan(two_nodes)) as lab:
        check_reach(lab.plan, lab.namespaces)
        by_hand(lab, "gateway", "ip route add 10.244.1.0/24 via 192.168.56.2")
        by_hand(lab, "node1", "ip route replace 10.244.1.0/24 via 192.168.56.254 dev eth0")
        said = verdict(lab, two_nodes, ("client", "web-2"), 4, kind)
    assert said.startswith("to-gateway of fabric ")
    assert said.endswith(", expected none")


@pytest.mark.sealed
@pytest.mark.parametrize("kind", [BULK, BACK, SMALL])
def test_a_bypassed_gateway_is_reported(kind: tuple[str, ...], two_nodes: Topology) -> None:
    with Lab(DESIGNS["l3-gateway"].plan(two_nodes)) as lab:
        check_reach(lab.plan, lab.namespaces)
        for node, remote, via in (("node1", "10.244.1.0/24", 2), ("node2", "10.244.0.0/24", 1)):
            by_hand(lab, node, f"ip route add {remote} via 192.168.56.{via}")
        assert "to-gateway of fabric" in verdict(lab, two_nodes, ("client", "web-2"), 4, kind)


@pytest.mark.sealed
def test_encapsulated_node_traffic_is_reported(two_nodes: Topology) -> None:
    """Traffic between nodes themselves must not be encapsulated."""
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        check_reach(lab.plan, lab.namespaces)
        by_hand(lab, "node1", "ip route add 192.168.56.2/32 via 10.244.1.0 dev flannel.1 onlink")
        # The tunnel's own packets go to that address too: only they take the fabric's route.
        by_hand(lab, "node1", "ip route add 192.168.56.2/32 dev eth0 table 100")
        by_hand(lab, "node1", "ip rule add ipproto udp dport 8472 lookup 100")
        said = verdict(lab, two_nodes, ("node1", "node2"), 4, SMALL)
    assert said.startswith("flannel.1 of node1 ")
    assert said.endswith(", expected none")


@pytest.mark.sealed
def test_local_pod_traffic_over_the_fabric_is_reported(two_nodes: Topology) -> None:
    """Pods of one node send through the gateway and back."""
    with Lab(DESIGNS["l3-gateway"].plan(two_nodes)) as lab:
        check_reach(lab.plan, lab.namespaces)
        for pod, other in (("client", "10.244.0.3"), ("web-1", "10.244.0.2")):
            by_hand(lab, pod, f"ip route add {other}/32 via 10.244.0.1")
        by_hand(lab, "node1", "ip rule add iif kube-bridge lookup 100")
        by_hand(lab, "node1", "ip route add default via 192.168.56.254 table 100")
        said = verdict(lab, two_nodes, ("client", "web-1"), 4, BULK)
    assert " of fabric " in said
    assert said.endswith(", expected none")


@pytest.mark.sealed
def test_a_sample_without_packets_is_reported(two_nodes: Topology) -> None:
    with Lab(DESIGNS["l2"].plan(two_nodes)) as lab:
        watched = passage(DESIGNS["l2"], two_nodes, lab.plan, "client", "web-2", 4)
        counts = read(watched, lab.namespaces)
        assert astray(watched, counts, counts) == "no packet reached web-2 or client"
