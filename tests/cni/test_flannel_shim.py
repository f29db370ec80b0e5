"""The plugin `flannel`: what it derives from subnet.env, and what Debian's `bridge` does with that."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.kernel.namespace import Namespace

SHIM = Path(__file__).parents[2] / "testbed/cni/plugins/flannel"
PLUGINS = "/usr/lib/cni"
ENV = """FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
"""
DUAL = """FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_IPV6_NETWORK=fd00:10:244::/56
FLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64
FLANNEL_MTU=1430
FLANNEL_IPMASQ=true
"""
SHIPPED = {"hairpinMode": True, "isDefaultGateway": True}
"""The delegate of Flannel's own configuration."""
REFUSED = 37
"""An error code that no plugin has."""


class Node:
    """The files of a node in a folder, and calls of the plugin."""

    def __init__(self, folder: Path, env: str = ENV, delegate: dict[str, Any] | None = SHIPPED) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.bin.mkdir()
        (folder / "subnet.env").write_text(env)
        self.conf: dict[str, Any] = {
            "cniVersion": "0.4.0",
            "name": "cbr0",
            "type": "flannel",
            "subnetFile": str(folder / "subnet.env"),
            "dataDir": str(folder / "flannel"),
            "ipam": {"dataDir": str(folder / "networks")},
        }
        if delegate is not None:
            self.conf["delegate"] = delegate

    def call(self, command: str, conf: Any = None, **environment: str) -> tuple[int, Any, str]:
        """Exit code, standard output as data, standard error."""
        known = {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "pod1",
            "CNI_NETNS": "/nowhere",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": f"{self.bin}:{PLUGINS}",
        }
        said = conf if isinstance(conf, str) else json.dumps(self.conf if conf is None else conf)
        given = {name: value for name, value in (known | environment).items() if value}
        done = subprocess.run([SHIM], input=said, env=given, capture_output=True, text=True, timeout=30)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    def plugin(self, name: str, script: str) -> None:
        """Writes a plugin in shell, which is found before Debian's."""
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    @property
    def kept(self) -> Path:
        return self.folder / "flannel/pod1"


def ip(*words: str) -> Any:
    return json.loads(subprocess.run(["ip", "-j", *words], capture_output=True, check=True).stdout or "[]")


def routes(*words: str) -> set[str]:
    done = subprocess.run(["ip", *words, "route"], capture_output=True, text=True, check=True)
    return {line.strip() for line in done.stdout.splitlines() if not line.startswith("fe80")}


def rules() -> str:
    return subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout


def with_pod(body: Callable[[str, Namespace], None]) -> None:
    """Calls `body` with the path and the namespace of a pod; the capsule is the node."""
    pod = Namespace.create()
    try:
        with pod.entered():
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        body(f"/proc/{os.getpid()}/fd/{pod.fd}", pod)
    finally:
        pod.close()


@pytest.mark.sealed
def test_a_pod_is_attached_as_flanneld_says_and_detached(tmp_path: Path) -> None:
    node = Node(tmp_path)

    def body(path: str, pod: Namespace) -> None:
        code, result, errors = node.call("ADD", CNI_NETNS=path)
        assert (code, result["ips"][0]["address"], errors) == (0, "10.244.1.2/24", ""), result
        assert json.loads(node.kept.read_text())["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
        with pod.entered():
            (eth0,) = ip("address", "show", "eth0")
            assert [a["local"] for a in eth0["addr_info"] if a["family"] == "inet"] == ["10.244.1.2"]
            assert eth0["mtu"] == 1450
            assert routes() == {
                "default via 10.244.1.1 dev eth0",
                "10.244.0.0/16 via 10.244.1.1 dev eth0",
                "10.244.1.0/24 dev eth0 proto kernel scope link src 10.244.1.2",
            }
        (cni0,) = ip("address", "show", "cni0")
        assert (cni0["mtu"], cni0["addr_info"][0]["local"]) == (1450, "10.244.1.1")
        (port,) = ip("-d", "link", "show", "master", "cni0")
        assert port["linkinfo"]["info_slave_data"]["hairpin"] is True
        assert "CNI-" not in rules()  # Flannel masquerades itself.

        assert node.call("CHECK", node.conf | {"prevResult": result}, CNI_NETNS=path) == (0, None, "")
        subprocess.run(["ip", "link", "delete", port["ifname"]], check=True)
        code, error, _ = node.call("CHECK", node.conf | {"prevResult": result}, CNI_NETNS=path)
        assert (code, port["ifname"] in error["msg"] or "eth0" in error["msg"]) == (1, True), error

        for _ in range(2):
            assert node.call("DEL", node.conf | {"prevResult": result}, CNI_NETNS=path)[:2] == (0, None)
            assert not node.kept.exists()
            assert not (tmp_path / "networks/cbr0/10.244.1.2").exists()

    with_pod(body)


@pytest.mark.sealed
def test_a_pod_has_both_families(tmp_path: Path) -> None:
    node = Node(tmp_path, DUAL)

    def body(path: str, pod: Namespace) -> None:
        code, result, _ = node.call("ADD", CNI_NETNS=path)
        assert code == 0, result
        assert [item["address"] for item in result["ips"]] == ["10.244.1.2/24", "fd00:10:244:1::2/64"]
        with pod.entered():
            assert {line.partition(" metric")[0] for line in routes("-6")} >= {
                "default via fd00:10:244:1::1 dev eth0",
                "fd00:10:244::/56 via fd00:10:244:1::1 dev eth0",
            }

    with_pod(body)


@pytest.mark.sealed
def test_bridge_masquerades_where_flanneld_does_not(tmp_path: Path) -> None:
    node = Node(tmp_path, ENV.replace("true", "false"))

    def body(path: str, pod: Namespace) -> None:
        assert node.call("ADD", CNI_NETNS=path)[0] == 0
        assert "-A POSTROUTING -s 10.244.1.2/32" in rules()
        assert node.call("DEL", CNI_NETNS=path)[0] == 0
        assert "10.244.1.2/32" not in rules()

    with_pod(body)


def delegate(folder: Path, *arguments: Any) -> Any:
    """The configuration that the plugin passes on."""
    node = Node(folder, *arguments)
    node.plugin("bridge", "cat")
    code, said, errors = node.call("ADD")
    assert code == 0, (said, errors)
    assert said == json.loads(node.kept.read_text())
    return said


def test_the_delegate_is_configured_from_subnet_env(tmp_path: Path) -> None:
    assert delegate(tmp_path) == {
        "type": "bridge",
        "name": "cbr0",
        "cniVersion": "0.4.0",
        "hairpinMode": True,
        "isDefaultGateway": True,
        "isGateway": True,
        "mtu": 1450,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": str(tmp_path / "networks"),
            "ranges": [[{"subnet": "10.244.1.0/24"}]],
            "routes": [{"dst": "10.244.0.0/16"}],
        },
    }


def test_the_delegate_without_configuration_is_a_bridge(tmp_path: Path) -> None:
    said = delegate(tmp_path, ENV, None)
    assert (said["type"], said["isGateway"], "hairpinMode" in said) == ("bridge", True, False)


def test_keys_of_the_delegate_are_kept(tmp_path: Path) -> None:
    mine = {"mtu": 1400, "ipMasq": True, "isGateway": False, "bridge": "br7"}
    assert delegate(tmp_path, ENV, mine).items() >= mine.items()


def test_several_networks_have_a_route_each(tmp_path: Path) -> None:
    said = delegate(tmp_path, ENV.replace("10.244.0.0/16", "10.244.0.0/16,10.245.0.0/16"))
    assert said["ipam"]["routes"] == [{"dst": "10.244.0.0/16"}, {"dst": "10.245.0.0/16"}]


def test_runtime_config_is_passed_on(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.plugin("bridge", "cat")
    _, said, _ = node.call("ADD", node.conf | {"runtimeConfig": {"mac": "02:00:00:00:00:07"}})
    assert said["runtimeConfig"] == {"mac": "02:00:00:00:00:07"}


def test_the_delegates_error_is_passed_on_unchanged(tmp_path: Path) -> None:
    node = Node(tmp_path)
    error = {"cniVersion": "0.4.0", "code": REFUSED, "msg": "not today", "details": "nor tomorrow"}
    node.plugin("bridge", f"echo '{json.dumps(error)}'; echo aside >&2; exit 3")
    code, said, errors = node.call("ADD")
    assert (code, said) == (3, error)
    assert errors == "aside\n"


def test_a_failed_del_can_be_repeated(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.plugin("bridge", 'test "$CNI_COMMAND" = ADD || exit 3')
    node.call("ADD")
    assert (node.call("DEL")[0], node.kept.exists()) == (3, True)
    node.plugin("bridge", f"cat > {tmp_path}/seen")
    assert (node.call("DEL", CNI_NETNS="")[0], node.kept.exists()) == (0, False)
    assert json.loads((tmp_path / "seen").read_text())["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]


def test_del_does_not_need_subnet_env(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.plugin("bridge", "true")
    node.call("ADD")
    (tmp_path / "subnet.env").unlink()
    assert (node.call("DEL")[0], node.kept.exists()) == (0, False)


def test_version_lists_supported_versions(tmp_path: Path) -> None:
    code, said, _ = Node(tmp_path).call("VERSION", {"cniVersion": "1.0.0"})
    assert (code, said["cniVersion"]) == (0, "1.0.0")
    assert {"0.3.1", "0.4.0", "1.0.0"} <= set(said["supportedVersions"])


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (ENV.replace("FLANNEL_SUBNET", "SUBNET"), "lacks FLANNEL_SUBNET or FLANNEL_IPV6_SUBNET"),
        ("", "lacks FLANNEL_NETWORK or FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET or FLANNEL_IPV6_SUBNET, FLANNEL_MTU, "),
        (ENV.replace("1450", "much"), "FLANNEL_MTU is 'much', not a number of bytes"),
        (ENV.replace("10.244.1.1/24", "10.244.1/24"), "'10.244.1/24' is not an address with a prefix"),
        (ENV.replace("10.244.1.1/24", "10.244.1.1/40"), "'10.244.1.1/40' is not an address with a prefix"),
    ],
    ids=["no-subnet", "empty", "mtu", "address", "prefix"],
)
def test_a_bad_subnet_env_is_explained(tmp_path: Path, env: str, message: str) -> None:
    code, said, _ = Node(tmp_path, env).call("ADD")
    assert (code, said["code"]) == (1, 7)
    assert message in said["msg"]


def test_without_subnet_env_the_error_is_try_again_later(tmp_path: Path) -> None:
    node = Node(tmp_path)
    (tmp_path / "subnet.env").unlink()
    code, said, _ = node.call("ADD")
    assert (code, said["code"], said["msg"]) == (1, 11, f"{tmp_path}/subnet.env is missing")


@pytest.mark.parametrize("key", ["name", "ipam"])
def test_keys_that_the_plugin_sets_are_refused_in_the_delegate(tmp_path: Path, key: str) -> None:
    code, said, _ = Node(tmp_path, ENV, {key: {}}).call("ADD")
    assert (code, said["code"], key in said["msg"]) == (1, 7, True)


@pytest.mark.parametrize("kind", ["absent", "../bridge"])
def test_an_unknown_delegate_is_an_error(tmp_path: Path, kind: str) -> None:
    code, said, _ = Node(tmp_path, ENV, {"type": kind}).call("ADD")
    assert (code, said["code"]) == (1, 7)
    assert said["msg"] == f"plugin {kind!r} not found in {tmp_path}/bin:{PLUGINS}"


@pytest.mark.parametrize(
    ("command", "conf", "environment", "code", "message"),
    [
        ("ADD", "{", {}, 6, "not JSON"),
        ("ADD", "[]", {}, 6, "not a JSON object"),
        ("ADD", '{"cniVersion": "7.0.0"}', {}, 1, "cniVersion 7.0.0 is not supported"),
        ("ADD", None, {"CNI_NETNS": "", "CNI_IFNAME": ""}, 4, "ADD needs CNI_NETNS, CNI_IFNAME in the environment"),
        ("DEL", None, {"CNI_CONTAINERID": "../../etc"}, 4, "'../../etc', not a container ID"),
        ("LOOK", None, {}, 4, "'LOOK', not one of ADD, CHECK, DEL, VERSION"),
        ("CHECK", None, {}, 7, "this plugin has not added that container"),
    ],
)
def test_errors_have_the_codes_of_the_specification(
    tmp_path: Path, command: str, conf: str | None, environment: dict[str, str], code: int, message: str
) -> None:
    exit_code, said, _ = Node(tmp_path).call(command, conf, **environment)
    assert (exit_code, said["code"]) == (1, code)
    assert message in said["msg"]
