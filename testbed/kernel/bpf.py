"""eBPF programs: compiled from C, loaded, pinned, hung on devices, and their maps filled and read.

clang compiles them when a lab comes up, unless this user's cache has what it made of the same text before. bpftool
loads and pins them, as it says best what is wrong with one that the kernel refuses. The rest is bpf(2) and netlink.
"""

import hashlib
import os
import platform
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.kernel import bpf_calls, encode
from testbed.kernel.encode import CLSACT_WAYS
from testbed.kernel.links import links
from testbed.kernel.netlink import connect, dump, remove, send
from testbed.plan.messages import attributes, text_in
from testbed.plan.objects import Bpf, BpfEntry, BpfHook
from testbed.plan.shell import MAP_PINS, compile_words, entry_words, load_words, object_of
from testbed.plan.uapi import RTM_GETTFILTER

SOURCES = Path(__file__).parents[1] / "bpf"
LINKS = "links"
"""A folder beside the programs, of those that are linked to devices; by the names of these."""
_TCMSG = struct.Struct("=BxxxiIII")
_TCA_KIND, _TCA_OPTIONS, _BPF_ID = 1, 2, 11
_PATIENCE_S = 60


class BpfRefused(OSError):
    """A program could not be compiled or loaded, or a map not filled; says all that compiler or kernel said."""


def compiled(bpf: Bpf, sources: Path = SOURCES) -> Path:
    """The object file of these programs, made anew if the text, the options or the compiler have changed.

    Raises BpfRefused.
    """
    machine = f"{platform.machine()}-linux-gnu"
    texts = [file.read_bytes() for file in sorted(sources.iterdir()) if file.suffix in (".c", ".h")]
    version = subprocess.run(["clang", "--version"], capture_output=True, timeout=_PATIENCE_S).stdout
    command = " ".join(compile_words(bpf, "", "", machine))
    content = hashlib.sha256(b"\0".join([*texts, version, command.encode()])).hexdigest()
    file = _cache() / content[:32] / object_of(bpf)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            fresh = Path(folder, file.name)
            done = subprocess.run(
                compile_words(bpf, str(sources), str(fresh), machine),
                capture_output=True,
                text=True,
                timeout=_PATIENCE_S,
            )
            if done.returncode:
                raise BpfRefused(
                    f"clang, with the headers of libbpf-dev, does not compile {bpf.source}.c:\n{done.stderr}"
                )
            fresh.rename(file)  # At once, whoever else makes the same.
    return file


def _cache() -> Path:
    """A folder of this user's."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "testbed" / "bpf"


def load(bpf: Bpf, file: Path, root: Path) -> None:
    """Loads all programs of an object file, and pins them and their maps in the /sys/fs/bpf below a node's root folder.

    Raises BpfRefused.
    """
    Path(f"{root}{MAP_PINS}").mkdir(parents=True, exist_ok=True)
    command = load_words(bpf, str(file), str(root))
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
    if done.returncode:
        raise BpfRefused(f"the kernel does not take the programs of {file.name}:\n{done.stderr}")


def change(old: Bpf | None, new: Bpf, made: Container[str], index_of: Callable[[str], int], root: Path) -> None:
    """Has programs and maps that are pinned there become from the one what the other says.

    In the calling thread's namespace, in which some devices were just made. Raises BpfRefused.
    """
    if old is not None and (old.source, old.defines) != (new.source, new.defines):
        raise BpfRefused(f"the eBPF programs of {new.source}.c cannot be exchanged for others while the lab is up")
    entries, hooks = (old.entries, old.hooks) if old is not None else ((), ())
    planned = {(entry.map, entry.key) for entry in new.entries}
    there = {(entry.map, entry.key): entry.value for entry in entries}
    _forget((entry for entry in entries if (entry.map, entry.key) not in planned), root)
    # What comes with a device that was made anew is the same, unless the device has another number.
    fill((entry for entry in new.entries if there.get((entry.map, entry.key)) != entry.value), root)
    pins = Path(f"{root}{new.pins}")
    _unhang([hook for hook in hooks if hook not in new.hooks or hook.dev in made], made, index_of, pins)
    had = {hook.dev for hook in hooks if hook.dev not in made}
    hang([hook for hook in new.hooks if hook.dev in made or hook not in hooks], had, index_of, pins)


def _forget(entries: Iterable[BpfEntry], root: Path) -> None:
    with ExitStack() as stack:
        maps: dict[str, int] = {}
        for entry in entries:
            if entry.map not in maps:
                maps[entry.map] = stack.enter_context(bpf_calls.pinned(Path(f"{root}{MAP_PINS}/{entry.map}")))
            with suppress(FileNotFoundError):
                bpf_calls.delete(maps[entry.map], entry.key)


def _unhang(hooks: Iterable[BpfHook], made: Container[str], index_of: Callable[[str], int], pins: Path) -> None:
    """A program goes with its device, but for what is pinned of it."""
    here = {name for _, name in socket.if_nameindex()}
    for hook in hooks:
        if hook.where == "peer":
            (pins / LINKS / hook.dev).unlink(missing_ok=True)
        elif hook.dev in here and hook.dev not in made:
            remove([encode.no_filter(hook, index_of(hook.dev))])


def hang(hooks: Sequence[BpfHook], classifying: Container[str], index_of: Callable[[str], int], pins: Path) -> None:
    """Hangs programs that are pinned in a folder on devices of the calling thread's namespace.

    Some of these may have other programs already.
    """
    if not hooks:
        return
    with ExitStack() as stack:
        names = dict.fromkeys(hook.program for hook in hooks)
        programs = {name: stack.enter_context(bpf_calls.pinned(pins / name)) for name in names}
        filters = [hook for hook in hooks if hook.where != "peer"]
        send(
            [
                *(
                    encode.new_clsact(dev, index_of(dev))
                    for dev in dict.fromkeys(hook.dev for hook in filters)
                    if dev not in classifying
                ),
                *(encode.new_filter(hook, index_of(hook.dev), programs[hook.program], str(pins)) for hook in filters),
            ]
        )
        for hook in hooks:
            if hook.where == "peer":
                pin = pins / LINKS / hook.dev
                pin.parent.mkdir(exist_ok=True)
                bpf_calls.link_to_peer(programs[hook.program], index_of(hook.dev), pin)


def fill(entries: Iterable[BpfEntry], root: Path) -> None:
    """Puts entries into maps that are pinned there; what is there under the same key is replaced. Raises BpfRefused."""
    with ExitStack() as stack:
        maps: dict[str, int] = {}
        for entry in entries:
            if entry.map not in maps:
                maps[entry.map] = stack.enter_context(bpf_calls.pinned(Path(f"{root}{MAP_PINS}/{entry.map}")))
            try:
                bpf_calls.update(maps[entry.map], entry.key, entry.value)
            except OSError as error:
                raise BpfRefused(f"bpftool {entry_words(entry)}: {os.strerror(error.errno or 0)}") from error


@dataclass(frozen=True)
class BpfState:
    """The programs that hang on devices of a namespace, and what their maps hold."""

    hooks: frozenset[BpfHook]
    """A program's name is as long as the kernel keeps it."""
    maps: dict[str, dict[bytes, bytes]]
    """By name."""


def state_of(bpf: Bpf, indices: dict[str, int]) -> BpfState:
    """What there is now of these programs on the devices of the calling thread's namespace, and in these maps.

    Read through the programs on the devices, whatever is pinned where. Maps of which the plan says nothing, as those
    that count, are read as well.
    """
    hooks, maps = set[BpfHook](), dict[str, int]()
    for hook, number in _hanging(bpf, indices):
        hooks.add(hook)
        with suppress(FileNotFoundError):
            maps.update(bpf_calls.maps_of(number))
    return BpfState(frozenset(hooks), {name: bpf_calls.entries(number) for name, number in maps.items()})


def hanging(bpf: Bpf) -> frozenset[BpfHook]:
    """The programs that hang now where these are to hang, in the calling thread's namespace, with their whole names."""
    whole = {hook.program[: bpf_calls.NAME_LENGTH]: hook.program for hook in bpf.hooks}
    found = (hook for hook, _ in _hanging(bpf, {link.name: link.index for link in links()}))
    return frozenset(replace(hook, program=whole.get(hook.program, hook.program)) for hook in found)


def _hanging(bpf: Bpf, indices: dict[str, int]) -> Iterator[tuple[BpfHook, int]]:
    """What hangs where these programs are to hang, and its number."""
    for dev, where in dict.fromkeys((hook.dev, hook.where) for hook in bpf.hooks):
        if dev not in indices:
            continue
        # A program, or a device, may have gone meanwhile.
        with suppress(FileNotFoundError):
            index = indices[dev]
            numbers = bpf_calls.programs_of_peer(index) if where == "peer" else _filters(index, CLSACT_WAYS[where])
            for number in numbers:
                yield BpfHook(dev, where, bpf_calls.program_name(number)), number


def _filters(index: int, parent: int) -> Iterator[int]:
    """The numbers of the programs that hang on a device by tc, in one direction."""
    with connect() as sock:
        for payload in dump(sock, RTM_GETTFILTER, _TCMSG.pack(0, index, 0, parent, 0)):
            found = attributes(payload, _TCMSG.size)
            options = attributes(found[_TCA_OPTIONS]) if _TCA_OPTIONS in found else {}
            if text_in(found[_TCA_KIND]) == "bpf" and _BPF_ID in options:
                yield int(struct.unpack("=I", options[_BPF_ID])[0])
