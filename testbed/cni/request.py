"""What a plugin is told: its part of the configuration, with what the runtime adds, and its environment."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from testbed.cni.network import NAME, Network, Plugin

Command = Literal["ADD", "CHECK", "DEL", "VERSION", "GC", "STATUS"]
LONGEST_INTERFACE = 15
VALID_ATTACHMENTS = "cni.dev/valid-attachments"
_NO_INTERFACE = re.compile(r"[/:\s]")


class BadAttachment(ValueError):
    """Such a container or interface cannot be asked for."""


@dataclass(frozen=True)
class Attachment:
    """One interface of one container on a network."""

    container: str
    """Its ID."""
    netns: str
    """The path of its network namespace on the node; empty if that is gone."""
    ifname: str
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    """What the runtime has to say to plugins that can use it: `portMappings`, `mac`, `bandwidth`, ..."""
    arguments: tuple[tuple[str, str], ...] = ()
    """CNI_ARGS."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.container):
            raise BadAttachment(
                f"'{self.container}' cannot be a container's ID: it begins with a letter or digit, and "
                "letters, digits, '_', '.' and '-' follow"
            )
        name = self.ifname
        if not name or len(name) > LONGEST_INTERFACE or name in (".", "..") or _NO_INTERFACE.search(name):
            raise BadAttachment(
                f"'{name}' cannot be an interface's name: 1 to {LONGEST_INTERFACE} characters, without '/', ':' or "
                "blanks"
            )


def request(
    network: Network,
    version: str,
    plugin: Plugin,
    capabilities: Mapping[str, Any],
    previous: Mapping[str, Any] | None = None,
    valid: Sequence[tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """The configuration for one call of one plugin.

    `previous` is the result that it goes on from; `valid` are container and interface of all attachments, for GC.
    """
    told = {key: value for key, value in plugin.keys.items() if key != "capabilities"}
    told |= {"cniVersion": version, "name": network.name}
    if given := {name: value for name, value in capabilities.items() if name in plugin.capabilities}:
        told["runtimeConfig"] = given
    if previous is not None:
        told["prevResult"] = dict(previous)
    if valid is not None:
        told[VALID_ATTACHMENTS] = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
    return told


def environment(command: Command, folders: Sequence[str], attachment: Attachment | None = None) -> dict[str, str]:
    """The environment of a call; of one that is about no container without an attachment."""
    told = {"CNI_COMMAND": command, "CNI_PATH": ":".join(folders)}
    if attachment is not None:
        told |= {
            "CNI_CONTAINERID": attachment.container,
            "CNI_NETNS": attachment.netns,
            "CNI_IFNAME": attachment.ifname,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in attachment.arguments),
        }
    return told
