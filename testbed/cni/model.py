"""A network and its plugins, as a configuration defines them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.spec.problems import Loc


@dataclass(frozen=True)
class Plugin:
    """A plugin's part of a configuration."""

    type: str
    """The name of its program."""
    capabilities: frozenset[str]
    """Runtime arguments that it accepts."""
    keys: Mapping[str, Any]
    """All keys as written, including `capabilities`."""
    file: str = ""
    loc: Loc = ()
    """Its location in the file."""

    @property
    def ipam(self) -> str:
        """The plugin that allocates addresses for it; empty if none is named."""
        ipam = self.keys.get("ipam")
        found = ipam.get("type") if isinstance(ipam, dict) else None
        return found if isinstance(found, str) else ""


@dataclass(frozen=True)
class Network:
    """A network that pods can be attached to."""

    name: str
    versions: tuple[str, ...]
    """The supported ones among its versions, newest first."""
    plugins: tuple[Plugin, ...]
    disable_check: bool = False
    disable_gc: bool = False
    text: str = ""
    """The configuration as it was read."""

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of all plugins that are called, including those that allocate addresses."""
        return tuple(dict.fromkeys(name for plugin in self.plugins for name in (plugin.type, plugin.ipam) if name))
