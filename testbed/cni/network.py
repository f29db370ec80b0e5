"""A network as its configuration defines it: a name, versions, and plugins in order.

A configuration is a list of plugins (`.conflist`), or a single plugin (`.conf`), which becomes a list of one. Plugins
may also be in separate files, in a folder next to the list that is named after the network.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from testbed.cni import foreign, standard
from testbed.cni.model import Network as Network
from testbed.cni.model import Plugin as Plugin
from testbed.cni.template import EXAMPLES, Values, filled, is_template
from testbed.cni.versions import SUPPORTED, WITHOUT, newest_first
from testbed.spec.design import NetworkTexts
from testbed.spec.files import Unreadable, read_text
from testbed.spec.json_tree import parse_json
from testbed.spec.problems import Loc, Misfit, Problem, SpecError
from testbed.spec.source import Source

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""Of networks, and of container IDs."""
SUFFIXES = (".conflist", ".conf", ".json")
Text = tuple[str, str]
"""A file and its text."""
T = TypeVar("T")
_RESERVED = ("runtimeConfig", "args", "prevResult")
_RESERVED_PREFIX = "cni.dev/"


def read_network(path: Path) -> NetworkTexts:
    """The network in a file: its name, its files with their unfilled texts, and its capabilities.

    In a folder, the first configuration by name is read, as container runtimes do. Templates are checked with example
    values, of which one must fit. Raises SpecError with every problem.
    """
    file = next(iter(conf_files(path)), path) if path.is_dir() else path
    first = _text_of(file)
    texts = with_examples((first,), lambda filled_texts: (first, *_other_texts(filled_texts, file.parent)))
    network = example_network(texts)
    capabilities = dict.fromkeys(name for plugin in network.plugins for name in sorted(plugin.capabilities))
    return NetworkTexts(network.name, texts, tuple(capabilities))


def _text_of(path: Path) -> Text:
    try:
        return foreign.network_text(str(path), read_text(path))
    except Unreadable as error:
        raise SpecError((Problem(str(path), error.line, error.column, error.message),)) from None


def _other_texts(texts: Sequence[Text], parent: Path) -> Iterator[Text]:
    """The texts of plugins in separate files."""
    (file, text), *_ = texts
    return map(_text_of, _plugin_files(parse_json(text, file).data, parent))


def with_examples(texts: Sequence[Text], work: Callable[[tuple[Text, ...]], T]) -> T:
    """The result of `work` for texts filled with the first example values for which neither raises SpecError.

    If there are none, raises SpecError for the first ones.
    """
    first: SpecError | None = None
    for values in EXAMPLES if any(is_template(text) for _, text in texts) else EXAMPLES[:1]:
        try:
            return work(_filled(texts, values))
        except SpecError as error:
            first = first or error
    assert first is not None
    raise SpecError(tuple(as_written(problem, texts) for problem in first.problems))


def example_network(texts: Sequence[Text]) -> Network:
    """The network in texts that may be templates, filled with example values. Raises SpecError."""
    return with_examples(texts, _reviewed)


def filled_network(texts: Sequence[Text], values: Values) -> tuple[Text, ...]:
    """The files of a network, filled with a node's values. Raises SpecError if the result is invalid."""
    try:
        done = _filled(texts, values)
        _reviewed(done)
    except SpecError as error:
        raise SpecError(tuple(as_written(problem, texts) for problem in error.problems)) from None
    return done


def _filled(texts: Sequence[Text], values: Values) -> tuple[Text, ...]:
    return tuple((file, filled(text, file, values)) for file, text in texts)


def as_written(problem: Problem, texts: Sequence[Text]) -> Problem:
    """A problem of a filled template with the user's own line, if that can be found."""
    lines = dict(texts).get(problem.file, "").splitlines()
    if not 0 < problem.line <= len(lines) or lines[problem.line - 1] == problem.excerpt:
        return problem
    written, start = lines[problem.line - 1], problem.column - 1
    marked = problem.excerpt[start : start + problem.width]
    if written[:start] == problem.excerpt[:start]:
        width = len(written) - (len(problem.excerpt) - problem.width)
        return replace(problem, excerpt=written, width=max(width, 1))
    if written.count(marked) == 1:
        return replace(problem, excerpt=written, column=written.index(marked) + 1)
    return problem


def _reviewed(texts: Sequence[Text]) -> Network:
    """The network in these texts, with its keys for standard plugins checked. Raises SpecError."""
    network = network_of_texts(texts)
    if wrong := list(standard.misfits(network)):
        sources = {file: parse_json(text, file) for file, text in texts}
        raise SpecError(tuple(sources[file].problem(misfit) for file, misfit in wrong))
    return network


def network_of_texts(texts: Sequence[Text]) -> Network:
    """The network in files and their texts; the first is the network's own, others are plugins. Raises SpecError."""
    root, *plugins = (parse_json(text, file) for file, text in texts)
    return network_of(root, plugins)


def conf_files(folder: Path, suffixes: Iterable[str] = SUFFIXES) -> tuple[Path, ...]:
    """The configurations in a folder, by name, without those in its subfolders."""
    return tuple(sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in suffixes))


def _plugin_files(found: object, parent: Path) -> tuple[Path, ...]:
    """The files of plugins in the folder named after a network; none if it loads only inlined plugins.

    Errors in the network itself are left to `network_of`.
    """
    name = found.get("name") if isinstance(found, dict) else None
    if not isinstance(found, dict) or "type" in found or not isinstance(name, str) or not NAME.fullmatch(name):
        return ()
    folder = parent / name
    if _SWITCH.get(str(found.get("loadOnlyInlinedPlugins")).lower()) or not folder.is_dir():
        return ()
    return conf_files(folder, (".conf",))


def network_of(source: Source, plugin_files: Iterable[Source] = ()) -> Network:
    """The network in a file, with the plugins in further files. Raises SpecError with every problem."""
    reader = _Reader(source)
    network = reader.network()
    problems = [*source.problems, *map(source.problem, reader.misfits)]
    for other in plugin_files:
        part = _Reader(other)
        plugin = part.plugin((), other.data)
        problems += [*other.problems, *map(other.problem, part.misfits)]
        network = replace(network, plugins=(*network.plugins, plugin))
    if not problems and not network.plugins:
        has_list = isinstance(source.data, dict) and "plugins" in source.data
        message = "must have at least one plugin" if has_list else "no plugin found; write `plugins`"
        problems = [source.problem(Misfit(("plugins",) if has_list else (), message, at_key=not has_list))]
    if problems:
        raise SpecError(tuple(problems))
    return network


_SWITCH = {"true": True, "false": False}


class _Reader:
    """Reads one file, and collects its errors in `misfits`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.misfits: list[Misfit] = []

    def wrong(self, loc: Loc, message: str, valid: tuple[str, ...] = (), at_key: bool = False) -> None:
        self.misfits.append(Misfit(loc, message, valid, at_key))

    def network(self) -> Network:
        data = self.source.data
        if not isinstance(data, dict):
            self.wrong((), "a CNI configuration must be an object in braces")
            return Network("", (), ())
        only_inlined = self._switch(data, "loadOnlyInlinedPlugins")
        if "type" in data and "plugins" not in data:
            single = self.plugin((), data)
            plugins: tuple[Plugin, ...] = (replace(single, keys=_own_keys(single.keys)),)
        else:
            plugins = tuple(self._plugins(data, only_inlined))
        return Network(
            self._name(data),
            self._versions(data),
            plugins,
            self._switch(data, "disableCheck"),
            self._switch(data, "disableGC"),
            self.source.text,
        )

    def _name(self, data: Mapping[str, Any]) -> str:
        name = data.get("name")
        if name is None:
            self.wrong((), "the key 'name' is missing (the network's name)", at_key=True)
        elif not isinstance(name, str) or not NAME.fullmatch(name):
            self.wrong(("name",), "must begin with a letter or digit; letters, digits, '_', '.' and '-' may follow")
        return str(name)

    def _versions(self, data: Mapping[str, Any]) -> tuple[str, ...]:
        more = data.get("cniVersions", [])
        if not isinstance(more, list):
            self.wrong(("cniVersions",), 'must be a list of versions, such as ["0.4.0", "1.0.0"]')
            more = []
        written: list[tuple[Loc, Any]] = [(("cniVersion",), data.get("cniVersion") or WITHOUT)]
        written += [(("cniVersions", number), version) for number, version in enumerate(more)]
        for loc, version in written:
            if not isinstance(version, str) or not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version):
                self.wrong(loc, 'must be three numbers in quotes, such as "1.0.0"', SUPPORTED)
                return ()
        # Without cniVersion, only the list counts.
        named = [version for loc, version in written if loc != ("cniVersion",) or "cniVersion" in data or not more]
        found = newest_first(named)
        if not found:
            self.wrong(written[0][0], f"none of its versions is supported: {', '.join(named)}", SUPPORTED)
        return found

    def _switch(self, data: Mapping[str, Any], key: str) -> bool:
        value = data.get(key, False)
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in _SWITCH:
            return _SWITCH[value.lower()]
        self.wrong((key,), 'must be true, false, "true" or "false"')
        return False

    def _plugins(self, data: Mapping[str, Any], only_inlined: bool) -> Iterator[Plugin]:
        plugins = data.get("plugins")
        if plugins is None and not only_inlined:
            return
        if not isinstance(plugins, list):
            if plugins is None:
                self.wrong((), "the key 'plugins' is missing, which loadOnlyInlinedPlugins requires", at_key=True)
            else:
                self.wrong(("plugins",), "must be a list of plugins, each an object with its `type`")
            return
        if not plugins and only_inlined:
            self.wrong(("plugins",), "must have at least one plugin, as loadOnlyInlinedPlugins excludes others")
        for number, item in enumerate(plugins):
            yield self.plugin(("plugins", number), item)

    def plugin(self, loc: Loc, data: object) -> Plugin:
        """One plugin's object."""
        if not isinstance(data, dict):
            self.wrong(loc, "must be an object with its `type`")
            return Plugin("", frozenset(), {})
        kind = data.get("type")
        if kind is None:
            self.wrong(loc, "the key 'type' is missing (the name of the plugin's program)", at_key=True)
        elif not isinstance(kind, str) or not kind or "/" in kind or kind in (".", ".."):
            self.wrong((*loc, "type"), "must be the name of the plugin's program, without a folder")
        for key in data:
            if key in _RESERVED or key.startswith(_RESERVED_PREFIX):
                self.wrong((*loc, key), f"'{key}' is reserved: the runtime sets it in each call", at_key=True)
        capabilities = self._capabilities((*loc, "capabilities"), data.get("capabilities", {}))
        return Plugin(str(kind), capabilities, data, self.source.file, loc)

    def _capabilities(self, loc: Loc, data: object) -> frozenset[str]:
        if not isinstance(data, dict):
            self.wrong(loc, 'must be an object such as {"portMappings": true}')
            return frozenset()
        for name, value in data.items():
            if not isinstance(value, bool):
                self.wrong((*loc, name), "must be true or false")
        return frozenset(name for name, value in data.items() if value is True)


def _own_keys(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a single plugin's configuration without those that belong to a list."""
    of_list = ("disableCheck", "disableGC", "loadOnlyInlinedPlugins", "cniVersions")
    return {key: value for key, value in keys.items() if key not in of_list}
