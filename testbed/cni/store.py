"""The runtime's records of attachments, on the node: one file each, in the format of libcni, and lock files.

`/var/lib/cni/results/NETWORK-CONTAINER-INTERFACE` has the configuration and the result of the last ADD.
"""

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.cni.network import Network
from testbed.cni.request import Attachment
from testbed.cni.result import parsed
from testbed.cni.versions import SUPPORTED

RESULTS = Path("/var/lib/cni/results")
_KIND = "cniCacheV1"
_LOCK = ".lock"


@dataclass(frozen=True)
class Kept:
    """The record of one attachment."""

    attachment: Attachment
    network: str
    text: str
    """The configuration that it was made with."""
    result: dict[str, Any]
    """As returned by the last plugin."""


class Store:
    """The records of one node, in a folder."""

    def __init__(self, folder: Path = RESULTS) -> None:
        self.folder = folder

    def _path(self, network: str, attachment: Attachment) -> Path:
        return self.folder / f"{network}-{attachment.container}-{attachment.ifname}"

    def write(self, network: Network, attachment: Attachment, result: dict[str, Any]) -> None:
        """Stores a result; readers find the old one or the new one, complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(network.name, attachment)
        part = path.with_name(f".{path.name}.part")
        part.write_text(
            json.dumps(
                {
                    "kind": _KIND,
                    "containerId": attachment.container,
                    "config": base64.b64encode(network.text.encode()).decode(),
                    "ifName": attachment.ifname,
                    "networkName": network.name,
                    "netns": attachment.netns,
                    "cniArgs": [list(pair) for pair in attachment.arguments],
                    "capabilityArgs": dict(attachment.capabilities),
                    "result": result,
                }
            )
        )
        part.replace(path)

    def read(self, network: str, attachment: Attachment) -> Kept | None:
        """The record of an attachment, if there is one."""
        return _read(self._path(network, attachment))

    def all(self, network: str) -> tuple[Kept, ...]:
        """The records of all attachments to a network."""
        paths = sorted(self.folder.glob(f"{network}-*")) if self.folder.is_dir() else []
        found = (_read(path) for path in paths)
        return tuple(kept for kept in found if kept and kept.network == network)

    def forget(self, network: str, attachment: Attachment) -> None:
        self._path(network, attachment).unlink(missing_ok=True)

    @contextmanager
    def locked(self, container: str) -> Iterator[None]:
        """Excludes other operations on this container, and garbage collection."""
        with self._lock(_LOCK, fcntl.LOCK_SH), self._lock(f"{_LOCK}-{container}", fcntl.LOCK_EX):
            yield

    @contextmanager
    def all_locked(self) -> Iterator[None]:
        """Excludes operations on all containers."""
        with self._lock(_LOCK, fcntl.LOCK_EX):
            yield

    @contextmanager
    def _lock(self, name: str, how: int) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)


def _read(path: Path) -> Kept | None:
    try:
        data = json.loads(path.read_text())
        if data["kind"] != _KIND:
            return None
        arguments = tuple((str(key), str(value)) for key, value in data.get("cniArgs") or ())
        attachment = Attachment(
            data["containerId"], data["netns"], data["ifName"], dict(data.get("capabilityArgs") or {}), arguments
        )
        parsed(data["result"], SUPPORTED[-1])
        return Kept(attachment, data["networkName"], base64.b64decode(data["config"]).decode(), data["result"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # A damaged record counts as missing, as after a failed ADD.
