"""eBPF programs: compile them from C, load, pin and attach them, fill and read their maps.

clang compiles them when a lab comes up; the user's cache keeps the result. bpftool loads and pins them, since it prints
the verifier's log when the kernel refuses one. The rest is bpf(2) and netlink.
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
"""Folder next to the pinned programs, with links to devices, pinned by device name."""
_TCMSG = struct.Struct("=BxxxiIII")
_TCA_KIND, _TCA_OPTIONS, _BPF_ID = 1, 2, 11
_PATIENCE_S = 60


class BpfRefused(OSError):
    """A program could not be compiled or loaded, or a map not filled; with the output of compiler or kernel."""


def compiled(bpf: Bpf, sources: Path = SOURCES) -> Path:
    """The object file of these programs, compiled again if source, options or compiler have changed.

    Raises BpfRefused.
    """
    machine = f"{platform.machine()}-linux-gnu"
    texts = [file.read_bytes() for file in sorted(sources.iterdir()) if file.suffix in (".c", ".h")]
    version = subprocess.run(["clang", "--version"], capture_output=True, timeout=_PATIENCE_S).stdout
    command = " ".join(compile_words(bpf, "", "", machine))
    content = hashlib.sha256(b"\0".join([*texts, version, command.encode()])).hexdigest()
    file = cache("bpf") / content[:32] / object_of(bpf)
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
                raise BpfRefused(f"clang cannot compile {bpf.source}.c (with libbpf-dev's headers):\n{done.stderr}")
            fresh.rename(file)  # Atomic, if another process compiles the same.
    return file


def cache(kind: str) -> Path:
    """The folder in this user's cache for a kind of compiled programs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "testbed" / kind


def load(bpf: Bpf, file: Path, root: Path) -> None:
    """Load all programs of an object file; pin them and their maps in /sys/fs/bpf below a node's root folder.

    Raises BpfRefused.
    """
    Path(f"{root}{MAP_PINS}").mkdir(parents=True, exist_ok=True)
    command = load_words(bpf, str(file), str(root))
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
    if done.returncode:
        raise BpfRefused(f"the kernel refuses the programs of {file.name}:\n{done.stderr}")


def change(old: Bpf | None, new: Bpf, made: Container[str], index_of: Callable[[str], int], root: Path) -> None:
    """Change the attached programs and map entries from `old` to `new`.

    In the calling thread's namespace; `made` are devices that were just made there. Raises BpfRefused.
    """
    if old is not None and (old.source, old.defines) != (new.source, new.defines):
        raise BpfRefused(f"the eBPF programs of {new.source}.c cannot be replaced while the lab is up")
    entries, hooks = (old.entries, old.hooks) if old is not None else ((), ())
    planned = {(entry.map, entry.key) for entry in new.entries}
    there = {(entry.map, entry.key): entry.value for entry in entries}
    _delete((entry for entry in entries if (entry.map, entry.key) not in planned), root)
    # The entries of a recreated device are unchanged, unless its index has changed.
    fill((entry for entry in new.entries if there.get((entry.map, entry.key)) != entry.value), root)
    pins = Path(f"{root}{new.pins}")
    _detach([hook for hook in hooks if hook not in new.hooks or hook.dev in made], made, index_of, pins)
    classifying = {hook.dev for hook in hooks if hook.dev not in made}
    attach([hook for hook in new.hooks if hook.dev in made or hook not in hooks], classifying, index_of, pins)


def _delete(entries: Iterable[BpfEntry], root: Path) -> None:
    with ExitStack() as stack:
        maps: dict[str, int] = {}
        for entry in entries:
            if entry.map not in maps:
                maps[entry.map] = stack.enter_context(bpf_calls.pinned(Path(f"{root}{MAP_PINS}/{entry.map}")))
            with suppress(FileNotFoundError):
                bpf_calls.delete(maps[entry.map], entry.key)


def _detach(hooks: Iterable[BpfHook], made: Container[str], index_of: Callable[[str], int], pins: Path) -> None:
    """Detach programs. Those of deleted devices are already detached, except for their pins."""
    here = {name for _, name in socket.if_nameindex()}
    for hook in hooks:
        if hook.where == "peer":
            (pins / LINKS / hook.dev).unlink(missing_ok=True)
        elif hook.dev in here and hook.dev not in made:
            remove([encode.no_filter(hook, index_of(hook.dev))])


def attach(hooks: Sequence[BpfHook], classifying: Container[str], index_of: Callable[[str], int], pins: Path) -> None:
    """Attach programs pinned in a folder to devices of the calling thread's namespace.

    `classifying` are the devices that already have a clsact qdisc.
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
    """Write entries to pinned maps, replacing those with the same key. Raises BpfRefused."""
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
    """The programs attached to devices of a namespace, and the entries of their maps."""

    hooks: frozenset[BpfHook]
    """Program names are cut as the kernel cuts them."""
    maps: dict[str, dict[bytes, bytes]]
    """By name."""


def state_of(bpf: Bpf, indices: dict[str, int]) -> BpfState:
    """The state of these programs and their maps in the calling thread's namespace.

    Read through the programs attached to the devices, not through pins. Maps that the plan does not fill, such as
    counters, are included.
    """
    hooks, maps = set[BpfHook](), dict[str, int]()
    for hook, number in _attached(bpf, indices):
        hooks.add(hook)
        with suppress(FileNotFoundError):
            maps.update(bpf_calls.maps_of(number))
    return BpfState(frozenset(hooks), {name: bpf_calls.entries(number) for name, number in maps.items()})


def attached(bpf: Bpf) -> frozenset[BpfHook]:
    """The programs attached now at the planned hooks in the calling thread's namespace, with their full names."""
    whole = {hook.program[: bpf_calls.NAME_LENGTH]: hook.program for hook in bpf.hooks}
    found = (hook for hook, _ in _attached(bpf, {link.name: link.index for link in links()}))
    return frozenset(replace(hook, program=whole.get(hook.program, hook.program)) for hook in found)


def _attached(bpf: Bpf, indices: dict[str, int]) -> Iterator[tuple[BpfHook, int]]:
    """The programs attached at the planned hooks, with their IDs."""
    for dev, where in dict.fromkeys((hook.dev, hook.where) for hook in bpf.hooks):
        if dev not in indices:
            continue
        # A program or device may have been deleted meanwhile.
        with suppress(FileNotFoundError):
            index = indices[dev]
            numbers = bpf_calls.programs_of_peer(index) if where == "peer" else _filters(index, CLSACT_WAYS[where])
            for number in numbers:
                yield BpfHook(dev, where, bpf_calls.program_name(number)), number


def _filters(index: int, parent: int) -> Iterator[int]:
    """The IDs of the programs attached to a device by tc, in one direction."""
    with connect() as sock:
        for payload in dump(sock, RTM_GETTFILTER, _TCMSG.pack(0, index, 0, parent, 0)):
            found = attributes(payload, _TCMSG.size)
            options = attributes(found[_TCA_OPTIONS]) if _TCA_OPTIONS in found else {}
            if text_in(found[_TCA_KIND]) == "bpf" and _BPF_ID in options:
                yield int(struct.unpack("=I", options[_BPF_ID])[0])
