"""The input of a plugin: its part of the configuration, with the runtime's additions, and its environment."""

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
    """A container ID or an interface name is invalid."""


@dataclass(frozen=True)
class Attachment:
    """One interface of one container on a network."""

    container: str
    """Its ID."""
    netns: str
    """The path of its network namespace on the node; empty if that is gone."""
    ifname: str
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    """Runtime arguments for plugins that accept them: `portMappings`, `mac`, `bandwidth`, ..."""
    arguments: tuple[tuple[str, str], ...] = ()
    """CNI_ARGS."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.container):
            raise BadAttachment(
                f"'{self.container}' is not a valid container ID: it must begin with a letter or digit; "
                "letters, digits, '_', '.' and '-' may follow"
            )
        name = self.ifname
        if not name or len(name) > LONGEST_INTERFACE or name in (".", "..") or _NO_INTERFACE.search(name):
            raise BadAttachment(
                f"'{name}' is not a valid interface name: it must have 1 to {LONGEST_INTERFACE} characters, without "
                "'/', ':' or blanks"
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

    `previous` becomes `prevResult`; `valid` lists container and interface of all attachments, for GC.
    """
    config = {key: value for key, value in plugin.keys.items() if key != "capabilities"}
    config |= {"cniVersion": version, "name": network.name}
    if given := {name: value for name, value in capabilities.items() if name in plugin.capabilities}:
        config["runtimeConfig"] = given
    if previous is not None:
        config["prevResult"] = dict(previous)
    if valid is not None:
        config[VALID_ATTACHMENTS] = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
    return config


def environment(command: Command, folders: Sequence[str], attachment: Attachment | None = None) -> dict[str, str]:
    """The environment of a call; without an attachment if the call concerns no container."""
    variables = {"CNI_COMMAND": command, "CNI_PATH": ":".join(folders)}
    if attachment is not None:
        variables |= {
            "CNI_CONTAINERID": attachment.container,
            "CNI_NETNS": attachment.netns,
            "CNI_IFNAME": attachment.ifname,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in attachment.arguments),
        }
    return variables
