"""Programs of a node: CNI plugins, processes with their files, and eBPF programs with their maps."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Plugged:
    """A pod whose devices are created by CNI plugins, which the lab's container runtime calls on the pod's node."""

    space: str
    node: str
    container: str
    """The container ID passed to plugins."""
    arguments: tuple[tuple[str, str], ...]
    """The pod's identity for plugins (CNI_ARGS)."""
    ifname: str
    texts: tuple[tuple[str, str], ...]
    """File and text of the network's configuration for that node, then of separate plugin configurations."""
    folders: tuple[str, ...]
    """Folders of the plugins' executables."""
    capabilities: str
    """Arguments for the plugins that declare the capability, as a JSON object."""
    patience_s: float
    """Time after which a running plugin is killed."""
    needs_address: bool = True
    """Whether the pod must get an address."""


PYTHON = "python3"
"""In a program's command: the Python interpreter of the lab itself."""
OWN_PROGRAMS = "testbed/programs"
"""In a command: the folder of the testbed's own programs."""


@dataclass(frozen=True)
class Says:
    """A line that a program prints when it is ready, and again each time it has reloaded its files."""

    line: str = "ready"


@dataclass(frozen=True)
class Command:
    """A command that runs in the program's space; exit code 0 is success."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Signal:
    """A signal, sent to the program."""

    name: Literal["SIGHUP", "SIGUSR1", "SIGUSR2"] = "SIGHUP"


@dataclass(frozen=True, kw_only=True)
class Program:
    """A process that runs in a space in the foreground while the lab is up.

    Its output is in /run/log/NAME.log of its space.
    """

    name: str
    """Unique among the programs of a space."""
    command: tuple[str, ...]
    ready: Says | Command | None = None
    """How readiness is detected; a command is repeated until it succeeds. None: ready when started."""
    environment: tuple[tuple[str, str], ...] = ()
    """Environment variables in addition to those of the lab."""
    secret: str = ""
    """The environment variable with the lab's password, generated when the lab is built. Empty: none."""
    reload: Command | Signal | None = None
    """How it reloads its files. A command ends when this is done; after a signal the program prints its `ready` line
    again. None: it is restarted."""
    files: tuple[str, ...] = ()
    """The paths of the files that it reads."""
    devices: tuple[str, ...] = ()
    """The devices that it holds open; the program is restarted if one is replaced."""
    port: int = 0
    """For a tunnel program: its UDP port; otherwise 0."""


@dataclass(frozen=True)
class File:
    """A file that only programs of its space see."""

    path: str
    text: str
    mode: int = 0o644


@dataclass(frozen=True)
class BpfHook:
    """An eBPF program attached to a device; it processes every packet."""

    dev: str
    where: Literal["ingress", "egress", "peer"]
    """Packets that the device receives or sends (clsact); for a netkit device, packets that its peer sends."""
    program: str


@dataclass(frozen=True)
class BpfEntry:
    """An entry of an eBPF map; key and value have the layout of the C structures."""

    map: str
    key: bytes
    value: bytes
    dev: str = ""
    """The device that it is added with; empty if it is added with the programs."""
    note: str = ""
    """Description of the entry, printed as a comment."""


BPF_FOLDER = "/sys/fs/bpf"
"""Where eBPF programs and maps are pinned; private to each space."""
FORWARDED = "forwarded"
"""The reason in counting maps for packets that were not dropped."""


@dataclass(frozen=True)
class KeyPart:
    """A number in the keys of a counting map, and the names of its values."""

    about: Literal["program", "pod", "direction", "reason"]
    """The program that counted; the pod of the packets; their direction; why they were dropped, or `FORWARDED`."""
    offset: int
    size: int
    """Both in bytes; the machine's byte order."""
    names: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class CountingMap:
    """A per-CPU map in which programs count packets and bytes: two 64-bit numbers per key."""

    map: str
    key: tuple[KeyPart, ...]
    """In the order in which they are reported."""


@dataclass(frozen=True)
class Bpf:
    """eBPF programs of a space, from one C file; they and their maps are pinned in the space's own /sys/fs/bpf."""

    source: str
    """The name of a file in `testbed/bpf`, without `.c`."""
    defines: tuple[str, ...]
    """Definitions for the compiler (-D)."""
    hooks: tuple[BpfHook, ...] = ()
    entries: tuple[BpfEntry, ...] = ()
    counts: tuple[CountingMap, ...] = ()

    @property
    def pins(self) -> str:
        """The folder in which its programs are pinned by name."""
        return f"{BPF_FOLDER}/{self.source}"
