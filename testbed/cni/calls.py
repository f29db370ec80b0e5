"""Calling one plugin: finding its program, running it, reading what it answers."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from errno import ENOENT
from pathlib import Path
from typing import Any

from testbed.cni.request import Command

PATIENCE_S = 10.0
"""How long a plugin may take, unless something else is said; the kubelet waits for minutes."""
MOST_SHOWN = 2000
"""Characters of what a plugin printed that an error repeats."""
_CODES = {
    1: "incompatible CNI version",
    2: "unsupported field in the configuration",
    3: "unknown container",
    4: "bad environment",
    5: "I/O failure",
    6: "the configuration cannot be decoded",
    7: "invalid configuration",
    8: "the container's namespace is the plugin's own",
    11: "try again later",
    50: "the plugin is not available",
    51: "the plugin is not available, and existing containers may suffer",
    100: "the plugin's own error",
    999: "internal error",
}


@dataclass(frozen=True)
class Call:
    """One plugin called once: all that went in and came out."""

    plugin: str
    command: Command
    path: str
    """The program."""
    environment: Mapping[str, str]
    """What the runtime added to its own."""
    stdin: str
    stdout: str
    stderr: str
    code: int
    """Its exit code; below 0 the signal that ended it."""
    seconds: float
    timed_out: bool = False
    """Whether it was ended because it took too long."""
    container: str = ""

    def as_data(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def log_lines(calls: Iterable[Call]) -> str:
    """Calls as JSON, a line each."""
    return "".join(f"{json.dumps(call.as_data())}\n" for call in calls)


class CniError(Exception):
    """An attachment could not be made, checked or taken back; says why."""


class PluginMissing(CniError):
    """There is no program for a plugin."""

    def __init__(self, names: Sequence[str], folders: Sequence[str]) -> None:
        self.names, self.folders = tuple(names), tuple(folders)
        plugins = " and ".join(names)
        where = ", ".join(map(looked_in, folders))
        super().__init__(f"there is no CNI plugin {plugins} in {where}{unusable(names, folders)}")


def looked_in(folder: str) -> str:
    """A folder of plugins in words; it may not be there."""
    return folder if Path(folder).is_dir() else f"{folder} (no such folder)"


def unusable(names: Iterable[str], folders: Iterable[str]) -> str:
    """Of files that are called like plugins and are none: that they are there."""
    found = [path for name in names for path in (Path(folder, name) for folder in folders) if path.is_file()]
    return "".join(f"; {path} is there, but may not be executed" for path in found if not os.access(path, os.X_OK))


class PluginFailed(CniError):
    """A plugin said that it failed, or answered what cannot be understood."""

    def __init__(self, call: Call, msg: str, code: int | None = None, details: str = "") -> None:
        self.call = call
        self.msg = msg
        self.code = code
        """Of the specification, or the plugin's own from 100; None if it gave none."""
        self.details = details
        what = "" if code is None else f"code {code}{f' ({_CODES[code]})' if code in _CODES else ''}: "
        container = f" for {call.container}" if call.container else ""
        lines = [f"the CNI plugin {call.plugin} failed at {call.command}{container}: {what}{msg}"]
        if details:
            lines.append(f"  details: {details}")
        lines += [f"  stderr: {line}" for line in call.stderr[-MOST_SHOWN:].splitlines()]
        super().__init__("\n".join(lines))


class PluginHung(PluginFailed):
    """A plugin took too long, and was ended with all its processes."""


Execute = Callable[[str, bytes, Mapping[str, str], float], tuple[int, bytes, bytes, bool]]
"""Program, standard input, environment, seconds; exit code, standard output and error, whether it took too long."""


def execute(
    program: str, stdin: bytes, environment: Mapping[str, str], patience_s: float
) -> tuple[int, bytes, bytes, bool]:
    """Runs a program where the calling thread is, in a process group of its own, which ends with it if it hangs."""
    # Files rather than pipes: what a plugin left running in the background may hold these open for ever.
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        told.write(stdin)
        told.seek(0)
        process = subprocess.Popen(
            [program], stdin=told, stdout=out, stderr=err, env=dict(environment), start_new_session=True
        )
        timed_out = False
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        out.seek(0)
        err.seek(0)
        return process.returncode, out.read(), err.read(), timed_out


def find(name: str, folders: Sequence[str]) -> Path | None:
    """The program of a plugin: the first in these folders that can be run."""
    for folder in folders:
        path = Path(folder) / name
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def call(
    plugin: str,
    command: Command,
    folders: Sequence[str],
    told: Mapping[str, Any],
    environment: Mapping[str, str],
    patience_s: float = PATIENCE_S,
    run: Execute = execute,
) -> Call:
    """Runs a plugin. Raises PluginMissing; whether it succeeded is for `answer` to say."""
    path = find(plugin, folders)
    if path is None:
        raise PluginMissing([plugin], folders)
    begin = time.monotonic()
    stdin = json.dumps(told)
    try:
        code, out, err, timed_out = run(str(path), stdin.encode(), {**os.environ, **environment}, patience_s)
    except OSError as error:
        # Of a program that is there it is what runs it, named after #!, that is not.
        why = "what its first line says should run it is not there" if error.errno == ENOENT else error.strerror
        code, out, err, timed_out = 126, b"", f"{path} cannot be run: {why}".encode(), False
    return Call(
        plugin=plugin,
        command=command,
        path=str(path),
        environment=dict(environment),
        stdin=stdin,
        stdout=out.decode(errors="replace"),
        stderr=err.decode(errors="replace"),
        code=code,
        seconds=round(time.monotonic() - begin, 6),
        timed_out=timed_out,
        container=environment.get("CNI_CONTAINERID", ""),
    )


def answer(made: Call, patience_s: float = PATIENCE_S) -> Any:
    """What a plugin printed, as data; None if nothing. Raises PluginFailed."""
    if made.timed_out:
        raise PluginHung(made, f"it had not ended after {patience_s:g} s, and was ended with all its processes")
    text = made.stdout.strip()
    data, is_json = None, True
    try:
        data = json.loads(text) if text else None
    except ValueError:
        is_json = False
    if made.code == 0:
        if not is_json:
            raise PluginFailed(made, f"it ended well, but printed what is not JSON: {text[:MOST_SHOWN]}")
        return data
    if isinstance(data, dict) and isinstance(data.get("code"), int):
        raise PluginFailed(made, str(data.get("msg", "")), data["code"], str(data.get("details", "")))
    ended = f"signal {-made.code} ended it" if made.code < 0 else f"it ended with exit code {made.code}"
    said = f", and it printed: {text[:MOST_SHOWN]}" if text else ", and it printed nothing on its standard output"
    raise PluginFailed(made, f"{ended}{said}")
