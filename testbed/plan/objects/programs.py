"""What runs on a node beside the kernel, or inside of it, and what it is told."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Plugged:
    """A pod whose devices CNI plugins make when the lab's container runtime calls them, on its node."""

    space: str
    node: str
    container: str
    """The ID by which plugins know it."""
    ifname: str
    texts: tuple[tuple[str, str], ...]
    """The network's configuration for that node, and those of single plugins beside it: files and their texts."""
    folders: tuple[str, ...]
    """Where the plugins' programs are."""
    capabilities: str
    """What plugins are told that declare the capability, as a JSON object."""
    patience_s: float
    """After how long a plugin that has not ended is ended."""


@dataclass(frozen=True)
class Process:
    """A program that runs in a space as long as the lab is up; it says `ready` in a line when it is."""

    program: str
    """The name of a file of `testbed.programs`."""
    arguments: tuple[str, ...]
    encrypts: bool = False
    """Whether it is told a password, one for all of the lab, made with it; such a program needs PyNaCl."""


@dataclass(frozen=True)
class Daemon:
    """A program of the system's that runs in a space as long as the lab is up, in the foreground."""

    name: str
    command: tuple[str, ...]
    ready: tuple[str, ...]
    """A command that succeeds as soon as the daemon can be talked to."""


@dataclass(frozen=True)
class File:
    """A file that the programs of its space alone see."""

    path: str
    text: str
    mode: int = 0o644


@dataclass(frozen=True)
class BpfHook:
    """An eBPF program that sees every packet of a device."""

    dev: str
    where: Literal["ingress", "egress", "peer"]
    """What the device receives, or sends (clsact); of a netkit device what its peer sends."""
    program: str


@dataclass(frozen=True)
class BpfEntry:
    """What a map of eBPF programs is to hold under a key, as their C structures have it."""

    map: str
    key: bytes
    value: bytes
    dev: str = ""
    """The device that it comes with; empty if it comes with the programs."""
    note: str = ""
    """What it says, for a reader."""


@dataclass(frozen=True)
class Bpf:
    """eBPF programs of a space, all of one C file; they and their maps are pinned in its own /sys/fs/bpf."""

    source: str
    """The name of a file of `testbed/bpf`, without `.c`."""
    defines: tuple[str, ...]
    """What the compiler is told with -D."""
    hooks: tuple[BpfHook, ...] = ()
    entries: tuple[BpfEntry, ...] = ()
