"""Running labs: only their user can find, enter and end them, from any process; nothing is left afterwards."""

import os
import pty
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from testbed.designs import DESIGNS, PLAIN
from testbed.lab import door
from testbed.lab.door import Address, Unanswered
from testbed.lab.living import CannotBeBuilt, LivingLab, NameTaken, UnknownPlace
from testbed.plan.objects import Plan, Route
from testbed.spec.topology import Topology

pytestmark = pytest.mark.root

PATIENCE_S = 10


@pytest.fixture
def name() -> Iterator[str]:
    """Name for a lab, which is ended if the test leaves it up."""
    chosen = f"test-{os.getpid()}-{random.randrange(10**9)}"
    yield chosen
    with suppress(Unanswered):
        LivingLab(Address(os.geteuid(), chosen)).down()


def facts_of(topology: Topology, design: str) -> dict[str, object]:
    return {
        "design_spec": DESIGNS[design].spec.model_dump(mode="json"),
        "topology_spec": topology.as_data(),
        "topology_file": "t.yaml",
    }


def up(topology: Topology, name: str, design: str = "l3-host-routes") -> LivingLab:
    return LivingLab.bring_up(DESIGNS[design].plan(topology), name, facts_of(topology, design))


def cli(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "testbed", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def said(*arguments: str) -> tuple[int, str, str]:
    with cli(*arguments) as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


def output(lab: LivingLab, place: str, *command: str) -> str:
    with lab.start(place, command, stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0, command
        return str(out.decode())


def eventually(true: object) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if true():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def running(mark: str) -> bool:
    return mark in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_a_lab_is_found_entered_and_ended_by_name(two_nodes: Topology, name: str) -> None:
    up(two_nodes, name)
    (lab,) = [lab for lab in LivingLab.all() if lab.name == name]
    assert lab.facts["state"] == "up"
    assert "10.244.0.2/24" in output(lab, "client", "ip", "address")
    assert "1 received" in output(lab, "client", "ping", "-c", "1", "-W", "2", "web-2")
    lab.down()
    assert name not in [lab.name for lab in LivingLab.all()]
    with pytest.raises(Unanswered):
        lab.down()


def test_two_labs_with_equal_pods_are_isolated(two_nodes: Topology, name: str) -> None:
    one, other = up(two_nodes, name), up(two_nodes, f"{name}-2", "vxlan")
    try:
        output(one, "client", "ip", "address", "add", "10.9.9.9/32", "dev", "eth0")
        assert "10.9.9.9" not in output(other, "client", "ip", "address")
        assert "flannel.1" not in output(one, "node1", "ip", "link")
        assert "flannel.1" in output(other, "node1", "ip", "link")
    finally:
        other.down()


def test_a_name_can_be_used_by_one_lab_at_a_time(two_nodes: Topology, name: str) -> None:
    up(two_nodes, name)
    with pytest.raises(NameTaken):
        up(two_nodes, name)
    LivingLab(Address(os.geteuid(), name)).down()
    up(two_nodes, name)


def test_a_refusal_of_the_kernel_is_reported_and_nothing_is_left(two_nodes: Topology, name: str) -> None:
    whole = DESIGNS["vxlan"].plan(two_nodes)
    spoilt = [space if space.name != "node1" else _with_route_to_nowhere(whole) for space in whole.spaces]
    plan = Plan(whole.topology, whole.design, whole.pod_mtu, tuple(spoilt), whole.veths)
    with pytest.raises(CannotBeBuilt, match=r"in node1: ip route add .*: .*unreachable"):
        LivingLab.bring_up(plan, name, facts_of(two_nodes, "vxlan"))
    assert eventually(lambda: name not in [lab.name for lab in LivingLab.all()])


def _with_route_to_nowhere(plan: Plan) -> object:
    import ipaddress
    from dataclasses import replace

    nowhere = Route(ipaddress.ip_network("198.51.100.0/24"), "eth0", ipaddress.ip_address("203.0.113.1"))
    return replace(plan["node1"], objects=(*plan["node1"].objects, nowhere))


def test_the_error_for_an_unknown_place_lists_the_places(two_nodes: Topology, name: str) -> None:
    lab = up(two_nodes, name)
    with pytest.raises(UnknownPlace) as caught:
        lab.start("clent", ["true"])
    assert "client" in caught.value.places


def test_work_inside_has_all_networks_and_returns_its_result(two_nodes: Topology, name: str) -> None:
    lab = up(two_nodes, name)

    def look(namespaces: object) -> dict[str, str]:
        found = {}
        for place, namespace in namespaces.items():  # type: ignore[attr-defined]
            with namespace.entered():
                found[place] = Path("/proc/thread-self/net/dev").read_text()
        return found

    found = lab.inside(look)
    assert set(found) == {"client", "web-1", "web-2", "node1", "node2", "fabric", "gateway"}
    assert "kube-bridge" in found["node1"]
    assert "kube-bridge" not in found["client"]
    with pytest.raises(ZeroDivisionError):
        lab.inside(lambda _: 1 // 0)


def test_ctrl_c_before_the_caller_waits_reaches_the_work(
    two_nodes: Topology, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the work runs, and says so, before its caller does."""
    lab = up(two_nodes, name)

    def busy(descriptors: object, close: object = door.close) -> None:
        close(descriptors)  # type: ignore[operator]
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)

    def wait(_: object) -> list[int]:
        heard: list[int] = []
        signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
        deadline = time.monotonic() + PATIENCE_S
        while not heard and time.monotonic() < deadline:
            time.sleep(0.01)
        return heard

    monkeypatch.setattr(door, "close", busy)
    child = os.fork()  # It has one thread, as the command line has; a worker of pytest has several.
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Jobs in the background may ignore it.
        heard: list[int] = []
        with suppress(BaseException):
            heard = lab.inside(wait)
        os._exit(heard != [signal.SIGINT])
    assert os.waitpid(child, 0)[1] == 0


def test_exit_codes_and_signals_are_forwarded(two_nodes: Topology, name: str) -> None:
    up(two_nodes, name)
    assert said("exec", "--lab", name, "client", "--", "sh", "-c", "exit 7")[0] == 7
    assert said("exec", "--lab", name, "client", "sh", "-c", "kill -USR1 $$")[0] == -signal.SIGUSR1
    code, _, err = said("exec", "--lab", name, "client", "--", "no-such-program")
    assert (code, err) == (127, "testbed: no-such-program cannot be run in client: No such file or directory\n")
    with cli(
        "exec",
        "--lab",
        name,
        "client",
        "--",
        "sh",
        "-c",
        "trap 'echo caught; exit 3' TERM; echo ready; for i in $(seq 400); do sleep 0.05; done",
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.read() == "caught\n"
        assert process.wait(PATIENCE_S) == 3


def test_a_command_ends_when_its_caller_is_killed(two_nodes: Topology, name: str) -> None:
    up(two_nodes, name)
    mark = f"1000.{random.randrange(10**9)}"
    with cli("exec", "--lab", name, "client", "--", "sleep", mark) as process:
        assert eventually(lambda: running(f"sleep {mark}"))
        time.sleep(0.3)
        process.kill()
    assert eventually(lambda: not running(mark))


def test_a_command_ends_with_its_lab(two_nodes: Topology, name: str) -> None:
    lab = up(two_nodes, name)
    with cli("exec", "--lab", name, "client", "--", "sh", "-c", "echo ready; sleep 1000") as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        lab.down()
        assert process.wait(PATIENCE_S) == 128 + signal.SIGKILL


def test_a_command_has_the_terminal(two_nodes: Topology, name: str) -> None:
    up(two_nodes, name)
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # Tests that run in the background ignore it; no shell could trap it.
        script = "trap 'echo caught; exit 9' INT; tty -s && echo ready; for i in $(seq 400); do sleep 0.05; done"
        os.execv(
            sys.executable, [sys.executable, "-m", "testbed", "exec", "--lab", name, "web-1", "--", "sh", "-c", script]
        )
    heard = b""
    with suppress(OSError):  # EIO when the other side of the terminal is closed.
        while chunk := os.read(terminal, 1000):
            heard += chunk
            if b"ready" in heard and b"^C" not in heard:
                os.write(terminal, b"\x03")
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 9
    assert heard.count(b"caught") == 1


def test_the_shell_of_a_place_has_its_name_in_the_environment(two_nodes: Topology, name: str) -> None:
    up(two_nodes, name)
    with cli("shell", "--lab", name, "web-1", stdin=subprocess.PIPE) as process:
        out, _ = process.communicate("echo $TESTBED_PLACE; hostname -I; exit 4\n", timeout=30)
    assert (out.split(), process.returncode) == (["web-1", "10.244.0.3"], 4)


def test_mininets_own_shell_knows_pods_and_nodes(two_nodes: Topology, name: str) -> None:
    up_text(two_nodes, name)
    with cli("shell", "--lab", name, stdin=subprocess.PIPE) as process:
        out, err = process.communicate("web-1 ping -c 1 -W 2 web-2\npingall\nexit\n", timeout=60)
    assert " 1 received" in out + err
    assert "0% dropped (20/20 received)" in out + err
    with cli("shell", "--lab", name, stdin=subprocess.PIPE) as process:
        out, err = process.communicate("web-1 echo $(hostname) $(ls /sys/class/net)\n", timeout=60)
    assert "web-1 eth0 lo\n" in out + err


def up_text(topology: Topology, name: str) -> None:
    """Bring up a lab by the command line."""
    file = Path(__file__).parents[2] / "topologies/two-nodes.yaml"
    code, out, err = said("up", str(file), "--design", "vxlan", "--name", name)
    assert (code, err) == (0, "")
    assert out.startswith(f"{name} is up: vxlan, 2 nodes, 3 pods, in ")


def test_no_verb_needs_the_topology_file_after_up(name: str, tmp_path: Path, repository: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text((repository / "topologies/two-nodes.yaml").read_text())
    assert said("up", str(file), "--design", "vxlan", "--name", name)[0] == 0
    file.unlink()
    assert name in said("list")[1]
    lab = LivingLab(Address(os.geteuid(), name))
    assert lab.plan == DESIGNS["vxlan"].plan(lab.topology)
    assert said("down", name)[:2] == (0, f"{name} is down\n")


def test_plan_and_topology_are_current_and_cached(two_nodes: Topology, name: str) -> None:
    up(two_nodes, name, "vxlan")
    lab = LivingLab(Address(os.geteuid(), name))
    plan = lab.plan
    assert plan == DESIGNS["vxlan"].plan(two_nodes)
    assert lab.topology == two_nodes
    assert lab.plan is plan
    lab.down()
    other = two_nodes.model_copy(update={"name": "other"})
    up(other, name)
    assert (lab.plan, lab.topology) == (DESIGNS["l3-host-routes"].plan(other), other)


def test_a_lab_of_another_version_is_reported(two_nodes: Topology, name: str) -> None:
    facts = facts_of(two_nodes, "vxlan")
    lab = LivingLab.bring_up(DESIGNS["vxlan"].plan(two_nodes), name, facts | {"topology_spec": {"colour": "red"}})
    with pytest.raises(Unanswered, match=f"the lab {name} was brought up by another version"):
        _ = lab.topology


def test_a_lab_that_is_being_built_can_be_ended(name: str, repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    grid = (repository / "topologies/grid.yaml").read_text()
    file.write_text(grid.replace("nodes: 2", "nodes: 16").replace("pods_per_node: 4", "pods_per_node: 64"))
    with cli("up", str(file), "--design", "vxlan", "--name", name) as process:
        assert eventually(lambda: Address(os.geteuid(), name) in door.addresses())
        LivingLab(Address(os.geteuid(), name)).down()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == f"testbed: {name} could not be built: its process ended before it was up\n"
    assert Address(os.geteuid(), name) not in door.addresses()


def things(name: str) -> dict[str, object]:
    """Objects on the host that a lab with that name could leave."""

    def lines(*command: str) -> list[str]:
        return sorted(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())

    return {
        "links": lines("ip", "-o", "link"),
        "addresses": lines("ip", "-o", "address"),
        "routes": lines("ip", "route", "show", "table", "all"),
        "rules": lines("ip", "rule"),
        "mounts": lines("cat", "/proc/self/mounts"),
        "run": sorted(str(path) for path in Path("/run").iterdir()),
        "labs": [address.name for address in door.addresses() if address.name.startswith(name)],
    }


def processes(mark: str) -> list[str]:
    return [
        line
        for line in subprocess.run(
            ["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        if mark in line
    ]


@pytest.mark.parametrize("design", list(PLAIN))
def test_the_host_is_the_same_before_during_and_after(design: str, two_nodes: Topology, name: str) -> None:
    def host() -> dict[str, object]:
        return {key: value for key, value in things(name).items() if key != "labs"}

    before = host()
    lab = up(two_nodes, name, design)
    assert host() == before
    lab.down()
    assert host() == before


KILLS = 50
"""Per kind."""


@pytest.mark.parametrize("kind", ["up", "exec", "down", "lab"])
def test_nothing_is_left_after_sigkill_at_any_moment(kind: str, name: str, repository: Path) -> None:
    """SIGKILL of a verb's process, or of one of the lab's processes, at random moments."""
    before = things(name)
    file = str(repository / "topologies/two-nodes.yaml")
    chance = random.Random(11)
    address = Address(os.geteuid(), name)
    verbs = {
        "up": ["up", file, "--design", "vxlan", "--name", name],
        "exec": ["exec", "--lab", name, "client", "--", "sleep", f"9{name}"],
        "down": ["down", name],
    }
    # The time of a verb is measured, so that kills cover all of it even on a busy machine.
    took = {"up": seconds(*verbs["up"]), "exec": seconds(*verbs["exec"][:-2], "true"), "down": seconds(*verbs["down"])}
    for _ in range(KILLS):
        if kind != "up":
            assert eventually(lambda: address not in door.addresses())
            assert said(*verbs["up"])[0] == 0
        if kind == "lab":
            kill_one_of(name, chance)
        else:
            process = cli(*verbs[kind])
            time.sleep(chance.uniform(0, 1.5 * took[kind]))
            process.kill()
            process.communicate()
        if kind in ("up", "exec", "down"):
            # A lab that is still up can be ended as usual.
            with suppress(Unanswered):
                LivingLab(address).down()
        assert eventually(lambda: address not in door.addresses()), kind
    assert eventually(lambda: processes(name) == []), processes(name)
    assert things(name) == before


def seconds(*arguments: str) -> float:
    """Duration of a verb."""
    begin = time.monotonic()
    assert said(*arguments)[0] == 0
    return time.monotonic() - begin


def kill_one_of(name: str, chance: random.Random) -> None:
    """Kill a random process of the lab: the processes in the keeper's PID namespace."""
    own = Path("/proc/self/ns/pid").readlink()
    lab = LivingLab(Address(os.geteuid(), name))
    descriptors, _ = lab.enter([])
    inside = os.fstat(descriptors[-1]).st_ino
    door.close(descriptors)
    keepers = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            namespace = (entry / "ns/pid").readlink()
            if (
                namespace != own
                and f"[{inside}]" in str(namespace)
                and (entry / "comm").read_text().startswith("python")
            ):
                keepers.append(int(entry.name))
    os.kill(chance.choice(keepers), signal.SIGKILL)
