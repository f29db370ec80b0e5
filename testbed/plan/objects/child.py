"""Devices on top of another one: macvlan and ipvlan."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from testbed.plan.messages import attribute
from testbed.plan.objects.link_kind import Attributes

_MODE = 1
"""IFLA_MACVLAN_MODE and IFLA_IPVLAN_MODE"""
_MODES: Mapping[str, tuple[struct.Struct, Mapping[str, int]]] = {
    "macvlan": (struct.Struct("=I"), {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}),
    "ipvlan": (struct.Struct("=H"), {"l2": 0, "l3": 1, "l3s": 2}),
}
"""By kind: format of the mode, and the modes by their names in `ip link`."""


@dataclass(frozen=True)
class Child:
    """A macvlan or ipvlan device, whose parent is in the node's namespace.

    A macvlan device has its own MAC address on the parent's Ethernet; ipvlan devices share the parent's, and receive
    packets by IP address.
    """

    space: str
    name: str
    index: int
    mac: str
    """Empty for ipvlan."""
    mtu: int
    kind: Literal["macvlan", "ipvlan"]
    mode: Literal["bridge", "private", "vepa", "passthru", "l2", "l3", "l3s"]
    node: str
    parent: str
    """The name of the device in the node's namespace."""

    master = None


def child_data(child: Child) -> bytes:
    """The kind's attributes in a request that creates the device."""
    form, modes = _MODES[child.kind]
    return attribute(_MODE, form.pack(modes[child.mode]))


def mode_in(kind: str, data: Attributes) -> str:
    """The mode of an existing device; empty for other kinds."""
    if kind not in _MODES or _MODE not in data:
        return ""
    form, modes = _MODES[kind]
    (found,) = form.unpack_from(data[_MODE])
    return next((name for name, number in modes.items() if number == found), str(found))


def child_commands(child: Child) -> Iterator[str]:
    """The commands that create the device and set it up."""
    address = f" address {child.mac}" if child.mac else ""
    yield (
        f"ip -n {child.node} link add link {child.parent} {child.name} index {child.index} netns {child.space}"
        f"{address} mtu {child.mtu} type {child.kind} mode {child.mode}"
    )
    yield f"ip -n {child.space} link set {child.name} up"
