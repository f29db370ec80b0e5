"""The process that a lab lives in while it is up: builds it, holds its namespaces, and opens its door to others.

It answers eight questions, each asked over a connection of its own (`testbed.lab.door`):

- `built`: whether the lab could be built, once that is known. Whoever asks must then say `keep`, and is told when that
  is so: a lab whose maker went away meanwhile ends, so that nothing stays that nobody was told of. A `tied` lab ends
  with that connection.
- `facts`: what it was made from, and which places it has now, in a file of JSON.
- `plan` and `topology`: as they are now, in a file of JSON, with a mark; whoever tells the mark that he has heard last
  gets no file if nothing has changed.
- `enter`: the namespaces of the capsule, and the network namespaces of places in the lab.
- `ended`: which of the plan's programs and daemons run no more, in a file of JSON.
- `cni`: has its container runtime do one step by hand (`testbed.lab.plugging`), and tells what came of it, in a file of
  JSON.
- `change`: has it become what an edited topology comes to (`testbed.lab.editing`), and tells what has changed.
- `down`: a descriptor of the capsule's first process, whose end is that of the lab. Where CNI plugins have attached
  pods a second answer tells, in a file of JSON, what they were called for then and what failed.
"""

import json
import os
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from testbed.cni.calls import Call, log_lines
from testbed.kernel.folders import NETNS, SHARED, root_of, within
from testbed.kernel.refusal import PlanRefused
from testbed.kernel.syscalls import MS_BIND, mount
from testbed.lab.door import PATIENCE_S, caller, close, hear, say
from testbed.lab.entering import BASHRC, CAPSULE
from testbed.lab.lab import Lab
from testbed.lab.names import hosts
from testbed.lab.steps import UNPLUG_PATIENCE_S, VERBS
from testbed.plan.objects import Kind, Plan

T = TypeVar("T")
HOSTS = Path(SHARED, "hosts")
_BASHRC = r"""
[ -f ~/.bashrc ] && . ~/.bashrc
PS1='\[\e[1m\]'"$TESTBED_PLACE"'\[\e[0m\]:\w\$ '
unset PROMPT_COMMAND
"""


def keep(door: socket.socket, plan: Plan, facts: dict[str, Any]) -> int:
    """Builds the plan and keeps it up until told to let go. To be called in a capsule of its own.

    `facts` are those of `testbed.lab.living.facts_of`.
    """
    keeper = _Keeper(plan, facts)
    threading.Thread(target=keeper.attend, args=[door], daemon=True).start()
    keeper.build()
    return keeper.wait()


class _Told(Generic[T]):
    """What is told of a value that is replaced now and then: its text, written once, and a mark of its own."""

    def __init__(self, write: Callable[[T], str]) -> None:
        self._write = write
        self._value: T | None = None
        self._said: tuple[str, bytes] | None = None

    def of(self, value: T) -> tuple[str, bytes]:
        """The mark and the text of the value as it is now. For one thread at a time."""
        if self._said is None or value is not self._value:
            self._value, self._said = value, (secrets.token_hex(8), self._write(value).encode())
        return self._said


class _Keeper:
    """What the answering threads and the one that builds know in common."""

    def __init__(self, plan: Plan, facts: dict[str, Any]) -> None:
        self._drawn = plan
        """As the design has it."""
        self._facts = {key: value for key, value in facts.items() if key != "topology_spec"}
        self._topology = facts.get("topology_spec")
        self._plan_told, self._topology_told = _Told(_plan_text), _Told[Any](json.dumps)
        self._lab: Lab | None = None
        self._error: dict[str, Any] | None = None
        self._calls: list[Call] = []
        """Of CNI plugins, those of a lab that could not be built as well."""
        self._stepping = threading.Lock()
        """Held while the plan changes, or is told."""
        self._unplugging = threading.Lock()
        """Held while plugins take everything back."""
        self._built = threading.Event()
        self._kept = threading.Event()
        self._ended = threading.Event()

    @property
    def _plan(self) -> Plan:
        """As it is now."""
        return self._drawn if self._lab is None else self._lab.plan

    def build(self) -> None:
        begin = time.monotonic()
        try:
            self._lab = Lab(self._drawn, self._calls)
            _furnish(self._lab)
        except (PlanRefused, OSError) as error:
            self._error = {"error": str(error)}
        self._facts |= {"seconds": time.monotonic() - begin, "started": time.time()}
        self._built.set()

    def wait(self) -> int:
        """Until the lab is to end. The processes of Mininet and all others are the kernel's to end."""
        if self._kept.wait(PATIENCE_S) and self._error is None:
            self._ended.wait()
        self._unplug()
        return 0

    def _unplug(self) -> dict[str, Any]:
        """What came of it; nothing the second time."""
        with self._unplugging:
            self._calls.clear()  # Those until now were told when they were made.
            failed = self._lab.unplug() if self._lab is not None else ()
            return {"errors": failed, "log": log_lines(self._calls)}

    def attend(self, door: socket.socket) -> None:
        """Answers whoever may ask, each in a thread, so that nobody waits for anybody else."""
        while True:
            connection, _ = door.accept()
            threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        questions: dict[Any, Callable[[socket.socket, dict[str, Any]], None]] = {
            "built": self._tell_built,
            "facts": self._tell_facts,
            "plan": lambda at, asked: self._tell(at, asked, self._plan_told, lambda: self._plan),
            "topology": lambda at, asked: self._tell(at, asked, self._topology_told, lambda: self._topology),
            "enter": self._let_in,
            "ended": self._tell_ended,
            "cni": self._plug,
            "change": self._change,
            "down": self._end,
        }
        # Callers who hang up, or are no callers at all, are nobody's mistake here.
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE_S)
            if caller(connection).user == os.geteuid():
                question, descriptors = hear(connection)
                close(descriptors)
                if answer := questions.get(question.get("ask")):
                    answer(connection, question)

    def _tell_built(self, connection: socket.socket, _: dict[str, Any]) -> None:
        while not self._built.wait(0.05):
            if _hung_up(connection):
                os._exit(1)
        with _file(log_lines(self._calls).encode() if self._calls else b"") as log:
            say(connection, self._error or {"seconds": self._facts["seconds"]}, [log])
        reply = hear(connection)[0]
        if reply.get("ask") != "keep":
            os._exit(1)
        self._kept.set()
        with suppress(OSError):
            say(connection, {"kept": True})
            if reply.get("tied"):
                # Until the maker hangs up, which the kernel does for it however it ends.
                connection.settimeout(None)
                hear(connection)
        if reply.get("tied"):
            os._exit(0)

    def _tell_facts(self, connection: socket.socket, _: dict[str, Any]) -> None:
        plan = self._plan
        known = self._facts | {
            "state": "up" if self._kept.is_set() else "building",
            "design": plan.design,
            "topology": plan.topology,
            "nodes": len(plan.of_kind(Kind.NODE)),
            "pods": len(plan.of_kind(Kind.POD)),
            "places": [space.name for space in plan.spaces],
            "plugged": [item.space for item in plan.plugged],
            "plug_nodes": _nodes_with_plugins(plan),
        }
        with _file(json.dumps(known).encode()) as file:
            say(connection, {}, [file])

    def _tell(
        self, connection: socket.socket, question: dict[str, Any], told: _Told[T], value: Callable[[], T]
    ) -> None:
        if self._lab is None or not self._built.is_set():
            return
        with self._stepping:
            mark, text = told.of(value())
        if question.get("known") == mark:
            say(connection, {"mark": mark})
            return
        with _file(text) as file:
            say(connection, {"mark": mark}, [file])

    def _tell_ended(self, connection: socket.socket, _: dict[str, Any]) -> None:
        if self._lab is not None and self._built.is_set():
            with _file(json.dumps(self._lab.ended()).encode()) as file:
                say(connection, {}, [file])

    def _plug(self, connection: socket.socket, question: dict[str, Any]) -> None:
        lab = self._lab if self._built.is_set() else None
        if lab is None or lab.plugging is None:
            return
        verb, place = question.get("verb"), str(question.get("place"))
        if verb not in VERBS or place not in (*(i.space for i in self._plan.plugged), *_nodes_with_plugins(self._plan)):
            say(connection, {"unknown": place})
            return
        with self._stepping:
            step, plan = lab.plugging.step(verb, place)
            if plan:
                lab.places.change(plan)
            _write_names(lab)
        with _file(json.dumps(step.as_data()).encode()) as file:
            say(connection, {}, [file])

    def _change(self, connection: socket.socket, question: dict[str, Any]) -> None:
        """Says what was wrong with the question, or what failed, or how much has changed and how long it took."""
        from testbed.lab.editing import EditRefused, edited  # Many labs are never changed, and none while it is built.

        lab = self._lab if self._built.is_set() else None
        if lab is None:
            return
        begin = time.monotonic()
        with self._stepping:
            try:
                topology, plan = edited(
                    self._topology, self._facts["design_spec"], lab.drawn, question["verb"], question["arguments"]
                )
            except EditRefused as error:
                say(connection, {"refused": str(error)})
                return
            known = len(self._calls)
            answer: dict[str, Any] = {}
            try:
                changes = lab.change(plan)
                answer = {"changes": len(changes), "spaces": len({change.space for change in changes})}
            except (PlanRefused, OSError) as error:
                answer = {"failed": str(error)}
            self._topology = topology
            _refurnish(lab)
            calls = log_lines(self._calls[known:])
        connection.settimeout(PATIENCE_S)
        with _file(calls.encode()) as file:
            say(connection, answer | {"seconds": time.monotonic() - begin}, [file])

    def _let_in(self, connection: socket.socket, question: dict[str, Any]) -> None:
        places = question.get("places")
        lab = self._lab if self._built.is_set() else None
        if lab is None or not isinstance(places, list):
            return
        if unknown := [place for place in places if place not in lab.namespaces]:
            say(connection, {"unknown": unknown[0]})
            return
        # Whoever goes to one place alone finds its folders there.
        folders = lab.places.folders_of(places[0]) if len(places) == 1 else None
        its = {"mnt": folders.mounts, "uts": folders.host_name} if folders else {}
        own = [
            os.dup(its[kind]) if kind in its else os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            for kind in CAPSULE
        ]
        try:
            say(connection, {}, [*own, *(lab.namespaces[place].fd for place in places)])
        finally:
            close(own)

    def _end(self, connection: socket.socket, _: dict[str, Any]) -> None:
        first = os.pidfd_open(1)
        plugged = self._kept.is_set() and bool(self._plan.plugged)
        with suppress(OSError):
            say(connection, {"patience": UNPLUG_PATIENCE_S if plugged else 0}, [first])
        os.close(first)
        # Before it is up nobody waits for its end.
        if not self._kept.is_set():
            os._exit(0)
        try:
            if plugged:
                with _file(json.dumps(self._unplug()).encode()) as file:
                    say(connection, {}, [file])
        finally:
            self._ended.set()


def _plan_text(plan: Plan) -> str:
    from testbed.plan.codec import to_text  # It is read as soon as the lab is built, but `up` does not wait for that.

    return to_text(plan)


def _nodes_with_plugins(plan: Plan) -> list[str]:
    return list(dict.fromkeys(item.node for item in plan.plugged))


@contextmanager
def _file(data: bytes) -> Iterator[int]:
    """A file in memory with that, to be handed over."""
    file = os.memfd_create("answer", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(file), "wb") as whole:
            whole.write(data)
        yield file
    finally:
        os.close(file)


def _hung_up(connection: socket.socket) -> bool:
    """While nothing is expected of the other side."""
    return bool(select.select([connection], [], [], 0)[0])


def _furnish(lab: Lab) -> None:
    """Names for every pod and node, where programs look for names; and a prompt that tells where one is."""
    Path(BASHRC).write_text(_BASHRC)
    _write_names(lab)
    _name_namespaces(lab, Path("/"))
    _bind_names()
    for space in lab.plan.spaces:
        if space.has_folders and space.kind is not Kind.POD:
            pid = lab.hosts[space.name].pid
            _name_namespaces(lab, root_of(pid))
            within(pid, _bind_names)


def _refurnish(lab: Lab) -> None:
    """The names of what has come, and without those of what has gone."""
    _write_names(lab)
    _name_namespaces(lab, Path("/"))
    for space in lab.plan.spaces:
        if space.has_folders and space.kind is not Kind.POD:
            pid = lab.hosts[space.name].pid
            is_new = not (root_of(pid) / Path(NETNS).relative_to("/")).exists()
            _name_namespaces(lab, root_of(pid))
            if is_new:
                within(pid, _bind_names)


def _bind_names() -> None:
    """In a place's own folders, of which a lab without root may write in /run alone."""
    if Path("/etc/hosts").exists():
        mount(str(HOSTS), "/etc/hosts", "", MS_BIND)


def _write_names(lab: Lab) -> None:
    """Under which name each pod and node is known, to programs anywhere but in pods."""
    HOSTS.write_text(hosts(lab.plan))


def _name_namespaces(lab: Lab, root: Path) -> None:
    """For `ip netns`, in a /run that may be a place's own."""
    netns = root / Path(NETNS).relative_to("/")
    netns.mkdir(exist_ok=True)
    wanted = {name: f"/proc/{os.getpid()}/fd/{namespace.fd}" for name, namespace in lab.namespaces.items()}
    for link in netns.iterdir():
        # A number may be another namespace's by now.
        if link.is_symlink() and os.readlink(link) != wanted.get(link.name):  # noqa: PTH115
            link.unlink()
    for name, target in wanted.items():
        if not (netns / name).is_symlink() and not (netns / name).exists():
            (netns / name).symlink_to(target)
