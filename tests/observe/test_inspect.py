"""`inspect` names each difference from the plan, with the commands that fix it."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from testbed.api import Lab as ApiLab
from testbed.designs import DESIGNS, PLAIN
from testbed.lab.door import Address
from testbed.lab.lab import Lab
from testbed.lab.living import LivingLab, facts_of
from testbed.observe.inspect import Difference, inspect
from testbed.spec.topology import Topology


@pytest.mark.sealed
@pytest.mark.parametrize("topology", ["two_nodes", "dual_stack", "shaped"])
@pytest.mark.parametrize("design", list(PLAIN))
def test_a_new_lab_has_no_differences(
    design: str, topology: str, two_nodes: Topology, dual_stack: Topology, shaped: Topology
) -> None:
    chosen = {"two_nodes": two_nodes, "dual_stack": dual_stack, "shaped": shaped}[topology]
    with Lab(DESIGNS[design].plan(chosen)) as lab:
        assert inspect(lab.plan, lab.namespaces) == ()


@pytest.fixture(scope="module")
def lab() -> Iterator[LivingLab]:
    from testbed.spec.load import load_topology
    from tests.as_user import ROOT

    plan = DESIGNS["vxlan"].plan(load_topology(ROOT / "topologies/shaped.yaml").value)
    up = LivingLab.bring_up(plan, f"test-inspect-{os.getpid()}", {})
    yield up
    LivingLab(Address(os.geteuid(), up.name)).down()


def look(lab: LivingLab) -> tuple[Difference, ...]:
    plan = lab.plan
    return lab.inside(lambda namespaces: inspect(plan, namespaces))


def do(lab: LivingLab, place: str, command: str) -> None:
    words = shlex.split(command)
    with lab.start(place, words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, (command, err)


@contextmanager
def living(design: str) -> Iterator[LivingLab]:
    from testbed.spec.load import load_topology
    from tests.as_user import ROOT

    topology = load_topology(ROOT / "topologies/two-nodes.yaml")
    plan = DESIGNS[design].plan(topology.value)
    facts = facts_of(topology, DESIGNS[design].spec)
    up = LivingLab.bring_up(plan, f"test-inspect-{design}-{os.getpid()}", facts)
    try:
        yield up
    finally:
        LivingLab(Address(os.geteuid(), up.name)).down()


@pytest.mark.root
@pytest.mark.needs(*DESIGNS["cilium-native"].needs)
@pytest.mark.parametrize(
    "command",
    ["ip link del cilium_host", "tc qdisc del dev cilium_host clsact", "tc filter del dev cilium_host egress"],
)
def test_missing_bpf_devices_qdiscs_and_filters_are_fixed_in_one_pass(command: str) -> None:
    with living("cilium-native") as lab:
        do(lab, "node1", command)
        found = look(lab)
        assert found
        for item in found:
            for mend in item.mend:
                do(lab, item.place, mend)
        assert look(lab) == ()


@pytest.mark.root
def test_inspect_and_a_failed_check_name_an_ended_process() -> None:
    with living("weave-sleeve") as up:
        lab = ApiLab(up)
        assert (lab.inspect(), lab.check().ended) == ((), ())
        its = 'grep -lz "/sleeve.py$" $(ip netns pids node1 | sed "s,.*,/proc/&/cmdline,") 2> /dev/null'
        do(up, "node1", f"sh -c 'kill -9 $({its} | cut -d / -f 3)'")
        while not (found := lab.inspect()):
            pass
        what = "process sleeve ended by signal 9 (Killed), without output"
        assert found == (Difference("node1", what, ()),)
        verdict = lab.check()
        assert not verdict.is_good
        assert verdict.ended == (f"node1: {what}",)
        assert lab.mend() == ()
        assert lab.check().is_good


BREAKS = [
    ("node1", "ip route del 10.244.1.0/24", "route 10.244.1.0/24 via 10.244.1.0 dev flannel.1 missing"),
    (
        "node1",
        "ip route replace default via 192.168.56.2",
        "route default: via 192.168.56.2 dev eth0, expected via 192.168.56.254 dev eth0",
    ),
    ("node1", "ip route add 10.9.0.0/16 dev eth0", "unexpected route 10.9.0.0/16 dev eth0"),
    ("node1", "ip route add blackhole 10.9.0.0/16", "unexpected route `blackhole 10.9.0.0/16`"),
    ("node1", "ip link set kube-bridge mtu 1400", "kube-bridge: MTU 1400, expected 1450"),
    ("node1", "ip link set kube-bridge promisc on", "kube-bridge: promisc on, expected off"),
    ("node1", "ip link add extra0 type bridge", "unexpected device extra0 (bridge)"),
    ("node1", "ip link set veth-client nomaster", "veth-client: master none, expected kube-bridge"),
    ("node1", "ip address add 203.0.113.7/24 dev eth0", "eth0: unexpected address 203.0.113.7/24"),
    ("node2", "ip address del 192.168.56.2/24 dev eth0", "eth0: address 192.168.56.2/24 missing"),
    (
        "node1",
        "ip neighbour replace 10.244.1.0 lladdr 02:00:00:00:00:09 dev flannel.1 nud permanent",
        "flannel.1: neighbour 10.244.1.0 has lladdr 02:00:00:00:00:09, expected ",
    ),
    ("node1", "ip neighbour del 10.244.1.0 dev flannel.1", "flannel.1: neighbour entry 10.244.1.0 missing"),
    (
        "node1",
        "bridge fdb add 02:00:00:00:00:09 dev flannel.1 dst 192.0.2.1",
        "flannel.1: unexpected FDB entry 02:00:00:00:00:09 dst 192.0.2.1",
    ),
    ("node2", "sysctl -qw net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.all.rp_filter: 1, expected 0"),
    ("node1_fabric", "tc qdisc del dev to-node1 root", "to-node1: rate limit none, expected 100000000 bit/s"),
    (
        "gateway",
        "tc qdisc add dev eth0 root tbf rate 1mbit burst 10k limit 100k",
        "eth0: unexpected rate limit 1000000 bit/s",
    ),
    ("web-2", "ip link set lo down", "lo: down, expected up"),
    ("web-2", "ip link set eth0 address 02:00:00:00:00:09", "eth0: MAC address 02:00:00:00:00:09, expected "),
    ("web-2", "ip link set eth0 down", "eth0: down, expected up"),
    ("node1", "nft add table inet mine", "nftables: unexpected table `inet mine`"),
    (
        "node1",
        "nft add table inet mine '{ chain in { type filter hook input priority 0; tcp dport 80 drop; }; }'",
        "nftables: unexpected table `inet mine` with chain in: tcp dport 80 drop",
    ),
    (
        "node1",
        "nft add table ip filter '{ chain mine { type filter hook input priority 0; udp dport 53 drop; }; }'",
        "nftables: unexpected chain `ip filter mine` with udp dport 53 drop",
    ),
    ("web-2", "iptables -A INPUT -j DROP", "iptables: unexpected `-t filter -A INPUT -j DROP`"),
    ("web-2", "iptables -P OUTPUT DROP", "iptables: unexpected `-t filter -P OUTPUT DROP`"),
    ("web-2", "iptables-legacy -A INPUT -j DROP", "iptables-legacy: unexpected `-t filter -A INPUT -j DROP`"),
    ("node1", "ipset create mine hash:ip", "ipset: unexpected `create mine hash:ip family inet"),
    ("node1", "bridge link set dev veth-client state 0", "veth-client: bridge port disabled, expected forwarding"),
    (
        "node1",
        "ip link set veth-client type bridge_slave isolated on",
        "veth-client: bridge port isolated on, expected off",
    ),
    ("node1", "ip link set kube-bridge type bridge ageing_time 0", "kube-bridge: ageing_time 0, expected 30000"),
    (
        "node1",
        "bridge fdb add 02:00:00:00:00:77 dev veth-client master static",
        "veth-client: unexpected FDB entry 02:00:00:00:00:77 static",
    ),
    ("node1", "tc qdisc add dev veth-client root handle 5: htb", "veth-client: unexpected qdisc htb"),
    ("node1", "tc qdisc add dev eth0 clsact", "eth0: unexpected qdisc clsact"),
    (
        "node1",
        "sh -c 'tc qdisc add dev eth0 ingress && tc filter add dev eth0 ingress protocol ip u32 match u32 0 0 "
        "action mirred egress redirect dev lo'",
        "eth0: unexpected tc filter u32 (ingress, pref 49152, protocol ip)",
    ),
    (
        "node1",
        "ip rule add from 10.9.0.0/16 blackhole priority 99",
        "unexpected routing rule `from 10.9.0.0/16 blackhole priority 99`",
    ),
    ("node1", "ip rule del priority 32766", "routing rule `from all lookup 254 priority 32766` of the kernel missing"),
    ("node1", "ip route add 10.9.0.0/16 dev eth0 metric 5", "unexpected route 10.9.0.0/16 dev eth0 metric 5"),
    ("web-2", "ip route del local 10.244.1.2 dev eth0 table local", "eth0: local route to 10.244.1.2 missing"),
    ("node1", "ip neighbour add proxy 10.9.0.1 dev eth0", "eth0: unexpected proxy neighbour entry 10.9.0.1"),
    ("node1", "sysctl -qw net.ipv4.conf.all.arp_ignore=8", "sysctl net.ipv4.conf.all.arp_ignore: 8, expected 0"),
    ("web-2", "sysctl -qw net.ipv4.ip_forward=1", "sysctl net.ipv4.ip_forward: 1, expected 0"),
    (
        "web-2",
        "sysctl -qw net.ipv4.conf.eth0.arp_ignore=8",
        "eth0: sysctl net/ipv4/conf/eth0/arp_ignore: 8, expected 0",
    ),
    ("web-2", "ip link set eth0 arp off", "eth0: ARP off, expected on"),
    ("web-2", "ip link set eth0 alias mine", "eth0: alias 'mine', expected none"),
    (
        "node1",
        "ip xfrm policy add src 10.9.0.0/16 dst 10.8.0.0/16 dir out action block",
        "unexpected IPsec policy out 10.9.0.0/16 > 10.8.0.0/16 protocol 0 block",
    ),
    (
        "node1",
        "sh -c 'ip link add extra1 type veth peer name extra2 && ip link set extra1 up && ip route add 10.9.0.0/16 dev "
        "extra1'",
        "unexpected device extra",
    ),
    (
        "node2",
        "sh -c 'ip link del flannel.1 && ip link add flannel.1 type vxlan id 9 dstport 9 && ip link set flannel.1 up'",
        "flannel.1: VXLAN 9",
    ),
    ("node1", "ip link del kube-bridge", "device kube-bridge missing"),
    ("node1", "ip link del flannel.1", "device flannel.1 missing"),
    ("fabric", "ip link del to-node2", "device to-node2 missing"),
]


@pytest.mark.root
@pytest.mark.parametrize(("place", "command", "what"), BREAKS, ids=[command for _, command, _ in BREAKS])
def test_a_difference_is_named_and_its_commands_fix_it(place: str, command: str, what: str, lab: LivingLab) -> None:
    assert look(lab) == ()
    do(lab, place, command)
    found = look(lab)
    named = [item for item in found if item.place == place and item.what.startswith(what)]
    assert named, found
    assert found[0] is named[0], "the cause must come before its consequences"
    for item in found:
        for mend in item.mend:
            do(lab, item.place, mend)
    assert look(lab) == ()


@pytest.mark.root
def test_listing_rules_is_no_difference(lab: LivingLab) -> None:
    """iptables -L creates empty tables of nftables."""
    for command in ("iptables -L", "ip6tables -t nat -L", "iptables -t mangle -L"):
        do(lab, "node1", f"sh -c '{command} > /dev/null'")
    assert look(lab) == ()
