"""A running lab, used from other processes: bring it up, find it by name, enter it, bring it down."""

import json
import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from testbed.kernel.lacking import MachineLacks
from testbed.lab import door
from testbed.lab.door import Address, Unanswered
from testbed.lab.entering import CAPSULE, step_in

if TYPE_CHECKING:
    import socket
    import subprocess
    from typing import NoReturn

    from testbed.designs import Design
    from testbed.kernel.namespace import Namespace
    from testbed.kubernetes.state import ClusterState
    from testbed.plan.objects import Plan
    from testbed.spec.design import DesignSpec, ReadCni
    from testbed.spec.load import Loaded
    from testbed.spec.topology import Topology

T = TypeVar("T")
Entrance = Callable[[str], tuple[list[int], list[int]]]
"""Descriptors of the capsule's namespaces and of a place's network, by the name of the place."""

BUILD_PATIENCE_S = 600.0
ENDED_PATIENCE_S = 60.0
"""The lab checks whether another process answers for an ended daemon, which takes time."""
PLUG_PATIENCE_S = 600.0
"""For all plugins of a chain; each also has its own timeout."""

COMMAND_PATIENCE_S = 660.0
"""For commands on Kubernetes objects: changes of the lab, and the start of containers."""

_ENDING = (signal.SIGINT, signal.SIGTERM)

_ENDED = "its process ended before it was up"


class CannotBeBuilt(Exception):
    """The lab could not be brought up; the message has the reason."""

    def __init__(self, reason: str, log: str = "") -> None:
        super().__init__(reason)
        self.log = log
        """The calls of CNI plugins until then, one JSON object per line."""


class UnknownPlace(LookupError):
    """The lab has no pod, node, switch or router with that name."""

    def __init__(self, name: str, places: Sequence[str]) -> None:
        super().__init__(name)
        self.name = name
        self.places = tuple(places)


class NameTaken(Exception):
    """A lab with that name is already up."""


def facts_of(
    topology: "Loaded[Topology]",
    spec: "DesignSpec | ReadCni",
    host_images: bool = False,
    agents: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The facts about design and topology that a lab stores.

    With `host_images` containers of some images run programs of the machine. `agents` are its service proxy and its
    policy engine, as data of `testbed.lab.agents.Agents`.
    """
    return {
        "agents": dict(agents or {}),
        "host_images": host_images,
        "design_spec": spec.model_dump(mode="json"),
        "topology_spec": topology.value.as_data(),
        "topology_file": topology.source.file,
    }


class ChangeRefused(ValueError):
    """The change is not possible; nothing has changed."""


class CommandRefused(ValueError):
    """The command on Kubernetes objects is not possible; nothing has changed."""


class ChangeFailed(Exception):
    """The kernel, a program or a CNI plugin refused a part of the change; `inspect` lists what is missing."""

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        """`lines` say what became of the Kubernetes objects of a command."""
        super().__init__(message)
        self.lines = tuple(lines)


class Ending(NamedTuple):
    """Results of the CNI plugins when a lab goes down."""

    errors: tuple[str, ...] = ()
    """Errors of plugins that could not detach pods."""
    log: str = ""
    """Their calls, one JSON object per line."""


class LivingLab:
    """A running lab. Several objects may refer to the same lab; they do not keep it up."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._tie: socket.socket | None = None
        """For a tied lab: the connection whose end tells it that this process has ended."""
        self.log = ""
        """For a lab that was brought up here: the calls of CNI plugins, one JSON object per line."""
        self._cached: dict[str, tuple[str, Any]] = {}
        """The last plan and topology of the lab, each with its mark."""

    @property
    def name(self) -> str:
        return self.address.name

    @classmethod
    def bring_up(
        cls,
        plan: "Plan",
        name: str,
        facts: Mapping[str, Any],
        tied: bool = False,
        state: "ClusterState | None" = None,
    ) -> "LivingLab":
        """Build the plan in a capsule that runs until `down`; return when it is up.

        A `tied` lab also ends with this process. The lab stores `facts`, which must be JSON data. `state` has the
        Kubernetes objects of the lab, if any; the plan has its pods. Raises NameTaken, CannotBeBuilt, or OSError
        without the required rights.
        """
        from testbed.lab.capsule import released
        from testbed.lab.keeper import keep

        address = Address(os.geteuid(), name)
        try:
            opened = door.bound(address)
        except FileExistsError:
            raise NameTaken(name) from None
        with opened:
            opened.listen(64)
            released(lambda: keep(opened, plan, {"name": name, **facts}, state))
        lab = cls(address)
        try:
            connection = door.connected(address)
        except Unanswered:
            raise CannotBeBuilt(_ENDED) from None
        try:
            connection.settimeout(BUILD_PATIENCE_S)
            lab.log = _built_and_kept(connection, tied)
            if tied:
                lab._tie = connection
        except OSError:
            raise CannotBeBuilt(_ENDED) from None
        finally:
            if lab._tie is None:
                connection.close()
        return lab

    @classmethod
    def all(cls) -> "tuple[LivingLab, ...]":
        """The labs of this user; for root, of all users."""
        own = os.geteuid()
        return tuple(cls(address) for address in door.addresses() if own in (0, address.user))

    def _ask(
        self, question: str, patience_s: float = door.PATIENCE_S, files: Sequence[int] = (), **more: Any
    ) -> tuple[dict[str, Any], list[int]]:
        with door.connected(self.address) as connection:
            return self._ask_at(connection, question, patience_s, files, **more)

    def _ask_at(
        self,
        connection: "socket.socket",
        question: str,
        patience_s: float = door.PATIENCE_S,
        files: Sequence[int] = (),
        **more: Any,
    ) -> tuple[dict[str, Any], list[int]]:
        connection.settimeout(patience_s)
        try:
            door.say(connection, {"ask": question, **more}, files)
            answer, descriptors = door.hear(connection)
        except OSError as error:
            raise Unanswered(f"the lab {self.name} does not answer: {error}") from None
        if not answer and not descriptors:
            raise Unanswered(f"the lab {self.name} is not up yet, or going down")
        return answer, descriptors

    @property
    def facts(self) -> dict[str, Any]:
        """Name, design, topology and its file, places, number of nodes and pods, start time, state."""
        _, (file,) = self._ask("facts")
        found = json.loads(_read(file))
        assert isinstance(found, dict)
        return found

    @property
    def topology(self) -> "Topology":
        """The lab's current topology, independent of the file."""
        from testbed.spec.topology import Topology

        return self._fetched("topology", lambda text: Topology.of_data(json.loads(text)))

    @property
    def plan(self) -> "Plan":
        """The lab's current plan, with the objects that CNI plugins created."""
        from testbed.plan.codec import plan_of_text

        return self._fetched("plan", plan_of_text)

    def _fetched(self, what: str, read: Callable[[bytes], T]) -> T:
        """The lab's answer to a query, parsed again only if it has changed. Raises Unanswered."""
        mark, value = self._cached.get(what, ("", None))
        answer, files = self._ask(what, known=mark)
        for file in files:
            try:
                value = read(_read(file))
            except ValueError as error:
                raise Unanswered(
                    f"the lab {self.name} was brought up by another version of testbed; bring it up again"
                ) from error
            self._cached[what] = answer["mark"], value
        return cast("T", value)

    @cached_property
    def design(self) -> "Design":
        """The lab's design."""
        from testbed.designs import design_of_data

        return design_of_data(self.facts["design_spec"])

    def reachable(self) -> dict[str, Any]:
        """What must be reachable, see `testbed.lab.expecting`; empty without Kubernetes objects."""
        _, (file,) = self._ask("ports", COMMAND_PATIENCE_S)
        return dict(json.loads(_read(file)))

    def ended(self) -> tuple[tuple[str, str, str], ...]:
        """The plan's processes that have ended: place, description, and the command that restarts it."""
        _, (file,) = self._ask("ended", ENDED_PATIENCE_S)
        return tuple((str(place), str(what), str(mend)) for place, what, mend in json.loads(_read(file)))

    def plug(self, verb: str, place: str) -> dict[str, Any]:
        """Let the lab's container runtime `add`, `del` or `check` a pod, or run `status` or `gc` on a node.

        Returns all `calls`, the `error` if it failed, and the `changes` by place. Raises UnknownPlace for a place
        without pods that CNI plugins attach.
        """
        answer, files = self._ask("cni", PLUG_PATIENCE_S, verb=verb, place=place)
        if answer.get("unknown"):
            raise UnknownPlace(place, self.facts["plugged"])
        found = json.loads(_read(files[0]))
        assert isinstance(found, dict)
        return found

    def change(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Change the lab: add or remove a pod or node, or set the qualities of a link.

        `verb` and `arguments` are a change of `testbed.lab.editing` and its arguments. Returns the number of changed
        objects and namespaces, and the seconds it took. Raises ChangeRefused or MachineLacks, with
        nothing changed, and ChangeFailed.
        """
        answer, files = self._ask("change", BUILD_PATIENCE_S, verb=verb, arguments=arguments)
        self.log += "".join(_read(file).decode() for file in files)
        if refused := answer.get("refused"):
            raise ChangeRefused(refused)
        if lacking := answer.get("lacking"):
            raise MachineLacks(lacking)
        if failed := answer.get("failed"):
            raise ChangeFailed(failed)
        return answer

    def command(
        self, verb: str, texts: Sequence[tuple[str, str]] = (), await_s: float = 0.0, **arguments: Any
    ) -> dict[str, Any]:
        """Change the Kubernetes objects of the lab by a command of `testbed.kubernetes.verbs`.

        `texts` are pairs of a file's name and its text. With `await_s`, wait so long for deleted objects to be gone.
        Returns `lines` that say what became of each object, `remarks`, and the `seconds` until the lab had followed.
        Raises SpecError or CommandRefused, with nothing changed, and ChangeFailed.
        """
        given = [_memory_file(json.dumps(list(texts)).encode())] if texts else []
        try:
            _, files = self._ask(
                "cluster", COMMAND_PATIENCE_S + await_s, given, verb=verb, arguments=arguments, await_s=await_s
            )
        finally:
            door.close(given)
        answer = json.loads(_read(files[0]))
        self.log += _read(files[1]).decode()
        assert isinstance(answer, dict)
        if answer.get("problems"):
            from testbed.spec.problems import Problem, SpecError

            raise SpecError(tuple(Problem(**{**one, "valid": tuple(one["valid"])}) for one in answer["problems"]))
        if refused := answer.get("refused"):
            raise CommandRefused(refused)
        if failed := answer.get("failed"):
            raise ChangeFailed(failed, answer["lines"])
        return answer

    def objects(self, words: Sequence[str], patience_s: float = COMMAND_PATIENCE_S, **options: Any) -> dict[str, Any]:
        """Kubernetes objects as kubectl prints them: their `text`, and the `version` of the state.

        `options` are namespace, all_namespaces, selector, output, and since: a version, to wait for a later one and get
        only what has changed. Raises CommandRefused.
        """
        _, (file,) = self._ask("objects", patience_s, arguments={"words": list(words), **options})
        answer = json.loads(_read(file))
        assert isinstance(answer, dict)
        if refused := answer.get("refused"):
            raise CommandRefused(refused)
        return answer

    def containers(self, about: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a question of `testbed.lab.containers`. Raises CommandRefused."""
        _, (file,) = self._ask("containers", COMMAND_PATIENCE_S, about=about, arguments=arguments)
        answer = json.loads(_read(file))
        assert isinstance(answer, dict)
        if refused := answer.get("refused"):
            raise CommandRefused(refused)
        return answer

    def again(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Make again what no command can restore, by place: see `testbed.lab.again`. Raises ChangeFailed."""
        answer, _ = self._ask("again", BUILD_PATIENCE_S, wanted=list(wanted))
        if failed := answer.get("failed"):
            raise ChangeFailed(failed)

    def enter(self, places: Sequence[str], namespace: str = "") -> tuple[list[int], list[int]]:
        """Descriptors of the capsule's namespaces and of the places' networks, which the caller must close.

        A place can also be a pod of a Kubernetes `namespace`, or what made pods, such as deployment/web. Raises
        UnknownPlace, and CommandRefused for a pod that is not in the lab.
        """
        with door.connected(self.address) as connection:
            return self._enter_at(connection, places, namespace)

    def _enter_at(
        self, connection: "socket.socket", places: Sequence[str], namespace: str = ""
    ) -> tuple[list[int], list[int]]:
        _, descriptors = self._entry(connection, places, namespace)
        return descriptors[: len(CAPSULE)], descriptors[len(CAPSULE) :]

    def _entry(
        self, connection: "socket.socket", places: Sequence[str], namespace: str
    ) -> tuple[dict[str, Any], list[int]]:
        answer, descriptors = self._ask_at(connection, "enter", places=list(places), namespace=namespace)
        if refused := answer.get("refused"):
            raise CommandRefused(refused)
        if unknown := answer.get("unknown"):
            raise UnknownPlace(str(unknown), self.facts["places"])
        return answer, descriptors

    @contextmanager
    def entrance(self) -> "Iterator[Entrance]":
        """`enter` for one place at a time, which works inside the lab too: its connection is open already."""
        with door.connected(self.address) as connection:
            yield lambda place: self._enter_at(connection, [place])

    def replace_process(
        self,
        place: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        namespace: str = "",
        container: str = "",
    ) -> "NoReturn":
        """Run a program in a place as if this process were replaced by it; exit code 127 or 126 if it cannot run.

        In a pod of a manifest, the variables of a container are added: of the first, if none is named. Raises
        CommandRefused for an unknown container. The calling process must have one thread.
        """
        with door.connected(self.address) as connection:
            answer, (*capsule, network) = self._entry(connection, [place], namespace)
        if container or answer.get("has_variables"):
            more = self.containers("variables", name=place, namespace=namespace, container=container)
            environment = {**environment, **more["variables"]}
        step_in(capsule, network)
        try:
            os.execvpe(command[0], list(command), dict(environment))
        except OSError as error:
            os.write(2, os.fsencode(f"testbed: {command[0]} cannot be run in {place}: {error.strerror}\n"))
            os._exit(127 if isinstance(error, FileNotFoundError) else 126)

    def start(self, place: str, command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
        """Start a program in a place with `options` of `subprocess.Popen`. Signals and the exit code are forwarded."""
        import subprocess

        capsule, networks = self.enter([place])
        try:
            return subprocess.Popen(command, preexec_fn=lambda: step_in(capsule, networks[0]), **options)
        finally:
            door.close([*capsule, *networks])

    def inside(self, work: "Callable[[Mapping[str, Namespace]], T]") -> T:
        """Call `work` with all the lab's networks, in a process inside the capsule, and return its result.

        Ctrl-C is forwarded to `work`, which may still return a result. The process ends with this one. Results and
        exceptions must be picklable. Raises Unanswered for root in another user's lab: that user could manipulate the
        result, which must not be unpickled with root's rights.
        """
        self._refuse_other_users_lab()
        import pickle
        import tempfile

        from testbed.kernel.namespace import Namespace

        places, own_pid = self.facts["places"], os.getpid()
        capsule, networks = self.enter(places)
        # Blocked, except while `work` runs and while this process waits: neither may end halfway through its report.
        with tempfile.TemporaryFile() as news, _signals(signal.SIG_BLOCK):
            child = os.fork()
            if child == 0:
                _report_from(
                    news,
                    lambda: step_in(capsule, networks[0], parent=own_pid),
                    lambda: work(dict(zip(places, map(Namespace, networks), strict=True))),
                )
            door.close([*capsule, *networks])
            status, interrupted = _waited_for(child)
            news.seek(0)
            data = news.read()
        if not data:
            if interrupted:
                raise KeyboardInterrupt
            raise Unanswered(f"the lab {self.name} went down meanwhile ({os.waitstatus_to_exitcode(status)})")
        result, error = pickle.loads(data)
        if error is not None:
            raise error
        return cast("T", result)

    def _refuse_other_users_lab(self) -> None:
        if self.address.user != os.geteuid():
            raise Unanswered(
                f"the lab {self.name} is another user's; root may only use exec, shell POD, ip and down on it"
            )

    def down(self) -> Ending:
        """End the lab with all its processes, also if not completely built; return when its last process has ended."""
        ending = Ending()
        with door.connected(self.address) as connection:
            answer, descriptors = self._ask_at(connection, "down")
            if answer.get("patience"):
                connection.settimeout(door.PATIENCE_S + answer["patience"])
                # The lab ends even without a valid answer.
                with suppress(OSError, ValueError, LookupError, TypeError):
                    ending = _ending_in(door.hear(connection)[1])
        poll = select.poll()
        for process in descriptors:
            poll.register(process, select.POLLIN)
        ended = poll.poll(door.PATIENCE_S * 1000)
        if descriptors and not ended:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptors[0], signal.SIGKILL)
            poll.poll(door.PATIENCE_S * 1000)
        door.close(descriptors)
        if self._tie:
            self._tie.close()
        return ending


def _built_and_kept(connection: "socket.socket", tied: bool) -> str:
    """Wait until the lab is built and tell it to keep running; return the log of its plugin calls.

    Raises CannotBeBuilt, or OSError if it ends in the meantime.
    """
    door.say(connection, {"ask": "built"})
    built, files = door.hear(connection)
    log = ""
    for file in files:
        log += _read(file).decode()
    if error := built.get("error"):
        raise CannotBeBuilt(str(error), log)
    if built:
        door.say(connection, {"ask": "keep", "tied": tied})
        kept, _ = door.hear(connection)
        if kept:
            return log
    raise ConnectionResetError


def _ending_in(files: Sequence[int]) -> Ending:
    """Read a lab's `Ending`, if it sent one; the files are closed."""
    ending = Ending()
    for file in files:
        data = json.loads(_read(file))
        ending = Ending(tuple(data["errors"]), data["log"])
    return ending


def _memory_file(data: bytes) -> int:
    """A descriptor of a file in memory with the data."""
    file = os.memfd_create("question", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(file), "wb") as whole:
        whole.write(data)
    return file


def _read(file: int) -> bytes:
    """Contents of a received file; it is closed."""
    with os.fdopen(file, "rb") as opened:
        opened.seek(0)
        return opened.read()


@contextmanager
def _signals(how: int) -> Iterator[None]:
    """Block or unblock the signals that ask a process to end; afterwards they are as before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(how, _ENDING)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _waited_for(child: int) -> tuple[int, bool]:
    """A child's exit status, and whether SIGINT arrived. The first SIGINT is forwarded; the second kills the child.

    The signals must be blocked. The child is reaped last, so that its PID is valid when a signal arrives as it ends.
    """
    interrupted = False
    while True:
        try:
            with _signals(signal.SIG_UNBLOCK):
                os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
            return os.waitpid(child, 0)[1], interrupted
        except KeyboardInterrupt:
            os.kill(child, signal.SIGKILL if interrupted else signal.SIGINT)
            interrupted = True
        except BaseException:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise


def _report_from(news: IO[bytes], enter: Callable[[], None], work: Callable[[], object]) -> None:
    """Enter, do the work, write its result, and end this forked process. The signals must be blocked."""
    import pickle

    code = 1
    try:
        enter()
        outcome: tuple[object, BaseException | None]
        try:
            with _signals(signal.SIG_UNBLOCK):
                outcome = (work(), None)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            outcome = (None, error)
        news.write(pickle.dumps(outcome))
        news.flush()
        code = 0
    finally:
        os._exit(code)
