"""Reading a file that a user names: bounded, never blocking, and saying plainly why it cannot be read."""

import difflib
import os
import stat
from itertools import islice
from pathlib import Path

MAX_BYTES = 1024 * 1024
MAX_LISTED = 10_000
"""How many names of a folder are looked through for one that may be meant."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Unreadable(Exception):
    """The file cannot be read as text; says why. Line and column are 0 where the file as a whole is meant."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


def read_text(path: Path) -> str:
    """The text of a regular file of at most `MAX_BYTES` in UTF-8; a byte order mark is left out."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise Unreadable(f"this is {_KINDS.get(stat.S_IFMT(mode), 'no file')}; name a YAML file")
        data = _read_bounded(path)
    except FileNotFoundError:
        raise Unreadable("there is no such file") from None
    except PermissionError:
        raise Unreadable("no permission to read this file") from None
    except OSError as error:
        raise Unreadable(f"the file cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise Unreadable("a file's name cannot hold such characters") from None
    return _decode(data)


def nearest_file(path: Path) -> str:
    """The name in the same folder that is most like the one of `path`; empty if none is."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, MAX_LISTED) if entry.is_file()]
    except (OSError, ValueError):
        return ""
    return next(iter(difflib.get_close_matches(path.name[:255], sorted(names), n=1)), "")


def _read_bounded(path: Path) -> bytes:
    # O_NONBLOCK: the name may have become a pipe since stat looked, and files of /proc may block too.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Unreadable("the file is larger than 1 MiB, which no topology or scenario needs")
    return data


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("the file is in UTF-16; save it as UTF-8")
    if b"\0" in data:
        raise Unreadable("this is a binary file; name a YAML file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The offset is one into what follows the byte order mark, if there is one.
        before = data.removeprefix(b"\xef\xbb\xbf")[: error.start].decode("utf-8")
        lines = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        byte = error.object[error.start]
        raise Unreadable(
            f"the byte 0x{byte:02x} is not UTF-8; save the file as UTF-8", len(lines), len(lines[-1]) + 1
        ) from None
