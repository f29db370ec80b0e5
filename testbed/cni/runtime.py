"""The container runtime of one node: ADD, CHECK, DEL, GC and STATUS of a network, as in the specification.

Plugins run where the calling thread is, which must be the node: its network, its files. Results of ADD are stored there
(`store`), as CHECK and DEL pass them to plugins.
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


def _ignore(made: Call) -> None:
    """The default of `Runtime.on_call`."""


class NotSupported(CniError):
    """The network's version does not have this command."""


class Unchecked(CniError):
    """There is nothing to check."""


@dataclass
class Runtime:
    """Calls the plugins of networks on one node."""

    folders: Sequence[str]
    """Where to look for plugins, in order (CNI_PATH)."""
    store: Store = field(default_factory=Store)
    patience_s: float = PATIENCE_S
    """Time limit of each call."""
    on_call: Callable[[Call], None] = _ignore
    """Called after every call of a plugin."""
    run: Execute = execute
    known: dict[str, frozenset[str]] = field(default_factory=dict)
    """Supported versions that plugins reported, by name; runtimes of the same plugins may share it."""

    def version(self, network: Network) -> str:
        """The newest version of the network that all its plugins support. Raises CniError.

        If the network has one version, plugins are not asked: they refuse it themselves if they do not support it.
        """
        if len(network.versions) == 1:
            return network.versions[0]
        supported = {plugin.type: self._supported(network, plugin) for plugin in network.plugins}
        for version in network.versions:
            if all(version in known for known in supported.values()):
                return version
        plugins = "; ".join(f"{name}: {', '.join(sorted(known)) or 'none'}" for name, known in supported.items())
        raise CniError(
            f"no common CNI version: network {network.name} ({', '.join(network.versions)}), plugins ({plugins})"
        )

    def _supported(self, network: Network, plugin: Plugin) -> frozenset[str]:
        if plugin.type not in self.known:
            _, found = self._call(plugin, "VERSION", {"cniVersion": network.versions[0]})
            # Plugins of 0.1.0 do not support VERSION, and return no list.
            known = found.get("supportedVersions", ["0.1.0"]) if isinstance(found, dict) else ["0.1.0"]
            self.known[plugin.type] = frozenset(map(str, known))
        return self.known[plugin.type]

    def _call(
        self, plugin: Plugin, command: Command, config: dict[str, Any], attachment: Attachment | None = None
    ) -> tuple[Call, Any]:
        """The call, and the answer as data. Raises PluginFailed, PluginMissing."""
        variables = environment(command, self.folders, attachment)
        made = call(plugin.type, command, self.folders, config, variables, self.patience_s, self.run)
        self.on_call(made)
        return made, answer(made, self.patience_s)

    def need_plugins(self, network: Network) -> None:
        """Raises PluginMissing if a program of the network is missing, so that nothing is left half done."""
        missing = [name for name in network.programs if find(name, self.folders) is None]
        if missing:
            raise PluginMissing(missing, self.folders)

    def add(self, network: Network, attachment: Attachment) -> Result:
        """Attaches a container, whose namespace must exist. Raises CniError; DEL must then undo what was made."""
        with self.store.locked(attachment.container):
            if self.store.read(network.name, attachment):
                raise CniError(
                    f"{attachment.container}: {attachment.ifname} is attached to the network {network.name} already; "
                    "DEL it first"
                )
            self.need_plugins(network)
            version = self.version(network)
            previous: dict[str, Any] | None = None
            for plugin in network.plugins:
                config = request(network, version, plugin, attachment.capabilities, previous)
                previous = self._result(plugin, config, attachment, version)
            assert previous is not None  # Each network has a plugin.
            self.store.write(network, attachment, previous)
            return parsed(previous, version)

    def _result(self, plugin: Plugin, config: dict[str, Any], attachment: Attachment, version: str) -> dict[str, Any]:
        made, found = self._call(plugin, "ADD", config, attachment)
        try:
            return _in_version(found, version)
        except NoResult as error:
            raise PluginFailed(made, f"exit code 0, but its output is not a result: {error}") from None

    def check(self, network: Network, attachment: Attachment) -> None:
        """Has all plugins check the attachment. Raises PluginFailed, NotSupported, or Unchecked."""
        if network.disable_check:
            raise Unchecked(f"the network {network.name} disables CHECK (disableCheck)")
        with self.store.locked(attachment.container):
            version = self._since("0.4.0", "CHECK", network)
            kept = self.store.read(network.name, attachment)
            if kept is None:
                raise Unchecked(
                    f"{attachment.container}: {attachment.ifname} not attached to the network {network.name}"
                )
            self.need_plugins(network)
            previous = _in_version(kept.result, version)
            for plugin in network.plugins:
                config = request(network, version, plugin, attachment.capabilities, previous)
                self._call(plugin, "CHECK", config, attachment)

    def delete(self, network: Network, attachment: Attachment) -> None:
        """Removes an attachment, even an incomplete one; may be repeated. Raises CniError at the first failure.

        The container's namespace may be gone (`netns` empty).
        """
        with self.store.locked(attachment.container):
            self._delete(network, attachment)

    def _delete(self, network: Network, attachment: Attachment) -> None:
        version = self.version(network)
        kept = self.store.read(network.name, attachment)
        previous = _in_version(kept.result, version) if kept and is_at_least(version, "0.4.0") else None
        for plugin in reversed(network.plugins):
            config = request(network, version, plugin, attachment.capabilities, previous)
            self._call(plugin, "DEL", config, attachment)
        self.store.forget(network.name, attachment)

    def collect(self, network: Network, valid: Iterable[Attachment]) -> tuple[CniError, ...]:
        """Releases everything that belongs to no valid attachment. Continues after failures, and returns them.

        Stale attachments that are still stored get their DEL first; networks before 1.1.0 have no GC beyond that. No
        attachment can begin meanwhile; `valid` must include those that are about to begin.
        """
        if network.disable_gc:
            return ()
        errors: list[CniError] = []
        keep = {(item.container, item.ifname) for item in valid}
        with self.store.all_locked():
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
        """Raises PluginFailed, usually with code 50 or 51, if ADD cannot be served; NotSupported before 1.1.0."""
        version = self._since("1.1.0", "STATUS", network)
        self.need_plugins(network)
        for plugin in network.plugins:
            self._call(plugin, "STATUS", request(network, version, plugin, {}))

    def _since(self, least: str, command: Command, network: Network) -> str:
        version = self.version(network)
        if not is_at_least(version, least):
            raise NotSupported(f"{command} requires CNI {least}; the network {network.name} has {version}")
        return version


def _in_version(data: object, version: str) -> dict[str, Any]:
    """A result converted to a version; unchanged if it has that version. Raises NoResult."""
    found = parsed(data, version)
    assert isinstance(data, dict)
    own = data.get("cniVersion") or version
    return data if own == version else written(found, version)
