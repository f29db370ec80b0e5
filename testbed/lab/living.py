"""A lab that is up, seen from outside: brought up, found by name, entered, brought down."""

import json
import os
import select
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from testbed.lab import door
from testbed.lab.door import Address, Unanswered
from testbed.lab.entering import CAPSULE, step_in

if TYPE_CHECKING:
    import socket
    import subprocess
    from typing import NoReturn

    from testbed.designs import Design
    from testbed.kernel.namespace import Namespace
    from testbed.plan.objects import Plan
    from testbed.spec.design import DesignSpec, ReadCni
    from testbed.spec.load import Loaded
    from testbed.spec.topology import Topology

T = TypeVar("T")

BUILD_PATIENCE_S = 600.0
ENDED_PATIENCE_S = 60.0
"""Daemons that have ended are asked whether they answer even so."""
PLUG_PATIENCE_S = 600.0
"""For all plugins of a chain, each of which has its own."""


_ENDED = "its process ended before it was up"


class CannotBeBuilt(Exception):
    """The lab could not be brought up; says why."""

    def __init__(self, reason: str, log: str = "") -> None:
        super().__init__(reason)
        self.log = log
        """The calls of CNI plugins until then, each as JSON in a line."""


class UnknownPlace(LookupError):
    """The lab has no pod, node, switch or gateway of that name."""

    def __init__(self, name: str, places: Sequence[str]) -> None:
        super().__init__(name)
        self.name = name
        self.places = tuple(places)


class NameTaken(Exception):
    """A lab of that name is up already."""


def facts_of(topology: "Loaded[Topology]", spec: "DesignSpec | ReadCni") -> dict[str, Any]:
    """What a lab is to remember of what it was made from."""
    return {
        "design_spec": spec.model_dump(mode="json"),
        "topology_spec": topology.value.as_data(),
        "topology_file": topology.source.file,
    }


class ChangeRefused(ValueError):
    """The lab cannot become what was asked for; nothing has changed."""


class ChangeFailed(Exception):
    """The kernel, a program or a CNI plugin has refused a part of a change; `inspect` tells what is missing."""


class Ending(NamedTuple):
    """What CNI plugins said when a lab went down."""

    errors: tuple[str, ...] = ()
    """What failed when they were to take back what they had made."""
    log: str = ""
    """Their calls, each as JSON in a line."""


class LivingLab:
    """A lab that is up. Any number of these may exist for one lab; none of them keeps it up."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._tie: socket.socket | None = None
        """Of a lab that ends with this process: what it would hear the end by."""
        self.log = ""
        """Of a lab that was brought up here: the calls of CNI plugins until it was up, each as JSON in a line."""
        self._heard: dict[str, tuple[str, Any]] = {}
        """The plan and the topology as the lab told of them last, each with its mark."""

    @property
    def name(self) -> str:
        return self.address.name

    @classmethod
    def bring_up(cls, plan: "Plan", name: str, facts: Mapping[str, Any], tied: bool = False) -> "LivingLab":
        """Builds the plan in a capsule that stays until `down`; returns when it is up.

        A `tied` one ends with this process, if not before. `facts` are kept with it, ready for JSON. Raises NameTaken,
        CannotBeBuilt, or OSError without the rights.
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
            released(lambda: keep(opened, plan, {"name": name, **facts}))
        lab = cls(address)
        try:
            connection = door.connected(address)
        except Unanswered:
            raise CannotBeBuilt(_ENDED) from None
        try:
            connection.settimeout(BUILD_PATIENCE_S)
            lab.log = _asked_to_stay(connection, tied)
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
        """The labs of this user; for root, everybody's."""
        own = os.geteuid()
        return tuple(cls(address) for address in door.addresses() if own in (0, address.user))

    def _ask(self, question: str, patience_s: float = door.PATIENCE_S, **more: Any) -> tuple[dict[str, Any], list[int]]:
        with door.connected(self.address) as connection:
            return self._ask_at(connection, question, patience_s, **more)

    def _ask_at(
        self, connection: "socket.socket", question: str, patience_s: float = door.PATIENCE_S, **more: Any
    ) -> tuple[dict[str, Any], list[int]]:
        connection.settimeout(patience_s)
        try:
            door.say(connection, {"ask": question, **more})
            answer, descriptors = door.hear(connection)
        except OSError as error:
            raise Unanswered(f"the lab {self.name} does not answer: {error}") from None
        if not answer and not descriptors:
            raise Unanswered(f"the lab {self.name} is not up yet, or going down")
        return answer, descriptors

    @property
    def facts(self) -> dict[str, Any]:
        """Its name, design, topology and that one's file, places, how many nodes and pods; when it came up, state."""
        _, (file,) = self._ask("facts")
        found = json.loads(_read(file))
        assert isinstance(found, dict)
        return found

    @property
    def topology(self) -> "Topology":
        """As the lab has it now, whatever has become of the file."""
        from testbed.spec.topology import Topology

        return self._told("topology", lambda text: Topology.of_data(json.loads(text)))

    @property
    def plan(self) -> "Plan":
        """All that the lab is to hold now, and what CNI plugins have made of it."""
        from testbed.plan.codec import plan_of_text

        return self._told("plan", plan_of_text)

    def _told(self, what: str, read: Callable[[bytes], T]) -> T:
        """What the lab tells when it is asked; read again only if it has changed. Raises Unanswered."""
        mark, value = self._heard.get(what, ("", None))
        answer, files = self._ask(what, known=mark)
        for file in files:
            try:
                value = read(_read(file))
            except ValueError as error:
                raise Unanswered(
                    f"the lab {self.name} was brought up by another version of testbed; bring it up again"
                ) from error
            self._heard[what] = answer["mark"], value
        return cast("T", value)

    @cached_property
    def design(self) -> "Design":
        """The design that it has."""
        from testbed.designs import design_of_data

        return design_of_data(self.facts["design_spec"])

    def ended(self) -> tuple[tuple[str, str, str], ...]:
        """The plan's programs and daemons that run no more: where, what became of it, the command that mends it."""
        _, (file,) = self._ask("ended", ENDED_PATIENCE_S)
        return tuple((str(place), str(what), str(mend)) for place, what, mend in json.loads(_read(file)))

    def plug(self, verb: str, place: str) -> dict[str, Any]:
        """Has the lab's container runtime `add`, `del` or `check` a pod's attachment; or a node's `status` or `gc`.

        What came of it: all `calls`, the `error` if it failed, the `changes` by place. Raises UnknownPlace where there
        is nothing that CNI plugins attach.
        """
        answer, files = self._ask("cni", PLUG_PATIENCE_S, verb=verb, place=place)
        if answer.get("unknown"):
            raise UnknownPlace(place, self.facts["plugged"])
        found = json.loads(_read(files[0]))
        assert isinstance(found, dict)
        return found

    def change(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Has the lab become another one: a pod or a node comes or goes, or a link gets other qualities.

        `verb` and `arguments` are a function of `testbed.lab.editing` and what it is given. Returns how many objects
        in how many namespaces have changed, in how many seconds. Raises ChangeRefused, with nothing changed, and
        ChangeFailed.
        """
        answer, files = self._ask("change", BUILD_PATIENCE_S, verb=verb, arguments=arguments)
        self.log += "".join(_read(file).decode() for file in files)
        if refused := answer.get("refused"):
            raise ChangeRefused(refused)
        if failed := answer.get("failed"):
            raise ChangeFailed(failed)
        return answer

    def enter(self, places: Sequence[str]) -> tuple[list[int], list[int]]:
        """Descriptors of the capsule's namespaces and of the places' networks; the caller's to close."""
        answer, descriptors = self._ask("enter", places=list(places))
        if unknown := answer.get("unknown"):
            raise UnknownPlace(str(unknown), self.facts["places"])
        return descriptors[: len(CAPSULE)], descriptors[len(CAPSULE) :]

    def replace_process(self, place: str, command: Sequence[str], environment: Mapping[str, str]) -> "NoReturn":
        """Becomes a program in a place, as far as anybody outside can tell; exit code 127 or 126 if it cannot be run.

        The calling process must have one thread.
        """
        capsule, (network,) = self.enter([place])
        step_in(capsule, network)
        try:
            os.execvpe(command[0], list(command), dict(environment))
        except OSError as error:
            os.write(2, f"testbed: {command[0]} cannot be run in {place}: {error.strerror}\n".encode())
            os._exit(127 if isinstance(error, FileNotFoundError) else 126)

    def start(self, place: str, command: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
        """Starts a program in a place; `options` are those of `subprocess.Popen`. Signals and its end are passed on."""
        import subprocess

        capsule, networks = self.enter([place])
        try:
            return subprocess.Popen(command, preexec_fn=lambda: step_in(capsule, networks[0]), **options)
        finally:
            door.close([*capsule, *networks])

    def inside(self, work: "Callable[[Mapping[str, Namespace]], T]") -> T:
        """What a function returns that is called in a process inside the capsule, with all the lab's networks.

        Ctrl-C is its to heed: it may return something even so. That process ends with this one, however this one ends.
        What it returns or raises must be fit for pickling. Raises Unanswered for root in another user's lab: what comes
        out of there has gone through that user's hands, and must not be unpickled with root's rights.
        """
        self._refuse_strangers()
        import pickle
        import tempfile

        from testbed.kernel.namespace import Namespace

        places, own_pid = self.facts["places"], os.getpid()
        capsule, networks = self.enter(places)
        with tempfile.TemporaryFile() as news:
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

    def _refuse_strangers(self) -> None:
        if self.address.user != os.geteuid():
            raise Unanswered(
                f"the lab {self.name} is another user's, of whose labs root may run exec, shell POD, ip and down"
            )

    def down(self) -> Ending:
        """Ends the lab and all that runs in it, built or half built; returns when its last process has ended."""
        ending = Ending()
        with door.connected(self.address) as connection:
            answer, descriptors = self._ask_at(connection, "down")
            if answer.get("patience"):
                connection.settimeout(door.PATIENCE_S + answer["patience"])
                # A lab that tells nothing, or nonsense, ends even so.
                with suppress(OSError, ValueError, LookupError, TypeError):
                    ending = _last_words(door.hear(connection)[1])
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


def _asked_to_stay(connection: "socket.socket", tied: bool) -> str:
    """Waits until the lab is built and has been told to stay; returns the log of its calls of plugins.

    Raises CannotBeBuilt, or OSError if it ends meanwhile.
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


def _last_words(files: Sequence[int]) -> Ending:
    """What a lab has told of its end, if it has; the files are closed."""
    ending = Ending()
    for file in files:
        told = json.loads(_read(file))
        ending = Ending(tuple(told["errors"]), told["log"])
    return ending


def _read(file: int) -> bytes:
    """All of a file that was handed over; it is closed."""
    with os.fdopen(file, "rb") as opened:
        opened.seek(0)
        return opened.read()


def _waited_for(child: int) -> tuple[int, bool]:
    """A child's exit status, and whether SIGINT came meanwhile. The first is passed on; the second ends the child."""
    interrupted = False
    while True:
        try:
            return os.waitpid(child, 0)[1], interrupted
        except KeyboardInterrupt:
            os.kill(child, signal.SIGKILL if interrupted else signal.SIGINT)
            interrupted = True
        except BaseException:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise


def _report_from(news: IO[bytes], enter: Callable[[], None], work: Callable[[], object]) -> None:
    """Enters, works, writes down what came of it, and ends this forked process."""
    import pickle

    code = 1
    try:
        enter()
        outcome: tuple[object, BaseException | None]
        try:
            outcome = (work(), None)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            outcome = (None, error)
        news.write(pickle.dumps(outcome))
        news.flush()
        code = 0
    finally:
        os._exit(code)
