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


PYTHON = "python3"
"""In a program's command: the Python that the lab itself runs on."""
OWN_PROGRAMS = "testbed/programs"
"""In the command of one of the testbed's own programs: the folder that it is in."""


@dataclass(frozen=True)
class Says:
    """A program prints this line as soon as it is ready, and again each time it has taken changed files."""

    line: str = "ready"


@dataclass(frozen=True)
class Command:
    """A command, run where the program runs. It succeeds if it ends with exit code 0."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Signal:
    """A signal, sent to the program."""

    name: Literal["SIGHUP", "SIGUSR1", "SIGUSR2"] = "SIGHUP"


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that runs in a space as long as the lab is up, in the foreground.

    What it prints is in /run/log/NAME.log of its space.
    """

    name: str
    """Its key: no two programs of a space have the same name."""
    command: tuple[str, ...]
    ready: Says | Command | None = None
    """How it tells that it is ready; a command is repeated until it succeeds. None: as soon as it is started."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables that it has besides those of the lab."""
    secret: str = ""
    """The variable that holds the lab's password: made with the lab, and the same in all of it. Empty: none does."""
    reload: Command | Signal | None = None
    """How it is told that its files have changed. A command ends when that is done; after a signal it says once more
    that it is ready. None: it is started anew."""
    files: tuple[str, ...] = ()
    """The paths of the files that it reads."""
    devices: tuple[str, ...] = ()
    """The devices that it holds open: if one is replaced, the program is started anew."""
    port: int = 0
    """The UDP port of the tunnel that it is; 0 for any other program."""


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


BPF_FOLDER = "/sys/fs/bpf"
"""Where eBPF programs and maps are pinned; each space that has such has its own."""
FORWARDED = "forwarded"
"""What became of packets that were not dropped, as maps that count are read."""


@dataclass(frozen=True)
class KeyPart:
    """A number in the keys of a map that counts, and what its values stand for."""

    about: Literal["program", "pod", "direction", "reason"]
    """The program that counted, or the pod whose packets they are; which way they went; why they were dropped, or that
    they were forwarded."""
    offset: int
    size: int
    """Both in bytes; the machine's own byte order."""
    names: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class CountingMap:
    """A map in which programs count: under each key packets and bytes of each CPU, two numbers of 64 bits."""

    map: str
    key: tuple[KeyPart, ...]
    """In the order in which they are told."""


@dataclass(frozen=True)
class Bpf:
    """eBPF programs of a space, all of one C file; they and their maps are pinned in its own /sys/fs/bpf."""

    source: str
    """The name of a file of `testbed/bpf`, without `.c`."""
    defines: tuple[str, ...]
    """What the compiler is told with -D."""
    hooks: tuple[BpfHook, ...] = ()
    entries: tuple[BpfEntry, ...] = ()
    counts: tuple[CountingMap, ...] = ()

    @property
    def pins(self) -> str:
        """The folder in which its programs are pinned, each by its name."""
        return f"{BPF_FOLDER}/{self.source}"
