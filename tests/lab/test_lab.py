"""Labs as iproute2 shows them: the state of each namespace equals the plan."""

import ipaddress
import json
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from testbed.designs import DESIGNS, PLAIN
from testbed.kernel.dumped import BUILT_IN
from testbed.kernel.refusal import PlanRefused
from testbed.lab.lab import Lab
from testbed.lab.mininet_nodes import Host
from testbed.plan.objects import Bridge, DeviceAddress, Kind, Route, Space, Sysctl, VethEnd, Vxlan
from testbed.spec.topology import Node, Topology

pytestmark = pytest.mark.sealed
every_design = pytest.mark.parametrize("design", list(PLAIN))


def shown(lab: Lab, place: str, *command: str) -> list[dict[str, Any]]:
    output, errors = lab.start(place, command).communicate(timeout=10)
    assert not errors
    return json.loads(output)  # type: ignore[no-any-return]


@every_design
def test_devices_are_as_planned(design: str, dual_stack: Topology) -> None:
    with Lab(DESIGNS[design].plan(dual_stack)) as lab:
        for space in lab.plan.spaces:
            links = {link["ifname"]: link for link in shown(lab, space.name, "ip", "-d", "-j", "link")}
            planned = lab.plan.devices_of(space.name)
            # Some kernels create devices in each namespace (tunl0, sit0, ...).
            assert set(links) - BUILT_IN == set(planned)
            assert "UP" in links["lo"]["flags"]
            for name, device in planned.items():
                link = links[name]
                assert (link["ifindex"], link["address"], link["mtu"]) == (
                    device.index,
                    device.mac,
                    device.mtu,
                )
                assert {"UP", "LOWER_UP"} <= set(link["flags"])
                assert (
                    link["linkinfo"]["info_kind"] == {Bridge: "bridge", Vxlan: "vxlan", VethEnd: "veth"}[type(device)]
                )
                if isinstance(device, VethEnd):
                    assert link.get("master") == device.master
                if isinstance(device, Vxlan):
                    data = link["linkinfo"]["info_data"]
                    assert (data["id"], data["port"], data["learning"]) == (device.vni, device.port, False)
                    assert data.get("local", data.get("local6")) == str(device.local)


@every_design
def test_addresses_and_routes_are_as_planned(design: str, dual_stack: Topology) -> None:
    with Lab(DESIGNS[design].plan(dual_stack)) as lab:
        for space in lab.plan.spaces:
            found = {
                (link["ifname"], f"{address['local']}/{address['prefixlen']}")
                for link in shown(lab, space.name, "ip", "-j", "address")
                for address in link["addr_info"]
                if address["scope"] == "global"
            }
            assert found == {(item.dev, str(item.interface)) for item in space.of(DeviceAddress)}
            assert planned_routes(space) <= kernel_routes(lab, space)


def planned_routes(space: Space) -> set[tuple[str, str, str]]:
    return {(str(route.to), str(route.via or ""), route.dev) for route in space.of(Route)}


def kernel_routes(lab: Lab, space: Space) -> set[tuple[str, str, str]]:
    routes = set()
    for family, everything in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        for route in shown(lab, space.name, "ip", family, "-j", "route"):
            to = everything if route["dst"] == "default" else str(ipaddress.ip_network(route["dst"]))
            routes.add((to, route.get("gateway", ""), route["dev"]))
    return routes


def test_vxlan_has_entries_for_every_other_node_only(two_nodes: Topology) -> None:
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        entries = shown(lab, "node1", "bridge", "-j", "fdb", "show", "dev", "flannel.1")
        neighbours = shown(lab, "node1", "ip", "-j", "neighbour", "show", "dev", "flannel.1")
        vtep = lab.plan.device("node2", "flannel.1").mac
    assert [(entry["mac"], entry["dst"]) for entry in entries] == [(vtep, "192.168.56.2")]
    assert [(entry["dst"], entry["lladdr"], entry["state"]) for entry in neighbours] == [
        ("10.244.1.0", vtep, ["PERMANENT"])
    ]


@every_design
def test_sysctls_are_as_planned(design: str, two_nodes: Topology) -> None:
    with Lab(DESIGNS[design].plan(two_nodes)) as lab:
        for space in lab.plan.spaces:
            for sysctl in space.of(Sysctl):
                output, _ = lab.start(space.name, ["sysctl", "-n", sysctl.key]).communicate(timeout=10)
                assert output.decode().strip() == sysctl.value or (sysctl.optional and not output)


def test_nodes_switch_and_gateway_are_mininet_hosts_with_interfaces(two_nodes: Topology) -> None:
    for design in PLAIN.values():
        with Lab(design.plan(two_nodes)) as lab:
            assert set(lab.hosts) == {"fabric", "gateway", "node1", "node2"}
            assert all(isinstance(host, Host) for host in lab.hosts.values())
            assert lab.hosts["node1"].IP() == "192.168.56.1"
            assert "1 received" in lab.hosts["node1"].cmd("ping -c 1 -W 2 10.244.1.2")


def test_a_pod_has_no_process(two_nodes: Topology) -> None:
    """Only Mininet's hosts have a shell."""

    def processes() -> int:
        return len(
            subprocess.run(["ps", "-e", "--no-headers"], capture_output=True, text=True, check=True).stdout.splitlines()
        )

    before = processes()
    with Lab(DESIGNS["l2"].plan(two_nodes)) as lab:
        pods = len(lab.plan.of_kind(Kind.POD))
        assert pods == 3
        assert processes() - before == len(lab.hosts)


def test_a_failed_build_names_the_place_and_leaves_no_process(two_nodes: Topology) -> None:
    plan = DESIGNS["l3-host-routes"].plan(two_nodes)
    node1 = plan["node1"]
    twice = replace(node1, objects=(*node1.objects, node1.of(Route)[-1]))
    broken = replace(plan, spaces=tuple(twice if s is node1 else s for s in plan.spaces))
    with pytest.raises(
        PlanRefused, match=r"in node1: ip route add 10\.244\.1\.0/24 via 192\.168\.56\.2 dev eth0: .*exists"
    ):
        Lab(broken)
    said = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "mininet:" not in said


def test_objects_on_the_nodes_end_of_a_pods_veth_are_created_with_the_pod(two_nodes: Topology) -> None:
    """Such as Calico's routes to each pod."""
    plan = DESIGNS["l3-host-routes"].plan(two_nodes)
    route = Route(ipaddress.ip_network("198.51.100.7/32"), "veth-client")
    spaces = tuple(
        replace(space, objects=(*space.objects, route)) if space.name == "node1" else space for space in plan.spaces
    )
    with Lab(replace(plan, spaces=spaces)) as lab:
        assert ("198.51.100.7/32", "", "veth-client") in kernel_routes(lab, lab.plan["node1"])


@pytest.mark.exclusive
def test_attach_time_is_measured_and_with_many_pods_their_memory(two_nodes: Topology) -> None:
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as few:
        assert few.attach_seconds is not None
        assert 0 < 3 * few.attach_seconds < few.up_seconds
        assert few.pod_memory_kib is None
    many = two_nodes.model_copy(update={"nodes": {"node1": Node(pods=64)}})
    with Lab(DESIGNS["vxlan"].plan(many)) as lab:
        assert lab.pod_memory_kib is not None
        assert 50 < lab.pod_memory_kib < 5000
    none = two_nodes.model_copy(update={"nodes": {"node1": Node()}})
    with Lab(DESIGNS["vxlan"].plan(none)) as lab:
        assert (lab.attach_seconds, lab.pod_memory_kib) == (None, None)


def test_down_twice_is_allowed(two_nodes: Topology) -> None:
    lab = Lab(DESIGNS["l2"].plan(two_nodes))
    lab.down()
    lab.down()


def test_labs_with_equal_names_run_side_by_side(two_nodes: Topology) -> None:
    with Lab(DESIGNS["l2"].plan(two_nodes)) as one, Lab(DESIGNS["vxlan"].plan(two_nodes)) as other:
        assert {link["mtu"] for link in shown(one, "client", "ip", "-j", "link", "show", "eth0")} == {1500}
        assert {link["mtu"] for link in shown(other, "client", "ip", "-j", "link", "show", "eth0")} == {1450}
