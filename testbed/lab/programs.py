"""The programs that a plan has running in its places: started, told of changed files, waited for, stopped.

What a change of plans does to them is decided by a pure function, `change`. A program that takes changed files while it
runs is never stopped for them.
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
"""The folder that `testbed` is in."""
SECRET_BYTES = 16
READY_PATIENCE_S, CONVERGENCE_PATIENCE_S = 60.0, 180.0
"""On a slow machine; a program is ready within some hundredths of a second, routes take a few seconds."""
STOP_PATIENCE_S = 2.0
"""For a program that was sent SIGTERM, until it is sent SIGKILL."""
POLL_S = 0.01
LOG_LINES = 10


class Item(NamedTuple):
    """A program in its place."""

    place: str
    program: Program


@dataclass(frozen=True)
class Change:
    """What happens to the programs of a lab when its plan changes. One that is started anew is in the first two."""

    stopped: tuple[Item, ...] = ()
    started: tuple[Item, ...] = ()
    reloaded: tuple[Item, ...] = ()


class Ended(NamedTuple):
    """One that runs no more, although the lab is up."""

    place: str
    what: str
    """Which it was, how it ended, and what it said last."""
    mend: str
    """The command that starts it anew; empty where none would do."""


def items(spaces: Iterable[Space]) -> tuple[Item, ...]:
    """All programs of these."""
    return tuple(Item(space.name, program) for space in spaces for program in space.of(Program))


def change(old: Plan, new: Plan) -> Change:
    """What the change from one plan to another does to programs.

    - One whose command or environment changes, or one of whose devices is replaced, is started anew.
    - One whose files change is reloaded, or started anew if it cannot be.
    - All others are told nothing.
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
    """What cannot change while it runs. A device is the same as long as it has its kind and its number."""
    devices = plan.devices_of(place)
    held = [(name, type(devices[name]), devices[name].index) for name in program.devices if name in devices]
    return program.command, program.environment, program.secret, held


def _changed(old: Space | None, new: Space | None) -> set[str]:
    """The paths of the files that differ."""
    before, after = (set(space.of(File)) if space else set[File]() for space in (old, new))
    return {file.path for file in before ^ after}


@dataclass
class _Running:
    """A program that was started."""

    item: Item
    process: subprocess.Popen[bytes]
    printed: bytes = field(default=b"", repr=False)
    """What it has said of its being ready, as far as that is not a whole line."""


class Programs:
    """Those of one lab."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._secret = secrets.token_hex(SECRET_BYTES)
        self._running: dict[tuple[str, str], _Running] = {}

    def start(self, started: Iterable[Item], reloaded: Iterable[Item] = ()) -> None:
        """Starts programs, has others take their changed files, and returns when all are ready.

        Some are ready only when others are too. Of those to be reloaded one that has ended is left alone. Raises
        PlanRefused with what a program said.
        """
        begun = [self._started(item) for item in started]
        told = [self._running[_key(item)] for item in reloaded if self._answers(item)]
        signalled = [one for one in told if isinstance(one.item.program.reload, Signal)]
        for one in told:
            match one.item.program.reload:
                case Signal(name):
                    self._drain(one)
                    one.process.send_signal(signal.Signals[name])
                case Command(words):
                    self._reload(one.item, words)
        for one in (*begun, *signalled):
            self._await_ready(one)

    def stop(self, stopped: Iterable[Item]) -> None:
        """Ends programs; returns when they have ended."""
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
        """Around a change of the kernel's state from one plan to the other, which the caller makes.

        Before it programs are stopped that cannot go on. After it the files are the new plan's, programs are started or
        told of them, and all routes that they are to learn are there, and none that they were to learn before. Raises
        PlanRefused.
        """
        steps = change(old, new)
        whole = not self.ended()
        self.stop(steps.stopped)
        yield
        self._places.change(new)
        self.start(steps.started, steps.reloaded)
        if whole:  # Without a program that somebody has ended, others may wait in vain.
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
                raise self._failed(one.item, f"does not say `{line}`")
            data = os.read(pipe, 4096)
            if not data:
                raise self._failed(one.item, _how_ended(one.process.wait()))
            one.printed += data
        said, _, one.printed = one.printed.partition(b"\n")
        if said.decode(errors="replace") != line:
            raise PlanRefused(
                f"in {one.item.place}: the program {one.item.program.name} {said.decode(errors='replace')}"
            )

    @staticmethod
    def _drain(one: _Running) -> None:
        """Whatever it has said until now is no answer to what it is told next."""
        assert one.process.stdout
        one.printed = b""
        while select.select([one.process.stdout], [], [], 0)[0] and os.read(one.process.stdout.fileno(), 4096):
            pass

    def _await_answer(self, one: _Running, words: Sequence[str], end: float) -> None:
        while self._places.run(one.item.place, words).returncode:
            if one.process.poll() is not None:
                raise self._failed(one.item, _how_ended(one.process.returncode))
            if time.monotonic() > end:
                raise self._failed(one.item, f"does not answer `{shlex.join(words)}`")
            time.sleep(POLL_S)

    def _reload(self, item: Item, words: Sequence[str]) -> None:
        done = self._places.run(item.place, words)
        if done.returncode:
            said = _quoted(done.stdout + done.stderr)
            raise PlanRefused(f"in {item.place}: {item.program.name} refuses its files: `{shlex.join(words)}`{said}")

    def _failed(self, item: Item, problem: str) -> PlanRefused:
        return PlanRefused(f"in {item.place}: the program {item.program.name} {problem}{self._said_by(item)}")

    def _said_by(self, item: Item) -> str:
        """The end of a program's log, behind a colon."""
        with self._log(item, "rb") as log:
            return _quoted(log.read().decode(errors="replace"))

    def _answers(self, item: Item) -> bool:
        """Whether it runs, be it that somebody else has started it anew."""
        one = self._running.get(_key(item))
        if one is None or one.process.poll() is None:
            return one is not None
        ready = item.program.ready
        return isinstance(ready, Command) and not self._places.run(item.place, ready.words).returncode

    def converge(
        self, plan: Plan, gone: Mapping[str, Collection[Route]] | None = None, among: Iterable[Space] | None = None
    ) -> None:
        """Returns when all routes that programs are to learn are in the kernel, and none that are to be `gone`.

        It looks at all spaces, or `among` some. Raises PlanRefused.
        """
        spaces = plan.spaces if among is None else among
        waiting = [space.name for space in spaces if space.learned or (gone or {}).get(space.name)]
        if not waiting:
            return
        from testbed.kernel.state import routes  # Which takes a tenth of a second to load, and most labs do without.

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
        """The programs that run no more; one that answers was started anew by somebody."""
        return tuple(self._end_of(one) for one in self._running.values() if not self._answers(one.item))

    def _end_of(self, one: _Running) -> Ended:
        place, program = one.item
        how = f"has {_how_ended(one.process.returncode)}"
        what = f"{program.name}, a program of the design, {how}{self._said_by(one.item)}"
        if not isinstance(program.ready, Command):  # Whether another one runs could not be told.
            return Ended(place, what, "")
        # By itself, so that it outlives whoever starts it.
        again = f"setsid --fork {shlex.join(_here(program.command))} >> {log_of(program)} 2>&1"
        return Ended(place, what, f"sh -c {shlex.quote(again)}")

    def down(self) -> None:
        """Ends all of them at once."""
        while self._running:
            _, one = self._running.popitem()
            one.process.kill()
            one.process.communicate()


def _unsettled(old: Plan, new: Plan) -> tuple[Space, ...]:
    """Where routes may have to be learned anew although no program is told anything.

    It is not where spaces are the very same, nor where pods come and go, which nobody tells others of.
    """
    spaces = [(old[name] if old.has(name) else None, new[name]) for name in touched(old, new) if new.has(name)]
    if differ_in_pods(old, new):
        return tuple(after for before, after in spaces if not before or before.learned != after.learned)
    return tuple(after for _, after in spaces)


def gone(old: Plan, new: Plan) -> dict[str, set[Route]]:
    """By place that is in both plans: the routes that programs were to learn, and that nobody is to have now."""
    spaces = [(old[name], new[name]) for name in touched(old, new) if old.has(name) and new.has(name)]
    return {
        after.name: set(before.learned).difference(after.learned, after.of(Route))
        for before, after in spaces
        if before.learned
    }


def _unlearned(missing: Collection[Route], extra: Collection[Route]) -> str:
    which = ", ".join(sorted(str(route.to) for route in missing or extra))
    return f"no program has put there the routes to {which}" if missing else f"the routes to {which} do not go away"


def _key(item: Item) -> tuple[str, str]:
    return item.place, item.program.name


def _here(command: Sequence[str]) -> list[str]:
    """A command as this machine knows it: by this very Python, and with the testbed's own programs where they are."""
    if command[0] != PYTHON:
        return list(command)
    return [
        sys.executable,
        *(str(HERE / word) if word.startswith(f"{OWN_PROGRAMS}/") else word for word in command[1:]),
    ]


def _how_ended(code: int) -> str:
    return f"ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit code {code}"


def _quoted(text: str) -> str:
    """The end of what somebody said, behind a colon."""
    lines = text.splitlines()[-LOG_LINES:]
    return ":\n" + "\n".join(f"  {line}" for line in lines) if lines else ", and has said nothing"
