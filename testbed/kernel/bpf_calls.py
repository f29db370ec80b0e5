"""The parts of bpf(2) that are needed here: open pinned objects, read and write maps, inspect and link programs.

Numbers and structures are those of linux/bpf.h.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.kernel.syscalls import system_call

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
"""System call number by architecture."""
_MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY, _PROG_LOAD, _OBJ_PIN, _OBJ_GET = 1, 2, 3, 4, 5, 6, 7
_PROG_FD_BY_ID, _MAP_FD_BY_ID, _OBJ_INFO, _PROG_QUERY, _LINK_CREATE = 13, 14, 15, 16, 28
_SCHED_CLS = 3
_NETKIT_PEER = 55
_INFO_SIZE = 256
_PROGRAM_MAPS, _PROGRAM_NAME_AT = struct.Struct("=IQ"), 64
_PROGRAM_MAPS_AT = 52
_MAP_SIZES, _MAP_SIZES_AT, _MAP_NAME_AT = struct.Struct("=II"), 8, 24
NAME_LENGTH = 15
"""Characters of a program's or map's name that the kernel keeps."""
_MOST = 64
"""Most maps of a program, and programs of a device."""
_PER_CPU = (5, 6, 10)
"""Map types with one value for each CPU."""
_RETURN_ZERO = struct.pack("=QQ", 0x00000000000000B7, 0x0000000000000095)
"""r0 = 0; exit"""


def _call(command: int, attributes: bytes) -> int:
    """Call bpf(2); return its result, which may be a descriptor. Raises OSError."""
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"the number of bpf(2) on {platform.machine()} is not known here")
    held = ctypes.create_string_buffer(attributes, len(attributes))
    return system_call(number, command, held, len(attributes))


def _at(held: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(held)


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def pinned(path: Path) -> Iterator[int]:
    """A descriptor of a pinned program or map."""
    name = ctypes.create_string_buffer(str(path).encode())
    with _closing(_call(_OBJ_GET, struct.pack("=QII", _at(name), 0, 0))) as descriptor:
        yield descriptor


def update(descriptor: int, key: bytes, value: bytes) -> None:
    """Write an entry of a map."""
    held_key, held_value = _buffer(key), _buffer(value)
    _call(_MAP_UPDATE, struct.pack("=IIQQQ", descriptor, 0, _at(held_key), _at(held_value), 0))


def delete(descriptor: int, key: bytes) -> None:
    """Delete an entry of a map. Raises FileNotFoundError if it is missing."""
    held_key = _buffer(key)
    _call(_MAP_DELETE, struct.pack("=IIQQQ", descriptor, 0, _at(held_key), 0, 0))


@dataclass(frozen=True)
class _MapInfo:
    name: str
    key_size: int
    value_size: int


def maps_of(program: int) -> Iterator[tuple[str, int]]:
    """Name and ID of each map that a program uses, by the program's ID."""
    with _closing(_call(_PROG_FD_BY_ID, struct.pack("=III", program, 0, 0))) as descriptor:
        numbers = _buffer(bytes(4 * _MOST))
        room = bytearray(_INFO_SIZE)
        _PROGRAM_MAPS.pack_into(room, _PROGRAM_MAPS_AT, _MOST, _at(numbers))
        count, _ = _PROGRAM_MAPS.unpack_from(_info(descriptor, bytes(room)), _PROGRAM_MAPS_AT)
    for number in struct.unpack_from(f"={count}I", numbers.raw):
        with _map(number) as (_, info):
            yield info.name, number


def program_name(program: int) -> str:
    """The name of a program by ID, cut as the kernel cuts it."""
    with _closing(_call(_PROG_FD_BY_ID, struct.pack("=III", program, 0, 0))) as descriptor:
        return _name(_info(descriptor, bytes(_INFO_SIZE)), _PROGRAM_NAME_AT)


def _info(descriptor: int, given: bytes) -> bytes:
    held = _buffer(given)
    _call(_OBJ_INFO, struct.pack("=IIQ", descriptor, len(given), _at(held)))
    return held.raw


def _name(info: bytes, place: int) -> str:
    return info[place : place + NAME_LENGTH].split(b"\0")[0].decode()


@contextmanager
def _map(number: int) -> Iterator[tuple[int, _MapInfo]]:
    with _closing(_call(_MAP_FD_BY_ID, struct.pack("=III", number, 0, 0))) as descriptor:
        info = _info(descriptor, bytes(_INFO_SIZE))
        kind = struct.unpack_from("=I", info)[0]
        key_size, value_size = _MAP_SIZES.unpack_from(info, _MAP_SIZES_AT)
        if kind in _PER_CPU:
            value_size = (value_size + 7) // 8 * 8 * _possible_cpus()
        yield descriptor, _MapInfo(_name(info, _MAP_NAME_AT), key_size, value_size)


def entries(number: int) -> dict[bytes, bytes]:
    """All entries of a map by ID; of a per-CPU map the values of all CPUs, one after another."""
    found: dict[bytes, bytes] = {}
    with _map(number) as (descriptor, info):
        key, following = None, _buffer(bytes(info.key_size))
        value = _buffer(bytes(info.value_size))
        while True:
            try:
                before = _at(key) if key else 0
                _call(_MAP_NEXT_KEY, struct.pack("=IIQQ", descriptor, 0, before, _at(following)))
            except FileNotFoundError:
                return found
            key = _buffer(following.raw)
            try:
                _call(_MAP_LOOKUP, struct.pack("=IIQQQ", descriptor, 0, _at(key), _at(value), 0))
            except FileNotFoundError:
                continue  # Deleted meanwhile.
            found[key.raw] = value.raw


def _possible_cpus() -> int:
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")
    ends = (one.split("-") for one in ranges)
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)


def link_to_peer(program: int, index: int, pin: Path) -> None:
    """Attach a program to what the peer of a netkit device sends; `index` is that of the primary device.

    The link lasts as long as the pin.
    """
    name = ctypes.create_string_buffer(str(pin).encode())
    request = struct.pack("=IIIIIIQ", program, index, _NETKIT_PEER, 0, 0, 0, 0)
    with _closing(_call(_LINK_CREATE, request)) as link:
        _call(_OBJ_PIN, struct.pack("=QII", _at(name), link, 0))


def programs_of_peer(index: int) -> tuple[int, ...]:
    """The IDs of the programs attached to what the peer of a netkit device sends."""
    return programs_at(index, _NETKIT_PEER)


def programs_at(index: int, where: int) -> tuple[int, ...]:
    """The IDs of the programs attached to a device, by the number of the place (BPF_NETKIT_PEER, BPF_TCX_INGRESS)."""
    numbers = _buffer(bytes(4 * _MOST))
    # The count is both input and output; the arrays after it are not requested.
    request = _buffer(struct.pack("=IIIIQIIQQQQ", index, where, 0, 0, _at(numbers), _MOST, 0, 0, 0, 0, 0))
    number = _NUMBERS[platform.machine()]
    system_call(number, _PROG_QUERY, request, len(request))
    count = struct.unpack_from("=I", request.raw, 24)[0]
    return struct.unpack_from(f"={count}I", numbers.raw)


@contextmanager
def smallest_program() -> Iterator[int]:
    """A program for devices that does nothing. Raises OSError if the kernel refuses it from this user."""
    instructions, licence = _buffer(_RETURN_ZERO), ctypes.create_string_buffer(b"GPL")
    request = struct.pack("=IIQQ", _SCHED_CLS, len(_RETURN_ZERO) // 8, _at(instructions), _at(licence))
    with _closing(_call(_PROG_LOAD, request)) as descriptor:
        yield descriptor
