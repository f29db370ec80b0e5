"""The container runtime of one node: ADD, CHECK, DEL, GC and STATUS of a network, as the specification has them.

Plugins run where the calling thread is, which must be the node: its network, its files. What they answer to ADD is kept
there (`store`), for CHECK and DEL to be told.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from testbed.cni.calls import (
    PATIENCE_S,
    Call,
    CniError,
    Execute,
    PluginFailed,
    PluginMissing,
    answer,
    call,
    execute,
    find,
)
from testbed.cni.network import Network, Plugin
from testbed.cni.request import Attachment, Command, environment, request
from testbed.cni.result import NoResult, Result, parsed, written
from testbed.cni.store import Store
from testbed.cni.versions import is_at_least


def _unheard(made: Call) -> None:
    """Of a runtime that nobody listens to."""


class NotSupported(CniError):
    """The network's version does not know this command."""


class Unchecked(CniError):
    """There is nothing that could be checked."""


@dataclass
class Runtime:
    """Calls the plugins of networks on one node."""

    folders: Sequence[str]
    """Where plugins are looked for, in order (CNI_PATH)."""
    store: Store = field(default_factory=Store)
    patience_s: float = PATIENCE_S
    """How long each plugin may take."""
    heard: Callable[[Call], None] = _unheard
    """Hears of every call when it is over."""
    run: Execute = execute
    known: dict[str, frozenset[str]] = field(default_factory=dict)
    """The versions that plugins have said that they support, by name; runtimes of the same plugins may share it."""

    def version(self, network: Network) -> str:
        """The newest version that the network is written for and all its plugins know. Raises CniError.

        Of a network with one version plugins are not asked: they refuse it themselves if they do not know it.
        """
        if len(network.versions) == 1:
            return network.versions[0]
        supported = {plugin.type: self._supported(network, plugin) for plugin in network.plugins}
        for version in network.versions:
            if all(version in known for known in supported.values()):
                return version
        told = "; ".join(f"{name}: {', '.join(sorted(known)) or 'none'}" for name, known in supported.items())
        raise CniError(
            f"no CNI version suits the network {network.name} ({', '.join(network.versions)}) and its plugins ({told})"
        )

    def _supported(self, network: Network, plugin: Plugin) -> frozenset[str]:
        if plugin.type not in self.known:
            _, found = self._call(plugin, "VERSION", {"cniVersion": network.versions[0]})
            # A plugin of 0.1.0 knows no VERSION, and says no list.
            known = found.get("supportedVersions", ["0.1.0"]) if isinstance(found, dict) else ["0.1.0"]
            self.known[plugin.type] = frozenset(map(str, known))
        return self.known[plugin.type]

    def _call(
        self, plugin: Plugin, command: Command, told: dict[str, Any], attachment: Attachment | None = None
    ) -> tuple[Call, Any]:
        """The call, and what was answered. Raises PluginFailed, PluginMissing."""
        around = environment(command, self.folders, attachment)
        made = call(plugin.type, command, self.folders, told, around, self.patience_s, self.run)
        self.heard(made)
        return made, answer(made, self.patience_s)

    def need_plugins(self, network: Network) -> None:
        """Raises PluginMissing if one of the network's programs is not there: nothing is to be left half done."""
        missing = [name for name in network.programs if find(name, self.folders) is None]
        if missing:
            raise PluginMissing(missing, self.folders)

    def add(self, network: Network, attachment: Attachment) -> Result:
        """Attaches a container, whose namespace must be there. Raises CniError; what was made then is DEL's to undo."""
        with self.store.alone(attachment.container):
            if self.store.read(network.name, attachment):
                raise CniError(
                    f"{attachment.container} has {attachment.ifname} on the network {network.name} already; "
                    "DEL it first"
                )
            self.need_plugins(network)
            version = self.version(network)
            previous: dict[str, Any] | None = None
            for plugin in network.plugins:
                told = request(network, version, plugin, attachment.capabilities, previous)
                previous = self._result(plugin, told, attachment, version)
            assert previous is not None  # There is no network without a plugin.
            self.store.write(network, attachment, previous)
            return parsed(previous, version)

    def _result(self, plugin: Plugin, told: dict[str, Any], attachment: Attachment, version: str) -> dict[str, Any]:
        made, found = self._call(plugin, "ADD", told, attachment)
        try:
            return _in_version(found, version)
        except NoResult as error:
            raise PluginFailed(made, f"it ended well, but what it printed is no result: {error}") from None

    def check(self, network: Network, attachment: Attachment) -> None:
        """Has all plugins look at what they made. Raises PluginFailed, NotSupported, or Unchecked."""
        if network.disable_check:
            raise Unchecked(f"the network {network.name} says disableCheck")
        with self.store.alone(attachment.container):
            version = self._since("0.4.0", "CHECK", network)
            kept = self.store.read(network.name, attachment)
            if kept is None:
                raise Unchecked(f"{attachment.container} has no {attachment.ifname} on the network {network.name}")
            self.need_plugins(network)
            previous = _in_version(kept.result, version)
            for plugin in network.plugins:
                told = request(network, version, plugin, attachment.capabilities, previous)
                self._call(plugin, "CHECK", told, attachment)

    def delete(self, network: Network, attachment: Attachment) -> None:
        """Takes an attachment back, whatever there is of it; may be repeated. Raises CniError at the first that fails.

        The container's namespace may be gone (`netns` empty).
        """
        with self.store.alone(attachment.container):
            self._delete(network, attachment)

    def _delete(self, network: Network, attachment: Attachment) -> None:
        version = self.version(network)
        kept = self.store.read(network.name, attachment)
        previous = _in_version(kept.result, version) if kept and is_at_least(version, "0.4.0") else None
        for plugin in reversed(network.plugins):
            told = request(network, version, plugin, attachment.capabilities, previous)
            self._call(plugin, "DEL", told, attachment)
        self.store.forget(network.name, attachment)

    def collect(self, network: Network, valid: Iterable[Attachment]) -> tuple[CniError, ...]:
        """Has everything released that belongs to no valid attachment; what failed, as it goes on over failures.

        Stale attachments that are still remembered get their DEL first. Networks before 1.1.0 know no GC beyond that.
        Nothing is attached from the first look to the last GC; `valid` must name what somebody is about to attach too.
        """
        if network.disable_gc:
            return ()
        errors: list[CniError] = []
        keep = {(item.container, item.ifname) for item in valid}
        with self.store.all_alone():
            for kept in self.store.all(network.name):
                if (kept.attachment.container, kept.attachment.ifname) not in keep:
                    try:
                        self._delete(network, replace(kept.attachment, netns=""))
                    except CniError as error:
                        errors.append(error)
            version = self.version(network)
            for plugin in network.plugins if is_at_least(version, "1.1.0") else ():
                try:
                    self._call(plugin, "GC", request(network, version, plugin, {}, valid=sorted(keep)))
                except CniError as error:
                    errors.append(error)
        return tuple(errors)

    def status(self, network: Network) -> None:
        """Raises PluginFailed, with code 50 or 51 as a rule, if ADD cannot be served; NotSupported before 1.1.0."""
        version = self._since("1.1.0", "STATUS", network)
        self.need_plugins(network)
        for plugin in network.plugins:
            self._call(plugin, "STATUS", request(network, version, plugin, {}))

    def _since(self, least: str, command: Command, network: Network) -> str:
        version = self.version(network)
        if not is_at_least(version, least):
            raise NotSupported(f"{command} is known from CNI {least}; the network {network.name} is one of {version}")
        return version


def _in_version(data: object, version: str) -> dict[str, Any]:
    """A result as the next plugin is to be told: as it came if it has the right version. Raises NoResult."""
    found = parsed(data, version)
    assert isinstance(data, dict)
    own = data.get("cniVersion") or version
    return data if own == version else written(found, version)
