"""Faults of many kinds, each in a lab of its own: `trace` says where the packet was lost, and names the fault first."""

import subprocess
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from testbed.designs import DESIGNS
from testbed.kernel.neighbours import forget_learned_in
from testbed.lab.lab import Lab
from testbed.observe.causes import causes
from testbed.observe.trace import Walk, trace
from testbed.spec.topology import Topology

pytestmark = pytest.mark.sealed

FOREIGN = ", which is not in the plan,"


class Fault(NamedTuple):
    """A fault, and what a trace from the source to the target must say."""

    design: str
    place: str
    command: str
    ends: tuple[str, str]
    outcome: str
    last: str
    """Place and device where the packet or its answer was last seen."""
    reason: str
    """How the reason begins."""
    options: Mapping[str, Any] = MappingProxyType({})


THERE, HERE = ("client", "web-2"), ("web-2", "client")
FAULTS = {
    "answer dropped in the pod": Fault(
        *("l3-host-routes", "client", "iptables -A INPUT -s 10.244.1.2 -j DROP", THERE),
        *("lost on the way back", "client eth0"),
        f"client: iptables: `-t filter -A INPUT -s 10.244.1.2/32 -j DROP`{FOREIGN} dropped the packet",
    ),
    "encapsulated answer dropped on the asker's node": Fault(
        *("flannel-vxlan", "node2", "iptables -A INPUT -p udp --dport 8472 -j DROP", ("node2", "client")),
        *("lost on the way back", "node2 eth0"),
        f"node2: iptables: `-t filter -A INPUT -p udp -m udp --dport 8472 -j DROP`{FOREIGN} dropped the packet",
    ),
    "rp_filter on the asker's node": Fault(
        *("l3-host-routes", "node1"),
        "nft 'add table ip x; add chain ip x c { type filter hook prerouting priority -150; };"
        "add rule ip x c iifname kube-bridge meta mark set 1';"
        "ip rule add fwmark 1 priority 7 lookup 9; ip route add 10.244.1.2 via 192.168.56.2 table 9;"
        "ip route add 10.244.1.2 dev kube-bridge; for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done",
        *(THERE, "lost on the way back", "node1 eth0"),
        "node1: packet dropped by rp_filter: its source is routed by another device",
    ),
    "answer dropped as it leaves the target": Fault(
        *("l3-host-routes", "web-2", "iptables -A OUTPUT -p icmp -j DROP", THERE),
        *("no answer", "web-2 eth0"),
        f"web-2: iptables: `-t filter -A OUTPUT -p icmp -j DROP`{FOREIGN} dropped the packet",
    ),
    "policy of a chain": Fault(
        *("flannel-vxlan", "node2", "iptables -P INPUT DROP", THERE),
        *("lost", "node2 eth0"),
        f"node2: iptables: `-t filter -P INPUT DROP`{FOREIGN} dropped the packet",
    ),
    "rule with a counter in nftables": Fault(
        *("l3-host-routes", "node2"),
        "nft 'add table inet x; add chain inet x c { type filter hook prerouting priority 0; };"
        'add rule inet x c ip protocol udp counter drop comment "queue"\'',
        *(THERE, "lost", "node2 eth0"),
        f'node2: nftables: `inet x c ip protocol udp drop comment "queue"`{FOREIGN} dropped the packet',
        {"protocol": "udp"},
    ),
    "reset by a node on the path": Fault(
        *("l3-host-routes", "node2", "iptables -A FORWARD -p tcp -j REJECT --reject-with tcp-reset", THERE),
        *("refused", "client eth0"),
        "node2 reset the connection instead of web-2; node2: iptables: `-t filter -A FORWARD",
        {"protocol": "tcp"},
    ),
    "MTU of the other end": Fault(
        *("flannel-vxlan", "node2", "ip link set eth0 mtu 1400", THERE),
        *("lost", "fabric to-node2"),
        "node2: eth0: MTU 1400, expected 1500; fabric: to-node2: packet dropped on sending",
        {"size": 1450},
    ),
    "no default route, so no proxy ARP": Fault(
        *("calico-vxlan", "node1", "ip route del default", THERE),
        *("lost", ""),
        "client: eth0: neighbour 169.254.1.1 does not answer; node1: route default via 192.168.56.254 dev eth0 missing",
    ),
    "no neighbour entry for the tunnel": Fault(
        *("vxlan", "node1", "ip neigh del 10.244.1.0 dev flannel.1", THERE),
        *("lost", "node1 kube-bridge"),
        "node1: flannel.1: neighbour 10.244.1.0 does not answer; node1: flannel.1: neighbour entry 10.244.1.0 missing",
    ),
    "another pod has the address": Fault(
        *("l3-host-routes", "node1"),
        "ip neigh replace 10.244.0.2 lladdr MAC dev kube-bridge nud reachable",
        *(HERE, "answered by another", "web-2 eth0"),
        "by web-1 instead of client; web-1: eth0: unexpected address 10.244.0.2/24",
    ),
    "another pod has the address, and nothing listens": Fault(
        *("l3-host-routes", "node1"),
        "ip neigh replace 10.244.0.2 lladdr MAC dev kube-bridge nud reachable",
        *(HERE, "refused", "web-2 eth0"),
        "web-1 answered instead of client: port unreachable; web-1: eth0: unexpected address 10.244.0.2/24",
        {"protocol": "udp"},
    ),
    "frames for a MAC address that no pod has": Fault(
        *("l3-host-routes", "node1"),
        "ip neigh replace 10.244.0.2 lladdr 02:00:00:00:00:09 dev kube-bridge nud permanent",
        *(HERE, "lost", "client eth0"),
        "node1: kube-bridge: unexpected permanent neighbour entry 10.244.0.2 lladdr 02:00:00:00:00:09",
    ),
    "full queue of the fabric": Fault(
        *("l3-host-routes", "fabric", "tc qdisc replace dev to-node2 root pfifo limit 0", THERE),
        *("lost", "fabric to-node1"),
        "fabric: to-node2: packet dropped by its pfifo queue",
    ),
    "blackhole route": Fault(
        *("l3-host-routes", "node1", "ip route add blackhole 10.244.1.2", THERE),
        *("lost", "node1 kube-bridge"),
        "node1: unexpected route `blackhole 10.244.1.2/32`",
    ),
    "translated to an address that no pod has": Fault(
        *("l3-host-routes", "node2"),
        "iptables -t nat -A PREROUTING -d 10.244.1.2 -j DNAT --to 10.244.1.9",
        *(THERE, "lost", "node2 eth0"),
        "node2: iptables: `-t nat -A PREROUTING -d 10.244.1.2/32 -j DNAT --to-destination 10.244.1.9`"
        f"{FOREIGN} translated the packet; node2: kube-bridge: neighbour 10.244.1.9 does not answer",
    ),
}


def do(lab: Lab, place: str, command: str) -> str:
    with lab.namespaces[place].entered():
        return subprocess.run(["sh", "-ec", command], check=True, stdout=subprocess.PIPE, text=True).stdout


def walked(fault: Fault, topology: Topology) -> Walk:
    """The walk after the fault, with learned neighbours except those of the source."""
    with Lab(DESIGNS[fault.design].plan(topology)) as lab:
        assert trace(lab.plan, lab.namespaces, *fault.ends).outcome == "answered"
        if "MAC" in fault.command:
            do(lab, "web-1", "ip address add 10.244.0.2/24 dev eth0")
            fault = fault._replace(command=fault.command.replace("MAC", mac_of(lab, "web-1")))
        do(lab, fault.place, fault.command)
        forget_learned_in([lab.namespaces[fault.ends[0]]])
        return trace(lab.plan, lab.namespaces, *fault.ends, patience_s=0.7, **fault.options)


def mac_of(lab: Lab, pod: str) -> str:
    return do(lab, pod, "ip -br link show eth0").split()[2]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_first(name: str, two_nodes: Topology) -> None:
    fault = FAULTS[name]
    walk = walked(fault, two_nodes)
    last = [f"{hop.place} {hop.device}" for hop in (*walk.forth, *walk.back)][-1:]
    assert (walk.outcome, "".join(last)) == (fault.outcome, fault.last), walk.summary
    assert walk.reason.startswith(fault.reason)


def test_differences_elsewhere_are_named_if_the_path_has_none(two_nodes: Topology) -> None:
    with Lab(DESIGNS["l3-host-routes"].plan(two_nodes)) as lab:
        do(lab, "web-2", "ip link set eth0 mtu 1400")
        assert causes(lab.plan, lab.namespaces, ["client", "node1"]) == (
            "elsewhere: web-2: eth0: MTU 1400, expected 1500",
        )
        assert causes(lab.plan, lab.namespaces, ["web-2"]) == ("web-2: eth0: MTU 1400, expected 1500",)


def test_many_causes_are_counted_not_listed(two_nodes: Topology) -> None:
    with Lab(DESIGNS["l3-host-routes"].plan(two_nodes)) as lab:
        do(lab, "node1", "for n in 1 2 3 4 5 6 7 8; do ip route add 10.9.$n.0/24 dev eth0; done")
        *_, last = causes(lab.plan, lab.namespaces, ["node1"])
        assert last == "and 2 more: see `testbed inspect`"


def test_a_process_that_has_ended_comes_before_differences(two_nodes: Topology) -> None:
    with Lab(DESIGNS["l3-host-routes"].plan(two_nodes)) as lab:
        do(lab, "node1", "ip route del 10.244.1.0/24")
        ended = [("node1", "process bird ended:\n  its log", "restart it")]
        first, second, *_ = causes(lab.plan, lab.namespaces, ["node1"], ended=ended)
        assert first == "node1: process bird ended"
        assert second.startswith("node1: route 10.244.1.0/24 via")


def test_an_answer_in_fragments_is_shown(two_nodes: Topology) -> None:
    with Lab(DESIGNS["flannel-vxlan"].plan(two_nodes)) as lab:
        do(lab, "node2", "ip link set flannel.1 mtu 1300")
        walk = trace(lab.plan, lab.namespaces, "client", "web-2", size=1450)
    assert walk.outcome == "answered"
    assert walk.summary.endswith("; answer fragmented at flannel.1 of node2")
    hop = next(hop for hop in walk.back if hop.packet.fragment)
    assert f"fragmented: first fragment {hop.packet.fragment} bytes" in hop.changes
    assert 1280 < hop.packet.fragment <= 1300


def test_a_tunnel_in_fragments_is_shown(two_nodes: Topology) -> None:
    with Lab(DESIGNS["flannel-vxlan"].plan(two_nodes)) as lab:
        for place in ("node1", "node2", "fabric"):
            devices = [name for name in lab.plan.devices_of(place) if name == "eth0" or name.startswith("to-node")]
            do(lab, place, "; ".join(f"ip link set {name} mtu 1400" for name in devices))
        walk = trace(lab.plan, lab.namespaces, "client", "web-2", size=1450)
    assert "; packet fragmented at eth0 of node1; answer fragmented at eth0 of node2" in walk.summary
    assert "reassembled" in [change for hop in walk.forth for change in hop.changes]
