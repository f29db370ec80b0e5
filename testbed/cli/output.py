"""Standard output and standard error: characters that a terminal lacks, and output that cannot be written."""

import codecs
import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from testbed.cli.errors import OutputFailed, ReaderGone, WrongInput

NEAREST = "testbed-nearest"
"""An error handler of codecs, which writes the nearest characters that every encoding has."""
PLAIN_ASCII = "testbed-ascii"
"""The encoding ASCII under another name: click replaces streams in ASCII by streams in UTF-8."""
_IN_ASCII = {
    "µ": "u",
    "→": "->",
    "←": "<-",
    "↖": "^",
    "✓": "ok",
    "✗": "no",
    "·": "-",
    "±": "+/-",
    "\u00d7": "x",
    "\u2018": "'",
    "\u2019": "'",
    "“": '"',
    "”": '"',
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "•": "*",
    **dict.fromkeys("─━╌╴╶╸╺\u2013\u2014", "-"),
    **dict.fromkeys("│┃", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇╈╭╮╯╰", "+"),
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def prepare() -> None:
    """Make the standard streams usable: text in any encoding never fails, output that cannot be written is reported.

    Raises nothing. Must be called before files are opened, since those would take the place of closed streams.
    """
    _reserve_closed()
    codecs.register_error(NEAREST, _nearest)
    codecs.register(_plain_ascii)
    sys.stdout = _stream(sys.stdout, _Stdout(1, "wb", closefd=False))
    sys.stderr = _stream(sys.stderr, _Stderr(2, "wb", closefd=False))
    _read_and_write_utf8()


def write_file(path: Path, data: bytes) -> str:
    """Write a file completely or not at all; return `wrote PATH` or `replaced PATH`.

    Raises WrongInput if the path cannot be written, OutputFailed if the disk is full.
    """
    try:
        if path.exists() and not path.is_file():  # A device or a pipe.
            path.write_bytes(data)
            return f"wrote {path}"
        target = path.resolve()
        what = f"replaced {path}" if target.exists() else f"wrote {path}"
        fresh = target.with_name(f".{target.name}.{os.getpid()}.new")
        try:
            fresh.write_bytes(data)
            if target.exists():
                fresh.chmod(target.stat().st_mode & 0o777)
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise failure(str(path), error) from None
    return what


def in_terminal(text: str) -> bytes:
    """Text in the encoding of standard output."""
    return text.encode(sys.stdout.encoding, NEAREST)


def failure(path: str, error: OSError) -> WrongInput | OutputFailed:
    """The error to raise if a file cannot be written: whether the path is wrong, or the disk full."""
    text = f"{path} cannot be written: {error.strerror or error}"
    return OutputFailed(text) if error.errno in _FULL else WrongInput(text)


def failure_of_stdout(error: OSError) -> OutputFailed | ReaderGone:
    """The error to raise if standard output cannot be written."""
    if isinstance(error, BrokenPipeError):
        return ReaderGone()
    why = "it is closed" if error.errno == errno.EBADF else error.strerror or error
    return OutputFailed(f"standard output cannot be written: {why}")


class _Stdout(io.FileIO):
    """Standard output. The first failure is raised, as an exception that no verb takes for one of its own files."""

    _failed = False

    def write(self, data: Any) -> int:
        if self._failed:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._failed = True
            raise failure_of_stdout(error) from None


class _Stderr(io.FileIO):
    """Standard error. If it cannot be written, nothing can be reported, and the work continues."""

    def write(self, data: Any) -> int:
        with suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


def _reserve_closed() -> None:
    """Open the standard streams that the caller has closed. Output to one fails as if it were closed."""
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)  # The lowest free number, which is this one.
            os.set_inheritable(opened, True)


def _stream(before: Any, raw: io.FileIO) -> io.TextIOWrapper:
    encoding = "utf-8" if before is None else before.encoding
    if codecs.lookup(encoding).name == "ascii":
        encoding = PLAIN_ASCII
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors=NEAREST, line_buffering=raw.isatty() or raw.fileno() == 2
    )


def _nearest(error: UnicodeError) -> tuple[str | bytes, int]:
    """What to write for the first character that an encoding lacks; a byte of a file name that is no text stays."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), error.start + 1
    import unicodedata

    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _IN_ASCII.get(character, plain or "?"), error.start + 1


def _plain_ascii(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != PLAIN_ASCII:
        return None
    known = codecs.lookup("ascii")
    return codecs.CodecInfo(
        known.encode,
        known.decode,
        known.streamreader,
        known.streamwriter,
        known.incrementalencoder,
        known.incrementaldecoder,
        name=PLAIN_ASCII,
    )


def _read_and_write_utf8() -> None:
    """Let files be UTF-8 in every locale: topologies, results and the output of programs."""
    if not sys.flags.utf8_mode:
        import locale

        if locale.getencoding().lower() not in ("utf-8", "utf8"):
            with suppress(locale.Error):
                locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
