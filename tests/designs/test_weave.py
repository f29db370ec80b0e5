"""Weave Net's presets, compared with the state of weaver and weave-npc on a node, as shown by ip, bridge and others.

The values are those of the reference: node1 has 10.244.0.0/24 of the pods' 10.244.0.0/16, node2 10.244.1.0/24.
"""

import secrets
import socket
from contextlib import AbstractContextManager

import dpkt
import pytest

from testbed.designs import DESIGNS
from testbed.designs.overhead import overhead
from testbed.designs.presets.weave.rules import may_receive, may_send
from testbed.kernel.datapath import flow_in
from testbed.lab.lab import Lab
from testbed.observe.frames import SLEEVE_BOX, unwrapped
from testbed.observe.inspect import inspect
from testbed.observe.taps import frames, tap
from testbed.plan.objects import Flow, Kind
from testbed.spec.load import topology_of_text
from testbed.spec.topology import Topology
from tests.designs.looking import addresses, as_json, ended, link, marked, proven, routes, rules, seen_from, topology
from tests.shared import shared

SLEEVE, FASTDP = ("sleeve", "sleeve-encrypted"), ("fastdp", "fastdp-encrypted")
NAMES = (*SLEEVE, *FASTDP)
OVERHEAD = {"sleeve": 62, "sleeve-encrypted": 86, "fastdp": 50, "fastdp-encrypted": 84}
"""Overhead in bytes, with IPv4: headers of sleeve or VXLAN, and of the encryption."""
TWO_SUBNETS = """
name: racks
cluster: {pod_cidr: 10.32.0.0/12, node_prefix: 24}
fabric: {shape: subnets, subnets: 2, subnet: 192.168.0.0/16}
nodes:
  node1: {at: rack1, pods: [client, web-1]}
  node2: {at: rack2, pods: [web-2]}
  node3: {at: rack1, pods: [web-3]}
"""
NEIGHBOURS = {"base_reachable_time": "5", "delay_first_probe_time": "2", "ucast_solicit": "1"}
NOTE = r'-m comment --comment "NOTE: this must go before \'-j KUBE-FORWARD\'"'


def two_subnets() -> Topology:
    return topology_of_text(TWO_SUBNETS, "racks.yaml").value


def up(name: str, of: Topology | None = None) -> Lab:
    return Lab(DESIGNS[f"weave-{name}"].plan(of or topology("two-nodes")))


def look(name: str) -> AbstractContextManager[Lab]:
    return shared(DESIGNS[f"weave-{name}"].plan(topology("two-nodes")))


@pytest.mark.looks
@pytest.mark.parametrize("name", marked("weave", NAMES, FASTDP))
def test_pods_reach_each_other_across_subnets(name: str) -> None:
    proven(f"weave-{name}", two_subnets())


@pytest.mark.looks
@pytest.mark.parametrize("name", marked("weave", NAMES, FASTDP))
def test_the_kernel_has_weaves_state(name: str) -> None:
    """The bridge, its ports and MTUs; addresses in one range, no routes to nodes' shares; settings."""
    with look(name) as lab:
        bridge = link(lab, "node1", "weave")
        assert (bridge["linkinfo"]["info_kind"], bridge["mtu"]) == ("bridge", 1376)
        assert addresses(lab, "node1", "weave") == {"10.244.0.1/16"}
        ports = as_json(lab, "node1", "bridge", "-j", "link")
        names = {port["ifname"] for port in ports if port["master"] == "weave"}
        assert {port for port in names if not port.startswith("vethwepl")} == {"vethwe-bridge"}
        assert sorted(len(port) for port in names - {"vethwe-bridge"}) == [15, 15]
        assert {port["mtu"] for port in ports if port["ifname"] in names} == {1376}
        assert link(lab, "client", "eth0")["mtu"] == 1376
        assert addresses(lab, "client", "eth0") == {"10.244.0.2/16"}
        assert routes(lab, "client") == {
            "default via 10.244.0.1 dev eth0",
            "10.244.0.0/16 dev eth0 proto kernel scope link src 10.244.0.2",
        }
        assert routes(lab, "node1") == {
            "default via 192.168.56.254 dev eth0",
            "10.244.0.0/16 dev weave proto kernel scope link src 10.244.0.1",
            "192.168.56.0/24 dev eth0 proto kernel scope link src 192.168.56.1",
        }
        assert ended(lab, "node1", "sysctl", "-n", "net.bridge.bridge-nf-call-iptables") == "1\n"
        for place, dev in (("node1", "weave"), ("client", "eth0")):
            for key, value in NEIGHBOURS.items():
                assert ended(lab, place, "sysctl", "-n", f"net/ipv4/neigh/{dev}/{key}") == f"{value}\n"


@pytest.mark.looks
@pytest.mark.parametrize("name", marked("weave", NAMES, FASTDP))
def test_rules_and_sets_are_weaves(name: str) -> None:
    with look(name) as lab:
        assert rules(lab, "node1", "iptables", "nat") == [
            "-A POSTROUTING -j WEAVE",
            "-A WEAVE -m set --match-set weaver-no-masq-local dst "
            '-m comment --comment "Prevent SNAT to locally running containers" -j RETURN',
            "-A WEAVE -s 10.244.0.0/16 -d 224.0.0.0/4 -j RETURN",
            "-A WEAVE ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE",
            "-A WEAVE -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE",
        ]
        found = rules(lab, "node1", "iptables", "filter")
        assert [line for line in found if line.startswith("-A FORWARD ")] == [
            f"-A FORWARD -i weave {NOTE} -j WEAVE-NPC-EGRESS",
            f"-A FORWARD -o weave {NOTE} -j WEAVE-NPC",
            "-A FORWARD -o weave -m state --state NEW -j NFLOG --nflog-group 86",
            "-A FORWARD -o weave -j DROP",
            "-A FORWARD -i weave ! -o weave -j ACCEPT",
            "-A FORWARD -o weave -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ]
        assert [line for line in found if line.startswith("-A WEAVE-NPC ")] == [
            "-A WEAVE-NPC -m state --state RELATED,ESTABLISHED -j ACCEPT",
            "-A WEAVE-NPC -d 224.0.0.0/4 -j ACCEPT",
            "-A WEAVE-NPC -m physdev --physdev-out vethwe-bridge --physdev-is-bridged -j ACCEPT",
            "-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-DEFAULT",
            "-A WEAVE-NPC -m state --state NEW -j WEAVE-NPC-INGRESS",
        ]
        assert "-A WEAVE-NPC-EGRESS-ACCEPT -j MARK --set-xmark 0x40000/0x40000" in found
        sets = ended(lab, "node1", "ipset", "save").splitlines()
        assert "add weaver-no-masq-local 10.244.0.0/24" in sets
        for of in (may_receive("default"), may_send("default")):
            members = {line.split()[2] for line in sets if line.startswith(f"add {of} ")}
            assert members == {"10.244.0.2", "10.244.0.3", "10.244.1.2"}


def test_sets_have_the_names_of_a_cluster() -> None:
    """The names are from published listings of rules."""
    assert may_receive("default") == "weave-;rGqyMIl1HN^cfDki~Z$3]6!N"
    assert may_send("default") == "weave-s_+ChJId4Uy_$}G;WdH|~TK)I"
    assert may_receive("kube-system") == "weave-P.B|!ZhkAr5q=XZ?3}tMBA+0"


@pytest.mark.sealed
@pytest.mark.parametrize("name", marked("weave", ("sleeve",), FASTDP))
def test_traffic_of_a_pod_outside_the_sets_is_dropped(name: str) -> None:
    """Bridged frames therefore traverse the rules, within a node and from another node."""
    with up(name) as lab:
        assert lab.run("client", ["ping", "-c1", "-W5", "10.244.0.3"]).returncode == 0
        ended(lab, "node1", "ipset", "del", may_receive("default"), "10.244.0.3")
        assert lab.run("client", ["ping", "-c1", "-W1", "10.244.0.3"]).returncode == 1
        assert lab.run("web-2", ["ping", "-c1", "-W1", "10.244.0.3"]).returncode == 1
        ended(lab, "node1", "ipset", "del", may_send("default"), "10.244.0.2")
        assert lab.run("client", ["ping", "-c1", "-W1", "10.244.1.2"]).returncode == 1


@pytest.mark.looks
@pytest.mark.parametrize("name", marked("weave", NAMES, FASTDP))
def test_pods_are_masqueraded_outside_the_range_and_nodes_are_exposed(name: str) -> None:
    with look(name) as lab:
        assert seen_from(lab, "client", "web-2", "10.244.1.2") == "10.244.0.2"
        assert seen_from(lab, "client", "node2", "192.168.56.2") == "192.168.56.1"
        assert seen_from(lab, "client", "node2", "10.244.1.1") == "10.244.0.2"
        assert seen_from(lab, "node1", "web-2", "10.244.1.2") == "10.244.0.1"


@pytest.mark.looks
@pytest.mark.parametrize("name", marked("weave", SLEEVE, FASTDP))
def test_sleeve_is_between_the_bridge_and_udp(name: str) -> None:
    """Captured frames are complete: checksum offload is off."""
    with look(name) as lab:
        assert link(lab, "node1", "vethwe-bridge")["link"] == "vethwe-pcap"
        sockets = ended(lab, "node1", "ss", "-Huln").split()
        assert sockets.count("192.168.56.1:6783") == 2
        for place, dev in (("node1", "weave"), ("node1", "vethwe-bridge"), ("client", "eth0")):
            assert "tx-checksumming: off" in ended(lab, place, "ethtool", "-k", dev)
        connections = ended(lab, "node1", "ss", "-Htn")
        assert (":6783" in connections) is (name == "sleeve-encrypted")


@pytest.mark.looks
@pytest.mark.parametrize("name", marked("weave", FASTDP, FASTDP))
def test_the_datapath_has_weaves_ports_and_flows(name: str) -> None:
    with look(name) as lab:
        shown = ended(lab, "node1", "ovs-dpctl", "show")
        assert "port 0: datapath (internal)" in shown
        assert "port 1: vethwe-datapath" in shown
        assert "port 2: vxlan-6784" in shown
        assert link(lab, "node1", "datapath")["linkinfo"]["info_kind"] == "openvswitch"
        tunnel = link(lab, "node1", "vxlan-6784")
        assert tunnel["master"] == "datapath"
        assert (tunnel["linkinfo"]["info_data"]["external"], tunnel["linkinfo"]["info_data"]["port"]) == (True, 6784)
        assert link(lab, "node1", "vethwe-datapath")["master"] == "datapath"
        pod, bridge = link(lab, "web-2", "eth0")["address"], link(lab, "node2", "weave")["address"]
        flows = [flow_in(line) for line in ended(lab, "node1", "ovs-dpctl", "dump-flows").splitlines()]
        # From peer 1 to peer 2, and back.
        sent = "set(tunnel(tun_id=0x2001,src=192.168.56.1,dst=192.168.56.2,ttl=64,flags(df|key))),2"
        received = "tunnel(tun_id=0x1002,src=192.168.56.2,dst=192.168.56.1,ttl=0/0),in_port(2)"
        assert {flow for flow in flows if flow} == {
            Flow(f"in_port(1),eth(dst={pod})", sent),
            Flow(f"in_port(1),eth(dst={bridge})", sent),
            Flow("in_port(1),eth(dst=01:00:00:00:00:00/01:00:00:00:00:00)", f"{sent},0"),
            Flow(f"{received},eth(dst=00:00:00:00:00:00/01:00:00:00:00:00)", "1"),
            Flow(f"{received},eth(dst=01:00:00:00:00:00/01:00:00:00:00:00)", "1,0"),
        }


@pytest.mark.sealed
@pytest.mark.parametrize("name", marked("weave", ("fastdp",), FASTDP))
def test_inspect_reports_and_fixes_changes_of_the_datapath(name: str) -> None:
    with up(name) as lab:
        (flow, *_) = [
            line for line in ended(lab, "node1", "ovs-dpctl", "dump-flows").splitlines() if "in_port(1)" in line
        ]
        match = flow.partition(", packets:")[0].replace(",eth_type(0/0x0000)", "")
        ended(lab, "node1", "ovs-dpctl", "del-flow", "datapath", match)
        (found,) = inspect(lab.plan, lab.namespaces)
        assert (found.place, found.what.startswith(f"datapath: flow `{match}`")) == ("node1", True)
        assert found.what.endswith(" missing")
        for command in found.mend:
            ended(lab, "node1", "sh", "-c", command)
        assert inspect(lab.plan, lab.namespaces) == ()
        ended(lab, "node1", "ovs-dpctl", "del-if", "datapath", "vxlan-6784")
        differences = [item.what for item in inspect(lab.plan, lab.namespaces)]
        assert "vxlan-6784: master none, expected datapath" in differences
        assert "datapath: ports vethwe-datapath; expected vethwe-datapath, vxlan-6784" in differences


@pytest.mark.looks
@pytest.mark.parametrize("name", marked("weave", ("fastdp-encrypted",), FASTDP))
def test_marks_select_packets_for_esp(name: str) -> None:
    with look(name) as lab:
        assert rules(lab, "node1", "iptables", "mangle") == [
            "-A INPUT -j WEAVE-IPSEC-IN",
            "-A OUTPUT -j WEAVE-IPSEC-OUT",
            "-A WEAVE-IPSEC-IN -s 192.168.56.2/32 -d 192.168.56.1/32 -p esp -m esp --espspi 135168 "
            "-j WEAVE-IPSEC-IN-MARK",
            "-A WEAVE-IPSEC-IN-MARK -j MARK --set-xmark 0x20000/0x20000",
            "-A WEAVE-IPSEC-OUT -s 192.168.56.1/32 -d 192.168.56.2/32 -p udp -m udp --dport 6784 "
            "-j WEAVE-IPSEC-OUT-MARK",
            "-A WEAVE-IPSEC-OUT-MARK -j MARK --set-xmark 0x20000/0x20000",
        ]
        found = rules(lab, "node1", "iptables", "filter")
        assert "-A OUTPUT ! -p esp -m policy --dir out --pol none -m mark --mark 0x20000/0x20000 -j DROP" in found
        policies = ended(lab, "node1", "ip", "xfrm", "policy")
        assert policies.count("dir out") == 1
        assert policies.count("dir in") == 0
        assert "mark 0x20000/0x20000" in policies
        states = ended(lab, "node1", "ip", "xfrm", "state")
        assert states.count("rfc4106(gcm(aes))") == states.count("flag esn") == 2
        keys = [line.split()[2] for line in states.splitlines() if "aead" in line]
        assert {len(key) for key in keys} == {2 + 2 * 36}


def echo_in_vxlan(lab: Lab, text: bytes) -> bytes:
    """The unencrypted packet of the second node's datapath for a ping from web-2 to client."""
    echo = dpkt.icmp.ICMP(type=8, data=dpkt.icmp.ICMP.Echo(id=1, seq=1, data=text))
    ip = dpkt.ip.IP(src=b"\x0a\xf4\x01\x02", dst=b"\x0a\xf4\x00\x02", p=1, ttl=64, data=echo)
    ip.len = len(ip)
    to, by = (bytes.fromhex(link(lab, pod, "eth0")["address"].replace(":", "")) for pod in ("client", "web-2"))
    frame = bytes(dpkt.ethernet.Ethernet(dst=to, src=by, type=0x0800, data=ip))
    return b"\x08\0\0\0" + (0x1002).to_bytes(3, "big") + b"\0" + frame


@pytest.mark.sealed
@pytest.mark.parametrize("name", marked("weave", ("fastdp-encrypted",), FASTDP))
def test_unencrypted_packets_are_dropped(name: str) -> None:
    """The peer, without its rules, sends unencrypted frames; the receiver's rules drop them."""
    with up(name) as lab:
        ended(lab, "node2", "iptables", "-t", "mangle", "-F", "WEAVE-IPSEC-OUT")
        with lab.namespaces["node2"].entered():
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender, tap(lab.namespaces["client"]) as at_client:
            for text, arrives in ((b"forged", False), (b"let in", True)):
                if arrives:
                    ended(lab, "node1", "iptables", "-F", "WEAVE-IPSEC-IN")
                sender.sendto(echo_in_vxlan(lab, text), ("192.168.56.1", 6784))
                assert lab.run("client", ["ping", "-c1", "-W5", "10.244.0.3"]).returncode == 0
                assert any(text in seen.data for seen in frames(at_client)) is arrives


@pytest.mark.looks
@pytest.mark.parametrize("name", marked("weave", NAMES, FASTDP))
def test_encrypted_payload_is_not_visible_on_the_fabric(name: str) -> None:
    """The payload of a datagram between pods is visible at the switch only without encryption."""
    mark = secrets.token_bytes(64)
    with look(name) as lab:
        assert lab.run("client", ["ping", "-c1", "-W5", "10.244.1.2"]).returncode == 0
        (switch,) = lab.plan.of_kind(Kind.SWITCH)
        with tap(lab.namespaces[switch.name]) as at_switch:
            with lab.namespaces["web-2"].entered():
                receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with lab.namespaces["client"].entered():
                sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with receiver, sender:
                receiver.settimeout(10)
                receiver.bind(("10.244.1.2", 7000))
                sender.sendto(mark, ("10.244.1.2", 7000))
                assert receiver.recv(100) == mark
            seen = [frame.data for frame in frames(at_switch)]
        assert seen
        assert any(mark in data for data in seen) is not name.endswith("encrypted")


@pytest.mark.parametrize("name", NAMES)
def test_pods_mtu_is_weaves_default_or_less(name: str) -> None:
    design, ordinary = DESIGNS[f"weave-{name}"], topology("two-nodes")
    assert overhead(design)[4] == OVERHEAD[name]
    assert design.pod_mtu(ordinary) == 1376
    for fabric_mtu, wanted in ((9000, 1376), (1400, 1400 - OVERHEAD[name])):
        fabric = ordinary.fabric.model_copy(update={"mtu": fabric_mtu})
        assert design.pod_mtu(ordinary.model_copy(update={"fabric": fabric})) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_ipv6_pods_do_not_fit(name: str) -> None:
    (misfit,) = DESIGNS[f"weave-{name}"].misfits(topology("dual-stack"))
    assert misfit.loc == ("cluster", "pod_cidr", 1)
    assert misfit.message.startswith(f"weave-{name} carries only IPv4 packets")


def test_frames_in_sleeves_datagrams_are_decoded_unless_encrypted() -> None:
    inner = dpkt.ethernet.Ethernet(
        dst=b"\x02pod02",
        src=b"\x02pod01",
        type=0x0800,
        data=dpkt.ip.IP(src=b"\x0a\x20\0\x02", dst=b"\x0a\x20\x01\x02", p=6),
    )
    headers = b"\x02peer1" + b"\x02peer1" + b"\x02peer2" + len(inner).to_bytes(2, "big")
    udp = dpkt.udp.UDP(sport=6783, dport=6783, data=headers + bytes(inner))
    udp.ulen = len(udp)
    outer = dpkt.ip.IP(src=b"\xc0\xa8\x38\x01", dst=b"\xc0\xa8\x38\x02", p=17, data=udp)
    outer.len = len(outer)
    data = bytes(dpkt.ethernet.Ethernet(dst=b"\x02node2", src=b"\x02node1", type=0x0800, data=outer))
    plain, opaque = unwrapped(data), unwrapped(data, {6783: SLEEVE_BOX})
    assert plain and plain.packet and opaque
    (tunnel,) = plain.tunnels
    assert (tunnel.kind, tunnel.source, tunnel.target, tunnel.port) == ("sleeve", "192.168.56.1", "192.168.56.2", 6783)
    assert tunnel.inner_macs == (b"\x02pod01".hex(":"), b"\x02pod02".hex(":"))
    assert plain.packet.dst == b"\x0a\x20\x01\x02"
    assert (opaque.tunnels[0].is_opaque, opaque.packet) == (True, None)


def test_flows_are_parsed() -> None:
    line = (
        "tunnel(tun_id=0x1002,src=192.168.0.2,dst=192.168.0.1,flags(+key)),in_port(2),"
        "eth(dst=00:00:00:00:00:00/01:00:00:00:00:00),eth_type(0/0x0000), packets:4, bytes:336, used:0.849s, "
        "flags:SFP., actions:1"
    )
    match = "tunnel(tun_id=0x1002,src=192.168.0.2,dst=192.168.0.1,ttl=0/0),in_port(2)"
    assert flow_in(line) == Flow(f"{match},eth(dst=00:00:00:00:00:00/01:00:00:00:00:00)", "1")
    assert flow_in("flow-dump from the main thread:") is None
