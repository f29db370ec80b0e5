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

import gc
import json
import os
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

from testbed.cni.calls import Call, log_lines
from testbed.designs import Design, design_of_data
from testbed.kernel.folders import NETNS, SHARED, root_of, within
from testbed.kernel.refusal import PlanRefused
from testbed.kernel.syscalls import MS_BIND, mount
from testbed.lab.door import PATIENCE_S, caller, close, hear, say
from testbed.lab.entering import BASHRC, CAPSULE
from testbed.lab.lab import Lab
from testbed.lab.names import hosts, lines_of
from testbed.lab.steps import UNPLUG_PATIENCE_S, VERBS
from testbed.plan.change import touched
from testbed.plan.objects import Kind, Plan
from testbed.plan.parts import parts_of
from testbed.spec.topology import Topology

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
        self._topology: Topology | object = facts.get("topology_spec")
        """As data until the lab is changed for the first time."""
        self._plan_told, self._topology_told = _Told(_plan_text), _Told[Any](_topology_text)
        self._names: _Names | None = None
        self._design: Design | None = None
        """Made when the lab is changed for the first time."""
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
            self._names = _Names(self._lab)
        except (PlanRefused, OSError) as error:
            self._error = {"error": str(error)}
        self._facts |= {"seconds": time.monotonic() - begin, "started": time.time()}
        self._built.set()
        # A plan has a million objects, all of which stay: no need to look again and again for those that nobody has.
        gc.freeze()

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
            assert self._names
            self._names.follow()
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
                before, design = self._edited_last()
                topology, plan = edited(before, design, lab.drawn, question["verb"], question["arguments"])
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
            assert self._names
            self._names.follow()
            calls = log_lines(self._calls[known:])
        connection.settimeout(PATIENCE_S)
        with _file(calls.encode()) as file:
            say(connection, answer | {"seconds": time.monotonic() - begin}, [file])

    def _edited_last(self) -> tuple[Topology, Design]:
        """The topology as it is now, and the design."""
        if not isinstance(self._topology, Topology):
            parts = parts_of(self._drawn)
            self._topology = parts.layout.topology if parts else Topology.of_data(self._topology)
        if self._design is None:
            self._design = design_of_data(self._facts["design_spec"])
        return self._topology, self._design

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
    from testbed.plan.codec import to_text  # Requested only when the lab is built, so `up` need not load it.

    return to_text(plan)


def _topology_text(topology: Topology | object) -> str:
    return json.dumps(topology.as_data() if isinstance(topology, Topology) else topology)


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


class _Names:
    """Names for every pod and node, where programs look for names; and a prompt that tells where one is."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._known: dict[str, str] = {}
        """By place: its lines in the file of names."""
        self._plan = lab.plan
        """That which the names are of."""
        self._linked = set(lab.namespaces)
        """The places that `ip netns` knows."""
        Path(BASHRC).write_text(_BASHRC)
        self._write(space.name for space in lab.plan.spaces)
        self._name_namespaces(Path("/"), lab.namespaces)
        _bind_names()
        for pid in self._with_folders():
            self._name_namespaces(root_of(pid), lab.namespaces)
            within(pid, _bind_names)

    def follow(self) -> None:
        """Names what has come, and no more what has gone."""
        before, self._plan = self._plan, self._lab.plan
        # Where a change has failed, namespaces may be gone that are in both plans.
        names = {*touched(before, self._plan), *(self._linked ^ self._lab.namespaces.keys())}
        self._linked = set(self._lab.namespaces)
        self._write(names)
        self._name_namespaces(Path("/"), names)
        for pid in self._with_folders():
            is_new = not _netns(root_of(pid)).exists()
            self._name_namespaces(root_of(pid), self._lab.namespaces if is_new else names)
            if is_new:
                within(pid, _bind_names)

    def _with_folders(self) -> Iterator[int]:
        """Processes that see the folders of places other than pods."""
        for name, host in self._lab.hosts.items():
            if self._plan.has(name) and self._plan[name].has_folders:
                yield host.pid

    def _write(self, names: Iterable[str]) -> None:
        """Under which name each pod and node is known, to programs anywhere but in pods; anew for these."""
        for name in names:
            if self._plan.has(name):
                self._known[name] = lines_of(self._plan[name])
            else:
                self._known.pop(name, None)
        HOSTS.write_text(hosts(map(self._known.__getitem__, map(attrgetter("name"), self._plan.spaces))))

    def _name_namespaces(self, root: Path, names: Iterable[str]) -> None:
        """For `ip netns`, in a /run that may be a place's own."""
        netns, namespaces = _netns(root), self._lab.namespaces
        netns.mkdir(exist_ok=True)
        for name in names:
            link = netns / name
            wanted = f"/proc/{os.getpid()}/fd/{namespaces[name].fd}" if name in namespaces else ""
            if link.is_symlink():
                # A number may be another namespace's by now.
                if os.readlink(link) == wanted:  # noqa: PTH115
                    continue
                link.unlink()
            if wanted and not link.exists():
                link.symlink_to(wanted)


def _netns(root: Path) -> Path:
    return root / Path(NETNS).relative_to("/")


def _bind_names() -> None:
    """In a place's own folders, of which a lab without root may write in /run alone."""
    if Path("/etc/hosts").exists():
        mount(str(HOSTS), "/etc/hosts", "", MS_BIND)
