"""kube-router's presets, compared with kube-router's state on a node, as shown by ip, ipset, birdc and others.

node1 has 10.244.0.0/24, node2 10.244.1.0/24, node3 10.244.2.0/24.
"""

import hashlib
import json
import os
import re
import signal
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.observe.inspect import inspect
from testbed.plan.objects import Kind
from tests.designs.looking import addresses, as_json, ended, link, passed, proven, routes, rules, seen_from, topology
from tests.shared import shared

NAME, FULL = "kube-router", "kube-router-full-overlay"
PATIENCE_S = 60
NEEDS = DESIGNS[NAME].needs
TUNNELS = (*NEEDS, "ipip", "ip6tnl")
OUTSIDE = {4: "203.0.113.1", 6: "2001:db8::1"}


def up(of: str, name: str = NAME) -> Lab:
    return Lab(DESIGNS[name].plan(topology(of)))


def look(of: str, name: str = NAME) -> AbstractContextManager[Lab]:
    return shared(DESIGNS[name].plan(topology(of)))


def tunnel(digits: str) -> str:
    """The tunnel device to the node whose address has these digits."""
    return "tun-" + hashlib.sha256(digits.encode()).hexdigest()[:11]


@pytest.mark.looks
@pytest.mark.needs(*NEEDS)
@pytest.mark.parametrize("of", ["two-nodes", "ipv6-only", "dual-stack", "three-nodes"])
def test_pods_reach_each_other_as_planned(of: str) -> None:
    proven(NAME, topology(of))


@pytest.mark.looks
@pytest.mark.vm
@pytest.mark.needs(*TUNNELS)
@pytest.mark.parametrize("of", ["two-subnets", "dual-homed"])
def test_pods_reach_each_other_across_subnets(of: str) -> None:
    proven(NAME, topology(of))


@pytest.mark.looks
@pytest.mark.vm
@pytest.mark.needs(*TUNNELS)
def test_pods_reach_each_other_with_the_full_overlay() -> None:
    proven(FULL, topology("dual-stack"))


@pytest.mark.looks
@pytest.mark.needs(*NEEDS)
def test_pods_are_attached_to_kube_bridge() -> None:
    with look("dual-stack") as lab:
        assert link(lab, "node1", "kube-bridge")["mtu"] == 1500
        assert addresses(lab, "node1", "kube-bridge") == {"10.244.0.1/24", "fd00:10:244::1/64"}
        ports = as_json(lab, "node1", "ip", "-j", "-d", "link", "show", "master", "kube-bridge")
        assert [port["linkinfo"]["info_kind"] for port in ports] == ["veth", "veth"]
        assert addresses(lab, "web-1", "eth0") == {"10.244.0.3/24", "fd00:10:244::3/64"}
        assert routes(lab, "web-1") == {
            "default via 10.244.0.1 dev eth0",
            "10.244.0.0/24 dev eth0 proto kernel scope link src 10.244.0.3",
        }
        assert "default via fd00:10:244::1 dev eth0" in routes(lab, "web-1", family=6)
        conflist = json.loads(ended(lab, "node1", "cat", "/etc/cni/net.d/10-kuberouter.conflist"))
        assert conflist == {
            "cniVersion": "0.3.0",
            "name": "mynet",
            "plugins": [
                {
                    "name": "kubernetes",
                    "type": "bridge",
                    "bridge": "kube-bridge",
                    "mtu": 1500,
                    "isDefaultGateway": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": "10.244.0.0/24"}], [{"subnet": "fd00:10:244::/64"}]],
                    },
                }
            ],
        }
        assert ended(lab, "node1", "sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"


@pytest.mark.looks
@pytest.mark.needs(*NEEDS)
def test_bird_writes_direct_routes_to_neighbours() -> None:
    with look("three-nodes") as lab:
        assert routes(lab, "node1", "proto", "bird") == {
            "10.244.1.0/24 via 192.168.56.2 dev eth0",
            "10.244.2.0/24 via 192.168.56.3 dev eth0",
        }
        assert not [one for one in as_json(lab, "node1", "ip", "-j", "link") if one["ifname"].startswith("tun-")]
        assert "32765:\tfrom 10.244.0.0/24 lookup kube-router" in ended(lab, "node1", "ip", "rule").splitlines()
        sessions = re.findall(
            r"^(Node_\S+) +BGP .*(Established|down)", ended(lab, "node1", "birdc", "show", "protocols"), re.M
        )
        assert sessions == [("Node_192_168_56_2", "Established"), ("Node_192_168_56_3", "Established")]
        learned = ended(lab, "node1", "birdc", "show", "route", "all", "10.244.1.0/24")
        assert "BGP.next_hop: 192.168.56.2" in learned
        assert re.search(r"BGP.as_path: *$", learned, re.M)  # Empty within one autonomous system.
        assert "64512" in ended(lab, "node1", "birdc", "show", "protocols", "all", "Node_192_168_56_2")


@pytest.mark.looks
@pytest.mark.vm
@pytest.mark.needs(*TUNNELS)
def test_tunnels_lead_to_other_subnets() -> None:
    """node1 and node3 are neighbours, node2 is behind a router."""
    with look("two-subnets") as lab:
        dev, back = tunnel("19216811"), tunnel("19216801")
        data = link(lab, "node1", dev)
        assert (data["linkinfo"]["info_kind"], data["mtu"]) == ("ipip", 1460)
        ends = data["linkinfo"]["info_data"]
        assert (ends["local"], ends["remote"]) == ("192.168.0.1", "192.168.1.1")
        assert routes(lab, "node1", "proto", "bird") == {
            f"10.244.1.0/24 dev {dev} scope link src 192.168.0.1",
            "10.244.2.0/24 via 192.168.0.2 dev eth0",
        }
        assert routes(lab, "node2", "10.244.0.0/24") == {
            f"10.244.0.0/24 dev {back} proto bird scope link src 192.168.1.1"
        }
        assert routes(lab, "node1", "table", "77") == {f"192.168.1.1 dev {dev} scope link"}
        assert "32765:\tfrom 10.244.0.0/24 lookup kube-router" in ended(lab, "node1", "ip", "rule").splitlines()
        six = tunnel("fd0019216811")
        assert link(lab, "node1", six)["linkinfo"]["info_kind"] == "ip6tnl"
        assert link(lab, "client", "eth0")["mtu"] == 1460
        assert seen_from(lab, "client", "node2", "192.168.1.1") == "10.244.0.2"


@pytest.mark.looks
@pytest.mark.vm
@pytest.mark.needs(*NEEDS, "ipip")
def test_full_overlay_has_tunnels_to_neighbours() -> None:
    with look("two-nodes", FULL) as lab:
        dev = tunnel("192168562")
        assert link(lab, "node1", dev)["mtu"] == 1480
        assert routes(lab, "node1", "10.244.1.0/24") == {
            f"10.244.1.0/24 dev {dev} proto bird scope link src 192.168.56.1"
        }
        assert routes(lab, "node1", "table", "77") == {f"192.168.56.2 dev {dev} scope link"}


@pytest.mark.looks
@pytest.mark.needs(*NEEDS)
def test_sets_and_the_rule_that_matches_them() -> None:
    with look("dual-stack") as lab:
        saved = {line.partition(" bucketsize")[0] for line in ended(lab, "node1", "ipset", "save").splitlines()}
        assert saved == {
            "create kube-router-pod-subnets hash:net family inet hashsize 1024 maxelem 65536 timeout 0",
            "add kube-router-pod-subnets 10.244.0.0/24 timeout 0",
            "add kube-router-pod-subnets 10.244.1.0/24 timeout 0",
            "create kube-router-node-ips hash:ip family inet hashsize 1024 maxelem 65536 timeout 0",
            "add kube-router-node-ips 192.168.56.1 timeout 0",
            "add kube-router-node-ips 192.168.56.2 timeout 0",
            "create inet6:kube-router-pod-subnets hash:net family inet6 hashsize 1024 maxelem 65536 timeout 0",
            "add inet6:kube-router-pod-subnets fd00:10:244::/64 timeout 0",
            "add inet6:kube-router-pod-subnets fd00:10:244:1::/64 timeout 0",
            "create inet6:kube-router-node-ips hash:ip family inet6 hashsize 1024 maxelem 65536 timeout 0",
            "add inet6:kube-router-node-ips fd00:192:168:56::1 timeout 0",
            "add inet6:kube-router-node-ips fd00:192:168:56::2 timeout 0",
        }
        for tool, prefix in (("iptables", ""), ("ip6tables", "inet6:")):
            pods, nodes = f"{prefix}kube-router-pod-subnets", f"{prefix}kube-router-node-ips"
            assert rules(lab, "node1", tool, "nat") == [
                f"-A POSTROUTING -m set --match-set {pods} src -m set ! --match-set {pods} dst "
                f"-m set ! --match-set {nodes} dst -j MASQUERADE --random-fully"
            ]


@pytest.mark.sealed
@pytest.mark.needs(*NEEDS)
def test_packets_that_leave_the_cluster_have_the_nodes_address() -> None:
    """Packets to pods and nodes keep the pod's address."""
    with up("dual-stack") as lab:
        (router,) = (space.name for space in lab.plan.of_kind(Kind.ROUTER))
        nodes = {4: ("192.168.56.1", "192.168.56.2"), 6: ("fd00:192:168:56::1", "fd00:192:168:56::2")}
        pods = {4: ("10.244.0.2", "10.244.1.2"), 6: ("fd00:10:244::2", "fd00:10:244:1::2")}
        for family, outside in OUTSIDE.items():
            ended(lab, router, "ip", "address", "add", outside, "dev", "lo", "nodad")
            own, remote = pods[family]
            node, other = nodes[family]
            assert seen_from(lab, "client", router, outside) == node
            assert seen_from(lab, "client", "node2", other) == own
            assert seen_from(lab, "client", "web-2", remote) == own


@pytest.mark.sealed
@pytest.mark.needs(*NEEDS)
def test_the_chains_of_policies_accept_all_traffic() -> None:
    with up("two-nodes") as lab:
        found = rules(lab, "node2", "iptables", "filter")
        # The hashes are those of kube-router itself.
        assert found[0] == '-A INPUT -m comment --comment "kube-router netpol - 4IA2OSFRMVNDXBVV" -j KUBE-ROUTER-INPUT'
        for line in (
            '-A FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD',
            '-A OUTPUT -m comment --comment "kube-router netpol - VEAAIY32XVBHCSCY" -j KUBE-ROUTER-OUTPUT',
            '-A FORWARD -o kube-bridge -m comment --comment "allow inbound traffic to pods" -j ACCEPT',
            '-A FORWARD -i kube-bridge -m comment --comment "allow outbound traffic from pods" -j ACCEPT',
        ):
            assert line in found
        chain = next(line.split()[-1] for line in found if line.startswith("-A KUBE-ROUTER-OUTPUT -d 10.244.1.2/32 "))
        assert re.fullmatch("KUBE-POD-FW-[A-Z2-7]{16}", chain)
        inside = [line.partition(" -j ")[2] for line in found if line.startswith(f"-A {chain} ")]
        assert inside == [
            "KUBE-NWPLCY-COMMON",
            "ACCEPT",
            "KUBE-NWPLCY-DEFAULT",
            "KUBE-NWPLCY-DEFAULT",
            "NFLOG --nflog-group 100",
            "REJECT --reject-with icmp-port-unreachable",
            "MARK --set-xmark 0x0/0x10000",
            "MARK --set-xmark 0x20000/0x20000",
        ]
        ways = [line for line in found if line.endswith(f"-j {chain}")]
        assert len([line for line in ways if line.startswith("-A KUBE-ROUTER-FORWARD")]) == 4
        assert len([line for line in ways if "--physdev-is-bridged" in line]) == 2
        assert [line.partition(" -j ")[2] for line in found if line.startswith("-A KUBE-NWPLCY-DEFAULT")] == [
            "MARK --set-xmark 0x10000/0x10000"
        ]


@pytest.mark.sealed
@pytest.mark.needs(*NEEDS)
def test_policies_apply_between_pods_of_one_bridge() -> None:
    """Bridged packets traverse their pods' chains and are rejected without the mark of the default policy."""
    with up("two-nodes") as lab:
        assert seen_from(lab, "client", "web-1", "10.244.0.3") == "10.244.0.2"
        assert passed(lab, "node1", "--physdev-is-bridged") > 0
        ended(lab, "node1", "iptables", "-F", "KUBE-NWPLCY-DEFAULT")
        with pytest.raises(ConnectionRefusedError):
            seen_from(lab, "client", "web-1", "10.244.0.3")
        assert passed(lab, "node1", "-j REJECT") > 0


@pytest.mark.sealed
@pytest.mark.needs(*NEEDS)
def test_when_bird_ends_its_peers_withdraw_its_routes() -> None:
    with up("three-nodes") as lab:
        pid = int(ended(lab, "node2", "cat", "/run/bird/bird.pid"))
        assert "bird" in Path(f"/proc/{pid}/comm").read_text()
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + PATIENCE_S
        while "10.244.1.0/24 via 192.168.56.2 dev eth0" in routes(lab, "node1", "proto", "bird"):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert routes(lab, "node1", "proto", "bird") == {"10.244.2.0/24 via 192.168.56.3 dev eth0"}
        found = [one.what for one in inspect(lab.plan, lab.namespaces) if one.place == "node1"]
        assert any("10.244.1.0/24" in what for what in found)


def test_only_several_subnets_need_tunnels() -> None:
    design = DESIGNS[NAME]
    assert {"ipip", "ip6tnl"} & set(design.needs) == set()
    assert {"ipip", "ip6tnl"} & set(design.needs_on(topology("dual-stack"))) == set()
    assert {"ipip", "ip6tnl"} <= set(design.needs_on(topology("two-subnets")))
    assert {"ipip", "ip6tnl"} & set(DESIGNS[FULL].needs_on(topology("two-nodes"))) == {"ipip"}
