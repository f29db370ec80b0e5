"""Programs when the plan changes: which are restarted, which are reloaded, and that others are not affected."""

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import chain

import pytest

from testbed.designs import DESIGNS
from testbed.kernel.refusal import PlanRefused
from testbed.lab.lab import Lab
from testbed.lab.programs import Change, Item, change
from testbed.plan.draft import Draft
from testbed.plan.objects import (
    BIRD,
    Command,
    File,
    Kind,
    LearnedRoute,
    Object,
    Plan,
    Program,
    Route,
    Says,
    Signal,
    Tun,
)
from testbed.spec.topology import Topology
from tests.designs.looking import ended, topology, unbroken

FILE = "/run/x/conf"
ONE = Program(name="one", command=("one", "-c", FILE), files=(FILE,), reload=Signal(), ready=Says(), devices=("tun0",))
TWO = Program(name="two", command=("two",), files=("/run/y",))


def plan_of(*programs: Program, files: tuple[File, ...] = (File(FILE, "a"),), index: int = 101) -> Plan:
    """A plan with one node, which has a device and these programs and files."""
    draft = Draft()
    node = draft.space("node1", Kind.NODE)
    node.tun("tun0", 1400)
    for program in programs:
        node.add(program)
    for file in files:
        node.file(file.path, file.text, file.mode)
    plan = draft.finished("t", "d", 1400)
    (space,) = plan.spaces
    objects = tuple(replace(item, index=index) if isinstance(item, Tun) else item for item in space.objects)
    return replace(plan, spaces=(replace(space, objects=objects),))


def at_node(*programs: Program) -> tuple[Item, ...]:
    return tuple(Item("node1", program) for program in programs)


RENAMED = replace(ONE, command=("one", "-c", FILE, "-v"))
UNUSED = File("/run/z", "not read by a program")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (plan_of(ONE, TWO), plan_of(ONE, TWO), Change()),
        (plan_of(ONE, TWO), plan_of(TWO, ONE), Change()),
        (plan_of(ONE), plan_of(ONE, TWO), Change(started=at_node(TWO))),
        (plan_of(ONE, TWO), plan_of(ONE), Change(stopped=at_node(TWO))),
        (plan_of(ONE), plan_of(RENAMED), Change(stopped=at_node(ONE), started=at_node(RENAMED))),
        (plan_of(ONE), plan_of(ONE, files=(File(FILE, "b"),)), Change(reloaded=at_node(ONE))),
        (plan_of(ONE), plan_of(ONE, files=(File(FILE, "a", 0o600),)), Change(reloaded=at_node(ONE))),
        (plan_of(ONE), plan_of(ONE, files=()), Change(reloaded=at_node(ONE))),
        (plan_of(TWO), plan_of(TWO, files=(File("/run/y", ""),)), Change(stopped=at_node(TWO), started=at_node(TWO))),
        (plan_of(ONE, TWO), plan_of(ONE, TWO, files=(File(FILE, "a"), UNUSED)), Change()),
        (plan_of(ONE), plan_of(ONE, index=102), Change(stopped=at_node(ONE), started=at_node(ONE))),
        (plan_of(TWO), plan_of(TWO, index=102), Change()),
        (plan_of(ONE), plan_of(replace(ONE, reload=None, files=())), Change()),
        (replace(plan_of(), spaces=()), plan_of(ONE), Change(started=at_node(ONE))),
        (plan_of(ONE), replace(plan_of(), spaces=()), Change(stopped=at_node(ONE))),
    ],
    ids=chain(
        ("nothing", "order", "more", "fewer", "command", "text", "mode", "no-file", "cannot-reload", "not-its-file"),
        ("device", "not-its-device", "reload", "new-place", "gone-place"),
    ),
)
def test_the_change_of_programs_between_two_plans(old: Plan, new: Plan, expected: Change) -> None:
    assert change(old, new) == expected


def with_files(plan: Plan, place: str, edit: Callable[[str, str], str]) -> Plan:
    """The plan with changed files of a place; `edit` gets path and text of each."""
    return with_objects(
        plan,
        place,
        lambda item: replace(item, text=edit(item.path, item.text)) if isinstance(item, File) else item,
    )


def with_objects(plan: Plan, place: str, edit: Callable[[Object], Object | None], *more: Object) -> Plan:
    """The plan with changed objects of a place, without those that become None, and with additional ones."""
    edited = (edit(item) for item in plan[place].objects)
    space = replace(plan[place], objects=(*(item for item in edited if item is not None), *more))
    return replace(plan, spaces=tuple(space if one.name == place else one for one in plan.spaces))


def same(item: Object) -> Object:
    return item


def pids(lab: Lab) -> dict[tuple[str, str], int]:
    return {key: one.process.pid for key, one in lab.programs._running.items()}


def carried_out(lab: Lab, new: Plan) -> None:
    """Apply a change of plans that differ only in programs and their files."""
    with lab.programs.changing(lab.plan, new):
        pass


BLOCK = ip_network("10.244.200.0/26")


def with_another_block(plan: Plan) -> Plan:
    """The first node announces another block, which all others learn."""
    blackhole = f"route {BLOCK} blackhole;\n"
    mine = Route(BLOCK, "", blackhole=True, protocol=BIRD)
    theirs = Route(BLOCK, "eth0", via=ip_address("192.168.56.1"), protocol=BIRD)
    new = with_files(plan, "node1", lambda _, text: text.replace("  route ", f"  {blackhole}  route ", 1))
    for node in plan.of_kind(Kind.NODE):
        new = with_objects(new, node.name, same, LearnedRoute(mine if node.name == "node1" else theirs))
    return new


@pytest.mark.sealed
def test_bird_reloads_its_configuration_without_a_lost_packet() -> None:
    plan = DESIGNS["calico-bgp"].plan(topology("three-nodes"))
    new = with_another_block(plan)
    source, target = (next(s.name for s in plan.of_kind(Kind.POD) if s.node == node) for node in ("node1", "node2"))
    with Lab(plan) as lab:
        before = pids(lab)
        with unbroken(lab, source, target, 20000):
            carried_out(lab, new)
            assert f"{BLOCK} via 192.168.56.1 dev eth0" in ended(lab, "node3", "ip", "route")
            since = ended(lab, "node2", "birdc", "show", "protocols")
            carried_out(lab, plan)
            assert str(BLOCK) not in ended(lab, "node3", "ip", "route")
            assert ended(lab, "node2", "birdc", "show", "protocols") == since
        assert pids(lab) == before
        assert lab.ended() == ()


@pytest.mark.sealed
def test_an_invalid_bird_configuration_is_reported_and_the_old_one_stays(two_nodes: Topology) -> None:
    plan = DESIGNS["calico-bgp"].plan(two_nodes)
    with Lab(plan) as lab:
        with pytest.raises(PlanRefused) as raised:
            carried_out(lab, with_files(plan, "node1", lambda _, text: f"{text}nonsense;\n"))
        assert str(raised.value).startswith("in node1: process bird cannot reload its files: `birdc ")
        assert "syntax error" in str(raised.value)
        ended(lab, "client", "ping", "-c", "1", "-W", "5", "web-2")


@pytest.mark.sealed
def test_a_udp_tunnel_reloads_its_table_without_a_lost_packet(two_nodes: Topology) -> None:
    plan = DESIGNS["flannel-udp"].plan(two_nodes)

    def more(path: str, text: str) -> str:
        return f"{text}10.244.9.0/24=192.168.56.2\n" if path.endswith("leases") else text

    with Lab(plan) as lab:
        plan = lab.plan  # With the plugins' objects.
        new = with_files(plan, "node1", more)
        before = pids(lab)
        ended(lab, "web-2", "ip", "address", "add", "10.244.9.9/32", "dev", "lo")
        ended(lab, "node2", "ip", "route", "add", "10.244.9.0/24", "via", "10.244.1.2")
        ping = ["ping", "-c", "1", "-W", "5", "10.244.9.9"]
        assert "unreachable" in lab.run("client", ping).stdout.lower()
        with unbroken(lab, "client", "web-2", 8000):
            carried_out(lab, new)
            ended(lab, "client", *ping)
            carried_out(lab, plan)
            assert "unreachable" in lab.run("client", ping).stdout.lower()
        assert pids(lab) == before
        with pytest.raises(PlanRefused, match=r"process udp_tunnel refused: 'nonsense' is not PREFIX=NODE$"):
            carried_out(lab, with_files(plan, "node1", lambda _, text: f"{text}nonsense\n"))
        carried_out(lab, plan)
        ended(lab, "client", "ping", "-c", "1", "-W", "5", "web-2")


@pytest.mark.sealed
@pytest.mark.parametrize("design", ["weave-sleeve", "weave-sleeve-encrypted"])
def test_sleeve_removes_and_adds_a_peer_without_a_lost_packet_to_others(design: str) -> None:
    plan = DESIGNS[design].plan(topology("three-nodes"))
    one, two, three = (
        next(s.name for s in plan.of_kind(Kind.POD) if s.node == node) for node in ("node1", "node2", "node3")
    )

    def without(_: str, text: str) -> str:
        return "".join(line for line in text.splitlines(keepends=True) if not line.endswith("=192.168.56.3\n"))

    new = with_objects(plan, "node3", lambda item: None if isinstance(item, Program) else item)
    for node in ("node1", "node2"):
        new = with_files(new, node, without)
    with Lab(plan) as lab:
        before = pids(lab)
        with unbroken(lab, one, two, 20000):
            carried_out(lab, new)
            assert len(pids(lab)) == 2
            assert lab.run(one, ["ping", "-c", "1", "-W", "1", three]).returncode == 1
            carried_out(lab, plan)
            ended(lab, one, "ping", "-c", "1", "-W", "5", three)
        after = pids(lab)
        assert {key for key, pid in after.items() if before[key] != pid} == {("node3", "sleeve")}
        assert lab.ended() == ()


@pytest.mark.sealed
def test_a_change_does_not_wait_for_an_ended_program(two_nodes: Topology) -> None:
    plan = DESIGNS["weave-sleeve"].plan(two_nodes)
    with Lab(plan) as lab:
        os.kill(pids(lab)["node1", "sleeve"], signal.SIGKILL)
        while not lab.ended():
            pass
        carried_out(lab, with_files(plan, "node1", lambda _, text: f"{text}\n"))
        assert [(one.place, one.mend) for one in lab.ended()] == [("node1", "")]


def sleeper(**more: object) -> Program:
    return Program(**({"name": "sleeper", "command": ("sleep", "1000")} | more))  # type: ignore[arg-type]


@pytest.mark.sealed
def test_programs_in_nodes_and_pods_have_environment_secret_and_log(two_nodes: Topology) -> None:
    plan = DESIGNS["l2"].plan(two_nodes)
    script = "echo $NAME; echo $SECRET; test -s /run/x/conf && exec sleep 1000"
    program = sleeper(
        command=("sh", "-c", script), environment=(("NAME", "value"),), secret="SECRET", ready=Command(("true",))
    )
    for name in ("node1", "client"):
        plan = with_objects(plan, name, same, program, File(FILE, "text"))
    with Lab(plan) as lab:
        assert lab.ended() == ()
        logs = [ended(lab, name, "cat", "/run/log/sleeper.log").split() for name in ("node1", "client")]
        assert logs[0] == logs[1]
        assert logs[0][0] == "value"
        assert len(logs[0][1]) == 32
        number = pids(lab)["client", "sleeper"]
    assert not subprocess.run(["ps", "-p", str(number)], capture_output=True).stdout.count(b"sleep")
