"""Each CNI's state on a node and in a pod, compared with the reference in every address family.

The tables have the state of IPv4 and of IPv6; a lab of one family must have only its own, and a dual-stack lab both.
"""

from collections.abc import Iterable, Mapping

import pytest

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.plan.objects import Sysctl
from tests.designs.looking import addresses, as_json, ended, marked, routes, rules, topology
from tests.designs.test_calico import cali
from tests.designs.test_cilium import host_end, programs_on
from tests.designs.test_pages import PRESETS, unlike
from tests.shared import shared

FAMILIES: Mapping[str, tuple[int, ...]] = {"two-nodes": (4,), "ipv6-only": (6,), "dual-stack": (4, 6)}
TOOLS = {4: "iptables", 6: "ip6tables"}
LINK_LOCAL = "fe80::ecee:eeff:feee:eeee"


def look(name: str, of: str) -> Lab:
    with shared(DESIGNS[name].plan(topology(of))) as lab:
        return lab


def of(families: Iterable[int], table: Mapping[int, str]) -> set[str]:
    """The entries of these families."""
    return {table[family] for family in families if table.get(family)}


def settings(lab: Lab, place: str, keys: Iterable[str]) -> list[str]:
    return ended(lab, place, "sysctl", "-n", *keys).split()


def has_rules(lab: Lab, place: str, table: str, word: str) -> set[int]:
    """The families in which a table has rules with that word."""
    return {family for family, tool in TOOLS.items() if any(word in rule for rule in rules(lab, place, tool, table))}


@pytest.mark.looks
@pytest.mark.parametrize("of_family", FAMILIES)
@pytest.mark.parametrize("preset", marked("calico", ("bgp", "vxlan")))
def test_calico(preset: str, of_family: str) -> None:
    families, dev = FAMILIES[of_family], cali("client")
    lab = look(f"calico-{preset}", of_family)
    own = {4: "10.244.0.1", 6: "fd00:10:244::1"}
    assert addresses(lab, "client", "eth0") == of(families, {4: f"{own[4]}/32", 6: f"{own[6]}/128"})
    assert ("default via 169.254.1.1 dev eth0" in routes(lab, "client")) == (4 in families)
    assert (f"default via {LINK_LOCAL} dev eth0" in routes(lab, "client", family=6)) == (6 in families)
    assert (f"{own[4]} dev {dev} scope link" in routes(lab, "node1")) == (4 in families)
    assert (f"{own[6]} dev {dev}" in routes(lab, "node1", family=6)) == (6 in families)
    # Felix makes the settings of IPv4, and accept_ra, in every cluster; the others only with its IPv6 support.
    conf = f"net/ipv4/conf/{dev}"
    always = [f"{conf}/proxy_arp", f"{conf}/route_localnet", f"{conf}/forwarding", f"{conf}/rp_filter"]
    always += [f"net/ipv4/neigh/{dev}/proxy_delay", f"net/ipv6/conf/{dev}/accept_ra", "net/ipv4/ip_forward"]
    assert settings(lab, "node1", always) == ["1", "1", "1", "0", "0", "0", "1"]
    with_ipv6 = [f"net/ipv6/conf/{dev}/proxy_ndp", f"net/ipv6/conf/{dev}/forwarding"]
    assert settings(lab, "node1", with_ipv6) == (["1", "1"] if 6 in families else ["0", "0"])
    (device,) = as_json(lab, "node1", "ip", "-j", "address", "show", dev)
    assert [one["local"] for one in device["addr_info"]] == ([LINK_LOCAL] if 6 in families else [])
    assert has_rules(lab, "node1", "filter", "cali-FORWARD") == set(families)


@pytest.mark.looks
@pytest.mark.parametrize("of_family", FAMILIES)
@pytest.mark.parametrize("preset", marked("cilium", ("native", "native-legacy", "vxlan")))
def test_cilium(preset: str, of_family: str) -> None:
    families, lxc = FAMILIES[of_family], host_end("client")
    lab = look(f"cilium-{preset}", of_family)
    routers = {4: "10.244.0.1", 6: "fd00:10:244::1"}
    assert addresses(lab, "node1", "cilium_host") == of(families, {4: f"{routers[4]}/32", 6: f"{routers[6]}/128"})
    assert addresses(lab, "client", "eth0") == of(families, {4: "10.244.0.2/32", 6: "fd00:10:244::2/128"})
    for family, router in routers.items():
        default = f"default via {router} dev eth0"
        assert (default in routes(lab, "client", family=family)) == (family in families)
        table = [rule["priority"] for rule in as_json(lab, "node1", "ip", f"-{family}", "-j", "rule", "show")]
        assert (100 in table, 0 in table) == (family in families, family not in families)
    devices = (lxc, "cilium_host", "cilium_net")
    if 4 in families:
        assert settings(lab, "node1", (f"net/ipv4/conf/{dev}/rp_filter" for dev in devices)) == ["0", "0", "0"]
        assert settings(lab, "node1", (f"net/ipv4/conf/{dev}/accept_local" for dev in devices[1:])) == ["1", "1"]
    for family, key in {4: "net/ipv4/conf/{}/forwarding", 6: "net/ipv6/conf/{}/forwarding"}.items():
        found = settings(lab, "node1", map(key.format, devices))
        assert found == [str(int(family in families))] * 3
    assert programs_on(lab, "node1", "eth0", "ingress") == ["cil_from_netdev"]
    assert programs_on(lab, "node1", "cilium_host", "ingress") == ["cil_to_host"]
    assert programs_on(lab, "node1", "cilium_host", "egress") == ["cil_from_host"]
    assert programs_on(lab, "node1", "cilium_net", "ingress") == ["cil_to_host"]
    assert programs_on(lab, "node1", lxc, "ingress") == ["cil_from_container"]
    assert has_rules(lab, "node1", "nat", "CILIUM_POST_nat") == set(families)


@pytest.mark.looks
@pytest.mark.parametrize("of_family", FAMILIES)
@pytest.mark.parametrize("preset", marked("flannel", ("vxlan",)))
def test_flannel(preset: str, of_family: str) -> None:
    families = FAMILIES[of_family]
    lab = look(f"flannel-{preset}", of_family)
    devices = {item["ifname"] for item in as_json(lab, "node1", "ip", "-j", "link")}
    assert devices & {"flannel.1", "flannel-v6.1"} == of(families, {4: "flannel.1", 6: "flannel-v6.1"})
    own = {4: ("flannel.1", "10.244.0.0/32"), 6: ("flannel-v6.1", "fd00:10:244::/128")}
    assert all(addresses(lab, "node1", own[family][0]) == {own[family][1]} for family in families)
    assert addresses(lab, "node1", "cni0") == of(families, {4: "10.244.0.1/24", 6: "fd00:10:244::1/64"})
    values = ended(lab, "node1", "cat", "/run/flannel/subnet.env").splitlines()
    assert {line for line in values if "SUBNET" in line} == of(
        families, {4: "FLANNEL_SUBNET=10.244.0.1/24", 6: "FLANNEL_IPV6_SUBNET=fd00:10:244::1/64"}
    )
    assert has_rules(lab, "node1", "nat", "FLANNEL-POSTRTG") == set(families)
    assert has_rules(lab, "node1", "filter", "FLANNEL-FWD") == set(families)
    # The kernel has IPv6 on, as in any cluster.
    assert settings(lab, "node1", ["net/ipv6/conf/cni0/disable_ipv6"]) == ["0"]


@pytest.mark.looks
@pytest.mark.parametrize("of_family", FAMILIES)
@pytest.mark.needs(*DESIGNS["kube-router"].needs)
def test_kube_router(of_family: str) -> None:
    families = FAMILIES[of_family]
    lab = look("kube-router", of_family)
    assert "77 kube-router" in ended(lab, "node1", "cat", "/etc/iproute2/rt_tables").splitlines()
    shares = {4: "10.244.0.0/24", 6: "fd00:10:244::/64"}
    for family, share in shares.items():
        rule = f"32765:\tfrom {share} lookup kube-router"
        assert (rule in ended(lab, "node1", "ip", f"-{family}", "rule").splitlines()) == (family in families)
        assert (family in has_rules(lab, "node1", "nat", "MASQUERADE")) == (family in families)
        assert (family in has_rules(lab, "node1", "filter", "KUBE-ROUTER-FORWARD")) == (family in families)
    assert addresses(lab, "node1", "kube-bridge") == of(families, {4: "10.244.0.1/24", 6: "fd00:10:244::1/64"})
    sets = set(ended(lab, "node1", "ipset", "list", "-n").split())
    assert {name for name in sets if "pod-subnets" in name} == of(
        families, {4: "kube-router-pod-subnets", 6: "inet6:kube-router-pod-subnets"}
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_page_says_whether_a_lab_of_ipv4_has_ipv6_off(name: str) -> None:
    design, chosen = DESIGNS[name], topology("two-nodes")
    node = design.plan(chosen)["node1"]
    values = {setting.key: setting.value for setting in node.of(Sysctl)}
    is_off = values.get("net.ipv6.conf.all.disable_ipv6") == "1"
    assert ("`disable_ipv6`" in unlike(design.page)) == is_off
