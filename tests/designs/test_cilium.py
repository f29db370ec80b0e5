"""Cilium's presets: their state in the kernel, and that packets bypass the node's stack."""

import json
import socket
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from ipaddress import ip_address
from typing import Any

import pytest

from testbed.designs import DESIGNS
from testbed.designs.presets.cilium.endpoints import host_end
from testbed.designs.presets.cilium.maps import FIRST_IDENTITY, REMOTE_NODE, identities
from testbed.lab.lab import Lab
from testbed.observe.check import check
from testbed.observe.inspect import inspect
from testbed.observe.program_counts import Count, counts
from testbed.observe.trace import trace
from testbed.observe.wire import Watch
from testbed.plan.allocation import Allocator
from testbed.plan.objects import Kind
from testbed.spec.topology import Topology
from tests.as_user import run_as
from tests.designs.looking import addresses, topology
from tests.shared import shared

VETH = ("cilium-native", "cilium-native-legacy", "cilium-vxlan")
NETKIT = ("cilium-native-netkit", "cilium-vxlan-netkit")
netkit = (pytest.mark.vm, pytest.mark.needs("netkit", "bpf"))
EVERY = [*VETH, *(pytest.param(name, marks=netkit) for name in NETKIT)]
NATIVE = [
    "cilium-native",
    "cilium-native-legacy",
    pytest.param("cilium-native-netkit", marks=netkit),
]
PINS = "/sys/fs/bpf/cilium"
GLOBALS = "/sys/fs/bpf/tc/globals"
DROP_ALL = ("iptables", "-P", "FORWARD", "DROP")

pytestmark = pytest.mark.needs("bpf")


def labelled() -> Topology:
    """A topology with four pods, two of which have the same labels."""
    pods = [{"name": name, "labels": {"app": app}} for name, app in (("a", "web"), ("b", "db"), ("c", "web"))]
    written = topology("two-nodes").model_dump(mode="json", by_alias=True)
    written["nodes"] = {"node1": {"pods": pods[:2]}, "node2": {"pods": [pods[2], "d"]}}
    return Topology.of_data(written)


def up(name: str, wanted: Topology) -> Lab:
    return Lab(DESIGNS[name].plan(wanted))


def look(name: str, wanted: Topology) -> AbstractContextManager[Lab]:
    return shared(DESIGNS[name].plan(wanted))


def output(lab: Lab, place: str, *command: str) -> str:
    done = lab.run(place, command)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def read(lab: Lab, place: str, *command: str) -> Any:
    return json.loads(output(lab, place, *command) or "[]")


def reaches(lab: Lab, source: str, target: str) -> bool:
    """Whether one of several packets is answered; the machine-wide neighbour table may be full."""
    (address, *_) = lab.plan[target].reached_at
    return lab.run(source, ("ping", "-c", "1", "-i", "0.3", "-w", "3", str(address))).returncode == 0


def unanswered(lab: Lab, source: str, target: str, *options: str) -> None:
    """Sends one packet and asserts that it is not answered."""
    assert lab.run(source, ("ping", "-c", "1", "-W", "1", *options, target)).returncode == 1


def tracked(lab: Lab, place: str) -> int:
    """Number of connections tracked by the node's stack."""
    return int(output(lab, place, "cat", "/proc/sys/net/netfilter/nf_conntrack_count"))


def drops(lab: Lab) -> dict[tuple[str, str, str], int]:
    return {
        (one.place, one.program, one.reason): one.packets for one in counts(lab.plan, lab.namespaces) if one.is_drop
    }


def programs_on(lab: Lab, place: str, dev: str, where: str) -> Sequence[str]:
    """The programs on a device, as shown by tc."""
    found = read(lab, place, "tc", "-j", "filter", "show", "dev", dev, where)
    return [item["options"]["bpf_name"] for item in found if "options" in item]


@pytest.mark.looks
@pytest.mark.parametrize("family", ["two-nodes", "dual-stack", "ipv6-only"])
@pytest.mark.parametrize("name", EVERY)
def test_all_places_reach_each_other_as_planned(name: str, family: str) -> None:
    design, wanted = DESIGNS[name], topology(family)
    assert list(design.misfits(wanted)) == []
    with look(name, wanted) as lab:
        verdict = check(design, wanted, lab.plan, lab.namespaces)
        assert (verdict.failures, verdict.astray) == ((), ())
        assert inspect(lab.plan, lab.namespaces) == ()


@pytest.mark.looks
@pytest.mark.parametrize("family", ["two-subnets", "leaf-spine", "dual-homed"])
def test_a_tunnel_crosses_any_fabric(family: str) -> None:
    design, wanted = DESIGNS["cilium-vxlan"], topology(family)
    with look("cilium-vxlan", wanted) as lab:
        verdict = check(design, wanted, lab.plan, lab.namespaces)
        assert (verdict.failures, verdict.astray) == ((), ())


@pytest.mark.looks
@pytest.mark.parametrize("name", EVERY)
def test_the_kernel_has_ciliums_state(name: str) -> None:
    """Compares a node with the reference, using ip, tc and bpftool."""
    wanted, is_tunnel = topology("two-nodes"), "vxlan" in name
    with look(name, wanted) as lab:
        links = {link["ifname"]: link for link in read(lab, "node1", "ip", "-j", "-d", "link", "show")}
        lxc = host_end("client")
        assert {"eth0", "cilium_host", "cilium_net", lxc} <= set(links)
        assert links["cilium_host"]["link"] == "cilium_net"
        assert "NOARP" in links["cilium_host"]["flags"]
        assert links[lxc]["linkinfo"]["info_kind"] == ("netkit" if name in NETKIT else "veth")
        assert ("cilium_vxlan" in links) == is_tunnel
        if is_tunnel:
            data = links["cilium_vxlan"]["linkinfo"]["info_data"]
            assert data["external"]
            assert data["port"] == 8472
            assert read(lab, "node1", "bridge", "-j", "fdb", "show", "dev", "cilium_vxlan") == []
        mtu = 1450 if is_tunnel else 1500
        assert {link["mtu"] for dev, link in links.items() if dev.startswith(("cilium_", "lxc"))} == {mtu}
        assert (links["eth0"]["mtu"], read(lab, "client", "ip", "-j", "link", "show", "eth0")[0]["mtu"]) == (1500, mtu)
        largest = ["ping", "-c", "1", "-W", "5", "-M", "do", str(lab.plan["web-2"].reached_at[0]), "-s"]
        assert lab.run("client", [*largest, str(mtu - 28)]).returncode == 0
        assert "message too long" in lab.run("client", [*largest, str(mtu - 27)]).stderr
        routes = {route["dst"]: route for route in read(lab, "node1", "ip", "-j", "route")}
        own = {"gateway": "10.244.0.1", "dev": "cilium_host", "prefsrc": "10.244.0.1"}
        assert own.items() <= routes["10.244.0.0/24"].items()
        beyond = own if is_tunnel else {"gateway": "192.168.56.2", "dev": "eth0"}
        assert beyond.items() <= routes["10.244.1.0/24"].items()
        assert not any(route["dev"] == lxc for route in routes.values())
        rules = read(lab, "node1", "ip", "-j", "rule")
        assert [rule["priority"] for rule in rules if rule["table"] == "local"] == [100]
        for dev in (lxc, "cilium_host", "cilium_net"):
            assert output(lab, "node1", "cat", f"/proc/sys/net/ipv4/conf/{dev}/rp_filter") == "0\n"
        assert addresses(lab, "node1", "cilium_host") == {"10.244.0.1/32"}
        pod = {route["dst"]: route for route in read(lab, "client", "ip", "-j", "route")}
        assert pod["10.244.0.1"]["dev"] == "eth0"
        assert pod["default"]["gateway"] == "10.244.0.1"
        (address,) = read(lab, "client", "ip", "-j", "address", "show", "eth0")[0]["addr_info"]
        assert (address["local"], address["prefixlen"]) == ("10.244.0.2", 32)
        assert programs_on(lab, "node1", "eth0", "ingress") == ["cil_from_netdev"]
        assert programs_on(lab, "node1", "cilium_host", "egress") == ["cil_from_host"]
        assert programs_on(lab, "node1", "cilium_host", "ingress") == ["cil_to_host"]
        assert programs_on(lab, "node1", lxc, "ingress") == ([] if name in NETKIT else ["cil_from_container"])
        if is_tunnel:
            assert programs_on(lab, "node1", "cilium_vxlan", "ingress") == ["cil_from_overlay"]
            assert programs_on(lab, "node1", "cilium_vxlan", "egress") == ["cil_to_overlay"]
        endpoints = read(lab, "node1", "bpftool", "-j", "map", "dump", "pinned", f"{GLOBALS}/cilium_lxc")
        numbers = {item["formatted"]["value"]["ifindex"] for item in endpoints}
        assert {links[host_end(pod.name)]["ifindex"] for pod in lab.plan.spaces if pod.node == "node1"} == numbers - {0}
        known = read(lab, "node1", "bpftool", "-j", "map", "dump", "pinned", f"{GLOBALS}/cilium_ipcache")
        assert {1, 6, FIRST_IDENTITY} <= {item["formatted"]["value"]["identity"] for item in known}
        masquerade = output(lab, "node1", "iptables", "-t", "nat", "-S", "CILIUM_POST_nat")
        assert "! -d 10.244.0.0/16 ! -o cilium_+ -j MASQUERADE" in masquerade
        assert read(lab, "node1", "bpftool", "-j", "prog", "show", "pinned", f"{PINS}/cil_from_container")["jited"]


@pytest.mark.sealed
@pytest.mark.parametrize("name", EVERY)
def test_packets_that_bypass_the_stack_bypass_iptables(name: str) -> None:
    with up(name, topology("two-nodes")) as lab:
        assert reaches(lab, "client", "web-2")
        for node in ("node1", "node2"):
            output(lab, node, *DROP_ALL)
        assert reaches(lab, "client", "web-2") is ("legacy" not in name)
        assert reaches(lab, "client", "web-1")  # On one node the program redirects packets in both modes.


@pytest.mark.sealed
@pytest.mark.parametrize("name", NATIVE)
def test_packets_that_bypass_the_stack_are_not_tracked(name: str) -> None:
    """Only tunnel packets are tracked, because the node sends them."""
    with up(name, topology("two-nodes")) as lab:
        assert reaches(lab, "client", "web-2")
        assert reaches(lab, "client", "web-1")
        is_tracked = [tracked(lab, node) > 0 for node in ("node1", "node2")]
        assert is_tracked == ([True, True] if "legacy" in name else [False, False])


@pytest.mark.sealed
def test_every_address_resolves_to_the_nodes_end_in_a_pod() -> None:
    with up("cilium-native", topology("dual-stack")) as lab:
        assert reaches(lab, "client", "web-2")
        six = str(next(at for at in lab.plan["web-2"].reached_at if at.version == 6))
        output(lab, "client", "ping", "-c", "1", "-W", "1", six)
        mac = lab.plan.device("node1", host_end("client")).mac
        neighbours = read(lab, "client", "ip", "-j", "neighbour")
        assert {item["lladdr"] for item in neighbours} == {mac}
        assert {ip_address(item["dst"]).version for item in neighbours} == {4, 6}
        # Also for an address that does not exist.
        output(lab, "client", "ip", "route", "add", "203.0.113.9", "dev", "eth0")
        unanswered(lab, "client", "203.0.113.9")
        (found,) = read(lab, "client", "ip", "-j", "neighbour", "show", "203.0.113.9")
        assert found["lladdr"] == mac


def test_identities_depend_on_namespace_and_labels() -> None:
    chosen = labelled()
    found = identities((pod for node in chosen.nodes for pod in chosen.pods_of(node)), Allocator())
    assert found == {"a": 256, "b": 257, "c": 256, "d": 258}


@pytest.mark.looks
@pytest.mark.parametrize("name", ["cilium-vxlan", pytest.param("cilium-vxlan-netkit", marks=netkit)])
def test_the_vni_on_the_wire_is_the_senders_identity(name: str) -> None:
    with look(name, labelled()) as lab, Watch(lab.plan, lab.namespaces) as watch:
        for sender, number in (("a", 256), ("b", 257)):
            target = lab.plan["d"]
            seen = watch.sightings(lab.plan[sender], target, target.reached_at[0])
            assert {one.tunnel.kind for one in seen if one.tunnel} == {f"VXLAN {number}"}
        target = lab.plan["d"]
        seen = watch.sightings(lab.plan["node1"], target, target.reached_at[0])
        assert {one.tunnel.kind for one in seen if one.tunnel} == {f"VXLAN {REMOTE_NODE}"}


@pytest.mark.sealed
@pytest.mark.parametrize("name", EVERY)
def test_programs_count_what_they_forward(name: str) -> None:
    with up(name, topology("two-nodes")) as lab:
        assert counts(lab.plan, lab.namespaces) == ()
        output(lab, "client", "ping", "-c", "3", "-i", "0.01", str(lab.plan["web-2"].reached_at[0]))
        found = counts(lab.plan, lab.namespaces)
        assert not any(one.is_drop for one in found)
        size = 20 + 8 + 56 + 14

        def of(**wanted: str) -> list[Count]:
            return [one for one in found if all(getattr(one, key) == value for key, value in wanted.items())]

        for pod, node in (("client", "node1"), ("web-2", "node2")):
            for direction in ("from pods", "to pods"):
                (one,) = of(pod=pod, direction=direction)
                assert (one.place, one.packets, one.bytes) == (node, 3, 3 * size)
        (out,) = of(place="node1", program="cil_from_container")
        assert (out.direction, out.packets) == ("from pods", 3)
        last = {"cilium-native-legacy": "cil_from_host"}.get(
            name, f"cil_from_{'overlay' if 'vxlan' in name else 'netdev'}"
        )
        (received,) = of(place="node2", program=last, direction="to pods")
        assert received.packets == 3


@pytest.mark.sealed
def test_drops_have_a_reason() -> None:
    with up("cilium-vxlan", topology("two-nodes")) as lab:
        near = str(lab.plan["web-1"].reached_at[0])
        unanswered(lab, "client", "10.244.1.99")
        unanswered(lab, "client", "10.244.0.99")
        unanswered(lab, "client", near, "-t", "1")
        output(lab, "client", "ip", "address", "add", "10.244.0.77/32", "dev", "eth0")
        unanswered(lab, "client", near, "-I", "10.244.0.77")
        assert drops(lab) == {
            ("node2", "cil_from_overlay", "stale or unroutable IP"): 1,
            ("node1", "cil_from_host", "stale or unroutable IP"): 1,
            ("node1", "cil_from_container", "TTL exceeded"): 1,
            ("node1", "cil_from_container", "invalid source IP"): 1,
        }


@pytest.mark.sealed
def test_tunnel_packets_with_the_hosts_identity_are_dropped() -> None:
    """Identity 1, the host, is forged if it comes from a tunnel."""
    with up("cilium-vxlan", topology("two-nodes")) as lab:
        with lab.namespaces["node1"].entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            inner = bytes(12) + b"\x08\x00" + bytes.fromhex("4500001c000000004011") + bytes(2)
            inner += bytes([10, 244, 0, 2, 10, 244, 1, 2]) + bytes(8)
            sock.sendto(bytes([8, 0, 0, 0, 0, 0, 1, 0]) + inner, ("192.168.56.2", 8472))
        deadline = time.monotonic() + 5
        while not drops(lab) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert drops(lab) == {("node2", "cil_from_overlay", "invalid identity"): 1}


@pytest.mark.looks
def test_pods_reach_routers_with_their_nodes_address() -> None:
    with look("cilium-native", topology("two-nodes")) as lab:
        (router,) = lab.plan.of_kind(Kind.ROUTER)
        assert reaches(lab, "client", router.name)


@pytest.mark.sealed
def test_inspect_reports_missing_programs_and_entries() -> None:
    with up("cilium-native", topology("two-nodes")) as lab:
        lxc = host_end("client")
        output(lab, "node1", "tc", "filter", "del", "dev", lxc, "ingress")
        assert lab.plan["node1"].bpf
        entry = next(item for item in lab.plan["node1"].bpf.entries if item.map == "cilium_ipcache")
        pin = f"{GLOBALS}/cilium_ipcache"
        output(lab, "node1", "bpftool", "map", "delete", "pinned", pin, "key", "hex", *entry.key.hex(" ").split())
        found = inspect(lab.plan, lab.namespaces)
        assert [one.what for one in found] == [
            f"{lxc}: eBPF program cil_from_container (ingress) missing",
            f"eBPF map cilium_ipcache: entry `{entry.note}` missing",
        ]
        for difference in found:
            for command in difference.mend:
                output(lab, difference.place, *command.split())
        assert inspect(lab.plan, lab.namespaces) == ()
        assert reaches(lab, "client", "web-2")


@pytest.mark.looks
@pytest.mark.parametrize("name", ["cilium-native", pytest.param("cilium-native-netkit", marks=netkit)])
def test_trace_names_the_programs(name: str) -> None:
    with look(name, topology("two-nodes")) as lab:
        walk = trace(lab.plan, lab.namespaces, "client", "web-2")
        assert walk.outcome == "answered"
        programs = [change for hop in walk.forth for change in hop.changes if change.startswith("eBPF")]
        assert programs == ["eBPF cil_from_container", "eBPF cil_from_netdev"]
        last = walk.forth[-1]
        assert (last.place, last.device, last.direction) == ("web-2", "eth0", "in")
        # It does not pass the node's end of the pair: the program on eth0 redirects it into the pod.
        assert host_end("web-2") not in {hop.device for hop in walk.forth}


@pytest.mark.sealed
def test_trace_shows_why_a_program_dropped_a_packet() -> None:
    with up("cilium-native", topology("two-nodes")) as lab:
        assert lab.plan["node2"].bpf
        pod = str(lab.plan["web-2"].reached_at[0])
        entry = next(item for item in lab.plan["node2"].bpf.entries if item.note.startswith(f"{pod}: web-2"))
        pin = f"{GLOBALS}/cilium_lxc"
        output(lab, "node2", "bpftool", "map", "delete", "pinned", pin, "key", "hex", *entry.key.hex(" ").split())
        walk = trace(lab.plan, lab.namespaces, "client", "web-2")
        assert walk.outcome == "lost"
        assert "node2: cil_from_host dropped the packet: stale or unroutable IP" in walk.reason
        assert f"node2: eBPF map cilium_lxc: entry `{entry.note}` missing" in walk.reason


@pytest.mark.parametrize("name", VETH)
def test_a_user_without_root_gets_the_reason(name: str) -> None:
    done = run_as(64_323, "up", "topologies/two-nodes.yaml", "--design", name)
    assert done.returncode == 3
    assert "CONFIG_NET_CLS_BPF (modprobe cls_bpf) and root on the host (sudo)" in done.stderr


def test_native_routing_needs_one_subnet() -> None:
    (misfit,) = DESIGNS["cilium-native"].misfits(topology("two-subnets"))
    assert "needs all nodes in one subnet" in misfit.message


@pytest.mark.sealed
def test_node_rules_exist_for_each_family_of_pods() -> None:
    wanted = topology("dual-stack")
    wanted = wanted.model_copy(update={"cluster": wanted.cluster.model_copy(update={"node_rules": 3})})
    with up("l3-host-routes", wanted) as lab:
        assert inspect(lab.plan, lab.namespaces) == ()
        for tool, first in (("iptables", "198.18.0.1/32"), ("ip6tables", "2001:2::1/128")):
            rules = output(lab, "node2", tool, "-S", "FORWARD").splitlines()
            assert rules[1] == f"-A FORWARD -s {first} -j DROP"
            assert len(rules) == 4
        output(lab, "node2", "ip6tables", "-D", "FORWARD", "2")
        (found,) = inspect(lab.plan, lab.namespaces)
        assert found.what == "ip6tables: `-t filter -A FORWARD -s 2001:2::2/128 -j DROP` of node_rules missing"


@pytest.mark.sealed
def test_only_packets_in_the_stack_traverse_node_rules() -> None:
    wanted = topology("two-nodes")
    wanted = wanted.model_copy(update={"cluster": wanted.cluster.model_copy(update={"node_rules": 30})})
    for name, is_counted in (("cilium-native", False), ("cilium-native-legacy", True), ("l3-host-routes", True)):
        with up(name, wanted) as lab:
            assert inspect(lab.plan, lab.namespaces) == ()
            rules = output(lab, "node1", "iptables", "-S", "FORWARD").splitlines()
            assert len(rules) == 31
            output(lab, "node1", "iptables", "-A", "FORWARD", "-m", "comment", "--comment", "last")
            assert reaches(lab, "client", "web-2")
            last = output(lab, "node1", "iptables", "-L", "FORWARD", "-nvx").splitlines()[-1].split()
            assert (int(last[0]) > 0) is is_counted, name
