"""Calls of one plugin: finds its program, runs it, reads its answer."""

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
"""Default time limit of a call; the kubelet waits for minutes."""
MOST_SHOWN = 2000
"""Characters of a plugin's output that an error quotes."""
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
    51: "the plugin is not available, and existing containers may lose connectivity",
    100: "the plugin's own error",
    999: "internal error",
}


@dataclass(frozen=True)
class Call:
    """One call of a plugin: its input and its output."""

    plugin: str
    command: Command
    path: str
    """The program."""
    environment: Mapping[str, str]
    """Variables that the runtime set, without those it inherited."""
    stdin: str
    stdout: str
    stderr: str
    code: int
    """Exit code; if negative, the signal that killed it."""
    seconds: float
    timed_out: bool = False
    """Whether it was killed because it took too long."""
    container: str = ""

    def as_data(self) -> dict[str, Any]:
        """The call as data for JSON."""
        return asdict(self)


def log_lines(calls: Iterable[Call]) -> str:
    """Calls as JSON, a line each."""
    return "".join(f"{json.dumps(call.as_data())}\n" for call in calls)


class CniError(Exception):
    """An attachment could not be made, checked or removed; the text says why."""


class PluginMissing(CniError):
    """The program of a plugin was not found."""

    def __init__(self, names: Sequence[str], folders: Sequence[str]) -> None:
        self.names, self.folders = tuple(names), tuple(folders)
        plugins = " and ".join(names)
        where = ", ".join(map(looked_in, folders))
        super().__init__(f"CNI plugin {plugins} not found in {where}{unusable(names, folders)}")


def looked_in(folder: str) -> str:
    """The name of a folder of plugins, with a note if it does not exist."""
    return folder if Path(folder).is_dir() else f"{folder} (no such folder)"


def unusable(names: Iterable[str], folders: Iterable[str]) -> str:
    """A note on each file that has the name of a plugin but is not executable."""
    found = [path for name in names for path in (Path(folder, name) for folder in folders) if path.is_file()]
    return "".join(f"; {path} exists, but is not executable" for path in found if not os.access(path, os.X_OK))


class PluginFailed(CniError):
    """A plugin reported an error, or gave an invalid answer."""

    def __init__(self, call: Call, msg: str, code: int | None = None, details: str = "") -> None:
        self.call = call
        self.msg = msg
        self.code = code
        """Error code of the specification, from 100 the plugin's own; None if it gave none."""
        self.details = details
        what = "" if code is None else f"code {code}{f' ({_CODES[code]})' if code in _CODES else ''}: "
        container = f" for {call.container}" if call.container else ""
        lines = [f"the CNI plugin {call.plugin} failed at {call.command}{container}: {what}{msg}"]
        if details:
            lines.append(f"  details: {details}")
        lines += [f"  stderr: {line}" for line in call.stderr[-MOST_SHOWN:].splitlines()]
        super().__init__("\n".join(lines))


class PluginHung(PluginFailed):
    """A plugin took too long, and was killed with all its processes."""


Execute = Callable[[str, bytes, Mapping[str, str], float], tuple[int, bytes, bytes, bool]]
"""(program, stdin, environment, time limit in seconds) -> (exit code, stdout, stderr, whether it timed out)."""


def execute(
    program: str, stdin: bytes, environment: Mapping[str, str], patience_s: float
) -> tuple[int, bytes, bytes, bool]:
    """Runs a program where the calling thread is, in its own process group, which is killed if it takes too long."""
    # Files rather than pipes: a background process of the plugin may keep these open forever.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(
            [program], stdin=given, stdout=out, stderr=err, env=dict(environment), start_new_session=True
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
    """The program of a plugin: the first executable one in these folders."""
    for folder in folders:
        path = Path(folder) / name
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def call(
    plugin: str,
    command: Command,
    folders: Sequence[str],
    config: Mapping[str, Any],
    environment: Mapping[str, str],
    patience_s: float = PATIENCE_S,
    run: Execute = execute,
) -> Call:
    """Runs a plugin. Raises PluginMissing; for other failures see `answer`."""
    path = find(plugin, folders)
    if path is None:
        raise PluginMissing([plugin], folders)
    begin = time.monotonic()
    stdin = json.dumps(config)
    try:
        code, out, err, timed_out = run(str(path), stdin.encode(), {**os.environ, **environment}, patience_s)
    except OSError as error:
        # The program exists, so its interpreter, named after #!, does not.
        why = "the interpreter in its first line was not found" if error.errno == ENOENT else error.strerror
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
    """The output of a plugin as data, None if empty. Raises PluginFailed."""
    if made.timed_out:
        raise PluginHung(made, f"timed out after {patience_s:g} s, killed with all its processes")
    text = made.stdout.strip()
    data, is_json = None, True
    try:
        data = json.loads(text) if text else None
    except ValueError:
        is_json = False
    if made.code == 0:
        if not is_json:
            raise PluginFailed(made, f"exit code 0, but its output is not JSON: {text[:MOST_SHOWN]}")
        return data
    if isinstance(data, dict) and isinstance(data.get("code"), int):
        raise PluginFailed(made, str(data.get("msg", "")), data["code"], str(data.get("details", "")))
    ended = f"killed by signal {-made.code}" if made.code < 0 else f"exit code {made.code}"
    raise PluginFailed(made, f"{ended}, output: {text[:MOST_SHOWN]}" if text else f"{ended}, without output")
