"""Calico's presets, compared with Calico's state on a node, as shown by ip, bridge, iptables, ipset, wg and birdc.

The values are those of the reference: blocks of 64 addresses in the nodes' order, 10.244.0.0/26 for node1.
"""

import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from testbed.designs import DESIGNS
from testbed.designs.bgp import CONFIGURATION, PID_FILE
from testbed.designs.presets.calico import blocks, felix, firewall
from testbed.lab.lab import Lab
from testbed.observe.inspect import inspect
from testbed.plan.objects import File, Kind, Plan, Program
from testbed.programs.sleeve import checksum
from testbed.spec.topology import Pod
from tests.designs.looking import (
    PORT,
    addresses,
    as_json,
    ended,
    forwarding,
    link,
    marked,
    passed,
    permanent_neighbours,
    proven,
    routes,
    rules,
    seen_from,
    topology,
)
from tests.shared import shared

GOLDEN = Path(__file__).parent / "golden" / "bird"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
RARE = ("ipip", "wireguard")
WITH_BIRD = ("bgp", "bgp-rr", "bgp-tor", "ipip", "cross-subnet", "wireguard")
EVERY = (*WITH_BIRD, "vxlan")
PATIENCE_S = 120.0
MTU = {"ipip": 1480, "vxlan": 1450, "cross-subnet": 1450, "wireguard": 1440}
"""MTU of pods and tunnels if less than the underlay's 1500, with IPv4."""
BLOCK = {"node1": "10.244.0.0/26", "node2": "10.244.0.64/26", "node3": "10.244.0.128/26", "node4": "10.244.0.192/26"}


def planned(preset: str, of: str = "three-nodes") -> Plan:
    design, chosen = DESIGNS[f"calico-{preset}"], topology(of)
    assert list(design.misfits(chosen)) == []
    return design.plan(chosen)


def up(preset: str, of: str = "three-nodes") -> Lab:
    return Lab(planned(preset, of))


def look(preset: str, of: str = "three-nodes") -> AbstractContextManager[Lab]:
    return shared(planned(preset, of))


def cali(pod: str, namespace: str = "default") -> str:
    """The node's end of a pod's veth pair."""
    return f"cali{hashlib.sha1(f'{namespace}.{pod}'.encode()).hexdigest()[:11]}"


def vtep_mac(node: str) -> str:
    return "66:" + hashlib.sha1(node.encode()).digest()[:5].hex(":")


def sessions(lab: Lab, place: str) -> dict[str, str]:
    """State in birdc by session name."""
    lines = [line.split() for line in ended(lab, place, "birdc", "show", "protocols").splitlines()]
    return {words[0]: words[-1] for words in lines if len(words) > 1 and words[1] == "BGP"}


def established(lab: Lab, place: str) -> set[str]:
    return {name for name, state in sessions(lab, place).items() if state == "Established"}


def learned(lab: Lab, place: str, family: int = 4) -> set[str]:
    """Routes that BIRD has written to the kernel, one per line."""
    found = as_json(lab, place, "ip", f"-{family}", "-j", "route", "show", "proto", "bird")
    lines = set()
    for route in found:
        hops = route.get("nexthops") or [route]
        ways = sorted(f"via {hop['gateway']} dev {hop['dev']}" for hop in hops if "gateway" in hop)
        flags = " onlink" if "onlink" in route.get("flags", []) else ""
        kind = "blackhole " if route.get("type") == "blackhole" else ""
        lines.add(f"{kind}{route['dst']}{''.join(f' {way}' for way in ways)}{flags}")
    return lines


def until(done: Callable[[], bool]) -> None:
    """Waits until the condition is true."""
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end


# Pods


@pytest.mark.looks
@pytest.mark.parametrize("preset", marked("calico", EVERY, RARE))
def test_pods_reach_each_other_as_planned(preset: str) -> None:
    proven(f"calico-{preset}", topology("three-nodes"))


@pytest.mark.looks
@pytest.mark.parametrize("of", ["dual-stack", "ipv6-only"])
@pytest.mark.parametrize("preset", marked("calico", EVERY, RARE))
def test_pods_reach_each_other_with_ipv6(preset: str, of: str) -> None:
    proven(f"calico-{preset}", topology(of))


@pytest.mark.looks
@pytest.mark.parametrize("of", ["two-subnets", "leaf-spine", "dual-homed"])
@pytest.mark.parametrize("preset", marked("calico", ("bgp-tor", "vxlan", "cross-subnet"), RARE))
def test_pods_reach_each_other_across_subnets(preset: str, of: str) -> None:
    proven(f"calico-{preset}", topology(of))


@pytest.mark.looks
@pytest.mark.parametrize("preset", marked("calico", ("wireguard",), RARE))
def test_encrypted_packets_cross_subnets(preset: str) -> None:
    proven(f"calico-{preset}", topology("two-subnets"))


@pytest.mark.looks
@pytest.mark.parametrize("preset", marked("calico", EVERY, RARE))
def test_pods_have_a_host_address_and_felix_settings(preset: str) -> None:
    with look(preset) as lab:
        mtu = MTU.get(preset, 1500)
        for pod, address in {"client": "10.244.0.1", "web-1": "10.244.0.2"}.items():
            dev = cali(pod)
            own = link(lab, "node1", dev)
            assert (own["address"], own["mtu"], own["linkinfo"]["info_kind"]) == ("ee:ee:ee:ee:ee:ee", mtu, "veth")
            assert "master" not in own
            assert f"{address} dev {dev} scope link" in routes(lab, "node1")
            assert addresses(lab, pod, "eth0") == {f"{address}/32"}
            assert link(lab, pod, "eth0")["mtu"] == mtu
            assert routes(lab, pod) == {"default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"}
            conf = f"net/ipv4/conf/{dev}"
            wanted = {
                f"{conf}/proxy_arp": "1",
                f"net/ipv4/neigh/{dev}/proxy_delay": "0",
                f"{conf}/route_localnet": "1",
                f"{conf}/forwarding": "1",
                f"{conf}/rp_filter": "0",
            }
            assert ended(lab, "node1", "sysctl", "-n", *wanted).split() == list(wanted.values())


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["calico-bgp"].needs)
def test_pods_ipv6_gateway_is_the_link_local_address_of_the_nodes_end() -> None:
    with look("bgp", "dual-stack") as lab:
        assert addresses(lab, "client", "eth0") == {"10.244.0.1/32", "fd00:10:244::1/128"}
        gateway = "fe80::ecee:eeff:feee:eeee"
        assert f"default via {gateway} dev eth0" in routes(lab, "client", family=6)
        assert f"fd00:10:244::1 dev {cali('client')}" in routes(lab, "node1", family=6)
        conf = f"net/ipv6/conf/{cali('client')}"
        keys = ("proxy_ndp", "forwarding", "accept_ra")
        assert ended(lab, "node1", "sysctl", "-n", *(f"{conf}/{key}" for key in keys)).split() == ["1", "1", "0"]


# Routes


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["calico-bgp"].needs)
@pytest.mark.parametrize("preset", ["bgp", "bgp-rr"])
def test_bird_writes_routes_to_blocks_via_their_node(preset: str) -> None:
    with look(preset) as lab:
        for number, (node, own) in enumerate(BLOCK.items(), start=1):
            if node == "node4":
                continue
            assert learned(lab, node) == {
                f"blackhole {own}",
                *(
                    f"{block} via 192.168.56.{other} dev eth0"
                    for other, block in enumerate(BLOCK.values(), start=1)
                    if other not in (number, 4)
                ),
            }
        assert lab.convergence_seconds is not None


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["calico-bgp"].needs)
def test_all_nodes_have_sessions_in_the_full_mesh() -> None:
    with look("bgp") as lab:
        assert sessions(lab, "node1") == {"Mesh_192_168_56_2": "Established", "Mesh_192_168_56_3": "Established"}
        assert "Neighbor AS:      64512" in ended(lab, "node1", "birdc", "show", "protocols", "all")
        told = ended(lab, "node2", "birdc", "show", "route", "protocol", "Mesh_192_168_56_1")
        assert re.findall(r"10\.244\.\S+", told) == ["10.244.0.0/26"]  # Not the routes to single pods.


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["calico-bgp"].needs)
def test_both_families_have_separate_sessions_and_routes() -> None:
    with look("bgp", "dual-stack") as lab:
        assert set(sessions(lab, "node1")) == {"Mesh_192_168_56_2", "Mesh_fd00_192_168_56__2"}
        assert learned(lab, "node1", 6) == {
            "blackhole fd00:10:244::/122",
            "fd00:10:244::40/122 via fd00:192:168:56::2 dev eth0",
        }


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["calico-bgp-rr"].needs)
def test_other_nodes_have_sessions_only_with_reflectors() -> None:
    with look("bgp-rr", "sixteen-nodes") as lab:
        reflectors = {"Node_192_168_56_1", "Node_192_168_56_2"}
        assert set(sessions(lab, "node9")) == reflectors
        assert len(sessions(lab, "node1")) == 15
        told = ended(lab, "node9", "birdc", "show", "route", "all", "for", "10.244.0.128/26")
        assert "BGP.cluster_list: 244.0.0.1" in told
        assert "BGP.originator_id: 192.168.56.3" in told
        assert "BGP.next_hop: 192.168.56.3" in told


@pytest.mark.sealed
@pytest.mark.needs(*DESIGNS["calico-bgp-rr"].needs)
def test_the_failure_of_one_reflector_removes_only_its_own_routes() -> None:
    with up("bgp-rr") as lab:
        before = learned(lab, "node3")
        kill_bird(lab, "node1")
        gone = {f"{BLOCK['node1']} via 192.168.56.1 dev eth0"}
        until(lambda: learned(lab, "node3") == before - gone)


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["calico-bgp-tor"].needs)
def test_routers_announce_blocks_and_use_equal_paths() -> None:
    with look("bgp-tor", "leaf-spine") as lab:
        spines = "via 172.31.0.1 dev to-spine1 via 172.31.0.3 dev to-spine2"
        assert learned(lab, "leaf1") == {
            f"{BLOCK['node1']} via 192.168.0.1 dev to-rack1",
            *(f"{BLOCK[node]} {spines}" for node in ("node2", "node3", "node4")),
        }
        others = {f"{BLOCK[node]} via 192.168.0.254 dev eth0" for node in ("node2", "node3", "node4")}
        assert learned(lab, "node1") == {f"blackhole {BLOCK['node1']}", *others}
        assert set(sessions(lab, "node1")) == {"Global_192_168_0_254", "Global_fd00_192_168_0_ffff_ffff_ffff_ffff"}
        told = ended(lab, "node1", "birdc", "show", "route", "all", "for", BLOCK["node2"])
        (path,) = re.findall(r"BGP.as_path: (.+)", told)
        assert [int(number) // 100_000 for number in path.split()] == [42_000, 42_000, 42_000, 0]  # Leaf, spine, leaf.
        assert path.endswith(" 64512")


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["calico-bgp-tor"].needs)
def test_within_a_rack_the_router_keeps_the_next_hop() -> None:
    with look("bgp-tor", "two-subnets") as lab:
        assert learned(lab, "node1") == {
            f"blackhole {BLOCK['node1']}",
            f"{BLOCK['node2']} via 192.168.0.254 dev eth0",
            f"{BLOCK['node3']} via 192.168.0.2 dev eth0",
        }
        assert "fd00:10:244::80/122 via fd00:192:168::2 dev eth0" in learned(lab, "node1", 6)


@pytest.mark.looks
@pytest.mark.vm
@pytest.mark.needs(*DESIGNS["calico-ipip"].needs)
def test_ip_in_ip_uses_tunl0() -> None:
    with look("ipip") as lab:
        assert addresses(lab, "node1", "tunl0") == {"10.244.0.0/32"}
        own = link(lab, "node1", "tunl0")
        assert own["mtu"] == 1480
        assert own["linkinfo"]["info_kind"] == "ipip"
        assert (own["linkinfo"]["info_data"]["local"], own["linkinfo"]["info_data"]["remote"]) == ("any", "any")
        assert learned(lab, "node1") == {
            f"blackhole {BLOCK['node1']}",
            f"{BLOCK['node2']} via 192.168.56.2 dev tunl0 onlink",
            f"{BLOCK['node3']} via 192.168.56.3 dev tunl0 onlink",
        }
        assert members(lab, "cali40all-hosts-net") == {"192.168.56.1", "192.168.56.2", "192.168.56.3"}
        allowed = [rule for rule in rules(lab, "node1", "iptables", "filter") if "IPIP packets from" in rule]
        assert [rule.split()[-1] for rule in allowed] == ["ACCEPT", "DROP"]


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["calico-vxlan"].needs)
def test_felix_writes_all_vxlan_entries() -> None:
    with look("vxlan") as lab:
        own = link(lab, "node1", "vxlan.calico")
        data = own["linkinfo"]["info_data"]
        assert (own["mtu"], own["address"]) == (1450, vtep_mac("node1"))
        assert (data["id"], data["port"], data["learning"]) == (4096, 4789, False)
        assert (data["local"], data["link"]) == ("192.168.56.1", "eth0")
        assert addresses(lab, "node1", "vxlan.calico") == {"10.244.0.0/32"}
        assert routes(lab, "node1", "proto", "80") == {
            f"blackhole {BLOCK['node1']}",
            f"{BLOCK['node2']} via 10.244.0.64 dev vxlan.calico onlink",
            f"{BLOCK['node3']} via 10.244.0.128 dev vxlan.calico onlink",
        }
        macs = {"10.244.0.64": vtep_mac("node2"), "10.244.0.128": vtep_mac("node3")}
        assert permanent_neighbours(lab, "node1", "vxlan.calico") == macs
        ends = {vtep_mac("node2"): "192.168.56.2", vtep_mac("node3"): "192.168.56.3"}
        assert forwarding(lab, "node1", "vxlan.calico") == ends
        untracked = "-p udp -m udp --dport 4789 -j CT --notrack"
        raw = rules(lab, "node1", "iptables", "raw")
        assert {f"-A cali-PREROUTING {untracked}", f"-A cali-OUTPUT {untracked}"} <= set(raw)
        assert members(lab, "cali40all-vxlan-net") == {"192.168.56.1", "192.168.56.2", "192.168.56.3"}
        assert lab.run("node1", ["birdc", "show", "status"]).returncode != 0
        assert lab.convergence_seconds is None


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["calico-cross-subnet"].needs)
def test_vxlan_is_used_only_across_subnets() -> None:
    with look("cross-subnet", "two-subnets") as lab:
        near = f"{BLOCK['node3']} via 192.168.0.2 dev eth0"
        assert learned(lab, "node1") == {f"blackhole {BLOCK['node1']}", near}
        assert routes(lab, "node1", "proto", "80") == {f"{BLOCK['node2']} via 10.244.0.64 dev vxlan.calico onlink"}
        assert forwarding(lab, "node1", "vxlan.calico") == {vtep_mac("node2"): "192.168.1.1"}
        until(lambda: sessions(lab, "node1")["Mesh_192_168_1_1"] == "Established")
        assert learned(lab, "node2") == {f"blackhole {BLOCK['node2']}"}


@pytest.mark.looks
@pytest.mark.vm
@pytest.mark.needs(*DESIGNS["calico-wireguard"].needs)
def test_wireguard_has_its_own_table_and_rule() -> None:
    with look("wireguard") as lab:
        assert link(lab, "node1", "wireguard.cali")["mtu"] == 1440
        assert addresses(lab, "node1", "wireguard.cali") == {"10.244.0.0/32"}
        assert "99:\tnot from all fwmark 0x200000/0x200000 lookup 1" in ended(lab, "node1", "ip", "rule").splitlines()
        assert routes(lab, "node1", "table", "1") == {
            f"{BLOCK['node2']} dev wireguard.cali proto 80 scope link",
            f"{BLOCK['node3']} dev wireguard.cali proto 80 scope link",
        }
        assert f"{BLOCK['node2']} via 192.168.56.2 dev eth0" in learned(lab, "node1")
        assert ended(lab, "node1", "wg", "show", "wireguard.cali", "fwmark").strip() == "0x200000"
        assert ended(lab, "node1", "wg", "show", "wireguard.cali", "listen-port").strip() == "51820"
        allowed = ended(lab, "node1", "wg", "show", "wireguard.cali", "allowed-ips").splitlines()
        assert {line.split()[1] for line in allowed} == {BLOCK["node2"], BLOCK["node3"]}
        ended(lab, "client", "ping", "-c1", "-W9", "10.244.0.65")
        until(
            lambda: any(
                int(line.split()[1])
                for line in ended(lab, "node1", "wg", "show", "wireguard.cali", "transfer").splitlines()
            )
        )


# Rules


def members(lab: Lab, name: str) -> set[str]:
    return set(re.findall(rf"^add {name} (\S+)", ended(lab, "node1", "ipset", "save", name), re.MULTILINE))


@pytest.mark.sealed
@pytest.mark.needs(*DESIGNS["calico-bgp"].needs)
def test_packets_traverse_felix_chains() -> None:
    """Packets between pods of one node traverse the chains of both and are accepted."""
    with up("bgp") as lab:
        ended(lab, "client", "ping", "-c1", "10.244.0.2")
        counted = {
            chain: int(packets)
            for packets, chain in re.findall(
                r"^\[(\d+):\d+\] -A (cali-\S+) -m conntrack --ctstate INVALID",
                ended(lab, "node1", "iptables-save", "-c", "-t", "filter"),
                re.MULTILINE,
            )
        }
        assert set(counted) == {f"cali-{way}-{cali(pod)}" for way in ("fw", "tw") for pod in ("client", "web-1")}
        listed = ended(lab, "node1", "iptables-save", "-c", "-t", "filter")
        traversed = {
            chain for packets, chain in re.findall(r"^\[(\d+):\d+\] -A (cali-\S+)", listed, re.M) if int(packets)
        }
        out, into = f"cali-fw-{cali('client')}", f"cali-tw-{cali('web-1')}"
        assert {
            "cali-FORWARD",
            "cali-from-wl-dispatch",
            out,
            "cali-pro-kns.default",
            into,
            "cali-pri-kns.default",
        } <= traversed
        forward = [rule for rule in rules(lab, "node1", "iptables", "filter") if rule.startswith("-A FORWARD")]
        assert forward[0] == "-A FORWARD -j cali-FORWARD"
        assert "--mark 0x10000/0x10000 -j ACCEPT" in forward[1]


@pytest.mark.sealed
@pytest.mark.needs(*DESIGNS["calico-bgp"].needs)
def test_packets_of_unknown_devices_and_forged_senders_are_dropped() -> None:
    with up("bgp") as lab:
        dispatch = rules(lab, "node1", "iptables", "filter")
        for chain in ("cali-from-wl-dispatch", "cali-to-wl-dispatch"):
            last = [rule for rule in dispatch if rule.startswith(f"-A {chain} ")][-1]
            assert last == f'-A {chain} -m comment --comment "Unknown interface" -j DROP'
        ended(lab, "client", "ip", "address", "add", "10.244.0.60/32", "dev", "lo")
        ended(lab, "client", "ping", "-c1", "-W2", "10.244.0.2")
        assert lab.run("client", ["ping", "-c1", "-W1", "-I", "10.244.0.60", "10.244.0.2"]).returncode == 1


def sent_from(lab: Lab, place: str, protocol: int, payload: bytes, to: str) -> None:
    """Sends one packet: for UDP to VXLAN's port, otherwise only an IP header with the payload."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == socket.IPPROTO_UDP else socket.SOCK_RAW
    with lab.namespaces[place].entered(), socket.socket(family, kind, protocol) as sock:
        sock.sendto(payload, (to, felix.VXLAN_PORT if kind == socket.SOCK_DGRAM else 0))


@pytest.mark.sealed
@pytest.mark.parametrize("preset", marked("calico", ("bgp", "vxlan", "ipip"), RARE))
def test_tunnel_packets_from_pods_are_dropped(preset: str) -> None:
    targets = {"iptables": "10.244.0.65", "ip6tables": "fd00:10:244::41"}
    with up(preset, "dual-stack") as lab:
        for tool, to in targets.items():
            sent = {"VXLAN": socket.IPPROTO_UDP, "IPinIP": socket.IPPROTO_IPIP}
            for name, protocol in sent.items():
                rule = f'cali-fw-{cali("client")} .*"Drop {name} encapped packets originating in workloads" .*-j DROP'
                assert passed(lab, "node1", rule, tool) == 0
                sent_from(lab, "client", protocol, bytes(40), to)
                until(lambda rule=rule, tool=tool: passed(lab, "node1", rule, tool) == 1)


def forged(preset: str, to: str) -> tuple[int, bytes]:
    """Protocol and payload of an encapsulated datagram from web-2 to the client."""
    datagram = struct.pack("!4H", PORT, PORT, 8 + 5, 0) + b"hello"
    ends = bytes([10, 244, 0, 65, 10, 244, 0, 1])
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, socket.IPPROTO_UDP, 0) + ends
    packet = header[:10] + struct.pack("!H", checksum(header)) + header[12:] + datagram
    if preset == "ipip":
        return socket.IPPROTO_IPIP, packet
    macs = bytes.fromhex((vtep_mac(to) + vtep_mac("node2")).replace(":", ""))
    return socket.IPPROTO_UDP, struct.pack("!II", 1 << 27, felix.VNI << 8) + macs + b"\x08\x00" + packet


@pytest.mark.sealed
@pytest.mark.parametrize("preset", marked("calico", ("vxlan", "ipip"), RARE))
def test_tunnel_packets_are_accepted_only_from_nodes(preset: str) -> None:
    """Sends the same packet from a router, from a pod of the node, and from another node."""
    protocol, payload = forged(preset, "node1")
    dropped, taken = (
        ("Drop IPIP packets from non-Calico hosts", "Allow IPIP packets from Calico hosts")
        if preset == "ipip"
        else ("Drop IPv4 VXLAN packets from non-allowed hosts", "Allow IPv4 VXLAN packets from allowed hosts")
    )
    with up(preset) as lab:
        (router,) = (space.name for space in lab.plan.of_kind(Kind.ROUTER))
        with lab.namespaces["client"].entered():
            listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with listener:
            listener.bind(("10.244.0.1", PORT))
            listener.settimeout(PATIENCE_S)
            for number, place in enumerate((router, "web-1"), start=1):
                sent_from(lab, place, protocol, payload, "192.168.56.1")
                until(lambda number=number: passed(lab, "node1", f'"{dropped}" .*-j DROP') == number)
            assert passed(lab, "node1", f'"{taken}" .*-j ACCEPT') == 0
            sent_from(lab, "node2", protocol, payload, "192.168.56.1")
            assert listener.recvfrom(100) == (b"hello", ("10.244.0.65", PORT))
            assert passed(lab, "node1", f'"{taken}" .*-j ACCEPT') == 1
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.recv(100)


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["calico-bgp"].needs)
def test_packets_that_leave_the_pods_network_have_the_nodes_address() -> None:
    with look("bgp", "dual-stack") as lab:
        assert members(lab, "cali40masq-ipam-pools") == members(lab, "cali40network-ip-pools") == {"10.244.0.0/16"}
        assert members(lab, "cali60masq-ipam-pools") == set()
        assert seen_from(lab, "client", "web-2", "10.244.0.65") == "10.244.0.1"
        assert seen_from(lab, "client", "node2", "192.168.56.2") == "192.168.56.1"
        assert seen_from(lab, "client", "node2", "fd00:192:168:56::2") == "fd00:10:244::1"


def test_interfaces_with_a_common_prefix_share_an_intermediate_chain() -> None:
    chains = firewall.dispatch("cali-from-wl-dispatch", "-i", "cali-fw-", ["cali1a", "cali1b", "cali2c"])
    unknown = '-m comment --comment "Unknown interface" -j DROP'
    assert chains == {
        "cali-from-wl-dispatch": ["-i cali1+ -g cali-from-wl-dispatch-1", "-i cali2c -g cali-fw-cali2c", unknown],
        "cali-from-wl-dispatch-1": ["-i cali1a -g cali-fw-cali1a", "-i cali1b -g cali-fw-cali1b", unknown],
    }


@pytest.mark.sealed
@pytest.mark.needs(*DESIGNS["calico-bgp"].needs)
def test_long_names_of_namespaces_fit_chains() -> None:
    chosen = topology("two-nodes")
    pods = tuple(Pod(name=f"pod-{number}", namespace=f"a-rather-long-namespace-{number}") for number in range(20))
    node = chosen.nodes["node1"].model_copy(update={"pods": pods})
    many = chosen.model_copy(update={"nodes": chosen.nodes | {"node1": node}})
    with Lab(DESIGNS["calico-bgp"].plan(many)) as lab:
        assert inspect(lab.plan, lab.namespaces) == ()
        assert "-A cali-from-wl-dispatch-" in "\n".join(rules(lab, "node1", "iptables", "filter"))
        ended(lab, "pod-1.a-rather-long-namespace-1", "ping", "-c1", "-W2", "10.244.0.65")


# Daemons that end and restart


def kill_bird(lab: Lab, place: str) -> None:
    """Kills BIRD without notification of its peers."""
    os.kill(int(ended(lab, place, "cat", PID_FILE)), signal.SIGKILL)


@contextmanager
def bird_again(lab: Lab, place: str) -> Iterator[None]:
    """Runs BIRD again during the block, with the same command."""
    (program,) = lab.plan[place].of(Program)
    process = lab.start(place, program.command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.mark.sealed
@pytest.mark.parametrize("preset", marked("calico", ("bgp", "bgp-rr", "ipip", "wireguard"), RARE))
def test_peers_withdraw_a_nodes_routes_until_its_bird_restarts(preset: str) -> None:
    with up(preset) as lab:
        whole = {node: learned(lab, node) for node in ("node1", "node3")}
        dev, flags = ("tunl0", " onlink") if preset == "ipip" else ("eth0", "")
        lost = {f"{BLOCK['node2']} via 192.168.56.2 dev {dev}{flags}"}
        assert all(lost < known for known in whole.values())
        kill_bird(lab, "node2")
        until(lambda: all(learned(lab, node) == whole[node] - lost for node in whole))
        # With WireGuard packets use Felix' table, not BIRD's routes.
        is_reached = lab.run("client", ["ping", "-c1", "-W5", "10.244.0.65"]).returncode == 0
        assert is_reached is (preset == "wireguard")
        (missing,) = [one.what for one in inspect(lab.plan, lab.namespaces) if one.place == "node1"]
        assert missing.startswith(f"route {BLOCK['node2']} via 192.168.56.2 dev {dev}")
        assert missing.endswith(" proto bird missing; expected from bird (ask birdc)")
        with bird_again(lab, "node2"):
            until(lambda: inspect(lab.plan, lab.namespaces) == ())
            assert all(learned(lab, node) == whole[node] for node in whole)
            ended(lab, "client", "ping", "-c1", "-W2", "10.244.0.65")


@pytest.mark.sealed
@pytest.mark.needs(*DESIGNS["calico-bgp-tor"].needs)
def test_routers_and_nodes_withdraw_the_routes_of_a_node_without_bird() -> None:
    with up("bgp-tor", "leaf-spine") as lab:
        spines = "via 172.31.0.1 dev to-spine1 via 172.31.0.3 dev to-spine2"
        lost = {
            "leaf2": {f"{BLOCK['node2']} via 192.168.1.1 dev to-rack2"},
            "leaf1": {f"{BLOCK['node2']} {spines}"},
            "node1": {f"{BLOCK['node2']} via 192.168.0.254 dev eth0"},
            "node4": {f"{BLOCK['node2']} via 192.168.3.254 dev eth0"},
        }
        whole = {place: learned(lab, place) for place in lost}
        assert all(lost[place] < whole[place] for place in lost)
        kill_bird(lab, "node2")
        until(lambda: all(learned(lab, place) == whole[place] - lost[place] for place in lost))
        assert not any(BLOCK["node2"] in route for spine in ("spine1", "spine2") for route in learned(lab, spine))
        assert lab.run("client", ["ping", "-c1", "-W1", "10.244.0.65"]).returncode == 1
        with bird_again(lab, "node2"):
            until(lambda: all(learned(lab, place) == whole[place] for place in lost))
            until(lambda: inspect(lab.plan, lab.namespaces) == ())
            ended(lab, "client", "ping", "-c1", "-W2", "10.244.0.65")


@pytest.mark.sealed
@pytest.mark.needs(*DESIGNS["calico-cross-subnet"].needs)
def test_without_a_nodes_bird_only_its_neighbours_lose_its_routes() -> None:
    """node3 is node1's neighbour, and in another subnet than node2."""
    with up("cross-subnet", "two-subnets") as lab:
        near = {4: f"{BLOCK['node3']} via 192.168.0.2 dev eth0", 6: "fd00:10:244::80/122 via fd00:192:168::2 dev eth0"}
        whole = {family: learned(lab, "node1", family) for family in near}
        assert all(near[family] in whole[family] for family in near)
        by_tunnel = {node: routes(lab, node, "proto", "80") for node in ("node1", "node2")}
        assert f"{BLOCK['node3']} via 10.244.0.128 dev vxlan.calico onlink" in by_tunnel["node2"]
        kill_bird(lab, "node3")
        until(lambda: all(learned(lab, "node1", family) == whole[family] - {near[family]} for family in near))
        until(lambda: "Mesh_192_168_0_2" not in established(lab, "node2"))
        assert {node: routes(lab, node, "proto", "80") for node in by_tunnel} == by_tunnel
        assert lab.run("client", ["ping", "-c1", "-W1", "10.244.0.129"]).returncode == 1
        ended(lab, "web-2", "ping", "-c1", "-W2", "10.244.0.129")
        ended(lab, "client", "ping", "-c1", "-W2", "10.244.0.65")
        assert len([one for one in inspect(lab.plan, lab.namespaces) if one.place == "node1"]) == len(near)
        assert not [one for one in inspect(lab.plan, lab.namespaces) if one.place == "node2"]
        with bird_again(lab, "node3"):
            until(lambda: inspect(lab.plan, lab.namespaces) == ())
            assert all(learned(lab, "node1", family) == whole[family] for family in near)
            ended(lab, "client", "ping", "-c1", "-W2", "10.244.0.129")


@pytest.mark.sealed
@pytest.mark.needs(*DESIGNS["calico-bgp-tor"].needs)
def test_a_spine_without_bird_is_not_a_next_hop() -> None:
    with up("bgp-tor", "leaf-spine") as lab:
        kill_bird(lab, "spine1")
        until(lambda: f"{BLOCK['node2']} via 172.31.0.3 dev to-spine2" in learned(lab, "leaf1"))
        ended(lab, "client", "ping", "-c1", "-W2", "10.244.0.65")


@pytest.mark.sealed
@pytest.mark.needs(*DESIGNS["calico-bgp"].needs)
def test_bird_restores_a_deleted_route() -> None:
    with up("bgp") as lab:
        whole = learned(lab, "node1")
        ended(lab, "node1", "ip", "route", "del", BLOCK["node2"])
        until(lambda: learned(lab, "node1") == whole)


# Plans


def test_blocks_have_64_addresses_and_are_allocated_in_order() -> None:
    laid_out = blocks.lay_out(topology("dual-stack"))
    assert [list(map(str, node.pod_cidrs)) for node in laid_out.nodes] == [
        ["10.244.0.0/26", "fd00:10:244::/122"],
        ["10.244.0.64/26", "fd00:10:244::40/122"],
    ]
    assert [str(at.ip) for place in laid_out.nodes[1].pods for at in place.addresses] == [
        "10.244.0.65",
        "fd00:10:244::41",
    ]


def test_no_block_is_larger_than_the_nodes_share_of_the_range() -> None:
    chosen = topology("two-nodes")
    cluster = chosen.cluster.model_copy(update={"node_prefix": (29,)})
    laid_out = blocks.lay_out(chosen.model_copy(update={"cluster": cluster}))
    assert [str(node.pod_cidrs[0]) for node in laid_out.nodes] == ["10.244.0.0/29", "10.244.0.8/29"]


@pytest.mark.parametrize(
    ("preset", "of", "place"),
    [
        ("bgp", "dual-stack", "node1"),
        ("bgp-rr", "three-nodes", "node1"),
        ("bgp-rr", "three-nodes", "node3"),
        ("bgp-tor", "two-subnets", "node1"),
        ("bgp-tor", "two-subnets", "gateway"),
        ("bgp-tor", "dual-homed", "node1"),
        ("ipip", "dual-stack", "node1"),
        ("cross-subnet", "two-subnets", "node1"),
    ],
)
def test_birds_configuration_is_the_golden_one_and_valid(preset: str, of: str, place: str) -> None:
    (text,) = [file.text for file in planned(preset, of)[place].of(File) if file.path == CONFIGURATION]
    golden = GOLDEN / f"{preset}-{of}-{place}.conf"
    if UPDATE:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()
    done = subprocess.run(["bird", "-p", "-c", golden], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("preset", ["bgp", "bgp-rr"])
def test_without_encapsulation_all_nodes_must_be_in_one_subnet(preset: str) -> None:
    (misfit,) = DESIGNS[f"calico-{preset}"].misfits(topology("two-subnets"))
    assert misfit.loc == ("fabric",)
    assert "needs all nodes in one subnet (" in misfit.message
    assert "the fabric's routers have no routes to blocks" in misfit.message


def test_ipip_requires_one_subnet_for_ipv6() -> None:
    chosen = topology("two-subnets")
    (misfit,) = DESIGNS["calico-ipip"].misfits(chosen)
    assert "for IPv6" in misfit.message
    cluster = chosen.cluster.model_copy(update={"pod_cidr": chosen.cluster.pod_cidr[:1]})
    assert list(DESIGNS["calico-ipip"].misfits(chosen.model_copy(update={"cluster": cluster}))) == []
