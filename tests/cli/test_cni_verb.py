"""`testbed cni`, and labs whose pods are attached by CNI plugins. Each test has its own capsule."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_cli import cli, golden

pytestmark = pytest.mark.sealed

NETWORK = '{"cniVersion": "1.0.0", "name": "mynet", "plugins": [{"type": "mine", "capabilities": {"mac": true}}]}'
ANSWER = """echo '{"cniVersion": "1.0.0", "ips": [{"address": "'$address'"}]}'"""
ERROR = """echo '{"code": 103, "msg": "no", "details": "d"}'; exit 1"""
PLUGIN = f"""#!/bin/sh
cat > /dev/null
node=veth-$CNI_CONTAINERID
case $CNI_COMMAND in
ADD)
    echo "making $node" >&2
    ip link add $node address 02:00:00:00:00:01 type veth peer name $CNI_IFNAME address 02:00:00:00:00:02 \
netns $CNI_NETNS || exit 1
    case $CNI_CONTAINERID in client) address=10.9.0.5/24 ;; *) address=10.9.0.${{CNI_CONTAINERID#web-}}/24 ;; esac
    nsenter --net=$CNI_NETNS ip address add $address dev $CNI_IFNAME
    {ANSWER}
    ;;
DEL) ip link del $node 2> /dev/null || true ;;
CHECK) ip link show $node > /dev/null 2>&1 ||
    {{ echo '{{"code": 101, "msg": "no '$node'", "details": "d"}}'; exit 1; }} ;;
esac
"""


@contextmanager
def up(repository: Path, folder: Path, *words: str) -> Iterator[None]:
    (folder / "10-mynet.conflist").write_text(NETWORK)
    (folder / "mine").write_text(PLUGIN)
    (folder / "mine").chmod(0o755)
    (folder / "mine.yaml").write_text("cni: 10-mynet.conflist\nbin: .\ncapabilities: {mac: '02:00:00:00:00:02'}\n")
    made = cli(
        "up",
        "topologies/two-nodes.yaml",
        "--design",
        str(folder / "mine.yaml"),
        "--name",
        "one",
        *words,
        cwd=repository,
    )
    assert made.returncode == 0, made.stderr
    try:
        yield
    finally:
        cli("down", "--all", cwd=repository)


def plain(text: str, folder: Path) -> str:
    """The text without durations and temporary folders."""
    return re.sub(r"\d+ ms", "N ms", text.replace(str(folder), "FOLDER"))


def test_steps_by_hand_show_the_calls_and_the_changes(repository: Path, tmp_path: Path) -> None:
    with up(repository, tmp_path):
        steps = [["del", "client"], ["add", "client"], ["check", "client"]]
        said = [cli("cni", *words, cwd=repository) for words in steps]
        assert [(one.returncode, one.stderr) for one in said] == [(0, "")] * 3
        golden("cni-steps", plain("\n".join(one.stdout for one in said), tmp_path))
        cli("exec", "node1", "--", "ip", "link", "del", "veth-client", cwd=repository)
        failed = cli("cni", "check", "client", cwd=repository)
        assert failed.returncode == 1
        golden("cni-check-failed", plain(failed.stdout + failed.stderr, tmp_path))
        assert cli("inspect", cwd=repository).returncode == 1
        assert cli("cni", "del", "client", cwd=repository).returncode == 0
        assert cli("inspect", cwd=repository).returncode == 0


def test_impossible_steps_are_explained(repository: Path, tmp_path: Path) -> None:
    with up(repository, tmp_path):
        texts = []
        for code, words in (
            (2, ["cni", "add", "clint"]),
            (2, ["cni", "status", "client"]),
            (2, ["cni", "dell", "client"]),
            (1, ["cni", "status", "node1"]),
            (1, ["cni", "add", "client"]),
        ):
            said = cli(*words, cwd=repository)
            assert said.returncode == code
            texts.append(said.stderr)
    other = cli("up", "topologies/two-nodes.yaml", "--design", "l2", "--name", "plain", cwd=repository)
    assert other.returncode == 0
    texts.append(cli("cni", "add", "client", cwd=repository).stderr)
    cli("down", "--all", cwd=repository)
    golden("cni-wrong", "\n".join(texts))


def test_calls_are_printed_as_json_and_logged(repository: Path, tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    with up(repository, tmp_path, "--log", str(log)):
        (call, *_) = [json.loads(line) for line in log.read_text().splitlines()]
        assert (call["plugin"], call["command"], call["code"]) == ("mine", "ADD", 0)
        assert json.loads(call["stdin"])["runtimeConfig"] == {"mac": "02:00:00:00:00:02"}
        said = cli("cni", "del", "web-1", "--json", "--log", str(log), cwd=repository)
        step = json.loads(said.stdout)
        assert step["calls"] == [json.loads(log.read_text().splitlines()[-1])]
        assert step["changes"]["node1"] == ["- link veth-web-1 type veth address 02:00:00:00:00:01 mtu 1500 down"]
        again = json.loads(cli("cni", "check", "web-1", "--json", cwd=repository).stdout)
        assert again["error"].startswith("web-1: eth0 not attached")
        log.unlink()
        down = cli("down", "--log", str(log), cwd=repository)
        assert (down.returncode, down.stdout, down.stderr) == (0, "one is down\n", "")
        calls = [json.loads(line) for line in log.read_text().splitlines()]
        assert sorted((call["command"], call["container"]) for call in calls) == [
            ("DEL", "client"),
            ("DEL", "web-1"),
            ("DEL", "web-2"),
        ]


def test_an_unwritable_log_is_reported_before_anything_is_built(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "10-mynet.conf").write_text('{"name": "mynet", "type": "bridge"}')
    words = ["up", "topologies/two-nodes.yaml", "--name", "one", "--log", str(tmp_path / "absent" / "log"), "--design"]
    said = cli(*words, str(tmp_path / "10-mynet.conf"), cwd=repository)
    assert (said.returncode, said.stdout) == (2, "")
    assert "absent/log cannot be written: No such file or directory" in said.stderr
    said = cli(*words, "vxlan", cwd=repository)
    assert (said.returncode, said.stdout) == (2, "")
    assert "--log: the design vxlan calls no CNI plugin" in said.stderr
    assert cli("list", "--json", cwd=repository).stdout.strip() == "[]"


def test_a_failed_add_by_hand_is_undone(repository: Path, tmp_path: Path) -> None:
    with up(repository, tmp_path):
        assert cli("cni", "del", "client", cwd=repository).returncode == 0
        (tmp_path / "mine").write_text(PLUGIN.replace(ANSWER, ERROR))
        said = cli("cni", "add", "client", "--json", cwd=repository)
        step = json.loads(said.stdout)
        assert (said.returncode, [call["command"] for call in step["calls"]]) == (1, ["ADD", "DEL"])
        assert step["error"] == (
            "the CNI plugin mine failed at ADD for client: code 103: no\n  details: d\n  stderr: making veth-client"
        )
        assert step["changes"] == {}
        (tmp_path / "mine").write_text(PLUGIN)
        assert cli("cni", "add", "client", cwd=repository).returncode == 0


def test_a_lab_goes_down_even_if_plugins_fail_and_prints_their_errors(repository: Path, tmp_path: Path) -> None:
    with up(repository, tmp_path):
        (tmp_path / "mine").write_text(PLUGIN.replace("|| true", f"; {ERROR}"))
        down = cli("down", cwd=repository)
        assert (down.returncode, down.stdout) == (0, "one is down\n")
        golden("cni-down-failed", "".join(sorted(re.findall(r"testbed: [^:]*:.*\n(?:  .*\n)*", down.stderr))))
        assert cli("list", cwd=repository).returncode == 0
        assert len(down.stderr.splitlines()) == 6


def test_a_malformed_configuration_is_located(repository: Path) -> None:
    case = "tests/cni/cases/05-bridge-disabled-interface.MALFORMED.conf"
    said = cli("up", "topologies/two-nodes.yaml", "--design", case, cwd=repository)
    assert (said.returncode, said.stdout) == (2, "")
    golden("cni-malformed", said.stderr)


def test_a_missing_plugin_is_reported_before_anything_is_built(repository: Path, tmp_path: Path) -> None:
    def up_with(plugin: str, folder: str) -> tuple[int, str]:
        (tmp_path / "net.conf").write_text(f'{{"name": "net", "type": "{plugin}"}}')
        (tmp_path / "net.yaml").write_text(f"cni: net.conf\nbin: {folder}\n")
        words = ["up", "topologies/two-nodes.yaml", "--design", str(tmp_path / "net.yaml"), "--name", "one"]
        said = cli(*words, cwd=repository)
        return said.returncode, plain(said.stderr, tmp_path)

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mine").write_text("#!/bin/sh")
    (tmp_path / "bin" / "mine").chmod(0o755)
    (tmp_path / "bin" / "locked").touch(0o644)
    texts = []
    for plugin, folder in (("mien", "bin"), ("bridge", "bin"), ("locked", "bin"), ("mine", "binn")):
        code, text = up_with(plugin, folder)
        assert code == 2
        texts.append(text)
    golden("cni-no-plugin", "\n".join(texts))
    # A plugin of Debian's that is not installed: the message names its package.
    code, text = up_with("dummy", "/usr/lib/cni")
    assert code == 3
    assert text.startswith("testbed: this cannot be done here:\n")
    assert text.endswith("  the CNI plugin dummy is missing: apt-get install containernetworking-plugins\n")


def test_a_failing_plugin_is_reported_and_logged(repository: Path, tmp_path: Path) -> None:
    with up(repository, tmp_path):
        pass
    (tmp_path / "mine").write_text(
        '#!/bin/sh\necho "the pool is empty" >&2\n'
        'echo \'{"code": 11, "msg": "later", "details": "in a minute"}\'; exit 1'
    )
    design = ["topologies/two-nodes.yaml", "--design", str(tmp_path / "mine.yaml")]
    failed = cli("up", *design, "--name", "one", "--log", str(tmp_path / "log"), cwd=repository)
    assert (failed.returncode, failed.stdout) == (1, "")
    golden("cni-up-failed", failed.stderr)
    assert {json.loads(line)["code"] for line in (tmp_path / "log").read_text().splitlines()} == {1}
