"""Debian's plugins, called by our runtime; the capsule is the node."""

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest

from testbed.cni.calls import PluginFailed, PluginMissing
from testbed.cni.network import Network
from testbed.cni.runtime import Runtime
from tests.cni.conftest import DEBIAN, RealNode, needs_plugins, network, real_node, shipped

pytestmark = [pytest.mark.sealed, needs_plugins]

OWN_PLUGINS = Path(__file__).parents[2] / "testbed/cni/plugins"
LEASES = Path("/var/lib/cni/networks")
WEB = "python3 -c \"import socket; s = socket.create_server(('', {port})); open('/run/ready', 'w'); c, a = s.accept(); \
c.sendall(a[0].encode()); c.close()\" > /dev/null 2>&1 & while [ ! -e /run/ready ]; do sleep 0.02; done; rm /run/ready"
"""Serves one connection in the background, with the client's address; returns as soon as it listens."""
ASK = "python3 -c \"import socket; c = socket.create_connection(('{host}', {port}), 3); print(c.recv(99).decode())\""


def bridge(name: str = "cni0", subnet: str = "10.244.0.0/24", **more: Any) -> dict[str, Any]:
    ipam = {"type": "host-local", "subnet": subnet}
    return {"type": "bridge", "bridge": name, "isDefaultGateway": True, "ipam": ipam} | more


def leases(net: Network) -> set[str]:
    return {path.name for path in (LEASES / net.name).glob("*.*.*.*")}


def test_exec_01_plugins_fill_a_namespace_and_fail_without_one() -> None:
    """That the lab creates it first is tested in tests/lab."""
    with real_node() as node:
        net = network(plugins=[bridge()])
        web = node.pod("web")
        assert "eth0" not in node.run("ip -br link", "web")
        node.runtime.add(net, web)
        assert "10.244.0.2/24" in node.run("ip -br address show eth0", "web")
        nowhere = node.pod("other")
        node.run(f"umount {nowhere.netns}; rm {nowhere.netns}")
        with pytest.raises(PluginFailed, match=nowhere.netns):
            node.runtime.add(net, nowhere)


def test_exec_06_del_without_a_namespace_releases_the_address() -> None:
    from dataclasses import replace

    with real_node() as node:
        net = network(plugins=[bridge()])
        web = node.pod("web")
        node.runtime.add(net, web)
        assert leases(net) == {"10.244.0.2"}
        node.pods.pop("web").close()
        node.run(f"umount {web.netns}")
        for _ in range(2):
            node.runtime.delete(net, replace(web, netns=""))
            assert leases(net) == set()


def test_exec_08_an_existing_interface_is_an_error() -> None:
    with real_node() as node:
        net = network(plugins=[bridge()])
        web = node.pod("web")
        node.run("ip link add eth0 type bridge", "web")
        with pytest.raises(PluginFailed, match="already exists"):
            node.runtime.add(net, web)
        assert leases(net) == set()


def test_exec_09_a_container_may_have_a_second_interface_on_a_network() -> None:
    with real_node() as node:
        net = network(plugins=[bridge(isDefaultGateway=False, isGateway=True)])
        for ifname in ("eth0", "net1"):
            node.runtime.add(net, node.pod("web", ifname))
        assert leases(net) == {"10.244.0.2", "10.244.0.3"}
        assert "10.244.0.3/24" in node.run("ip -br address show net1", "web")


def test_exec_16_the_result_matches_the_kernel() -> None:
    with real_node() as node:
        result = node.add(network(plugins=[bridge()]), "web")
        cni0, host, eth0 = result.interfaces
        assert (cni0.name, cni0.sandbox, host.sandbox, eth0.name, eth0.sandbox) == (
            "cni0",
            "",
            "",
            "eth0",
            "/run/netns/web",
        )
        assert eth0.mac in node.run("ip -br link show eth0", "web")
        assert host.mac in node.run(f"ip -br link show {host.name}")
        (given,) = result.addresses
        assert (str(given.address), str(given.gateway), given.interface) == ("10.244.0.2/24", "10.244.0.1", 2)
        assert [(str(route.to), str(route.gateway)) for route in result.routes] == [("0.0.0.0/0", "10.244.0.1")]


def test_exec_17_a_version_that_a_plugin_does_not_support_is_error_1() -> None:
    with real_node() as node, pytest.raises(PluginFailed) as error:
        node.add(network(cniVersion="1.1.0", plugins=[bridge()]), "web")
    assert error.value.code == 1
    assert "1.0.0" in error.value.details


def test_exec_13_a_missing_variable_is_error_4() -> None:
    from dataclasses import replace

    with real_node() as node, pytest.raises(PluginFailed, match="CNI_NETNS") as error:
        node.runtime.add(network(plugins=[bridge()]), replace(node.pod("web"), netns=""))
    assert error.value.code == 4


def test_ipam_01_ipam_plugins_answer_without_interfaces() -> None:
    with real_node() as node:
        ipam = {"type": "host-local", "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}}
        result = node.add(network(plugins=[ipam]), "web")
        assert result.interfaces == ()
        assert [str(address) for address in result.addresses_of("eth0")] == ["10.9.0.2"]


def test_ipam_01_the_address_is_released_if_the_main_plugin_fails() -> None:
    with real_node() as node:
        net = network(plugins=[bridge()])
        # The bridge has another address already, which the plugin notices after IPAM.
        node.run("ip link add cni0 type bridge; ip address add 10.244.0.99/24 dev cni0")
        with pytest.raises(PluginFailed, match="already has an IP address"):
            node.add(net, "web")
        assert (LEASES / "net" / "last_reserved_ip.0").read_text() == "10.244.0.2"
        assert leases(net) == set()


def published(port: int = 8080) -> list[dict[str, Any]]:
    return [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]


def test_bridge_01_a_container_reaches_its_own_published_port() -> None:
    with real_node() as node:
        node.run("ip link add up0 type bridge; ip address add 192.168.0.1/24 dev up0; ip link set up0 up")
        portmap = {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}
        net = network(plugins=[bridge(hairpinMode=True, ipMasq=True), portmap])
        node.add(net, "web", portMappings=published())
        node.add(net, "other")
        # From itself, from a neighbour, from the node by its address and by loopback.
        seen = []
        for pod, host in (("web", "192.168.0.1"), ("other", "192.168.0.1"), ("", "192.168.0.1"), ("", "127.0.0.1")):
            node.run(WEB.format(port=80), "web")
            seen.append(node.run(ASK.format(host=host, port=8080), pod).strip())
        # Hairpin traffic, that of 127.0.0.1 and that of neighbours in the pods' subnet come from the gateway.
        assert seen == ["10.244.0.1", "10.244.0.1", "192.168.0.1", "10.244.0.1"]
        node.runtime.delete(net, node.pod("web"))
        assert node.attempt(ASK.format(host="192.168.0.1", port=8080), "other").returncode != 0


def test_fw_01_the_firewall_accepts_what_comes_from_and_goes_to_a_container() -> None:
    with real_node() as node:
        node.add(network(plugins=[bridge(), {"type": "firewall", "backend": "iptables"}]), "web")
        rules = [line for line in node.run("iptables-save -t filter").splitlines() if line.startswith("-A")]
        bare = [line.replace('-m comment --comment "CNI firewall plugin rules" ', "") for line in rules]
        assert bare == [
            "-A FORWARD -j CNI-FORWARD",
            '-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN',
            "-A CNI-FORWARD -d 10.244.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A CNI-FORWARD -s 10.244.0.2/32 -j ACCEPT",
        ]


def _two_bridges(node: RealNode, policy: str) -> dict[str, str]:
    """The addresses of pods a and b on cni1, and c on cni2."""
    found = {}
    for name, number in (("a", 1), ("b", 1), ("c", 2)):
        firewall = {"type": "firewall", "backend": "iptables", "ingressPolicy": policy}
        net = network(name=f"net{number}", plugins=[bridge(f"cni{number}", f"10.88.{number}.0/24"), firewall])
        (address,) = node.add(net, name).addresses_of("eth0")
        found[name] = str(address)
    return found


def _supports(policy: str) -> bool:
    """Whether the program of the plugin firewall contains the name of a policy."""
    program = Path(DEBIAN, "firewall")
    return program.exists() and policy.encode() in program.read_bytes()


def test_fw_02_only_containers_of_one_bridge_reach_each_other() -> None:
    with real_node() as node:
        at = _two_bridges(node, "same-bridge")
        assert node.attempt(f"ping -c 1 -W 1 {at['b']}", "a").returncode == 0
        assert node.attempt(f"ping -c 1 -W 1 {at['c']}", "a").returncode == 1
        assert node.attempt(f"ping -c 1 -W 1 {at['a']}", "c").returncode == 1


def test_fw_02_an_unknown_policy_is_an_error() -> None:
    with real_node() as node, pytest.raises(PluginFailed, match='unknown ingress policy: "hermits"'):
        _two_bridges(node, "hermits")


@pytest.mark.skipif(not _supports("isolated"), reason="this plugin firewall does not support isolated (Debian's 1.1.1)")
def test_fw_02_isolated_containers_do_not_reach_their_neighbours() -> None:
    with real_node() as node:
        at = _two_bridges(node, "isolated")
        assert node.attempt(f"ping -c 1 -W 1 {at['b']}", "a").returncode == 1
        assert node.attempt(f"ping -c 1 -W 1 {at['c']}", "a").returncode == 1


def tuning(**keys: Any) -> dict[str, Any]:
    return {"type": "tuning"} | keys


def test_tune_01_the_device_and_its_settings_are_tuned() -> None:
    with real_node() as node:
        settings = {"net.ipv4.conf.IFNAME.arp_filter": "1", "net.core.somaxconn": "500"}
        arguments = {"mac": "00:11:22:33:44:66"}
        more = {"mtu": 1400, "promisc": True, "allmulti": True, "capabilities": {"mac": True}}
        net = network(plugins=[bridge(), tuning(sysctl=settings, **more)])
        result = node.add(net, "web", **arguments)
        link = node.run("ip link show eth0", "web")
        assert "mtu 1400" in link
        assert "PROMISC" in link
        assert "ALLMULTI" in link
        assert "00:11:22:33:44:66" in link
        assert result.interfaces[2].mac == "00:11:22:33:44:66"
        assert node.run("sysctl -n net.ipv4.conf.eth0.arp_filter net.core.somaxconn", "web").split() == ["1", "500"]


def test_tune_01_check_reports_a_changed_setting() -> None:
    with real_node() as node:
        # Debian's 1.1.1 does not replace IFNAME on CHECK.
        net = network(plugins=[bridge(), tuning(sysctl={"net.core.somaxconn": "500"})])
        node.add(net, "web")
        node.runtime.check(net, node.pod("web"))
        node.run("sysctl -w net.core.somaxconn=400", "web")
        with pytest.raises(PluginFailed, match="somaxconn"):
            node.runtime.check(net, node.pod("web"))


def test_tune_01_settings_outside_net_are_refused() -> None:
    with real_node() as node, pytest.raises(PluginFailed, match=r"vm\.swappiness"):
        node.add(network(plugins=[bridge(), tuning(sysctl={"vm.swappiness": "1"})]), "web")


RATES = {"ingressRate": 1_000_000, "ingressBurst": 80_000, "egressRate": 2_000_000, "egressBurst": 80_000}


def test_bw_01_each_direction_has_a_bucket() -> None:
    with real_node() as node:
        net = network(plugins=[bridge(), {"type": "bandwidth", "capabilities": {"bandwidth": True}}])
        result = node.add(net, "web", bandwidth=RATES)
        host = result.interfaces[1].name
        ifb = result.interfaces[3].name
        queues = json.loads(node.run("tc -json qdisc"))
        buckets = {q["dev"]: q["options"]["rate"] * 8 for q in queues if q["kind"] == "tbf"}
        assert buckets == {host: 1_000_000, ifb: 2_000_000}
        assert "ifb" in node.run(f"ip -d link show {ifb}")
        assert ("ingress", host) in {(q["kind"], q["dev"]) for q in queues}
        node.runtime.delete(net, node.pod("web", bandwidth=RATES))
        assert ifb not in node.run("ip -br link")


def test_bw_01_bandwidth_must_be_chained() -> None:
    with real_node() as node, pytest.raises(PluginFailed, match="must be called as chained plugin"):
        node.add(network(plugins=[{"type": "bandwidth", **RATES}]), "web")


def test_case_01b_is_negotiated_down_to_the_plugins_version() -> None:
    """The specification's example supports 1.1.0 and older versions; Debian's plugins support 1.0.0 at most."""
    with real_node() as node:
        net = shipped("01b-cni-spec-dbnet.conflist")
        assert node.runtime.version(net) == "1.0.0"
        arguments = {"mac": "00:11:22:33:44:66", "portMappings": published()}
        result = node.add(net, "web", **arguments)
        assert str(result.addresses[0].address) == "10.1.0.2/16"
        assert result.dns == {"nameservers": ["10.1.0.1"]}
        assert "00:11:22:33:44:66" in node.run("ip link show eth0", "web")
        assert "--dport 8080" in node.run("iptables-save -t nat") or "--dports 8080" in node.run("iptables-save -t nat")
        try:
            node.runtime.check(net, node.pod("web", **arguments))
        except PluginFailed as error:
            # Debian's 1.1.1 requires IPv6 rules of a container without IPv6.
            assert (error.call.plugin, "ipv6 dnat" in error.msg) == ("portmap", True)
        node.runtime.delete(net, node.pod("web", **arguments))
        assert leases(net) == set()


def test_case_02_a_single_bridge_masquerades() -> None:
    with real_node() as node:
        net = shipped("02-bridge-hairpin-ipmasq.conf")
        node.add(net, "web")
        assert "10.10.0.1/16" in node.run("ip -br address show mynet0")
        assert "hairpin on" in node.run("bridge -d link")
        assert "MASQUERADE" in node.run("iptables-save -t nat")
        assert "default via 10.10.0.1" in node.run("ip route", "web")


def test_case_06b_ptp_and_portmap() -> None:
    with real_node() as node:
        net = shipped("06b-ptp-portmap.conflist")
        arguments = {"portMappings": published()}
        result = node.add(net, "web", **arguments)
        assert "172.16.30.2" in node.run("ip route")
        node.run("ip link add up0 type bridge; ip address add 192.168.0.1/24 dev up0; ip link set up0 up")
        node.run(WEB.format(port=80), "web")
        assert node.run(ASK.format(host="192.168.0.1", port=8080)).strip() == "192.168.0.1"
        assert [str(address) for address in result.addresses_of("eth0")] == ["172.16.30.2"]


def test_case_12_has_both_families() -> None:
    with real_node() as node:
        result = node.add(shipped("12-crio-dualstack-bridge.conflist"), "web")
        one, other = result.addresses_of("eth0")
        assert (one, other) == (ipaddress.ip_address("10.85.0.2"), ipaddress.ip_address("1100:200::2"))
        assert node.attempt("ping -c 1 -W 2 10.85.0.1", "web").returncode == 0
        assert node.attempt("ping -c 1 -W 2 1100:200::1", "web").returncode == 0


def test_case_14_needs_a_plugin_that_debian_does_not_have() -> None:
    """It works with the testbed's own `flannel`, and a file as flanneld writes it."""
    with real_node() as node:
        net = shipped("14-flannel-portmap.conflist")
        with pytest.raises(PluginMissing, match="flannel"):
            node.add(net, "web")
        subnet = Path("/run/flannel/subnet.env")
        subnet.parent.mkdir()
        subnet.write_text(
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.7.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
        )
        node.runtime = Runtime([DEBIAN, str(OWN_PLUGINS)])
        result = node.add(net, "web", portMappings=published())
        assert [str(address) for address in result.addresses_of("eth0")] == ["10.244.7.2"]
        assert "mtu 1450" in node.run("ip link show eth0", "web")
        routes = node.run("ip route", "web")
        assert "default via 10.244.7.1" in routes
        assert "10.244.0.0/16 via 10.244.7.1" in routes
        node.runtime.delete(net, node.pod("web"))
        assert leases(net) == set()
