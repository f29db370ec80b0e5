"""Private files of a place: planned files, the names of other places, and the host name."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.designs import DESIGNS
from testbed.lab.door import Address, Unanswered
from testbed.lab.lab import Lab
from testbed.lab.living import LivingLab
from testbed.lab.names import hosts_of_pod
from testbed.plan.objects import File, Kind, Plan
from testbed.spec.topology import Topology
from tests.designs.looking import ended

RESOLVER = File("/etc/resolv.conf", "nameserver 10.96.0.10\nsearch default.svc.cluster.local\n")
KUBELETS = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def planned(topology: Topology, *files: File, place: str = "client") -> Plan:
    """The plan of a simple design, with files in one place."""
    plan = DESIGNS["l2"].plan(topology)
    space = replace(plan[place], objects=(*plan[place].objects, *files))
    return replace(plan, spaces=tuple(space if one.name == place else one for one in plan.spaces))


@pytest.mark.sealed
def test_a_pod_has_a_host_name_and_resolves_all_places(two_nodes: Topology) -> None:
    with Lab(planned(two_nodes)) as lab:
        assert ended(lab, "web-2", "hostname") == "web-2\n"
        assert ended(lab, "web-2", "cat", "/etc/hostname") == "web-2\n"
        known = ended(lab, "web-2", "cat", "/etc/hosts")
        assert known.startswith(KUBELETS)
        (own,) = [line for line in known.splitlines() if line.endswith("\tweb-2")]
        assert own == f"{lab.plan['web-2'].reached_at[0]}\tweb-2"
        for space in lab.plan.of_kind(Kind.POD, Kind.NODE):
            found = ended(lab, "web-2", "getent", "ahostsv4", space.name)
            assert found.split()[0] == str(space.reached_at[0])
        ended(lab, "web-2", "ping", "-c", "1", "-W", "5", "client")


@pytest.mark.sealed
def test_every_place_has_its_host_name_and_its_devices_in_sys(two_nodes: Topology) -> None:
    with Lab(planned(two_nodes)) as lab:
        for place in ("client", "node1", "gateway", "fabric"):
            assert ended(lab, place, "hostname") == ended(lab, place, "cat", "/etc/hostname") == f"{place}\n"
            assert set(ended(lab, place, "ls", "/sys/class/net").split()) == {"lo", *lab.plan.devices_of(place)}
        assert lab.hosts["node1"].cmd("hostname; ls /sys/class/net/eth0/mtu").split() == [
            "node1",
            "/sys/class/net/eth0/mtu",
        ]
        assert {path.name for path in Path("/sys/class/net").iterdir()} == {"lo"}, "the capsule sees other devices"


@pytest.mark.root
def test_a_write_to_sys_changes_a_device_of_the_place_and_none_of_the_machine(living: LivingLab) -> None:
    def of_machine() -> dict[str, str]:
        return {str(path): path.read_text() for path in Path("/sys/class/net").glob("*/mtu")}

    before = of_machine()
    for place in ("client", "node1"):
        written = said(living, place, "sh", "-c", "cd /sys/class/net/eth0; echo 1300 > mtu; cat mtu")
        assert written == "1300\n"
        assert " mtu 1300 " in said(living, place, "ip", "link", "show", "dev", "eth0")
    assert of_machine() == before


@pytest.mark.sealed
def test_a_look_up_of_an_unknown_name_fails_at_once(two_nodes: Topology) -> None:
    with Lab(planned(two_nodes)) as lab:
        for place in ("client", "node1"):
            begin = time.monotonic()
            assert lab.run(place, ["getent", "hosts", "www.example.org"]).returncode == 2
            assert time.monotonic() - begin < 2
            assert Path("/etc/resolv.conf").read_text() not in ended(lab, place, "cat", "/etc/resolv.conf")


def test_the_host_name_of_a_pod_is_without_its_namespace(two_nodes: Topology) -> None:
    plan = planned(two_nodes)
    pod = replace(plan["client"], name="client.shop")
    assert f"{pod.reached_at[0]}\tclient client.shop\n" in hosts_of_pod(plan, pod)


@pytest.mark.sealed
def test_a_file_of_a_pod_is_visible_only_there(two_nodes: Topology) -> None:
    own = (RESOLVER, File("/run/app/conf", "mine\n", 0o600), File("/etc/app/conf", "mine too\n"))
    with Lab(planned(two_nodes, *own)) as lab:
        for file in own:
            assert ended(lab, "client", "cat", file.path) == file.text
            assert ended(lab, "client", "stat", "-c", "%a", file.path) == f"{file.mode:o}\n"
        for other in ("web-1", "web-2", "node1", "fabric"):
            for file in own[1:]:
                assert lab.run(other, ["ls", file.path]).returncode == 2
            assert lab.run(other, ["cat", RESOLVER.path]).stdout != RESOLVER.text
        ended(lab, "client", "touch", "/etc/written", "/run/written", "/var/lib/written")
        for path in ("/etc/written", "/run/written", "/var/lib/written"):
            assert not Path(path).exists()
            assert lab.run("web-1", ["ls", path]).returncode == 2


@pytest.mark.sealed
def test_files_and_names_follow_a_change(two_nodes: Topology) -> None:
    machines = Path("/etc/hostname").read_text() if Path("/etc/hostname").exists() else None
    with Lab(planned(two_nodes, RESOLVER, File("/etc/passwd", "none\n"))) as lab:
        assert ended(lab, "client", "cat", "/etc/passwd") == "none\n"
        changed = replace(RESOLVER, text="nameserver 10.96.0.11\n")
        new = planned(two_nodes, changed)
        moved = replace(new["web-2"], reached_at=(type(new["web-2"].reached_at[0])("10.244.1.77"),))  # type: ignore[arg-type]
        new = replace(new, spaces=tuple(moved if s.name == "web-2" else s for s in new.spaces))
        lab.places.change(new)
        assert ended(lab, "client", "cat", RESOLVER.path) == changed.text
        assert ended(lab, "client", "cat", "/etc/passwd") == Path("/etc/passwd").read_text()
        assert "10.244.1.77 web-2\n" in ended(lab, "client", "cat", "/etc/hosts")
        lab.places.change(planned(two_nodes))
        assert ended(lab, "client", "cat", RESOLVER.path) == ended(lab, "web-1", "cat", RESOLVER.path) != changed.text
    assert machines == (Path("/etc/hostname").read_text() if machines else None)


@pytest.mark.sealed
def test_a_pods_mount_and_uts_namespaces_are_created_at_the_first_use(two_nodes: Topology) -> None:
    def namespaces() -> int:
        links = (path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
        return sum(str(link).startswith(("mnt:", "uts:")) for link in links)

    before = namespaces()
    with Lab(planned(two_nodes)) as lab:
        assert namespaces() == before
        for _ in range(2):
            lab.run("client", ["true"])
            assert namespaces() == before + 2
    assert namespaces() == before


@pytest.fixture
def living(two_nodes: Topology) -> Iterator[LivingLab]:
    """A lab in its own capsule, in which a pod has a file."""
    name = f"test-{os.getpid()}-{random.randrange(10**9)}"
    facts = {"design": "l2", "offload": True, "topology_file": "", "topology_text": "", "topology": two_nodes.name}
    yield LivingLab.bring_up(planned(two_nodes, RESOLVER), name, facts)
    with suppress(Unanswered):
        LivingLab(Address(os.geteuid(), name)).down()


def said(lab: LivingLab, place: str, *command: str) -> str:
    with lab.start(place, command, stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, command
    return str(out.decode())


@pytest.mark.root
def test_a_command_from_outside_sees_the_files_of_the_pod(living: LivingLab) -> None:
    assert said(living, "client", "hostname") == "client\n"
    assert said(living, "client", "cat", "/etc/resolv.conf") == RESOLVER.text
    assert said(living, "client", "cat", "/etc/hosts").startswith(KUBELETS)
    assert "client\tweb" not in said(living, "node1", "cat", "/etc/hosts")
    assert said(living, "client", "ls", "/run/netns").split() == said(living, "node1", "ls", "/run/netns").split()
    said(living, "client", "ip", "-n", "web-2", "link")
    said(living, "client", "ping", "-c", "1", "-W", "5", "web-2")
    said(living, "client", "touch", "/run/left")
    assert "left" in said(living, "client", "ls", "/run")
    assert "left" not in said(living, "web-1", "ls", "/run")


def namespaces_of(kind: str) -> set[str]:
    """Namespaces that processes of this machine are in or hold."""
    found = set()
    for folder in (*Path("/proc").glob(f"[0-9]*/ns/{kind}"), *Path("/proc").glob("[0-9]*/fd/*")):
        with suppress(OSError):
            if (link := str(folder.readlink())).startswith(f"{kind}:"):
                found.add(link)
    return found


@pytest.mark.root
@pytest.mark.parametrize("end", ["down", "kill"])
def test_nothing_is_left_behind(living: LivingLab, end: str) -> None:
    with living.start(
        "client", ["sh", "-c", "stat -Lc '%i' /proc/self/ns/mnt /proc/self/ns/uts; sleep 1000"], stdout=subprocess.PIPE
    ) as inside:
        assert inside.stdout
        own = {f"{kind}:[{inside.stdout.readline().decode().strip()}]" for kind in ("mnt", "uts")}
        assert own <= namespaces_of("mnt") | namespaces_of("uts")
        if end == "down":
            living.down()
        else:
            os.kill(keeper_of(own), signal.SIGKILL)
        inside.wait(timeout=30)
    deadline = time.monotonic() + 30
    while own & (namespaces_of("mnt") | namespaces_of("uts")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    mounts = Path("/proc/self/mountinfo").read_text()
    assert ".layers" not in mounts


def keeper_of(own: set[str]) -> int:
    """The process that holds these namespaces by descriptors."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            held = {str(path.readlink()) for path in (process / "fd").iterdir()}
            if own <= held:
                return int(process.name)
    raise AssertionError("no process holds them")
