"""Users other than root can have labs, and cannot enter those of other users."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.lab import door
from testbed.lab.door import Address, Unanswered
from testbed.lab.living import LivingLab
from tests.as_user import ROOT, as_user, interpreter, run_as

pytestmark = pytest.mark.root

USER, OTHER = (60_000 + 2 * (os.getpid() % 2000) + number for number in range(2))
"""Used only by this process, as other tests may run in parallel."""
NAME = f"test-rootless-{os.getpid()}"
FILE = "topologies/two-nodes.yaml"


@pytest.fixture
def lab() -> Iterator[Address]:
    """A lab of USER."""
    made = run_as(USER, "up", FILE, "--design", "vxlan", "--name", NAME)
    assert (made.returncode, made.stderr) == (0, "")
    address = Address(USER, NAME)
    yield address
    LivingLab(address).down()
    assert address not in door.addresses()


def test_a_user_can_list_enter_and_change_a_lab(lab: Address) -> None:
    assert [entry["lab"] for entry in json.loads(run_as(USER, "list", "--json").stdout)] == [NAME]
    pinged = run_as(USER, "exec", "client", "--", "ping", "-c", "1", "-W", "2", "web-2")
    assert " 1 received" in pinged.stdout
    assert run_as(USER, "exec", "node1", "--", "ip", "link", "add", "mine0", "type", "bridge").returncode == 0
    assert "flannel.1" in run_as(USER, "ip", "node1", "-brief", "link").stdout


def test_the_pods_of_a_users_lab_have_private_names_and_files(lab: Address) -> None:
    assert run_as(USER, "exec", "web-2", "--", "hostname").stdout == "web-2\n"
    assert run_as(USER, "exec", "web-2", "--", "ls", "/sys/class/net").stdout.split() == ["eth0", "lo"]
    assert run_as(USER, "exec", "node1", "--", "hostname").stdout == "node1\n"
    assert "flannel.1" in run_as(USER, "exec", "node1", "--", "ls", "/sys/class/net").stdout
    known = run_as(USER, "exec", "web-2", "--", "cat", "/etc/hosts").stdout
    assert known.startswith("# Kubernetes-managed hosts file.\n")
    assert "\tweb-2\n" in known
    wrote = run_as(USER, "exec", "web-2", "--", "sh", "-c", "echo mine > /etc/resolv.conf && touch /run/mine")
    assert (wrote.returncode, wrote.stderr) == (0, "")
    assert run_as(USER, "exec", "web-2", "--", "cat", "/etc/resolv.conf").stdout == "mine\n"
    assert run_as(USER, "exec", "client", "--", "cat", "/etc/resolv.conf").stdout != "mine\n"
    assert run_as(USER, "exec", "client", "--", "ls", "/run/mine").returncode == 2


def test_another_user_cannot_list_enter_or_end_a_lab(lab: Address) -> None:
    assert json.loads(run_as(OTHER, "list", "--json").stdout) == []
    for words in (["exec", "--lab", NAME, "client", "--", "id"], ["down", NAME], ["ip", "--lab", NAME, "client", "a"]):
        refused = run_as(OTHER, *words)
        assert (refused.returncode, refused.stdout) == (2, "")
    intruder = (
        "from testbed.lab.door import Address\n"
        "from testbed.lab.living import LivingLab\n"
        f"lab = LivingLab(Address({USER}, {NAME!r}))\n"
        "for act in (lambda: lab.facts, lambda: lab.enter(['client']), lab.down):\n"
        "    try:\n"
        "        print(act())\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__)\n"
    )
    tried = as_user(OTHER, [*interpreter(), "-c", intruder])
    assert tried.stdout.split() == ["Unanswered"] * 3
    assert run_as(USER, "exec", "client", "--", "true").returncode == 0


def test_a_user_cannot_list_or_query_a_lab_of_root(repository: Path) -> None:
    made = subprocess.run(
        [*interpreter(), "-m", "testbed", "up", FILE, "--design", "l2", "--name", NAME], cwd=repository, check=False
    )
    assert made.returncode == 0
    address = Address(0, NAME)
    try:
        assert json.loads(run_as(USER, "list", "--json").stdout) == []
        knock = (
            f"from testbed.lab.living import *; from testbed.lab.door import *; LivingLab(Address(0, {NAME!r})).facts"
        )
        assert "Unanswered" in as_user(USER, [*interpreter(), "-c", knock]).stderr
    finally:
        LivingLab(address).down()


def test_root_enters_a_users_lab_as_that_user(lab: Address, tmp_path: Path) -> None:
    """Its contents are the user's, so a program in it must not run with root's rights."""
    file = tmp_path / "secret"
    file.write_text("root's")
    file.chmod(0o600)
    tmp_path.chmod(0o755)
    with LivingLab(lab).start("client", ["cat", str(file)], stderr=subprocess.PIPE) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"Permission denied" in err


def test_root_does_not_unpickle_objects_from_a_users_lab(lab: Address) -> None:
    """Unpickling may run any code."""
    with pytest.raises(Unanswered, match="another user's"):
        LivingLab(lab).inside(lambda _: 1)


def test_root_can_read_plain_data_from_a_users_lab(lab: Address) -> None:
    assert LivingLab(lab).plan["client"].home == "node1"
    assert LivingLab(lab).topology.pod_ids == ("client", "web-1", "web-2")


def test_a_socket_of_another_user_is_not_a_lab(lab: Address) -> None:
    """Any user may bind a socket with any name, so the peer's user is checked."""
    imposter = (
        "import socket, time\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        f"s.bind('\\0testbed/{USER}/{NAME}-2'); s.listen(); print('ready', flush=True); time.sleep(30)\n"
    )
    switch = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"]
    with subprocess.Popen([*switch, *interpreter(), "-c", imposter], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(Unanswered, match="belongs to another user"):
            door.connected(Address(USER, f"{NAME}-2"))
        listed = json.loads(run_as(USER, "list", "--json").stdout)
        process.kill()
    assert [entry["lab"] for entry in listed] == [NAME]


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that all users can write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_a_user_can_capture_check_trace_inspect_and_graph(lab: Address, everybodys: Path) -> None:
    switch = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--bounding-set=-all"]
    capture = [*switch, *interpreter(), "-m", "testbed", "capture", "client", "icmp", "--count", "2"]
    for more, shown in ((["--text"], "ICMP echo reply"), (["-w", str(everybodys / "x.pcapng")], "")):
        with subprocess.Popen(
            [*capture, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        ) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("recording")
            run_as(USER, "exec", "client", "--", "ping", "-c", "1", "-W", "2", "web-2")
            out, err = process.communicate(timeout=20)
        assert (process.returncode, err[:9]) == (0, "2 packets")
        assert shown in out
    assert (everybodys / "x.pcapng").stat().st_uid == USER
    for words in (["check"], ["trace", "client", "web-2"], ["inspect"], ["graph"]):
        said = run_as(USER, *words)
        assert (said.returncode, said.stderr) == (0, ""), words


def test_the_nodes_of_a_users_lab_have_daemons_and_names() -> None:
    name = f"{NAME}-bgp"
    made = run_as(USER, "up", FILE, "--design", "calico-bgp", "--name", name)
    try:
        assert (made.returncode, made.stderr) == (0, "")
        assert "Established" in run_as(USER, "exec", "--lab", name, "node1", "--", "birdc", "show", "protocols").stdout
        pinged = run_as(USER, "exec", "--lab", name, "node1", "--", "ping", "-c", "1", "-W", "2", "web-2")
        assert " 1 received" in pinged.stdout
    finally:
        run_as(USER, "down", name)
