"""Daemons, files, rules and firewalls of a plan: visible only on their node, waited for, compared with the kernel."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from testbed.designs import DESIGNS
from testbed.designs.transport import Joining
from testbed.kernel.refusal import PlanRefused
from testbed.lab import programs as programs_module
from testbed.lab.lab import Lab
from testbed.observe.inspect import inspect
from testbed.plan.draft import SpaceDraft
from testbed.plan.objects import BIRD, Command, LearnedRoute, Plan, Program, Route, RoutingRule
from testbed.plan.rulesets import Set, iptables
from testbed.spec.topology import Topology

pytestmark = pytest.mark.sealed

CONFIGURATION = """
log stderr all;
router id 192.0.2.1;
protocol device { }
protocol kernel { ipv4 { export all; import none; }; }
protocol static { ipv4; route 10.99.0.0/24 via 192.168.56.2; route 10.98.0.0/24 blackhole; }
"""
CONTROL = "/run/bird/bird.ctl"
FIREWALL = """*nat
:SEEN - [0:0]
-A POSTROUTING -m comment --comment "what goes out" -j SEEN
-A SEEN -m set --match-set outside dst -j RETURN
-A SEEN -s 10.244.0.0/24 -j RETURN
COMMIT
"""


def plan_with(topology: Topology, add: Callable[[SpaceDraft], None]) -> Plan:
    """The plan of a design whose agent adds objects to the first node."""

    def agent(joining: Joining) -> None:
        add(joining.draft["node1"])

    return replace(DESIGNS["l3-host-routes"], agent=agent).plan(topology)


def bird(space: SpaceDraft, configuration: str = CONFIGURATION) -> None:
    space.file("/etc/bird/bird.conf", configuration)
    space.file("/run/bird/envvars", "", 0o600)
    space.add(
        Program(
            name="bird",
            command=("bird", "-f", "-c", "/etc/bird/bird.conf", "-s", CONTROL, "-P", "/run/bird/bird.pid"),
            ready=Command(("birdc", "-s", CONTROL, "show", "status")),
            reload=Command(("birdc", "-s", CONTROL, "configure")),
            files=("/etc/bird/bird.conf",),
        )
    )
    via = ip_address("192.168.56.2")
    space.add(LearnedRoute(Route(ip_network("10.99.0.0/24"), "eth0", via=via, protocol=BIRD)))
    space.add(LearnedRoute(Route(ip_network("10.98.0.0/24"), "", blackhole=True, protocol=BIRD)))


def ended(lab: Lab, place: str, *command: str) -> str:
    done = lab.run(place, command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def whats(lab: Lab) -> list[str]:
    return [difference.what for difference in inspect(lab.plan, lab.namespaces)]


@contextmanager
def untouched(*paths: str) -> Iterator[None]:
    """Check that the machine's own files do not change there."""
    before = [sorted(Path(path).glob("*")) for path in paths]
    yield
    assert [sorted(Path(path).glob("*")) for path in paths] == before


def test_a_lab_is_up_when_its_daemons_routes_are_in_the_kernel(two_nodes: Topology) -> None:
    with untouched("/etc", "/etc/bird", "/var/lib"), Lab(plan_with(two_nodes, bird)) as lab:
        assert lab.convergence_seconds is not None
        assert lab.convergence_seconds < lab.up_seconds
        routes = ended(lab, "node1", "ip", "route", "show", "proto", "bird").split("\n")
        assert "10.99.0.0/24 via 192.168.56.2 dev eth0 metric 32 " in routes
        assert "up and running" in ended(lab, "node1", "birdc", "show", "status")
        assert lab.run("node2", ["birdc", "show", "status"]).returncode != 0
        assert whats(lab) == []


def test_a_route_that_a_daemon_withdraws_is_reported_missing(two_nodes: Topology) -> None:
    with Lab(plan_with(two_nodes, bird)) as lab:
        ended(lab, "node1", "birdc", "disable", "static1")
        while "10.99.0.0/24" in ended(lab, "node1", "ip", "route"):
            pass
        whose = "proto bird missing; expected from bird (ask birdc)"
        assert whats(lab) == [
            f"route 10.98.0.0/24 blackhole {whose}",
            f"route 10.99.0.0/24 via 192.168.56.2 dev eth0 {whose}",
        ]


def test_an_ended_daemon_is_reported_until_it_is_restarted(two_nodes: Topology) -> None:
    with Lab(plan_with(two_nodes, bird)) as lab:
        assert lab.ended() == ()
        ended(lab, "node1", "sh", "-c", "kill -9 $(cat /run/bird/bird.pid)")
        while not (found := inspect(lab.plan, lab.namespaces, lab.ended())):
            pass
        assert found[0].place == "node1"
        assert found[0].what.startswith("process bird ended by signal 9 (Killed):\n  ")
        assert "<INFO> Started" in found[0].what
        (mend,) = found[0].mend
        ended(lab, "node1", *shlex.split(mend))
        while inspect(lab.plan, lab.namespaces, lab.ended()):
            pass


def test_the_output_of_a_daemon_that_does_not_start_is_reported(two_nodes: Topology) -> None:
    with pytest.raises(PlanRefused) as raised:
        Lab(plan_with(two_nodes, lambda space: bird(space, "nonsense;")))
    assert str(raised.value).startswith("in node1: process bird ended with exit code 1:\n  ")
    assert "syntax error" in str(raised.value)


def test_routes_that_no_daemon_adds_are_reported(two_nodes: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs_module, "CONVERGENCE_PATIENCE_S", 1.0)
    without = CONFIGURATION.replace("route 10.98.0.0/24 blackhole;", "")
    with pytest.raises(PlanRefused, match=r"in node1: no program added the routes to 10\.98\.0\.0/24 within 1 s"):
        Lab(plan_with(two_nodes, lambda space: bird(space, without)))


def rules(space: SpaceDraft) -> None:
    via = ip_address("192.168.56.2")
    space.route(ip_network("10.97.0.0/24"), "eth0", via=via, table=77, protocol=80)
    space.route(ip_network("10.96.0.0/24"), "eth0", via=via, table=1000)
    space.add(RoutingRule(99, 4, 77, source=ip_network("10.244.0.0/24")))
    space.add(RoutingRule(98, 4, 1000, mark=0x100000, mask=0x100000, inverted=True))
    space.add(RoutingRule(97, 6, 77))


def test_missing_rules_and_routes_of_other_tables_are_reported(two_nodes: Topology) -> None:
    with Lab(plan_with(two_nodes, rules)) as lab:
        assert whats(lab) == []
        assert ended(lab, "node1", "ip", "rule").splitlines()[1:3] == [
            "98:\tnot from all fwmark 0x100000/0x100000 lookup 1000",
            "99:\tfrom 10.244.0.0/24 lookup 77",
        ]
        assert ended(lab, "node1", "ip", "-6", "rule").splitlines()[1] == "97:\tfrom all lookup 77"
        assert "via 192.168.56.2 dev eth0 proto 80" in ended(lab, "node1", "ip", "route", "show", "table", "77")
        assert "via 192.168.56.2 dev eth0" in ended(lab, "node1", "ip", "route", "show", "table", "1000")
        ended(lab, "node1", "ip", "rule", "del", "priority", "98")
        ended(lab, "node1", "ip", "route", "flush", "table", "1000")
        ended(lab, "node1", "ip", "rule", "add", "priority", "7", "from", "10.1.0.0/16", "lookup", "77")
        found = inspect(lab.plan, lab.namespaces)
        assert [one.what for one in found] == [
            "route 10.96.0.0/24 via 192.168.56.2 dev eth0 table 1000 missing",
            "routing rule `not from all fwmark 0x100000/0x100000 lookup 1000 priority 98` missing",
            "unexpected routing rule `from 10.1.0.0/16 lookup 77 priority 7`",
        ]
        for one in found:
            for command in one.mend:
                ended(lab, one.place, *command.split())
        assert whats(lab) == []


def firewall(space: SpaceDraft) -> None:
    kind = "hash:net family inet hashsize 1024 maxelem 65536"
    space.ruleset("user", "ipset", sets=[Set("outside", kind, ("203.0.113.0/24", "198.51.100.0/24"))])
    space.ruleset("user", "iptables", iptables.read(FIREWALL))


def test_firewalls_are_compared_with_the_kernel_line_by_line(two_nodes: Topology) -> None:
    with Lab(plan_with(two_nodes, firewall)) as lab:
        assert whats(lab) == []
        saved = ended(lab, "node1", "iptables-save", "-t", "nat").splitlines()
        assert set(FIREWALL.splitlines()) <= set(saved)
        assert "add outside 203.0.113.0/24" in ended(lab, "node1", "ipset", "save")
        ended(lab, "node1", "iptables", "-t", "nat", "-D", "SEEN", "1")
        ended(lab, "node1", "iptables", "-t", "nat", "-A", "POSTROUTING", "-j", "ACCEPT")
        ended(lab, "node1", "ipset", "del", "outside", "203.0.113.0/24")
        assert whats(lab) == [
            "ipset: `add outside 203.0.113.0/24` of the user missing",
            "iptables: `-t nat -A SEEN -m set --match-set outside dst -j RETURN` of the user missing",
            "iptables: unexpected `-t nat -A POSTROUTING -j ACCEPT`",
        ]
        ended(lab, "node2", "nft", "add", "table", "ip", "mine")
        assert "nftables: unexpected table `ip mine`" in whats(lab)
