"""Fabrics of several subnets in the kernel: all reach all, flows are distributed, the largest packet fits."""

import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from testbed.designs import DESIGNS
from testbed.kernel.namespace import Namespace
from testbed.lab.lab import Lab
from testbed.observe.inspect import inspect
from testbed.observe.path_mtu import check_path_mtu
from testbed.observe.reach import check_reach
from testbed.observe.wire import check_crossings
from testbed.plan.objects import DeviceAddress, Kind
from testbed.plan.shell import script
from testbed.spec.load import load_topology, topology_of_text
from testbed.spec.topology import Topology

pytestmark = pytest.mark.sealed

POD_RANGES = "[10.244.0.0/16, 'fd00:10:244::/56']"
FABRICS = {
    "subnets": "{shape: subnets, subnets: 3, subnet: [192.168.0.0/16, 'fd00:1::/48']}",
    "leaf-spine": "{shape: leaf-spine, leaves: 3, spines: 2, subnet: [192.168.0.0/16, 'fd00:1::/48']}",
    "wan": "{shape: wan, sites: 3, subnet: [192.168.0.0/16, 'fd00:1::/48'], wan: {rate: 100Mbit, back: {rate: 1Gbit}}}",
    "dual-homed": "{shape: leaf-spine, leaves: 4, spines: 2, homes: 2, subnet: [192.168.0.0/24, 'fd00:1::/64']}",
    "routers only": "{routers: [a, b], transit: [172.31.0.0/24, 'fd00:2::/64'], "
    "links: [{ends: [node1, a]}, {ends: [node2, b]}, {ends: [node3, a]}, {ends: [node3, b]}, {ends: [a, b]}]}",
    "switch behind switch": "{switches: {near: {subnet: [10.1.0.0/24, 'fd00:1::/64']}, middle: {}, far: {}}, "
    "routers: [a], links: [{ends: [node1, near]}, {ends: [node2, far]}, {ends: [node3, middle]}, {ends: [a, middle]}, "
    "{ends: [near, middle], rate: 1Gbit}, {ends: [middle, far]}]}",
    "two routers on a rack": "{switches: {one: {subnet: [10.1.0.0/24, 'fd00:1::/64']}, "
    "other: {subnet: [10.2.0.0/24, 'fd00:2::/64']}}, routers: [a, b], links: [{ends: [node1, one]}, "
    "{ends: [node2, other]}, {ends: [node3, other]}, "
    "{ends: [a, one]}, {ends: [b, one]}, {ends: [a, other]}, {ends: [b, other]}]}",
}


def made(fabric: str, nodes: int = 3) -> Topology:
    text = f"name: made\ncluster: {{pod_cidr: {POD_RANGES}}}\nnodes: {nodes}\npods_per_node: 2\nfabric: {fabric}\n"
    return topology_of_text(text, "made.yaml").value


@pytest.mark.parametrize("design", ["vxlan", "l3-gateway"])
@pytest.mark.parametrize("fabric", FABRICS)
def test_all_reach_all_by_the_claimed_way(fabric: str, design: str) -> None:
    topology = made(FABRICS[fabric])
    with Lab(DESIGNS[design].plan(topology)) as lab:
        reach = check_reach(lab.plan, lab.namespaces)
        assert reach.failures == ()
        assert reach.asked == 9 * 8 * 2 * 3
        assert check_path_mtu(lab.plan, lab.namespaces)[1] == ()
        assert check_crossings(DESIGNS[design], topology, lab.plan, lab.namespaces) == (12, ())
        assert inspect(lab.plan, lab.namespaces) == ()


@pytest.mark.parametrize("design", ["l2", "l3-host-routes"])
def test_linked_switches_are_one_ethernet(design: str) -> None:
    topology = made(FABRICS["switch behind switch"])
    assert list(DESIGNS[design].misfits(topology)) == []
    with Lab(DESIGNS[design].plan(topology)) as lab:
        assert check_reach(lab.plan, lab.namespaces).failures == ()
        assert check_crossings(DESIGNS[design], topology, lab.plan, lab.namespaces) == (12, ())


@pytest.mark.parametrize("name", ["leaf-spine", "dual-homed", "two-subnets", "named"])
def test_the_printed_commands_build_the_same_fabric(name: str, repository: Path, tmp_path: Path) -> None:
    plan = DESIGNS["l3-gateway"].plan(load_topology(repository / f"topologies/{name}.yaml").value)
    file = tmp_path / "plan.sh"
    file.write_text(script(plan))
    said = subprocess.run(["sh", "-e", file], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    namespaces = {space.name: Namespace.at(Path("/run/netns") / space.name) for space in plan.spaces}
    assert check_reach(plan, namespaces).failures == ()
    assert inspect(plan, namespaces) == ()


def moved(lab: Lab, places: list[str], family: int, flows: int) -> dict[tuple[str, str], int]:
    """Number of packets that each device of these places sends during `flows` flows from node1 to node2."""
    before = sent(lab, places)
    send(lab, family, flows)
    return {device: count - before[device] for device, count in sent(lab, places).items()}


def sent(lab: Lab, places: list[str]) -> dict[tuple[str, str], int]:
    counts = {}
    for place in places:
        with lab.namespaces[place].entered():
            lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
        for dev, _, numbers in (line.partition(":") for line in lines):
            counts[place, dev.strip()] = int(numbers.split()[9])
    return counts


@pytest.mark.parametrize("design", ["vxlan", "l3-gateway"])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("fabric", ["leaf-spine", "dual-homed"])
def test_one_flow_takes_one_spine_and_many_take_all(fabric: str, family: int, design: str) -> None:
    with Lab(DESIGNS[design].plan(made(FABRICS[fabric]))) as lab:
        assert check_reach(lab.plan, lab.namespaces, ["udp"]).failures == ()
        for flows, least in ((1, 0), (100, 20)):
            counts = moved(lab, ["spine1", "spine2"], family, flows)
            by_spine = [sum(n for (place, _), n in counts.items() if place == spine) for spine in ("spine1", "spine2")]
            assert sum(by_spine) >= 100
            assert min(by_spine) >= least, by_spine
            assert flows > 1 or min(by_spine) < 20, by_spine


@pytest.mark.parametrize("family", [4, 6])
def test_a_node_with_two_links_distributes_flows_over_them(family: int) -> None:
    with Lab(DESIGNS["l3-gateway"].plan(made(FABRICS["dual-homed"]))) as lab:
        assert check_reach(lab.plan, lab.namespaces, ["udp"]).failures == ()
        counts = moved(lab, ["node1"], family, 100)
        assert counts["node1", "eth0"] >= 20 and counts["node1", "eth1"] >= 20


def test_a_vxlan_device_uses_only_one_link_of_its_node() -> None:
    """It caches the route to each remote end per CPU (dst_cache): only the leaves distribute its flows."""
    with Lab(DESIGNS["vxlan"].plan(made(FABRICS["dual-homed"]))) as lab:
        assert check_reach(lab.plan, lab.namespaces, ["udp"]).failures == ()
        counts = moved(lab, ["node1"], 4, 100)
        assert max(counts["node1", "eth0"], counts["node1", "eth1"]) >= 100


FLOWS = """
import os, socket, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
family, to, number = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
senders = [socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_DGRAM) for _ in range(number)]
for turn in range(100):
    senders[turn % number].sendto(b"x", (to, 9000 + turn % number))
"""


def send(lab: Lab, family: int, flows: int) -> None:
    """Send a hundred packets in `flows` flows, from a pod of node1 to a pod of node2."""
    target = next(address for address in lab.plan["node2-pod-1"].reached_at if address.version == family)
    command = ["python3", "-c", FLOWS, str(family), str(target), str(flows)]
    process = lab.start("node1-pod-1", command)
    process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.mark.parametrize("design", ["vxlan", "l3-gateway"])
def test_the_smallest_mtu_of_the_links_limits_packets(design: str) -> None:
    topology = made(
        "{mtu: 9000, switches: {a: {subnet: [10.1.0.0/24, 'fd00:1::/64']}, b: {subnet: [10.2.0.0/24, 'fd00:2::/64']}}, "
        "routers: [r, s], links: [{ends: [node1, a]}, {ends: [node2, b]}, {ends: [r, a]}, {ends: [s, b]}, "
        "{ends: [r, s], mtu: 1400}]}",
        nodes=2,
    )
    with Lab(DESIGNS[design].plan(topology)) as lab:
        assert lab.plan.pod_mtu == (1400 if design == "l3-gateway" else 1400 - 70)
        assert check_reach(lab.plan, lab.namespaces).failures == ()
        assert check_path_mtu(lab.plan, lab.namespaces)[1] == ()
        # A node's own packets may exceed the MTU of a later link, which the router reports.
        said = ping(lab, "node1", "10.2.0.1", "-s", "8000", "-M", "do", "-c", "3", "-i", "0.2")
        assert "Frag needed" in said and "mtu = 1400" in said


def ping(lab: Lab, place: str, *arguments: str) -> str:
    return lab.start(place, ["ping", *arguments[1:], arguments[0]]).communicate(timeout=20)[0].decode()


def test_routers_between_subnets_decrement_the_ttl(repository: Path) -> None:
    """Each router on the way decrements the TTL, and answers when it reaches zero."""
    topology = load_topology(repository / "topologies/leaf-spine.yaml").value
    with Lab(DESIGNS["l3-gateway"].plan(topology)) as lab:
        places = lab.plan.of_kind(Kind.ROUTER, Kind.NODE)
        own = {item.interface.ip: space.name for space in places for item in space.of(DeviceAddress)}
        target = str(lab.plan["web-2"].reached_at[0])
        answers = [ping(lab, "client", target, "-c", "1", "-W", "2", "-t", str(ttl)) for ttl in (1, 2, 3, 4, 5, 6)]
        named = [own[ip_address(said.split("From ")[1].split()[0])] for said in answers[:5]]
        assert named[:2] == ["node1", "leaf1"]
        assert named[2] in ("spine1", "spine2")
        assert named[3:] == ["leaf2", "node2"]
        assert "ttl=59" in answers[5]


def test_switches_and_routers_are_mininet_hosts_and_links_are_not(repository: Path) -> None:
    topology = load_topology(repository / "topologies/named.yaml").value
    with Lab(DESIGNS["l3-gateway"].plan(topology)) as lab:
        cables = {space.name for space in lab.plan.of_kind(Kind.CABLE)}
        assert cables == {"core_far", "node3_desk"}
        assert set(lab.hosts) == {"rack1", "rack2", "branch", "desk", "core", "far", "node1", "node2", "node3"}
        assert "1 received" in lab.hosts["far"].cmd("ping -c 1 -W 2 192.168.1.1")
