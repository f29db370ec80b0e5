"""Plugins in shell, and a node for real plugins."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from testbed.cni.network import Network, network_of_texts
from testbed.cni.request import Attachment
from testbed.cni.result import Result
from testbed.cni.runtime import Runtime
from testbed.cni.store import Store
from testbed.kernel.folders import bind_namespace
from testbed.kernel.namespace import Namespace
from testbed.kernel.syscalls import MS_NODEV, MS_NOSUID, mount

CASES = Path(__file__).parent / "cases"
DEBIAN = "/usr/lib/cni"
BLUE = Attachment("blue", "/run/netns/blue", "eth0")


@dataclass
class Plugins:
    """A folder of plugins that record each call, and a runtime that calls them."""

    folder: Path
    patience_s: float = 10.0
    runtime: Runtime = field(init=False)

    def __post_init__(self) -> None:
        self.runtime = Runtime([str(self.folder)], Store(self.folder / "results"), self.patience_s)

    def write(self, name: str, **bodies: str) -> None:
        """Writes a plugin that runs these shell bodies for these commands, and does nothing for others."""
        cases = "\n".join(f"{command})\n{body}\n;;" for command, body in bodies.items())
        path = self.folder / name
        path.write_text(
            "#!/bin/sh\n"
            f'call={self.folder}/calls/$(ls {self.folder}/calls | wc -l)\nmkdir -p "$call"\ncat > "$call/stdin"\n'
            f'echo {name} "$CNI_COMMAND" > "$call/who"\nenv | grep ^CNI_ > "$call/env"\n'
            f"case $CNI_COMMAND in\n{cases}\nesac\n"
        )
        path.chmod(0o755)
        (self.folder / "calls").mkdir(exist_ok=True)

    def answering(self, name: str, result: Mapping[str, Any], **bodies: str) -> None:
        """Writes a plugin whose ADD returns that result."""
        self.write(name, ADD=f"cat <<'END'\n{json.dumps(result)}\nEND", **bodies)

    def forget(self) -> None:
        """Deletes the records of calls until now."""
        for call in self._calls():
            for part in call.iterdir():
                part.unlink()
            call.rmdir()

    def _calls(self) -> list[Path]:
        folder = self.folder / "calls"
        return sorted(folder.iterdir(), key=lambda path: int(path.name)) if folder.is_dir() else []

    @property
    def called(self) -> list[str]:
        """The plugin and the command of each call, in order: `bridge ADD`."""
        return [(call / "who").read_text().strip() for call in self._calls()]

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """The standard input of each call, as data."""
        return [json.loads((call / "stdin").read_text()) for call in self._calls()]

    @property
    def environments(self) -> list[dict[str, str]]:
        """The CNI variables of each call."""
        texts = [(call / "env").read_text().splitlines() for call in self._calls()]
        return [dict(line.split("=", 1) for line in lines) for lines in texts]


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    return Plugins(tmp_path)


def network(**keys: Any) -> Network:
    """A network with these keys; by default its name is `net` and its version 1.0.0."""
    return network_of_texts([("net.conflist", json.dumps({"cniVersion": "1.0.0", "name": "net"} | keys))])


def chain(*types: str, **keys: Any) -> Network:
    """A network of plugins without configuration."""
    return network(plugins=[{"type": name} for name in types], **keys)


@dataclass
class RealNode:
    """This capsule as a node, with pods, for Debian's plugins."""

    pods: dict[str, Namespace] = field(default_factory=dict)
    runtime: Runtime = field(default_factory=lambda: Runtime([DEBIAN]))

    def pod(self, name: str, ifname: str = "eth0", **capabilities: Any) -> Attachment:
        """An attachment of a pod, which is created without devices if it is new."""
        if name not in self.pods:
            self.pods[name] = Namespace.create()
            bind_namespace(self.pods[name], name)
            self.run("ip link set lo up", name)
        return Attachment(name, f"/run/netns/{name}", ifname, capabilities)

    def add(self, net: Network, name: str, **capabilities: Any) -> Result:
        return self.runtime.add(net, self.pod(name, **capabilities))

    def run(self, command: str, pod: str = "") -> str:
        """The output of a command in a pod, or on the node; the command must succeed."""
        done = self.attempt(command, pod)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def attempt(self, command: str, pod: str = "") -> "subprocess.CompletedProcess[str]":
        with self.pods[pod].entered() if pod else nullcontext():
            return subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30)


@contextmanager
def real_node() -> Iterator[RealNode]:
    """For sealed tests: the capsule's network and folders are the node's."""
    mount("tmpfs", "/var/lib", "tmpfs", MS_NOSUID | MS_NODEV)
    Path("/run/netns").mkdir(exist_ok=True)
    node = RealNode()
    # Without duplicate address detection, IPv6 addresses are usable at once.
    node.run("ip link set lo up; sysctl -w net.ipv6.conf.default.accept_dad=0")
    try:
        yield node
    finally:
        for namespace in node.pods.values():
            namespace.close()


def shipped(name: str) -> Network:
    """The network in a file of `cases`."""
    return network_of_texts([(name, (CASES / name).read_text())])


needs_plugins = pytest.mark.skipif(
    not os.access(f"{DEBIAN}/bridge", os.X_OK), reason="needs Debian's package containernetworking-plugins"
)
