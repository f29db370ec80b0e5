"""Flannel's presets, compared with the state of flanneld and its CNI plugin on a node, shown by ip, bridge and others.

The values are those of the reference: node1 has 10.244.0.0/24, node2 10.244.1.0/24.
"""

import json
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from testbed.designs import CATALOGUE, DESIGNS, design_of
from testbed.lab.lab import Lab
from testbed.observe.check import check
from testbed.observe.inspect import inspect
from testbed.plan.objects import Kind
from testbed.spec.load import load_design
from testbed.spec.topology import Topology
from tests.cni.conftest import needs_plugins
from tests.designs.looking import (
    addresses,
    as_json,
    ended,
    forwarding,
    link,
    marked,
    permanent_neighbours,
    proven,
    routes,
    rules,
    seen_from,
    topology,
)
from tests.shared import shared

OUTSIDE = {4: "203.0.113.1", 6: "2001:db8::1"}
MTU = {"vxlan": 1450, "direct-routing": 1450, "host-gw": 1500, "ipip": 1480, "wireguard": 1420, "udp": 1472}
"""MTU of pods and tunnel device by backend, with IPv4 and an underlay MTU of 1500."""
RARE = ("ipip", "wireguard")
V4_ONLY = ("ipip", "udp")
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
SHIM = {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}}


def up(backend: str, of: str = "two-nodes") -> Lab:
    return Lab(DESIGNS[f"flannel-{backend}"].plan(topology(of)))


def look(backend: str, of: str = "two-nodes") -> AbstractContextManager[Lab]:
    return shared(DESIGNS[f"flannel-{backend}"].plan(topology(of)))


@pytest.mark.looks
@pytest.mark.parametrize("backend", marked("flannel", MTU, RARE))
def test_pods_reach_each_other_as_planned(backend: str) -> None:
    proven(f"flannel-{backend}", topology("two-nodes"))


@pytest.mark.looks
@pytest.mark.parametrize("of", ["dual-stack", "ipv6-only"])
@pytest.mark.parametrize("backend", marked("flannel", ("vxlan", "host-gw", "direct-routing", "wireguard"), RARE))
def test_pods_reach_each_other_with_ipv6(backend: str, of: str) -> None:
    proven(f"flannel-{backend}", topology(of))


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["flannel-direct-routing"].needs)
@pytest.mark.parametrize("of", ["two-subnets", "leaf-spine"])
@pytest.mark.parametrize("backend", ["vxlan", "direct-routing"])
def test_pods_reach_each_other_across_subnets(backend: str, of: str) -> None:
    proven(f"flannel-{backend}", topology(of))


@pytest.mark.looks
@pytest.mark.parametrize("backend", marked("flannel", MTU, RARE))
def test_pods_are_attached_to_cni0_with_three_routes(backend: str) -> None:
    with look(backend) as lab:
        mtu = MTU[backend]
        assert link(lab, "node1", "cni0")["mtu"] == mtu
        assert addresses(lab, "node1", "cni0") == {"10.244.0.1/24"}
        ports = as_json(lab, "node1", "ip", "-j", "-d", "link", "show", "master", "cni0")
        assert len(ports) == 2
        for port in ports:
            assert (port["linkinfo"]["info_kind"], port["mtu"]) == ("veth", mtu)
            assert port["linkinfo"]["info_slave_data"]["hairpin"] is True
        for pod, address in {"client": "10.244.0.2", "web-1": "10.244.0.3"}.items():
            assert addresses(lab, pod, "eth0") == {f"{address}/24"}
            assert link(lab, pod, "eth0")["mtu"] == mtu
            assert routes(lab, pod) == {
                "default via 10.244.0.1 dev eth0",
                "10.244.0.0/16 via 10.244.0.1 dev eth0",
                f"10.244.0.0/24 dev eth0 proto kernel scope link src {address}",
            }
        assert ended(lab, "node1", "sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"


@pytest.mark.looks
@pytest.mark.parametrize("backend", marked("flannel", MTU, RARE))
def test_subnet_env_and_cni_configuration_are_flannels(backend: str) -> None:
    with look(backend) as lab:
        assert ended(lab, "node2", "cat", "/run/flannel/subnet.env").splitlines() == [
            "FLANNEL_NETWORK=10.244.0.0/16",
            "FLANNEL_SUBNET=10.244.1.1/24",
            f"FLANNEL_MTU={MTU[backend]}",
            "FLANNEL_IPMASQ=true",
        ]
        conflist = json.loads(ended(lab, "node2", "cat", "/etc/cni/net.d/10-flannel.conflist"))
        assert conflist == {"name": "cbr0", "cniVersion": "0.3.1", "plugins": [SHIM, PORTMAP]}
        (kept,) = ended(lab, "node2", "ls", "/var/lib/cni/flannel").split()
        delegate = json.loads(ended(lab, "node2", "cat", f"/var/lib/cni/flannel/{kept}"))
        assert (delegate["type"], delegate["ipMasq"], delegate["mtu"]) == ("bridge", False, MTU[backend])
        leases = ended(lab, "node2", "ls", "/var/lib/cni/networks/cbr0").split()
        assert leases == ["10.244.1.2", "last_reserved_ip.0", "lock"]


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["flannel-vxlan"].needs)
def test_both_families_are_configured_and_attached() -> None:
    with look("vxlan", "dual-stack") as lab:
        assert ended(lab, "node2", "cat", "/run/flannel/subnet.env").splitlines() == [
            "FLANNEL_NETWORK=10.244.0.0/16",
            "FLANNEL_SUBNET=10.244.1.1/24",
            "FLANNEL_IPV6_NETWORK=fd00:10:244::/56",
            "FLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64",
            "FLANNEL_MTU=1430",
            "FLANNEL_IPMASQ=true",
        ]
        assert addresses(lab, "web-2", "eth0") == {"10.244.1.2/24", "fd00:10:244:1::2/64"}
        assert routes(lab, "web-2", family=6) == {
            "default via fd00:10:244:1::1 dev eth0",
            "fd00:10:244::/56 via fd00:10:244:1::1 dev eth0",
            "fd00:10:244:1::/64 dev eth0 proto kernel",
        }


@pytest.mark.looks
@pytest.mark.parametrize("backend", marked("flannel", MTU, RARE))
def test_the_rules_are_flannels(backend: str) -> None:
    families = (
        ("iptables", "10.244.1.0/24", "10.244.0.0/16", "224.0.0.0/4"),
        ("ip6tables", "fd00:10:244:1::/64", "fd00:10:244::/56", "ff00::/8"),
    )
    has_ipv6 = backend not in V4_ONLY
    with look(backend, "dual-stack" if has_ipv6 else "two-nodes") as lab:
        for tool, own, network, multicast in families if has_ipv6 else families[:1]:
            said = '-m comment --comment "flanneld forward"'
            assert rules(lab, "node2", tool, "filter") == [
                f"-A FORWARD {said} -j FLANNEL-FWD",
                f"-A FLANNEL-FWD -s {network} {said} -j ACCEPT",
                f"-A FLANNEL-FWD -d {network} {said} -j ACCEPT",
            ]
            said = '-m comment --comment "flanneld masq"'
            assert rules(lab, "node2", tool, "nat") == [
                f"-A POSTROUTING {said} -j FLANNEL-POSTRTG",
                f"-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 {said} -j RETURN",
                f"-A FLANNEL-POSTRTG -s {own} -d {network} {said} -j RETURN",
                f"-A FLANNEL-POSTRTG -s {network} -d {own} {said} -j RETURN",
                f"-A FLANNEL-POSTRTG ! -s {network} -d {own} {said} -j RETURN",
                f"-A FLANNEL-POSTRTG -s {network} ! -d {multicast} {said} -j MASQUERADE --random-fully",
                f"-A FLANNEL-POSTRTG ! -s {network} -d {network} {said} -j MASQUERADE --random-fully",
            ]


@pytest.mark.sealed
@pytest.mark.parametrize("backend", marked("flannel", ("vxlan", "host-gw", "wireguard"), RARE))
def test_packets_that_leave_the_cluster_have_the_nodes_address(backend: str) -> None:
    with up(backend, "dual-stack") as lab:
        (router,) = (space.name for space in lab.plan.of_kind(Kind.ROUTER))
        nodes = {4: "192.168.56.1", 6: "fd00:192:168:56::1"}
        others = {4: "192.168.56.2", 6: "fd00:192:168:56::2"}
        pods = {4: ("10.244.0.2", "10.244.1.2"), 6: ("fd00:10:244::2", "fd00:10:244:1::2")}
        for family, outside in OUTSIDE.items():
            ended(lab, router, "ip", "address", "add", outside, "dev", "lo", "nodad")
            own, remote = pods[family]
            assert seen_from(lab, "client", router, outside) == nodes[family]
            assert seen_from(lab, "client", "node2", others[family]) == nodes[family]
            assert seen_from(lab, "client", "web-2", remote) == own
            assert seen_from(lab, "client", "node1", nodes[family]) == own


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["flannel-vxlan"].needs)
def test_vxlan() -> None:
    with look("vxlan") as lab:
        macs = {node: link(lab, node, "flannel.1")["address"] for node in ("node1", "node2")}
        here = link(lab, "node1", "flannel.1")
        data = here["linkinfo"]["info_data"]
        assert (here["mtu"], here["linkinfo"]["info_kind"]) == (1450, "vxlan")
        assert (data["id"], data["port"], data["local"], data["link"]) == (1, 8472, "192.168.56.1", "eth0")
        assert data["learning"] is False
        assert addresses(lab, "node1", "flannel.1") == {"10.244.0.0/32"}
        assert permanent_neighbours(lab, "node1", "flannel.1") == {"10.244.1.0": macs["node2"]}
        assert forwarding(lab, "node1", "flannel.1") == {macs["node2"]: "192.168.56.2"}
        assert routes(lab, "node1") == {
            "default via 192.168.56.254 dev eth0",
            "10.244.0.0/24 dev cni0 proto kernel scope link src 10.244.0.1",
            "10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink",
            "192.168.56.0/24 dev eth0 proto kernel scope link src 192.168.56.1",
        }


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["flannel-vxlan"].needs)
def test_vxlan_has_a_second_device_for_ipv6() -> None:
    with look("vxlan", "dual-stack") as lab:
        mac = link(lab, "node2", "flannel-v6.1")["address"]
        data = link(lab, "node1", "flannel-v6.1")["linkinfo"]["info_data"]
        assert (data["id"], data["port"], data["local6"]) == (1, 8472, "fd00:192:168:56::1")
        assert addresses(lab, "node1", "flannel-v6.1") == {"fd00:10:244::/128"}
        assert permanent_neighbours(lab, "node1", "flannel-v6.1") == {"fd00:10:244:1::": mac}
        assert forwarding(lab, "node1", "flannel-v6.1") == {mac: "fd00:192:168:56::2"}
        assert routes(lab, "node1", "fd00:10:244:1::/64", family=6) == {
            "fd00:10:244:1::/64 via fd00:10:244:1:: dev flannel-v6.1"
        }
        assert addresses(lab, "node1", "flannel.1") == {"10.244.0.0/32"}


@pytest.mark.sealed
@pytest.mark.needs(*DESIGNS["flannel-vxlan"].needs)
def test_inspect_reports_the_underlying_device_and_rules() -> None:
    with up("vxlan") as lab:
        ended(lab, "node1", "ip", "link", "del", "flannel.1")
        made = ("id", "1", "dstport", "8472", "local", "192.168.56.1", "nolearning")
        ended(lab, "node1", "ip", "link", "add", "flannel.1", "type", "vxlan", *made)
        ended(lab, "node1", "iptables", "-t", "nat", "-D", "FLANNEL-POSTRTG", "1")
        whats = [one.what for one in inspect(lab.plan, lab.namespaces) if one.place == "node1"]
        assert any("VXLAN 1 at 192.168.56.1 port 8472" in what and "by eth0 port 8472" in what for what in whats)
        assert any("--mark 0x4000/0x4000" in what for what in whats)


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["flannel-vxlan"].needs)
def test_vxlans_largest_packet() -> None:
    """1422 bytes of ICMP with Don't Fragment pass, 1423 are rejected locally."""
    with look("vxlan") as lab:
        ping = ["ping", "-n", "-c", "1", "-W", "5", "-M", "do", "10.244.1.2", "-s"]
        assert lab.run("client", [*ping, "1422"]).returncode == 0
        assert "message too long" in lab.run("client", [*ping, "1423"]).stderr


@pytest.mark.looks
def test_host_gw() -> None:
    with look("host-gw") as lab:
        assert routes(lab, "node1", "10.244.1.0/24") == {"10.244.1.0/24 via 192.168.56.2 dev eth0"}
        names = {item["ifname"] for item in as_json(lab, "node1", "ip", "-j", "link")}
        assert not {name for name in names if name.startswith("flannel")}


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["flannel-direct-routing"].needs)
def test_direct_routing_has_tunnels_only_to_other_subnets() -> None:
    """node1 and node3 are neighbours."""
    with look("direct-routing", "two-subnets") as lab:
        mac = link(lab, "node2", "flannel.1")["address"]
        assert routes(lab, "node1", "10.244.1.0/24") == {"10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink"}
        assert routes(lab, "node1", "10.244.2.0/24") == {"10.244.2.0/24 via 192.168.0.2 dev eth0"}
        assert permanent_neighbours(lab, "node1", "flannel.1") == {"10.244.1.0": mac}
        assert forwarding(lab, "node1", "flannel.1") == {mac: "192.168.1.1"}


@pytest.mark.looks
@pytest.mark.vm
@pytest.mark.needs(*DESIGNS["flannel-ipip"].needs)
def test_ipip() -> None:
    with look("ipip") as lab:
        here = link(lab, "node1", "flannel.ipip")
        data = here["linkinfo"]["info_data"]
        assert (here["mtu"], here["linkinfo"]["info_kind"]) == (1480, "ipip")
        assert (data["local"], data["remote"]) == ("192.168.56.1", "any")
        assert addresses(lab, "node1", "flannel.ipip") == {"10.244.0.0/32"}
        assert routes(lab, "node1", "10.244.1.0/24") == {"10.244.1.0/24 via 192.168.56.2 dev flannel.ipip onlink"}


@pytest.mark.looks
@pytest.mark.vm
@pytest.mark.needs(*DESIGNS["flannel-wireguard"].needs)
def test_wireguard() -> None:
    with look("wireguard", "dual-stack") as lab:
        for dev, port, endpoint, allowed, own in (
            ("flannel-wg", "51820", "192.168.56.2:51820", "10.244.1.0/24", "10.244.0.0/32"),
            ("flannel-wg-v6", "51821", "[fd00:192:168:56::2]:51821", "fd00:10:244:1::/64", "fd00:10:244::/128"),
        ):
            assert link(lab, "node1", dev)["mtu"] == 1420
            assert addresses(lab, "node1", dev) == {own}
            key = ended(lab, "node2", "wg", "show", dev, "public-key").strip()
            assert ended(lab, "node1", "wg", "show", dev, "listen-port").strip() == port
            assert ended(lab, "node1", "wg", "show", dev, "endpoints").split() == [key, endpoint]
            assert ended(lab, "node1", "wg", "show", dev, "allowed-ips").split() == [key, allowed]
        assert routes(lab, "node1", "dev", "flannel-wg") == {"10.244.0.0/16 scope link"}
        assert routes(lab, "node1", "fd00:10:244::/56", family=6) == {"fd00:10:244::/56 dev flannel-wg-v6"}


@pytest.mark.looks
@pytest.mark.needs(*DESIGNS["flannel-udp"].needs)
def test_udp() -> None:
    with look("udp") as lab:
        here = link(lab, "node1", "flannel0")
        assert (here["mtu"], here["linkinfo"]["info_data"]["type"]) == (1472, "tun")
        assert addresses(lab, "node1", "flannel0") == {"10.244.0.0/32"}
        assert routes(lab, "node1", "dev", "flannel0") == {"10.244.0.0/16 scope link"}
        assert "192.168.56.1:8285" in ended(lab, "node1", "ss", "-lun")
        # On each node forwarding and the process both decrease the TTL.
        assert "ttl=60" in ended(lab, "client", "ping", "-n", "-c", "1", "10.244.1.2")


@pytest.mark.parametrize("backend", V4_ONLY)
@pytest.mark.parametrize("of", ["dual-stack", "ipv6-only"])
def test_backends_without_ipv6_do_not_fit_ipv6_pods(backend: str, of: str) -> None:
    (misfit,) = DESIGNS[f"flannel-{backend}"].misfits(topology(of))
    assert misfit.loc[:2] == ("cluster", "pod_cidr")
    assert misfit.message == f"flannel-{backend} carries only IPv4 packets, but fd00:10:244::/56 is IPv6"


def test_host_gw_needs_neighbours() -> None:
    (misfit,) = DESIGNS["flannel-host-gw"].misfits(topology("two-subnets"))
    assert "needs all nodes in one subnet" in misfit.message


def test_masquerading_needs_the_nodes_address_on_its_link() -> None:
    (misfit,) = DESIGNS["flannel-vxlan"].misfits(topology("dual-homed"))
    assert "nodes with several links have it on lo" in misfit.message


def test_vxlan_requires_the_pods_family_on_the_fabric() -> None:
    """As in Flannel, and unlike in the plain design `vxlan`."""
    chosen = topology("dual-stack")
    fabric = chosen.fabric.model_copy(update={"subnet": chosen.fabric.subnet[:1]})
    without = chosen.model_copy(update={"fabric": fabric})
    assert list(DESIGNS["vxlan"].misfits(without)) == []
    (misfit,) = DESIGNS["flannel-vxlan"].misfits(without)
    assert "IPv6" in misfit.message


@needs_plugins
@pytest.mark.sealed
def test_a_users_configuration_gets_flanneld_around_it(two_nodes: Topology, tmp_path: Path) -> None:
    """As in K3s: three plugins, of which the first is Flannel's."""
    plugins = [SHIM, PORTMAP, {"type": "bandwidth", "capabilities": {"bandwidth": True}}]
    file = tmp_path / "10-flannel.conflist"
    file.write_text(json.dumps({"name": "k3s", "cniVersion": "1.0.0", "plugins": plugins}))
    design = design_of(load_design(file, CATALOGUE))
    assert list(design.misfits(two_nodes)) == []
    with Lab(design.plan(two_nodes)) as lab:
        assert inspect(lab.plan, lab.namespaces) == ()
        assert "FLANNEL_SUBNET=10.244.1.1/24" in lab.run("node2", ["cat", "/run/flannel/subnet.env"]).stdout
        verdict = check(design, two_nodes, lab.plan, lab.namespaces)
        assert verdict.is_good
        assert verdict.asked > 50
