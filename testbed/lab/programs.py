"""Processes of a plan in its places: start, reload, wait for readiness, stop.

The pure function `change` decides what a change of plans does to them. A program that can reload its files is not
stopped when they change.
"""

import os
import secrets
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from testbed.kernel.refusal import PlanRefused
from testbed.lab.places import Places
from testbed.plan.change import touched
from testbed.plan.objects import OWN_PROGRAMS, PYTHON, Command, File, Plan, Program, Route, Says, Signal, Space
from testbed.plan.parts import differ_in_pods
from testbed.plan.shell import log_of

HERE = Path(__file__).parents[2]
"""The folder that contains `testbed`."""
SECRET_BYTES = 16
READY_PATIENCE_S, CONVERGENCE_PATIENCE_S = 60.0, 180.0
"""For slow machines; usually a program is ready within some hundredths of a second, routes within a few seconds."""
STOP_PATIENCE_S = 2.0
"""Time between SIGTERM and SIGKILL."""
ANSWER_PATIENCE_S = 5.0
"""For the answer of a process that was restarted from outside."""
POLL_S = 0.01
LOG_LINES = 10


class Item(NamedTuple):
    """A program and its place."""

    place: str
    program: Program


@dataclass(frozen=True)
class Change:
    """What happens to the programs of a lab when its plan changes. A restarted program is in the first two."""

    stopped: tuple[Item, ...] = ()
    started: tuple[Item, ...] = ()
    reloaded: tuple[Item, ...] = ()


class Ended(NamedTuple):
    """A process that has ended although the lab is up."""

    place: str
    what: str
    """Its name, how it ended, and its last output."""
    mend: str
    """The command that restarts it; empty if there is none."""


def items(spaces: Iterable[Space]) -> tuple[Item, ...]:
    """All programs of these spaces."""
    return tuple(Item(space.name, program) for space in spaces for program in space.of(Program))


def change(old: Plan, new: Plan) -> Change:
    """What the change from one plan to another does to programs.

    - A program is restarted if its command, its environment or one of its devices changes.
    - If its files change, it is reloaded, or restarted if it cannot reload.
    - Other programs are not affected.
    """
    stopped: list[Item] = []
    started: list[Item] = []
    reloaded: list[Item] = []
    for name in touched(old, new):
        before, after = (plan[name] if plan.has(name) else None for plan in (old, new))
        was, now = _by_name(before), _by_name(after)
        stopped += (Item(name, program) for key, program in was.items() if key not in now)
        files = _changed(before, after)
        for key, program in now.items():
            item = Item(name, program)
            if key not in was:
                started.append(item)
            elif _identity(old, name, was[key]) != _identity(new, name, program):
                stopped.append(Item(name, was[key]))
                started.append(item)
            elif not files.isdisjoint(program.files):
                if program.reload:
                    reloaded.append(item)
                else:
                    stopped.append(Item(name, was[key]))
                    started.append(item)
    return Change(tuple(stopped), tuple(started), tuple(reloaded))


def _by_name(space: Space | None) -> dict[str, Program]:
    return {program.name: program for program in space.of(Program)} if space else {}


def _identity(plan: Plan, place: str, program: Program) -> tuple[object, ...]:
    """Properties that cannot change while it runs. A device is the same if its kind and index are equal."""
    devices = plan.devices_of(place)
    held = [(name, type(devices[name]), devices[name].index) for name in program.devices if name in devices]
    return program.command, program.environment, program.secret, held


def _changed(old: Space | None, new: Space | None) -> set[str]:
    """The paths of changed files."""
    before, after = (set(space.of(File)) if space else set[File]() for space in (old, new))
    return {file.path for file in before ^ after}


@dataclass
class _Running:
    """A started program."""

    item: Item
    process: subprocess.Popen[bytes]
    printed: bytes = field(default=b"", repr=False)
    """Output on its readiness that is not yet a whole line."""


class Programs:
    """The processes of one lab."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._secret = secrets.token_hex(SECRET_BYTES)
        self._running: dict[tuple[str, str], _Running] = {}

    def start(self, started: Iterable[Item], reloaded: Iterable[Item] = ()) -> None:
        """Start programs, reload others, and return when all are ready.

        All are started before the first is waited for, since some depend on others. Programs to reload that have ended
        are skipped. Raises PlanRefused with the output of the failed program.
        """
        begun = [self._started(item) for item in started]
        reloading = [self._running[_key(item)] for item in reloaded if self._answers(item)]
        signalled = [one for one in reloading if isinstance(one.item.program.reload, Signal)]
        for one in reloading:
            match one.item.program.reload:
                case Signal(name):
                    self._drain(one)
                    one.process.send_signal(signal.Signals[name])
                case Command(words):
                    self._reload(one.item, words)
        for one in (*begun, *signalled):
            self._await_ready(one)

    def stop(self, stopped: Iterable[Item]) -> None:
        """Stop programs; return when they have ended."""
        stopping = [self._running.pop(_key(item)).process for item in stopped if _key(item) in self._running]
        for process in stopping:
            process.terminate()
        end = time.monotonic() + STOP_PATIENCE_S
        for process in stopping:
            try:
                process.wait(max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
            process.communicate()

    @contextmanager
    def changing(self, old: Plan, new: Plan) -> Iterator[None]:
        """Context in which the caller changes the kernel's state from one plan to the other.

        On entry, programs are stopped if they cannot continue. On exit, the new files are written, programs are started
        or reloaded, and the routes of daemons are waited for: new ones must exist, and old ones be gone. Raises
        PlanRefused.
        """
        steps = change(old, new)
        whole = not self.ended()
        self.stop(steps.stopped)
        yield
        self._places.change(new)
        self.start(steps.started, steps.reloaded)
        if whole:  # If a program was ended from outside, the routes of others may never arrive.
            among = new.spaces if steps.stopped or steps.started or steps.reloaded else _unsettled(old, new)
            self.converge(new, gone(old, new), among)

    def _started(self, item: Item) -> _Running:
        place, program = item
        says = isinstance(program.ready, Says)
        environment = os.environ | dict(program.environment) if program.environment or program.secret else None
        if environment and program.secret:
            environment[program.secret] = self._secret
        with self._log(item, "wb") as log:
            stdout = subprocess.PIPE if says else log
            process = self._places.start(place, _here(program.command), stdout, log, environment)
        one = self._running[_key(item)] = _Running(item, process)
        return one

    def _log(self, item: Item, mode: str) -> IO[bytes]:
        return self._places.within(item.place, lambda: open(log_of(item.program), mode))  # noqa: PTH123

    def _await_ready(self, one: _Running) -> None:
        end = time.monotonic() + READY_PATIENCE_S
        match one.item.program.ready:
            case Says(line):
                self._await_line(one, line, end)
            case Command(words):
                self._await_answer(one, words, end)

    def _await_line(self, one: _Running, line: str, end: float) -> None:
        assert one.process.stdout
        pipe = one.process.stdout.fileno()
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while b"\n" not in one.printed:
            if not poll.poll(max(0, end - time.monotonic()) * 1000):
                raise self._failed(one.item, f"did not print `{line}` within {READY_PATIENCE_S:g} s")
            data = os.read(pipe, 4096)
            if not data:
                raise self._failed(one.item, _how_ended(one.process.wait()))
            one.printed += data
        said, _, one.printed = one.printed.partition(b"\n")
        if said.decode(errors="replace") != line:
            raise PlanRefused(f"in {one.item.place}: process {one.item.program.name} {said.decode(errors='replace')}")

    @staticmethod
    def _drain(one: _Running) -> None:
        """Discard output that was printed before the reload."""
        assert one.process.stdout
        one.printed = b""
        while select.select([one.process.stdout], [], [], 0)[0] and os.read(one.process.stdout.fileno(), 4096):
            pass

    def _await_answer(self, one: _Running, words: Sequence[str], end: float) -> None:
        while self._places.run(one.item.place, words).returncode:
            if one.process.poll() is not None:
                raise self._failed(one.item, _how_ended(one.process.returncode))
            if time.monotonic() > end:
                raise self._failed(one.item, f"is not ready after {READY_PATIENCE_S:g} s: `{shlex.join(words)}` fails")
            time.sleep(POLL_S)

    def _reload(self, item: Item, words: Sequence[str]) -> None:
        done = self._places.run(item.place, words)
        if done.returncode:
            said = _quoted(done.stdout + done.stderr)
            raise PlanRefused(
                f"in {item.place}: process {item.program.name} cannot reload its files: `{shlex.join(words)}`{said}"
            )

    def _failed(self, item: Item, problem: str) -> PlanRefused:
        return PlanRefused(f"in {item.place}: process {item.program.name} {problem}{self._said_by(item)}")

    def _said_by(self, item: Item) -> str:
        """The end of a program's log, after a colon."""
        with self._log(item, "rb") as log:
            return _quoted(log.read().decode(errors="replace"))

    def _answers(self, item: Item) -> bool:
        """Whether it runs, including when it was restarted from outside."""
        one = self._running.get(_key(item))
        if one is None or one.process.poll() is None:
            return one is not None
        ready = item.program.ready
        try:
            return (
                isinstance(ready, Command)
                and not self._places.run(item.place, ready.words, patience_s=ANSWER_PATIENCE_S).returncode
            )
        except subprocess.TimeoutExpired:
            return False

    def converge(
        self, plan: Plan, gone: Mapping[str, Collection[Route]] | None = None, among: Iterable[Space] | None = None
    ) -> None:
        """Wait until all learned routes of the plan are in the kernel, and no route of `gone` is left.

        `among` are the spaces to check; all if None. Raises PlanRefused.
        """
        spaces = plan.spaces if among is None else among
        waiting = [space.name for space in spaces if space.learned or (gone or {}).get(space.name)]
        if not waiting:
            return
        from testbed.kernel.state import routes  # It takes a tenth of a second to load, and most labs do not need it.

        begin = time.monotonic()
        while waiting:
            space = plan[waiting[0]]
            with self._places.namespaces[space.name].entered():
                found = routes()
            missing, extra = set(space.learned) - found, found.intersection((gone or {}).get(space.name, ()))
            if not missing and not extra:
                waiting.pop(0)
                continue
            own = items([space])
            if time.monotonic() - begin > CONVERGENCE_PATIENCE_S:
                said = "".join(map(self._said_by, own))
                raise PlanRefused(f"in {space.name}: {_unlearned(missing, extra)}{said}")
            for item in own:
                if not self._answers(item):
                    raise self._failed(item, _how_ended(self._running[_key(item)].process.returncode))
            time.sleep(POLL_S)

    def ended(self) -> tuple[Ended, ...]:
        """The processes that have ended, without those restarted from outside, and those that a signal stopped."""
        ended = (self._end_of(one) for one in self._running.values() if not self._answers(one.item))
        return (*ended, *(_stop_of(one) for one in self._running.values() if _is_stopped(one.process)))

    def _end_of(self, one: _Running) -> Ended:
        place, program = one.item
        what = f"process {program.name} {_how_ended(one.process.returncode)}{self._said_by(one.item)}"
        if not isinstance(program.ready, Command):  # A restarted process could not be detected.
            return Ended(place, what, "")
        # With setsid, so that it outlives the shell.
        variables = ("env", *map("=".join, program.environment)) if program.environment else ()
        again = f"setsid --fork {shlex.join((*variables, *_here(program.command)))} >> {log_of(program)} 2>&1"
        return Ended(place, what, f"sh -c {shlex.quote(again)}")

    def down(self) -> None:
        """Kill all processes."""
        while self._running:
            _, one = self._running.popitem()
            one.process.kill()
            one.process.communicate()


def _is_stopped(process: subprocess.Popen[bytes]) -> bool:
    """Whether a signal (SIGSTOP) stopped a running process."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def _stop_of(one: _Running) -> Ended:
    place, program = one.item
    return Ended(place, f"process {program.name} stopped by a signal", f"kill -CONT {one.process.pid}")


def _unsettled(old: Plan, new: Plan) -> tuple[Space, ...]:
    """Spaces in which learned routes may change although no program is restarted or reloaded.

    Identical spaces are skipped. If only pods change, so are spaces with the same learned routes.
    """
    spaces = [(old[name] if old.has(name) else None, new[name]) for name in touched(old, new) if new.has(name)]
    if differ_in_pods(old, new):
        return tuple(after for before, after in spaces if not before or before.learned != after.learned)
    return tuple(after for _, after in spaces)


def gone(old: Plan, new: Plan) -> dict[str, set[Route]]:
    """The learned routes of the old plan that must disappear, by place; only places in both plans."""
    spaces = [(old[name], new[name]) for name in touched(old, new) if old.has(name) and new.has(name)]
    return {
        after.name: set(before.learned).difference(after.learned, after.of(Route))
        for before, after in spaces
        if before.learned
    }


def _unlearned(missing: Collection[Route], extra: Collection[Route]) -> str:
    which = ", ".join(sorted(str(route.to) for route in missing or extra))
    what = f"no program added the routes to {which}" if missing else f"no program removed the routes to {which}"
    return f"{what} within {CONVERGENCE_PATIENCE_S:g} s"


def _key(item: Item) -> tuple[str, str]:
    return item.place, item.program.name


def _here(command: Sequence[str]) -> list[str]:
    """A command for this machine: with this Python interpreter and the paths of the testbed's own programs."""
    if command[0] != PYTHON:
        return list(command)
    return [
        sys.executable,
        *(str(HERE / word) if word.startswith(f"{OWN_PROGRAMS}/") else word for word in command[1:]),
    ]


def _how_ended(code: int) -> str:
    return f"ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit code {code}"


def _quoted(text: str) -> str:
    """The last lines of an output, after a colon."""
    lines = text.splitlines()[-LOG_LINES:]
    return ":\n" + "\n".join(f"  {line}" for line in lines) if lines else ", without output"
