"""The containers of a containerlab topology: their settings, inherited as containerlab does, and their roles."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.spec.foreign.places import Role
from testbed.spec.foreign.reading import plain
from testbed.spec.problems import Loc, Misfit

CLUSTER = "k8s-kind"
"""The kind of a kind cluster. Its nodes have the kind ext-container, and names that start with that of its cluster."""
USUAL = "linux"
ROLES = {
    "bridge": Role.SWITCH,
    "ovs-bridge": Role.SWITCH,
    USUAL: Role.HOST,
    "ext-container": Role.HOST,
    "generic_vm": Role.HOST,
    "freebsd": Role.HOST,
    "openbsd": Role.HOST,
    "keysight_ixia-c-one": Role.HOST,
}
"""Roles by kind; all other kinds are operating systems of routers."""
_LAYER_2 = re.compile(r"l2", re.IGNORECASE)
_ROUTING_IMAGES = re.compile(r"frr|bird|vyos|gobgp|openbgpd|quagga|sonic|holo|freertr|openwrt|cumulus")
_ROUTING_FILES = re.compile(r"/etc/(frr|quagga|bird)\b|/bird\.conf")
_FORWARDING = re.compile(r"(net|/proc/sys/net)[./]ipv[46][./](ip_forward|conf[./][\w*-]+[./]forwarding)")
_OFF = re.compile(r"\s*=\s*[\"']?0")
_FILTERING = re.compile(r"iptables.*\b(FORWARD|MASQUERADE|SNAT)\b")
_NODE = re.compile(r"(.+)-(?:control-plane|worker)[0-9]*")
_SWITCHING_IMAGES = re.compile(r"\b(ovs|openvswitch)\b")
_INHERITED = ("image", "type", "sysctls", "exec", "binds", "cmd", "entrypoint", "startup-config", "network-mode")


@dataclass(frozen=True)
class Container:
    """A container with its settings."""

    name: str
    kind: str
    written: Mapping[str, Any]
    """Its own settings."""
    settings: Mapping[str, Any]
    """Its settings with those that it inherits."""
    loc: Loc

    @property
    def lives_in(self) -> str:
        """The container whose network namespace it shares; empty if it has its own."""
        way, _, name = plain(self.settings.get("network-mode")).partition(":")
        return name if way == "container" else ""

    @property
    def is_apart(self) -> bool:
        """Whether it is not on the management network."""
        return plain(self.settings.get("network-mode")) in ("host", "none")

    @property
    def is_switch(self) -> bool:
        """Whether it only switches: by the image of a host, or the type of a router."""
        if self.kind == USUAL:
            return bool(_SWITCHING_IMAGES.search(plain(self.settings.get("image"))))
        return self.kind not in ROLES and bool(_LAYER_2.fullmatch(plain(self.settings.get("type"))))

    @property
    def is_router(self) -> bool:
        """Whether its image or its files are those of a routing daemon."""
        binds = " ".join(_texts(self.settings.get("binds")))
        return bool(_ROUTING_IMAGES.search(plain(self.settings.get("image"))) or _ROUTING_FILES.search(binds))

    @property
    def forwards(self) -> bool:
        """Whether its settings or commands turn on forwarding."""
        sysctls = self.settings.get("sysctls")
        for key, value in sysctls.items() if isinstance(sysctls, dict) else ():
            if _FORWARDING.fullmatch(str(key)) and plain(value).strip() not in ("", "0", "false"):
                return True
        keys = ("exec", "cmd", "entrypoint", *(["sysctls"] if isinstance(sysctls, list) else []))
        commands = [text for key in keys for text in _texts(self.settings.get(key))]
        return any(_FILTERING.search(text) or _turns_on(text) for text in commands)


def _turns_on(text: str) -> bool:
    return any(not _OFF.match(text, found.end()) for found in _FORWARDING.finditer(text))


def containers(topology: Mapping[str, Any]) -> dict[str, Container]:
    """The containers by name. Settings of the node come before those of its group, its kind and the defaults."""
    found = {}
    for name, written in (topology["nodes"] or {}).items():
        node, defaults = written or {}, topology.get("defaults") or {}
        group = (topology.get("groups") or {}).get(plain(node.get("group"))) or {}
        kind = plain(node.get("kind") or group.get("kind") or defaults.get("kind")) or USUAL
        of_kind = (topology.get("kinds") or {}).get(kind) or {}
        layers = [defaults, of_kind, group, node]
        found[name] = Container(name, kind, node, _merged(layers), ("topology", "nodes", name))
    return found


def home_of(name: str, found: Mapping[str, Container]) -> str:
    """The container whose network namespace the container uses; itself if it has its own."""
    way = [name]
    while way[-1] in found and (other := found[way[-1]].lives_in) in found and found[other].kind != CLUSTER:
        if other in way:
            return name
        way.append(other)
    return way[-1]


def misfits(topology: Mapping[str, Any]) -> Iterator[Misfit]:
    """Parts of the topology that have another form than containerlab reads."""
    for key in ("nodes", "kinds", "groups", "defaults"):
        part = topology.get(key) or {}
        if not isinstance(part, dict):
            yield Misfit(("topology", key), "must be a mapping")
        elif key != "defaults":
            for name, value in part.items():
                if not isinstance(value, dict | None):
                    yield Misfit(("topology", key, name), "must be a mapping")


def role_of(container: Container, links: int, nodes: Mapping[str, str]) -> Role:
    """The role of a container with that number of links. `nodes` are the nodes of kind's clusters."""
    if container.name in nodes:
        return Role.NODE
    role = Role.SWITCH if container.is_switch else ROLES.get(container.kind, Role.ROUTER)
    if role is Role.HOST and (container.is_router or (links > 1 and container.forwards)):
        return Role.ROUTER
    return role


def cluster_nodes(found: Mapping[str, Container]) -> dict[str, str]:
    """The kind cluster of each container that is a node of one, which may be outside of the file.

    Nodes are containers of kind ext-container that are named like kind's nodes, and containers that use the network
    namespace of a node outside of the file.
    """
    nodes = {}
    for name, container in found.items():
        real = name if container.kind == "ext-container" else container.lives_in
        if (named := _NODE.fullmatch(real)) and (real == name or real not in found):
            nodes[name] = named[1]
    return nodes


def _merged(layers: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Mappings and lists of all layers together; of single values the last one."""
    found: dict[str, Any] = {}
    for layer in layers:
        for key in _INHERITED:
            value, before = layer.get(key), found.get(key)
            if isinstance(value, dict) and isinstance(before, dict):
                found[key] = before | value
            elif isinstance(value, list) and isinstance(before, list):
                found[key] = before + value
            elif value is not None:
                found[key] = value
    return found


def _texts(value: object) -> list[str]:
    return [plain(item) for item in value] if isinstance(value, list) else [plain(value)]
