"""Reading a user's file: bounded, never blocking, with a clear error if it cannot be read."""

import os
import stat
from itertools import islice
from pathlib import Path

from testbed.spec.nearest import nearest

MAX_BYTES = 1024 * 1024
MAX_LISTED = 10_000
"""Number of names in a folder to search for a similar one."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Unreadable(Exception):
    """Why the file cannot be read as text. Line and column are 0 for the file as a whole."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


def read_text(path: Path) -> str:
    """The text of a UTF-8 file of at most `MAX_BYTES`, without a byte order mark. Raises Unreadable."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise Unreadable(f"is {_KINDS.get(stat.S_IFMT(mode), 'not a regular file')}; expected a YAML file")
        data = _read_bounded(path)
    except FileNotFoundError:
        raise Unreadable("file not found") from None
    except PermissionError:
        raise Unreadable("permission denied") from None
    except OSError as error:
        raise Unreadable(f"cannot read the file: {error.strerror or error}") from None
    except ValueError:
        raise Unreadable("the file name has invalid characters") from None
    return _decode(data)


def nearest_file(path: Path) -> str:
    """The most similar file name in the same folder; empty if none is similar."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, MAX_LISTED) if entry.is_file()]
    except (OSError, ValueError):
        return ""
    return nearest(path.name, tuple(sorted(names)))


def _read_bounded(path: Path) -> bytes:
    # O_NONBLOCK: the file may have been replaced by a pipe since stat, and files in /proc may block too.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Unreadable("the file is larger than 1 MiB, the limit")
    return data


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("the file is in UTF-16; save it as UTF-8")
    if b"\0" in data:
        raise Unreadable("is a binary file; expected a YAML file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The offset does not count a byte order mark.
        before = data.removeprefix(b"\xef\xbb\xbf")[: error.start].decode("utf-8")
        lines = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        byte = error.object[error.start]
        raise Unreadable(
            f"byte 0x{byte:02x} is not valid UTF-8; save the file as UTF-8", len(lines), len(lines[-1]) + 1
        ) from None
