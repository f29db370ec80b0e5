"""The process that runs a lab: it builds the lab, holds its namespaces open, and answers requests at the lab's door.

Callers usually open a connection for each request (`testbed.lab.door`); larger answers are JSON files, passed as
descriptors:

- `built`: waits until the lab is built, and returns the result. The caller must then send `keep`, which is confirmed:
  if the caller has ended meanwhile, the lab ends too, so that no unknown lab is left. A `tied` lab ends with this
  connection.
- `facts`: the lab's sources and its current places.
- `plan` and `topology`: the current ones, with a mark; without a file if the mark in the request is still current.
- `enter`: the namespaces of the capsule, and the network namespaces of places in the lab.
- `ended`: the processes of the plan that have ended.
- `cni`: runs one step of the container runtime by hand (`testbed.lab.plugging`), and returns its result.
- `again`: makes devices, keys and programs again that no command can restore (`testbed.lab.again`).
- `change`: changes the lab to an edited topology (`testbed.lab.editing`), and returns the number of changes.
- `cluster`: changes the Kubernetes objects of the lab by a command of `testbed.kubernetes.verbs`.
- `objects`: Kubernetes objects, as kubectl prints them.
- `containers`: output and variables of containers (`testbed.lab.containers`).
- `ports`: the ports of containers and Services that must answer.
- `down`: a descriptor of the capsule's first process; the lab has ended when this process has. If CNI plugins have
  attached pods, a second answer has the log of their calls and the errors.
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
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from testbed.cni.calls import Call, log_lines
from testbed.kernel.folders import HOSTS, NETNS, root_of
from testbed.kernel.lacking import MachineLacks
from testbed.kernel.refusal import PlanRefused
from testbed.lab.door import PATIENCE_S, caller, close, hear, say
from testbed.lab.entering import BASHRC, CAPSULE
from testbed.lab.lab import Lab
from testbed.lab.names import hosts, lines_of
from testbed.lab.steps import UNPLUG_PATIENCE_S, VERBS
from testbed.plan.change import touched
from testbed.plan.objects import Kind, Plan
from testbed.plan.parts import parts_of
from testbed.spec.topology import Topology

if TYPE_CHECKING:
    from testbed.kubernetes.state import ClusterState
    from testbed.lab.cluster import Cluster
    from testbed.lab.editing import Editing

T = TypeVar("T")
_BASHRC = r"""
[ -f ~/.bashrc ] && . ~/.bashrc
PS1='\[\e[1m\]'"$TESTBED_PLACE"'\[\e[0m\]:\w\$ '
unset PROMPT_COMMAND
"""


def keep(door: socket.socket, plan: Plan, facts: dict[str, Any], state: "ClusterState | None" = None) -> int:
    """Builds the lab and runs it until a `down` request. To be called in a separate capsule.

    `facts` are the result of `testbed.lab.living.facts_of`; the plan has the pods of the cluster state, if any.
    """
    keeper = _Keeper(plan, facts, state)
    threading.Thread(target=keeper.attend, args=[door], daemon=True).start()
    keeper.build()
    return keeper.wait()


class _Cached(Generic[T]):
    """The text of a value, serialized once, with a unique mark; both are renewed when the value is replaced."""

    def __init__(self, write: Callable[[T], str]) -> None:
        self._write = write
        self._value: T | None = None
        self._written: tuple[str, bytes] | None = None

    def of(self, value: T) -> tuple[str, bytes]:
        """The mark and the text of the current value. Not thread-safe."""
        if self._written is None or value is not self._value:
            self._value, self._written = value, (secrets.token_hex(8), self._write(value).encode())
        return self._written


class _NotInLab(Exception):
    """A pod of the Kubernetes objects that has no place in the lab, or does not exist."""


class _Keeper:
    """State shared by the thread that builds the lab and the threads that answer requests."""

    def __init__(self, plan: Plan, facts: dict[str, Any], state: "ClusterState | None") -> None:
        self._drawn = plan
        self._state = state
        """The Kubernetes objects with which the lab begins, if any."""
        """The plan made by the design."""
        self._facts = {key: value for key, value in facts.items() if key != "topology_spec"}
        self._topology_data: object = facts.get("topology_spec")
        self._plan_text, self._topology_text = _Cached(_plan_text), _Cached[Any](_topology_text)
        self._names: _Names | None = None
        self._editing: Editing | None = None
        """Loaded at the first change of the lab."""
        self._cluster: Cluster | None = None
        """Loaded at the first command on Kubernetes objects."""
        self._lab: Lab | None = None
        self._error: dict[str, Any] | None = None
        self._calls: list[Call] = []
        """Calls of CNI plugins, also if the lab could not be built."""
        self._stepping = threading.RLock()
        """Held while the plan is changed or serialized."""
        self._unplugging = threading.Lock()
        """Held while plugins detach all pods."""
        self._built = threading.Event()
        self._kept = threading.Event()
        self._ended = threading.Event()

    @property
    def _plan(self) -> Plan:
        """The current plan."""
        return self._drawn if self._lab is None else self._lab.plan

    def build(self) -> None:
        begin = time.monotonic()
        try:
            self._lab = Lab(self._drawn, self._calls)
            self._names = _Names(self._lab)
            if self._state is not None:
                self._begun()
        except (PlanRefused, OSError) as error:
            self._error = {"error": str(error)}
        self._facts |= {"seconds": time.monotonic() - begin, "started": time.time()}
        self._built.set()
        # A plan can have a million objects, all of which are kept: exclude them from garbage collection.
        gc.freeze()

    def wait(self) -> int:
        """Waits until the lab should end. The kernel ends Mininet's and all other processes."""
        if self._kept.wait(PATIENCE_S) and self._error is None:
            self._ended.wait()
        self._unplug()
        return 0

    def _unplug(self) -> dict[str, Any]:
        """Detaches all pods by plugins, and returns errors and log; both are empty the second time."""
        if self._cluster is not None:
            self._cluster.down()
        with self._unplugging:
            self._calls.clear()  # Earlier calls have already been reported.
            failed = self._lab.unplug() if self._lab is not None else ()
            return {"errors": failed, "log": log_lines(self._calls)}

    def attend(self, door: socket.socket) -> None:
        """Answers each connection in a separate thread, so that requests do not block each other."""
        while True:
            connection, _ = door.accept()
            threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        questions: dict[Any, Callable[[socket.socket, dict[str, Any]], None]] = {
            "built": self._send_built,
            "facts": self._send_facts,
            "plan": lambda at, asked: self._send(at, asked, self._plan_text, lambda: self._plan),
            "topology": lambda at, asked: self._send(at, asked, self._topology_text, lambda: self._topology),
            "enter": self._send_namespaces,
            "ended": self._send_ended,
            "cni": self._plug,
            "change": self._change,
            "again": self._again,
            "cluster": self._command,
            "objects": self._send_objects,
            "containers": self._send_containers,
            "ports": self._send_ports,
            "down": self._end,
        }
        # A caller may close the connection at any time; ignore this.
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE_S)
            while caller(connection).user == os.geteuid():
                question, descriptors = hear(connection)
                question["texts"] = _texts(descriptors)
                answer = questions.get(question.get("ask"))
                if answer is None:
                    break
                answer(connection, question)
                connection.settimeout(None)  # A caller may ask again, at any time until it hangs up.

    def _send_built(self, connection: socket.socket, _: dict[str, Any]) -> None:
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
                # Wait until the caller closes the connection; the kernel does so when the caller ends.
                connection.settimeout(None)
                hear(connection)
        if reply.get("tied"):
            os._exit(0)

    def _send_facts(self, connection: socket.socket, _: dict[str, Any]) -> None:
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

    def _send(
        self, connection: socket.socket, question: dict[str, Any], cached: _Cached[T], value: Callable[[], T]
    ) -> None:
        if self._lab is None or not self._built.is_set():
            return
        with self._stepping:
            mark, text = cached.of(value())
        if question.get("known") == mark:
            say(connection, {"mark": mark})
            return
        with _file(text) as file:
            say(connection, {"mark": mark}, [file])

    def _send_ended(self, connection: socket.socket, _: dict[str, Any]) -> None:
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
        """Changes the lab; answers with the number of changes and the duration, or with the error."""
        from testbed.lab.editing import EditRefused  # Loaded only when needed: many labs are never changed.

        lab = self._lab if self._built.is_set() else None
        if lab is None:
            return
        begin = time.monotonic()
        with self._stepping:
            known = len(self._calls)
            answer: dict[str, Any] = {}
            try:
                changes = self._edited().change(question["verb"], question["arguments"])
                answer = {"changes": len(changes), "spaces": len({change.space for change in changes})}
            except EditRefused as error:
                say(connection, {"refused": str(error)})
                return
            except MachineLacks as error:
                say(connection, {"lacking": error.lines})
                return
            except (PlanRefused, OSError) as error:
                answer = {"failed": str(error)}
            if self._cluster is not None:
                self._cluster.follow_topology()
            calls = log_lines(self._calls[known:])
        connection.settimeout(PATIENCE_S)
        with _file(calls.encode()) as file:
            say(connection, answer | {"seconds": time.monotonic() - begin}, [file])

    def _command(self, connection: socket.socket, question: dict[str, Any]) -> None:
        """Carries out a command on Kubernetes objects; answers with its lines, or with the error."""
        from testbed.lab.commands import carried_out

        if self._lab is None or not self._built.is_set():
            return
        known = len(self._calls)
        connection.settimeout(None)
        answer = carried_out(self._begun(), question)
        with _file(json.dumps(answer).encode()) as file, _file(log_lines(self._calls[known:]).encode()) as log:
            connection.settimeout(PATIENCE_S)
            say(connection, {}, [file, log])

    def _send_objects(self, connection: socket.socket, question: dict[str, Any]) -> None:
        from testbed.lab.commands import listed

        if self._lab is None or not self._built.is_set():
            return
        connection.settimeout(None)
        with _file(json.dumps(listed(self._begun(), question)).encode()) as file:
            say(connection, {}, [file])

    def _send_ports(self, connection: socket.socket, _: dict[str, Any]) -> None:
        if self._lab is None or not self._built.is_set():
            return
        with self._stepping:
            ports = self._cluster.expecting().as_data() if self._cluster else {}
        with _file(json.dumps(ports).encode()) as file:
            say(connection, {}, [file])

    def _send_containers(self, connection: socket.socket, question: dict[str, Any]) -> None:
        from testbed.lab.containers import answered

        if self._lab is None or not self._built.is_set():
            return
        with _file(json.dumps(answered(self._begun(), question)).encode()) as file:
            say(connection, {}, [file])

    def _begun(self) -> "Cluster":
        """The Kubernetes objects of the lab."""
        from testbed.lab.agents import Agents
        from testbed.lab.cluster import Cluster
        from testbed.plan.cluster import cluster_of

        with self._stepping:
            if self._cluster is None:
                editing = self._edited()
                state = self._state or cluster_of(editing.layout, now=self._facts.get("started", time.time()))
                self._state = None
                agents = Agents.of(self._facts.get("agents", {}), self._drawn)
                self._cluster = Cluster(editing, state, bool(self._facts.get("host_images")), self._stepping, agents)
                self._cluster.begin()
            return self._cluster

    def _again(self, connection: socket.socket, question: dict[str, Any]) -> None:
        from testbed.lab.again import again, wanted_in  # Loaded only when needed.

        lab = self._lab if self._built.is_set() else None
        if lab is None:
            return
        with self._stepping:
            answer: dict[str, Any] = {}
            try:
                again(lab, wanted_in(question["wanted"]))
            except (PlanRefused, OSError) as error:
                answer = {"failed": str(error)}
        connection.settimeout(PATIENCE_S)
        say(connection, answer | {"done": True})

    def _edited(self) -> "Editing":
        """The lab with its current topology and its design."""
        from testbed.designs import design_of_data
        from testbed.lab.editing import Editing

        if self._editing is None:
            assert self._lab is not None
            parts = parts_of(self._drawn)
            topology = parts.layout.topology if parts else Topology.of_data(self._topology_data)
            design = design_of_data(self._facts["design_spec"])
            self._editing = Editing(self._lab, design, topology, self._follow)
        return self._editing

    def _follow(self) -> None:
        """Updates names after a change of the lab."""
        assert self._names
        self._names.follow()

    @property
    def _topology(self) -> Topology | object:
        """The current topology; plain data until the first change of the lab."""
        return self._topology_data if self._editing is None else self._editing.topology

    def _send_namespaces(self, connection: socket.socket, question: dict[str, Any]) -> None:
        places = question.get("places")
        lab = self._lab if self._built.is_set() else None
        if lab is None or not isinstance(places, list):
            return
        try:
            places = [self._place(str(place), str(question.get("namespace") or "")) for place in places]
        except _NotInLab as error:
            say(connection, {"refused": str(error)})
            return
        if unknown := [place for place in places if place not in lab.namespaces]:
            say(connection, {"unknown": unknown[0]})
            return
        # A caller that enters a single place also gets its folders.
        folders = lab.places.folders_of(places[0]) if len(places) == 1 else None
        its = {"mnt": folders.mounts, "uts": folders.host_name} if folders else {}
        own = [
            os.dup(its[kind]) if kind in its else os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            for kind in CAPSULE
        ]
        has_variables = self._cluster is not None and self._cluster.kubelet.is_of_manifest(places[0])
        try:
            say(connection, {"has_variables": has_variables}, [*own, *(lab.namespaces[place].fd for place in places)])
        finally:
            close(own)

    def _place(self, name: str, namespace: str) -> str:
        """The place that a name means: the place of that name, or that of a pod such as deployment/web.

        Raises _NotInLab for a pod without a place.
        """
        from testbed.spec.topology import DEFAULT_NAMESPACE

        assert self._lab is not None
        own = name if namespace in ("", DEFAULT_NAMESPACE) else f"{name}.{namespace}"
        if own in self._lab.namespaces or self._cluster is None:
            return own
        from testbed.kubernetes.refused import Refused
        from testbed.lab.commands import place_of

        with self._stepping:
            try:
                return place_of(self._cluster.state, name, namespace or DEFAULT_NAMESPACE)
            except Refused as error:
                if error.code == "NotFound" and "/" not in name and not namespace:
                    return own  # An unknown place, of which the caller knows the valid ones.
                raise _NotInLab(str(error)) from None

    def _end(self, connection: socket.socket, _: dict[str, Any]) -> None:
        first = os.pidfd_open(1)
        plugged = self._kept.is_set() and bool(self._plan.plugged)
        with suppress(OSError):
            say(connection, {"patience": UNPLUG_PATIENCE_S if plugged else 0}, [first])
        os.close(first)
        # Nobody waits for the end of a lab that is not up yet.
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
    """A file in memory with the data, to pass to the caller."""
    file = os.memfd_create("answer", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(file), "wb") as whole:
            whole.write(data)
        yield file
    finally:
        os.close(file)


def _texts(descriptors: Iterable[int]) -> list[tuple[str, str]]:
    """The texts that a caller sends, with their file names; closes the descriptors."""
    texts: list[tuple[str, str]] = []
    for descriptor in descriptors:
        with os.fdopen(descriptor, "rb") as file:
            file.seek(0)
            texts += ((name, text) for name, text in json.loads(file.read()))
    return texts


def _hung_up(connection: socket.socket) -> bool:
    """Whether the caller has closed the connection; valid only while it has nothing to send."""
    return bool(select.select([connection], [], [], 0)[0])


class _Names:
    """Names of all pods and nodes in /etc/hosts and for `ip netns`; and a shell prompt that shows the place."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._known: dict[str, str] = {}
        """The lines of each place in /etc/hosts."""
        self._plan = lab.plan
        """The plan whose names are written."""
        self._linked = set(lab.namespaces)
        """The places with a name for `ip netns`."""
        Path(BASHRC).write_text(_BASHRC)
        self._write(space.name for space in lab.plan.spaces)
        self._name_namespaces(Path("/"), lab.namespaces)
        for _, pid in self._with_netns():
            self._name_namespaces(root_of(pid), lab.namespaces)

    def follow(self) -> None:
        """Updates the names after a change of the lab."""
        before, self._plan = self._plan, self._lab.plan
        # After a failed change, namespaces that are in both plans may be gone.
        names = {*touched(before, self._plan), *(self._linked ^ self._lab.namespaces.keys())}
        self._linked = set(self._lab.namespaces)
        self._write(names)
        self._name_namespaces(Path("/"), names)
        for name, pid in self._with_netns():
            is_new = not (_netns(root_of(pid)) / name).is_symlink()
            self._name_namespaces(root_of(pid), self._lab.namespaces if is_new else names)

    def _with_netns(self) -> Iterator[tuple[str, int]]:
        """Names and PIDs of the Mininet hosts with a private folder of `ip netns`."""
        for name, host in self._lab.hosts.items():
            if self._plan.has(name) and self._plan[name].has_folders:
                yield name, host.pid

    def _write(self, names: Iterable[str]) -> None:
        """Writes /etc/hosts for all places except pods; `names` are the places that have changed."""
        for name in names:
            if self._plan.has(name):
                self._known[name] = lines_of(self._plan[name])
            else:
                self._known.pop(name, None)
        Path(HOSTS).write_text(hosts(map(self._known.__getitem__, map(attrgetter("name"), self._plan.spaces))))

    def _name_namespaces(self, root: Path, names: Iterable[str]) -> None:
        """Updates the names for `ip netns` below `root`, which may have a private /run."""
        netns, namespaces = _netns(root), self._lab.namespaces
        netns.mkdir(exist_ok=True)
        for name in names:
            link = netns / name
            wanted = f"/proc/{os.getpid()}/fd/{namespaces[name].fd}" if name in namespaces else ""
            if link.is_symlink():
                # The descriptor's number may have been reused for another namespace.
                if os.readlink(link) == wanted:  # noqa: PTH115
                    continue
                link.unlink()
            if wanted and not link.exists():
                link.symlink_to(wanted)


def _netns(root: Path) -> Path:
    return root / Path(NETNS).relative_to("/")
