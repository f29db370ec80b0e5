"""Pods that CNI plugins attach: the lab is the container runtime, and its plan has the plugins' objects."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from testbed.designs import CATALOGUE, design_of
from testbed.designs.design import Design
from testbed.kernel.refusal import PlanRefused
from testbed.kubernetes.naming import uid
from testbed.lab.door import Address, Unanswered
from testbed.lab.lab import Lab
from testbed.lab.living import CannotBeBuilt, LivingLab, facts_of
from testbed.observe.check import check
from testbed.observe.inspect import Difference, inspect
from testbed.observe.reach import check_reach
from testbed.observe.trace import trace
from testbed.observe.wire import check_crossings
from testbed.plan.objects import Bridge, Child, OtherLink, TokenBucket
from testbed.plan.plugged import unaddressed
from testbed.plan.rulesets import Ruleset
from testbed.spec.design import ReadCni, TransportSpec
from testbed.spec.edit import with_pods, without_pod
from testbed.spec.load import load_design, load_topology, topology_of_text
from testbed.spec.topology import Pod, Topology
from tests.as_user import run_as
from tests.cni.conftest import CASES, DEBIAN, needs_plugins
from tests.designs.looking import topology

BRIDGE = """{
  "cniVersion": "1.0.0", "name": "mynet",
  "plugins": [{
    "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "mtu": {{ mtu }},
    "ipam": {"type": "host-local", "ranges": [
      {%- for cidr in node.pod_cidrs %}[{"subnet": "{{ cidr }}"}]{{ "," if not loop.last }}{% endfor %}]}
  }]
}"""
PTP = BRIDGE.replace('"type": "bridge", "bridge": "cni0", "isDefaultGateway": true', '"type": "ptp"').replace(
    '"ranges"', '"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}], "ranges"'
)
CHAIN = """{
  "cniVersion": "1.0.0", "name": "mynet",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true,
     "ipam": {"type": "host-local", "subnet": "{{ node.pod_cidr }}"}},
    {"type": "portmap", "capabilities": {"portMappings": true}},
    {"type": "firewall", "backend": "iptables"},
    {"type": "bandwidth", "capabilities": {"bandwidth": true}}
  ]
}"""


def designed(text: str, transport: str = "none", **more: Any) -> Design:
    """The design of a network."""
    spec = {
        "name": "mynet",
        "cni": "10-mynet.conflist",
        "transport": TransportSpec(kind=transport),
        "texts": (("10-mynet.conflist", text),),
    }
    return design_of(ReadCni.model_validate(spec | more))


def out(lab: Lab, place: str, *command: str) -> str:
    done = lab.run(place, command)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_plugins
@pytest.mark.sealed
@pytest.mark.parametrize("text", [BRIDGE, PTP], ids=["bridge", "ptp"])
@pytest.mark.parametrize("transport", ["vxlan", "host-routes"])
@pytest.mark.parametrize("name", ["three-nodes", "dual-stack"])
def test_pods_attached_by_plugins_pass_all_checks(name: str, transport: str, text: str) -> None:
    on, design = topology(name), designed(text, transport)
    with Lab(design.plan(on)) as lab:
        assert inspect(lab.plan, lab.namespaces) == ()
        assert check_reach(lab.plan, lab.namespaces).failures == ()
        sent, astray = check_crossings(design, on, lab.plan, lab.namespaces)
        assert (sent > 0, astray) == (True, ())
        source, target = (pods[0].name for pods in _pods_by_node(lab)[:2])
        assert trace(lab.plan, lab.namespaces, source, target, "icmp").outcome == "answered"
        assert lab.attach_seconds is not None
        assert lab.attach_seconds > 0


def _pods_by_node(lab: Lab) -> list[list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in lab.plan.plugged:
        found.setdefault(item.node, []).append(lab.plan[item.space])
    return list(found.values())


@needs_plugins
@pytest.mark.sealed
def test_the_plan_has_the_devices_and_addresses_that_ip_shows(two_nodes: Topology) -> None:
    with Lab(designed(BRIDGE, "host-routes").plan(two_nodes)) as lab:
        links = {link["ifname"]: link for link in json.loads(out(lab, "node1", "ip", "-json", "link"))}
        (bridge,) = (link for link in lab.plan["node1"].links if isinstance(link, Bridge))
        assert (bridge.name, bridge.mac, bridge.index) == ("cni0", links["cni0"]["address"], links["cni0"]["ifindex"])
        ends = {veth.b.space: veth for veth in lab.plan.veths if veth.a.space == "node1" and veth.a.master == "cni0"}
        ends |= {veth.a.space: veth for veth in lab.plan.veths if veth.b.space == "node1" and veth.b.master == "cni0"}
        assert set(ends) == {"client", "web-1"}
        for pod in ("client", "web-1"):
            (eth0,) = (
                link for link in json.loads(out(lab, pod, "ip", "-json", "-4", "addr")) if link["ifname"] == "eth0"
            )
            assert [str(address) for address in lab.plan[pod].reached_at] == [eth0["addr_info"][0]["local"]]
        assert lab.plan.pod_mtu == 1500


@needs_plugins
@pytest.mark.sealed
def test_missing_objects_of_a_plugin_are_reported(two_nodes: Topology) -> None:
    with Lab(designed(CHAIN, "host-routes", capabilities={"portMappings": [_port(8080)]}).plan(two_nodes)) as lab:
        assert inspect(lab.plan, lab.namespaces) == ()
        out(lab, "node2", "iptables", "-t", "filter", "-D", "CNI-FORWARD", "1")
        out(lab, "node1", "ip", "link", "del", "cni0")
        found = [(item.place, item.what) for item in inspect(lab.plan, lab.namespaces)]
        assert ("node1", "device cni0 missing") in found
        assert ("node1", "cni0: address 10.244.0.1/24 missing") in found
        assert any(place == "node2" and "CNI-ADMIN" in what for place, what in found)


def _port(host: int) -> dict[str, Any]:
    return {"hostPort": host, "containerPort": 80, "protocol": "tcp"}


@needs_plugins
@pytest.mark.sealed
def test_rules_and_rate_limits_of_plugins_are_in_the_plan(two_nodes: Topology) -> None:
    """Single pods may have their own arguments: here web-1 has another port, web-2 a bandwidth."""
    limits = {"ingressRate": 10_000_000, "ingressBurst": 400_000}
    pods = {"web-1": {"portMappings": [_port(8081)]}, "web-2": {"bandwidth": limits}}
    design = designed(CHAIN, "host-routes", capabilities={"portMappings": [_port(8080)]}, pods=pods)
    with Lab(design.plan(two_nodes)) as lab:
        assert inspect(lab.plan, lab.namespaces) == ()
        assert check_reach(lab.plan, lab.namespaces).failures == ()
        rules = str(lab.plan["node1"].of(Ruleset))
        assert "8080" in rules
        assert "8081" in rules
        (bucket,) = (item for item in lab.plan["node2"].of(TokenBucket) if isinstance(item, TokenBucket))
        assert bucket.rate == 10_000_000
        assert not lab.plan["node1"].of(TokenBucket)


@needs_plugins
@pytest.mark.sealed
def test_macvlan_and_ifb_devices_of_plugins_are_in_the_plan(two_nodes: Topology) -> None:
    macvlan = (
        '{"name": "lan", "type": "macvlan", "cniVersion": "1.0.0", "master": "eth0", "mode": "bridge", "ipam": {}}'
    )
    rates = {"egressRate": 10_000_000, "egressBurst": 400_000}
    with Lab(designed(macvlan).plan(two_nodes)) as lab:
        assert {(child.space, child.kind, child.mode, child.parent) for child in lab.plan.children} == {
            (pod, "macvlan", "bridge", "eth0") for pod in ("client", "web-1", "web-2")
        }
        assert all(isinstance(child, Child) for child in lab.plan.children)
        assert inspect(lab.plan, lab.namespaces) == ()
    with Lab(designed(CHAIN, pods={"client": {"bandwidth": rates}}).plan(two_nodes)) as lab:
        (ifb,) = (link for link in lab.plan["node1"].links if isinstance(link, OtherLink))
        assert ifb.kind == "ifb"
        assert inspect(lab.plan, lab.namespaces) == ()


@needs_plugins
@pytest.mark.sealed
def test_each_node_has_its_own_configuration_and_leases(two_nodes: Topology) -> None:
    with Lab(designed(BRIDGE).plan(two_nodes)) as lab:
        for number, node in enumerate(("node1", "node2")):
            text = out(lab, node, "cat", "/etc/cni/net.d/10-mynet.conflist")
            assert json.loads(text)["plugins"][0]["ipam"]["ranges"] == [[{"subnet": f"10.244.{number}.0/24"}]]
        assert "10.244.1.2" in out(lab, "node2", "ls", "/var/lib/cni/networks/mynet")
        assert "10.244.1.2" not in out(lab, "node1", "ls", "/var/lib/cni/networks/mynet")
        assert "mynet-web-2-eth0" in out(lab, "node2", "ls", "/var/lib/cni/results")
        assert "nsfs" in out(lab, "node1", "stat", "-f", "-c", "%T", "/run/netns/client")


@needs_plugins
@pytest.mark.sealed
def test_without_offload_the_plugins_devices_have_none(two_nodes: Topology) -> None:
    with Lab(designed(BRIDGE).plan(two_nodes, offload=False)) as lab:
        assert "tcp-segmentation-offload: off" in out(lab, "client", "ethtool", "-k", "eth0")


@needs_plugins
@pytest.mark.sealed
def test_without_a_transport_no_way_is_claimed_and_check_lists_failing_pairs(two_nodes: Topology) -> None:
    design = designed(BRIDGE)
    with Lab(design.plan(two_nodes)) as lab:
        verdict = check(design, two_nodes, lab.plan, lab.namespaces)
        failed = {(failure.source, failure.target) for failure in verdict.failures}
        assert ("client", "web-2") in failed
        assert ("client", "web-1") not in failed
        assert check_crossings(design, two_nodes, lab.plan, lab.namespaces) == (0, ())


def plugin(folder: Path, name: str, body: str) -> None:
    """Write a plugin that records the command and container of its calls."""
    path = folder / name
    note = folder / "called"
    path.write_text(f'#!/bin/sh\ncat > /dev/null\necho "$CNI_COMMAND $CNI_CONTAINERID" >> {note}\n{body}\n')
    path.chmod(0o755)


def called(folder: Path) -> list[str]:
    return (folder / "called").read_text().splitlines()


OWN = '{"cniVersion": "1.0.0", "name": "own", "plugins": [{"type": "own"}]}'
FAILS_FOR_WEB_1 = """
[ "$CNI_COMMAND $CNI_CONTAINERID" = "ADD web-1" ] || { echo '{"cniVersion": "1.0.0"}'; exit 0; }
echo "looking for a pool" >&2
echo '{"cniVersion": "1.0.0", "code": 101, "msg": "no address left", "details": "10.0.0.0/30 is full"}'
exit 1"""


@pytest.mark.sealed
def test_the_error_of_a_plugin_is_reported_and_all_pods_are_detached(two_nodes: Topology, tmp_path: Path) -> None:
    plugin(tmp_path, "own", FAILS_FOR_WEB_1)
    with pytest.raises(PlanRefused) as error:
        Lab(designed(OWN, bin=(str(tmp_path),)).plan(two_nodes))
    assert str(error.value) == (
        "in node1, pod web-1: the CNI plugin own failed at ADD for web-1: code 101: no address left\n"
        "  details: 10.0.0.0/30 is full\n"
        "  stderr: looking for a pool"
    )
    # Also web-2, on the node without a failure.
    assert sorted(called(tmp_path)) == sorted(
        f"{command} {pod}" for command in ("ADD", "DEL") for pod in ("client", "web-1", "web-2")
    )


FAILS_AT_DEL_OF_WEB_1 = """
[ "$CNI_COMMAND $CNI_CONTAINERID" = "DEL web-1" ] || { echo '{"cniVersion": "1.0.0"}'; exit 0; }
echo '{"cniVersion": "1.0.0", "code": 102, "msg": "still in use", "details": "by somebody"}'
exit 1"""
STILL_IN_USE = (
    "in node1, pod web-1: the CNI plugin own failed at DEL for web-1: code 102: still in use\n  details: by somebody"
)


@pytest.mark.sealed
def test_a_failed_detach_is_reported_once(two_nodes: Topology, tmp_path: Path) -> None:
    plugin(tmp_path, "own", FAILS_AT_DEL_OF_WEB_1)
    lab = Lab(designed(OWN, bin=(str(tmp_path),)).plan(two_nodes))
    assert lab.down() == (STILL_IN_USE,)
    assert called(tmp_path).count("DEL client") == 1
    assert lab.down() == ()


@pytest.mark.sealed
def test_a_failed_detach_after_a_failed_add_is_reported_with_it(two_nodes: Topology, tmp_path: Path) -> None:
    plugin(tmp_path, "own", '[ "$CNI_COMMAND $CNI_CONTAINERID" = "ADD web-1" ] && exit 7' + FAILS_AT_DEL_OF_WEB_1)
    with pytest.raises(PlanRefused) as error:
        Lab(designed(OWN, bin=(str(tmp_path),)).plan(two_nodes))
    failed, rest = str(error.value).split("\n", 1)
    assert failed.startswith("in node1, pod web-1: the CNI plugin own failed at ADD for web-1")
    assert rest == STILL_IN_USE


@pytest.mark.sealed
def test_pods_that_are_not_detached_in_time_are_reported(
    two_nodes: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(tmp_path, "own", 'echo \'{"cniVersion": "1.0.0"}\'')
    lab = Lab(designed(OWN, bin=(str(tmp_path),)).plan(two_nodes))
    monkeypatch.setattr("testbed.lab.plugging.UNPLUG_PATIENCE_S", 0.0)
    assert sorted(lab.down()) == [
        f"in {node}, pod {pod}: DEL skipped: the time for all calls, 0 s, is used up"
        for node, pod in (("node1", "client"), ("node1", "web-1"), ("node2", "web-2"))
    ]


@pytest.mark.sealed
def test_exec_01_the_namespace_exists_before_a_plugin_is_called(two_nodes: Topology, tmp_path: Path) -> None:
    """It contains only the loopback device."""
    look = f"""[ "$CNI_COMMAND" = ADD ] && {{
        stat -f -c "$CNI_CONTAINERID %T" "$CNI_NETNS"
        nsenter --net="$CNI_NETNS" ls /sys/class/net
        ip -netns "$CNI_CONTAINERID" -oneline link | cut -d " " -f 2
    }} > "{tmp_path}/seen-$CNI_CONTAINERID" 2>&1
    echo '{{"cniVersion": "1.0.0"}}'"""
    plugin(tmp_path, "own", look)
    with Lab(designed(OWN, bin=(str(tmp_path),)).plan(two_nodes)):
        for pod in ("client", "web-1", "web-2"):
            assert (tmp_path / f"seen-{pod}").read_text().splitlines()[0] == f"{pod} nsfs"
            assert (tmp_path / f"seen-{pod}").read_text().splitlines()[-1] == "lo:"


@pytest.mark.sealed
def test_a_hanging_plugin_is_killed(two_nodes: Topology, tmp_path: Path) -> None:
    plugin(tmp_path, "own", f"echo $$ >> {tmp_path}/pids; sleep 1000")
    with pytest.raises(PlanRefused, match=r"timed out after 0\.3 s"):
        Lab(designed(OWN, bin=(str(tmp_path),), timeout="300ms").plan(two_nodes))
    for pid in (tmp_path / "pids").read_text().split():
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.sealed
def test_down_detaches_every_pod(two_nodes: Topology, tmp_path: Path) -> None:
    plugin(tmp_path, "own", 'echo \'{"cniVersion": "1.0.0"}\'')
    with Lab(designed(OWN, bin=(str(tmp_path),)).plan(two_nodes)) as lab:
        assert sorted(called(tmp_path)) == ["ADD client", "ADD web-1", "ADD web-2"]
        assert lab.plan["client"].reached_at == ()
        assert inspect(lab.plan, lab.namespaces) == ()
    deleted = called(tmp_path)[3:]
    assert sorted(deleted) == ["DEL client", "DEL web-1", "DEL web-2"]
    assert deleted.index("DEL web-1") < deleted.index("DEL client")
    lab.down()
    assert len(called(tmp_path)) == 6


RECORDS_ARGUMENTS = """
echo "$CNI_COMMAND $CNI_ARGS" >> {note}
[ "$CNI_COMMAND" = VERSION ] || echo '{{"cniVersion": "1.1.0"}}'
"""


@pytest.mark.sealed
def test_plugins_get_the_identity_of_the_pod(two_nodes: Topology, tmp_path: Path) -> None:
    note = tmp_path / "arguments"
    plugin(tmp_path, "own", RECORDS_ARGUMENTS.format(note=note))
    design = designed(OWN.replace("1.0.0", "1.1.0"), bin=(str(tmp_path),))
    own = with_pods(
        two_nodes, (), {"node1": [Pod(name="db", namespace="shop", uid="1b4e28ba-2fa1-41d2-883f-0016d3cca427")]}
    )

    def arguments(name: str, namespace: str, identity: str, container: str) -> str:
        return (
            f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};"
            f"K8S_POD_INFRA_CONTAINER_ID={container};K8S_POD_UID={identity}"
        )

    db = arguments("db", "shop", "1b4e28ba-2fa1-41d2-883f-0016d3cca427", "db.shop")
    client = arguments("client", "default", uid("Pod", "default", "client"), "client")
    with Lab(design.plan(own)) as lab:
        assert lab.plugging
        assert {f"ADD {client}", f"ADD {db}"} < set(note.read_text().splitlines())
        note.unlink()
        for verb in ("check", "del", "add", "status", "gc"):
            lab.plugging.step(verb, "node1" if verb in ("status", "gc") else "db.shop")  # type: ignore[arg-type]
        assert note.read_text().splitlines() == [f"CHECK {db}", f"DEL {db}", f"ADD {db}", "STATUS ", "GC "]
        note.unlink()
        # A pod with the same name, but another UID, is another pod.
        again = with_pods(without_pod(own, "db.shop"), (), {"node1": [Pod(name="db", namespace="shop", uid="second")]})
        lab.change(design.plan(again, before=lab.drawn))
        second = db.replace("1b4e28ba-2fa1-41d2-883f-0016d3cca427", "second")
        assert note.read_text().splitlines() == [f"DEL {db}", f"ADD {second}"]
        note.unlink()
        lab.change(design.plan(two_nodes, before=lab.drawn))
        assert note.read_text().splitlines() == [f"DEL {second}"]
    assert f"DEL {client}" in note.read_text().splitlines()


@needs_plugins
@pytest.mark.sealed
def test_standard_plugins_are_not_called_when_the_lab_goes_down(two_nodes: Topology) -> None:
    lab = Lab(designed(CHAIN, "host-routes").plan(two_nodes))
    calls = lab.plugging.calls if lab.plugging else []
    assert {call.command for call in calls} == {"ADD"}
    assert lab.down() == ()
    assert {call.command for call in calls} == {"ADD"}


@pytest.mark.sealed
def test_slow_plugins_detach_pods_side_by_side(tmp_path: Path) -> None:
    pods = ", ".join(f"p{number}" for number in range(12))
    text = (
        "name: t\ncluster: {pod_cidr: 10.244.0.0/16}\nfabric: {subnet: 192.168.56.0/24}\n"
        f"nodes: {{node1: {{pods: [{pods}]}}}}\n"
    )
    plugin(tmp_path, "own", '[ "$CNI_COMMAND" = DEL ] && sleep 1; echo \'{"cniVersion": "1.0.0"}\'')
    lab = Lab(designed(OWN, bin=(str(tmp_path),)).plan(topology_of_text(text, "t").value))
    begin = time.monotonic()
    assert lab.down() == ()
    assert time.monotonic() - begin < 5
    assert sorted(called(tmp_path)[12:]) == sorted(f"DEL p{number}" for number in range(12))


L2 = '{"name": "lan", "type": "bridge", "cniVersion": "1.0.0", "bridge": "br0", "ipam": {}}'


@needs_plugins
@pytest.mark.sealed
@pytest.mark.parametrize("addresses", ["required", "none"])
def test_pods_without_addresses_fail_the_check_unless_the_design_says_so(two_nodes: Topology, addresses: str) -> None:
    design = designed(L2, addresses=addresses)
    with Lab(design.plan(two_nodes)) as lab:
        verdict = check(design, two_nodes, lab.plan, lab.namespaces)
        assert verdict.failures == ()
        assert verdict.is_good == (addresses == "none")
        assert [line.split(":")[0] for line in verdict.unaddressed] == (
            [] if verdict.is_good else ["client", "web-1", "web-2"]
        )
        if not verdict.is_good:
            assert "network lan: no plugin allocates addresses (`ipam`)" in verdict.unaddressed[0]


@needs_plugins
@pytest.mark.sealed
def test_a_master_that_the_node_lacks_is_named(two_nodes: Topology) -> None:
    text = L2.replace('"bridge"', '"macvlan"').replace('"ipam"', '"master": "eno1", "ipam"')
    with pytest.raises(PlanRefused, match="master: node1 has no device eno1; it has lo, eth0"):
        Lab(designed(text).plan(two_nodes))


@needs_plugins
@pytest.mark.sealed
def test_a_detached_pod_needs_no_address(two_nodes: Topology) -> None:
    with Lab(designed(CHAIN, "host-routes").plan(two_nodes)) as lab:
        assert lab.plugging
        _, plan = lab.plugging.step("del", "client")
        assert plan
        assert list(unaddressed(plan)) == []


@pytest.fixture
def name() -> Iterator[str]:
    """Name for a lab, which is ended if the test leaves it up."""
    chosen = f"test-{os.getpid()}-{random.randrange(10**9)}"
    yield chosen
    with suppress(Unanswered):
        LivingLab(Address(os.geteuid(), chosen)).down()


def bring_up(design: Design, name: str, repository: Path) -> LivingLab:
    loaded = load_topology(repository / "topologies/two-nodes.yaml")
    plan = design.plan(loaded.value)
    return LivingLab.bring_up(plan, name, facts_of(loaded, design.spec))


def differences(lab: LivingLab) -> tuple[Difference, ...]:
    plan = lab.plan  # A process inside the lab cannot query it.
    return lab.inside(lambda namespaces: inspect(plan, namespaces))


def changes(step: Mapping[str, Any], place: str) -> str:
    return "\n".join(step["changes"].get(place, ()))


@needs_plugins
@pytest.mark.root
def test_the_plan_of_a_running_lab_follows_plugin_commands(name: str, repository: Path) -> None:
    design = designed(CHAIN, "host-routes", capabilities={"portMappings": [_port(8080)]})
    lab = bring_up(design, name, repository)
    assert differences(lab) == ()
    assert lab.design.plugins == design.plugins
    gone = lab.plug("del", "client")
    assert gone["error"] == ""
    assert [call["plugin"] for call in gone["calls"]] == ["bandwidth", "firewall", "portmap", "bridge"]
    assert "- address 10.244.0.2/24 dev eth0" in changes(gone, "client")
    assert "- iptables -t filter -A CNI-FORWARD -s 10.244.0.2/32 -j ACCEPT" in changes(gone, "node1")
    assert lab.plan["client"].reached_at == ()
    assert differences(lab) == ()
    without, on = lab.plan, lab.topology
    verdict = lab.inside(lambda namespaces: check(design, on, without, namespaces))
    assert verdict.is_good, verdict
    assert verdict.places == ("node1", "node2", "web-1", "web-2")
    assert lab.plug("check", "client")["error"].startswith("client: eth0 not attached")
    back = lab.plug("add", "client")
    assert back["error"] == ""
    assert "+ route default via 10.244.0.1 dev eth0" in changes(back, "client")
    (address,) = lab.plan["client"].reached_at
    assert f"+ address {address}/24 dev eth0" in changes(back, "client")
    assert differences(lab) == ()
    topology, plan = lab.topology, lab.plan
    verdict = lab.inside(lambda namespaces: check(design, topology, plan, namespaces))
    assert verdict.is_good, verdict.failures
    # Its name resolves to the new address.
    with lab.start("web-2", ["ping", "-c", "1", "client"], stdout=subprocess.PIPE) as ping:
        assert str(address) in ping.communicate()[0].decode()
    again = lab.plug("add", "client")
    assert "DEL it first" in again["error"]
    assert again["changes"] == {}
    assert "1.1.0" in lab.plug("status", "node1")["error"]
    assert lab.plug("gc", "node1")["error"] == ""
    lab.down()


@pytest.mark.root
def test_a_lab_that_cannot_be_built_reports_its_calls_and_ends(name: str, repository: Path, tmp_path: Path) -> None:
    plugin(tmp_path, "own", FAILS_FOR_WEB_1)
    with pytest.raises(CannotBeBuilt, match="no address left") as error:
        bring_up(designed(OWN, bin=(str(tmp_path),)), name, repository)
    calls = [json.loads(line) for line in error.value.log.splitlines()]
    assert {(call["command"], call["container"]) for call in calls} >= {("ADD", "client"), ("ADD", "web-1")}
    _wait_for(lambda: Address(os.geteuid(), name) not in [lab.address for lab in LivingLab.all()])


@pytest.mark.root
def test_a_lab_goes_down_although_a_plugin_hangs_at_del(name: str, repository: Path, tmp_path: Path) -> None:
    plugin(tmp_path, "own", '[ "$CNI_COMMAND" = DEL ] && sleep 1000\necho \'{"cniVersion": "1.0.0"}\'')
    lab = bring_up(designed(OWN, bin=(str(tmp_path),), timeout="300ms"), name, repository)
    ending = lab.down()
    assert called(tmp_path).count("DEL client") == 1
    assert sorted(error.partition(":")[0] for error in ending.errors) == [
        "in node1, pod client",
        "in node1, pod web-1",
        "in node2, pod web-2",
    ]
    assert all("timed out after 0.3 s" in error for error in ending.errors)
    assert {json.loads(line)["command"] for line in ending.log.splitlines()} == {"DEL"}
    assert Address(os.geteuid(), name) not in [lab.address for lab in LivingLab.all()]


@needs_plugins
@pytest.mark.root
def test_nothing_is_left_of_a_process_that_is_killed_while_plugins_run(tmp_path: Path, repository: Path) -> None:
    """Neither processes nor folders on the machine, as the plugin's files are private to its node."""
    plugin(tmp_path, "own", f"mkdir -p /var/lib/cni/mine; echo $$ > {tmp_path}/pid; sleep 1000")
    (tmp_path / "10-own.conflist").write_text(OWN)
    (tmp_path / "own.yaml").write_text("cni: 10-own.conflist\nbin: .\ntimeout: 1000s\n")
    program = (
        "from testbed import Lab; "
        f"Lab.up({str(repository / 'topologies/two-nodes.yaml')!r}, design={str(tmp_path / 'own.yaml')!r})"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        _wait_for((tmp_path / "pid").exists)
        process.send_signal(signal.SIGKILL)
    sleeping = f"{tmp_path}/own"
    _wait_for(lambda: not any(sleeping in line for line in _commands()))
    assert not Path("/var/lib/cni/mine").exists()


def _commands() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _wait_for(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@needs_plugins
@pytest.mark.sealed
def test_the_example_in_shell_passes_every_check(repository: Path) -> None:
    design = design_of(load_design(repository / "examples/my-plugin.yaml", CATALOGUE))
    on = topology("three-nodes")
    with Lab(design.plan(on)) as lab:
        verdict = check(design, on, lab.plan, lab.namespaces)
        assert verdict.is_good, verdict
        assert inspect(lab.plan, lab.namespaces) == ()
    assert DEBIAN in design.plugins.bin if design.plugins else False
    assert len((repository / "examples/cni/bin/veth").read_text().splitlines()) <= 20


@needs_plugins
@pytest.mark.root
def test_a_user_can_use_plugins_and_root_does_not_unpickle_from_that_lab(name: str, repository: Path) -> None:
    """With the commands in the README."""
    user = random.randrange(20_000, 60_000)
    words = ["--design", "examples/my-plugin.yaml", "--name", name]
    made = run_as(user, "up", "topologies/two-nodes.yaml", *words)
    assert made.returncode == 0, made.stderr
    try:
        readme = (repository / "README.md").read_text()
        (shown,) = set(re.findall(r"\ntestbed check +# (\d+ of \d+ checks passed)\n", readme))
        assert shown in run_as(user, "check", "--lab", name).stdout
        assert run_as(user, "inspect", "--lab", name).returncode == 0
        assert run_as(user, "cni", "del", "client", "--lab", name).returncode == 0
        again = run_as(user, "cni", "add", "client", "--lab", name)
        assert (again.returncode, again.stderr) == (0, "")
        with pytest.raises(Unanswered, match="another user's"):
            LivingLab(Address(user, name)).inside(lambda _: None)
    finally:
        assert run_as(user, "down", name).returncode == 0


ONE_NODE = """
name: one-node
cluster: {pod_cidr: 10.244.0.0/16, node_prefix: 24}
fabric: {subnet: 192.168.56.0/24, mtu: 1500}
nodes: {node1: {pods: [client, web]}}
"""
"""One node, as a shipped case has the same addresses on every node."""


@needs_plugins
@pytest.mark.sealed
@pytest.mark.parametrize(
    ("case", "device", "addresses", "apart"),
    [
        # This bridge has no address, so the node and its pods do not reach each other.
        ("01b-cni-spec-dbnet.conflist", "cni0", ["10.1.0.2"], {"client node1", "node1 web"}),
        ("02-bridge-hairpin-ipmasq.conf", "mynet0", ["10.10.0.2"], set()),
        ("06b-ptp-portmap.conflist", "", ["172.16.30.2"], set()),
        ("12-crio-dualstack-bridge.conflist", "cni0", ["10.85.0.2", "1100:200::2"], set()),
    ],
)
def test_a_shipped_case_is_a_design(
    case: str, device: str, addresses: list[str], apart: set[str], tmp_path: Path
) -> None:
    file = tmp_path / "design.yaml"
    ports = f"pods: {{web: {{portMappings: {json.dumps([_port(8080)])}}}}}\n"
    maps_ports = "portMappings" in (CASES / case).read_text()
    file.write_text(f"cni: {CASES / case}\n{ports if maps_ports else ''}")
    design = design_of(load_design(file, CATALOGUE))
    on = topology_of_text(ONE_NODE, "one-node.yaml").value
    lab = Lab(design.plan(on))
    try:
        assert [str(address) for address in lab.plan["client"].reached_at] == addresses
        assert [link.name for link in lab.plan["node1"].links if isinstance(link, Bridge)] == [device] * bool(device)
        verdict = check(design, on, lab.plan, lab.namespaces)
        assert {" ".join(sorted((failure.source, failure.target))) for failure in verdict.failures} == apart, verdict
        assert verdict.is_good is not bool(apart)
        assert inspect(lab.plan, lab.namespaces) == ()
        if maps_ports:
            assert "8080" in str(lab.plan["node1"].of(Ruleset))
    finally:
        assert lab.down() == ()


@needs_plugins
@pytest.mark.sealed
@pytest.mark.vm
@pytest.mark.needs("ipvlan")
@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
def test_ipvlan_devices_of_plugins_are_in_the_plan(mode: str, two_nodes: Topology) -> None:
    ipam = '{"type": "host-local", "subnet": "{{ node.pod_cidr }}"}'
    text = (
        f'{{"name": "v", "type": "ipvlan", "cniVersion": "1.0.0", "master": "eth0", "mode": "{mode}", "ipam": {ipam}}}'
    )
    with Lab(designed(text).plan(two_nodes)) as lab:
        assert {(child.space, child.kind, child.mode, child.parent) for child in lab.plan.children} == {
            (pod, "ipvlan", mode, "eth0") for pod in ("client", "web-1", "web-2")
        }
        assert inspect(lab.plan, lab.namespaces) == ()
        assert trace(lab.plan, lab.namespaces, "client", "web-1", "icmp").outcome == "answered"
