"""Manifests read: YAML or JSON texts as objects, or every problem in them.

Each object is checked twice: its fields and their types against the table of Kubernetes' own schemas, then its values
against the models. Objects of kinds that Kubernetes does not have are left out, and listed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from testbed.kubernetes.dialect import KUBERNETES
from testbed.kubernetes.fields import all_fields, clipped, field_misfits, found
from testbed.kubernetes.kinds import UNDERSTOOD, Kind, kind_of
from testbed.kubernetes.models.meta import Object
from testbed.kubernetes.models.model import read
from testbed.spec.json_tree import parse_json
from testbed.spec.nearest import nearest
from testbed.spec.problems import Loc, Misfit, Problem, SpecError
from testbed.spec.source import Source, dotted, parse_all
from testbed.spec.tree import Node

MAX_PROBLEMS = 100
"""Problems reported per file."""
DEFAULT_NAMESPACE = "default"
_IDENTIFYING = ("apiVersion", "kind")
_FILLED = frozenset(("labels", "matchLabels", "annotations", "nodeSelector", "data", "stringData"))
"""Mappings of text, in which an empty value is empty text."""


@dataclass(frozen=True)
class Written:
    """An object as written in a manifest."""

    kind: Kind
    data: Mapping[str, Any]
    typed: Object
    source: Source
    loc: Loc
    default_namespace: str = DEFAULT_NAMESPACE
    """The namespace of an object that names none."""

    @property
    def key(self) -> tuple[str, str, str]:
        """API group and kind, namespace (empty if it has none) and name."""
        return self.kind.qualified, self.namespace, self.typed.metadata.name

    @property
    def namespace(self) -> str:
        return (self.typed.metadata.namespace or self.default_namespace) if self.kind.is_namespaced else ""

    def problem(self, misfit: Misfit) -> Problem:
        """A problem with the object, at its place in the file."""
        return _problem(self.source, self.loc, self.data, misfit)


@dataclass(frozen=True)
class LeftOut:
    """An object of a kind that Kubernetes does not have."""

    file: str
    line: int
    api_version: str
    kind: str
    name: str


@dataclass(frozen=True)
class Manifests:
    """The objects of several texts."""

    objects: tuple[Written, ...]
    left_out: tuple[LeftOut, ...]


def read_manifests(texts: Iterable[tuple[str, str]], namespace: str = DEFAULT_NAMESPACE) -> Manifests:
    """The objects in texts, given as pairs of file name and text. Raises SpecError with every problem.

    Objects without a namespace belong to `namespace`.
    """
    objects: list[Written] = []
    left_out: list[LeftOut] = []
    problems: list[Problem] = []
    for file, text in texts:
        try:
            source = _parsed(file, text)
        except SpecError as error:
            problems += error.problems
            continue
        reader = _Reader(source, namespace)
        problems += _limited(file, (*source.problems, *reader.problems()))
        objects += reader.objects
        left_out += reader.left_out
    problems += _duplicates(objects)
    if problems:
        order = {problem.file: number for number, problem in reversed(list(enumerate(problems)))}
        problems.sort(key=lambda one: (order[one.file], one.line == 0, one.line, one.column))
        raise SpecError(tuple(dict.fromkeys(problems)))
    return Manifests(tuple(objects), tuple(left_out))


def _parsed(file: str, text: str) -> Source:
    if not file.endswith(".json"):
        return parse_all(text, file, KUBERNETES)
    source = parse_json(text, file)
    root = Node(0, len(text), [source.root.data], children={0: source.root})
    return replace(source, root=root)


def _limited(file: str, problems: Iterable[Problem]) -> Iterator[Problem]:
    remaining = iter(problems)
    yield from islice(remaining, MAX_PROBLEMS)
    if next(remaining, None) is not None:
        yield Problem(file, 0, 0, "more problems follow; fix these first")


class _Reader:
    """The objects of one file."""

    def __init__(self, source: Source, namespace: str) -> None:
        self.source = source
        self.namespace = namespace
        self.objects: list[Written] = []
        self.left_out: list[LeftOut] = []

    def problems(self) -> Iterator[Problem]:
        """Read all documents."""
        documents = self.source.data
        assert isinstance(documents, list)
        for number, data in enumerate(documents):
            if data is not None:
                yield from self._document((number,), data)

    def _document(self, loc: Loc, data: object) -> Iterator[Problem]:
        misfit, kind = _kind(data)
        if misfit:
            yield self._problem(loc, data, misfit)
        elif kind is None:
            assert isinstance(data, dict)
            self._leave_out(loc, data)
        else:
            assert isinstance(data, dict)
            if kind.name.endswith("List") and "items" in all_fields().types[_type(kind)]:
                yield from self._list(loc, data, kind)
            else:
                yield from self._object(loc, data, kind)

    def _list(self, loc: Loc, data: dict[str, Any], kind: Kind) -> Iterator[Problem]:
        """The items of a list; those of a list of one kind may lack apiVersion and kind."""
        items = data.get("items")
        if not isinstance(items, list):
            message = f"must be a list of objects{found(items)}" if "items" in data else "the field 'items' is missing"
            at: Loc = ("items",) if "items" in data else ()
            yield self._problem(loc, data, Misfit(at, message, at_key=not at))
            return
        rest = {key: value for key, value in data.items() if key != "items"} | {"items": []}
        for misfit in field_misfits(rest, _type(kind), ()):
            yield self._problem(loc, data, misfit)
        single = {} if kind.name == "List" else {"apiVersion": kind.api_version, "kind": kind.name.removesuffix("List")}
        for number, item in enumerate(items):
            yield from self._document((*loc, "items", number), single | item if isinstance(item, dict) else item)

    def _object(self, loc: Loc, data: dict[str, Any], kind: Kind) -> Iterator[Problem]:
        about_fields = list(field_misfits(data, _type(kind), ()))
        clean = without_empty(data)
        typed, about_values = read(kind.model, clean)
        wrong = {misfit.loc for misfit in about_fields}
        more = (*about_values, *_metadata_misfits(data, kind))
        misfits = about_fields + [one for one in more if not _is_known(one, wrong)]
        for misfit in misfits:
            yield self._problem(loc, data, misfit)
        if not misfits and isinstance(typed, Object):
            self.objects.append(Written(kind, clean, typed, self.source, loc, self.namespace))

    def _leave_out(self, loc: Loc, data: dict[str, Any]) -> None:
        line = self._problem(loc, data, Misfit((), "")).line
        metadata = data.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        self.left_out.append(LeftOut(self.source.file, line, data["apiVersion"], data["kind"], str(name or "")))

    def _problem(self, loc: Loc, data: object, misfit: Misfit) -> Problem:
        return _problem(self.source, loc, data, misfit)


def _problem(source: Source, loc: Loc, data: object, misfit: Misfit) -> Problem:
    located = source.problem(replace(misfit, loc=(*loc, *misfit.loc)))
    where = dotted(source.place((*loc, *misfit.loc)).loc[len(loc) :])
    return replace(located, where=": ".join(part for part in (_named(data), where) if part))


def _named(data: object) -> str:
    """The object's kind and name, as far as they are known."""
    if not isinstance(data, dict):
        return ""
    metadata = data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    words = [word for word in (data.get("kind"), name) if isinstance(word, str) and word]
    return clipped(" ".join(words))


def _type(kind: Kind) -> str:
    return all_fields().kinds[f"{kind.api_version} {kind.name}"]


def _is_known(misfit: Misfit, places: set[Loc]) -> bool:
    """Whether a misfit follows from one at a place: it is there, below it, or misses a field that is misspelt there."""
    loc = misfit.loc
    if any(loc[:depth] in places for depth in range(1, len(loc) + 1)) or () in places:
        return True
    return misfit.message.endswith("is missing") and any(place[:-1] == loc for place in places)


def _kind(data: object) -> tuple[Misfit | None, Kind | None]:
    """The kind of an object, or what is wrong with it; neither if Kubernetes does not have that kind."""
    if not isinstance(data, dict):
        return Misfit((), f"must be an object with apiVersion, kind and metadata{found(data)}"), None
    for key in _IDENTIFYING:
        if not isinstance(data.get(key), str) or not data[key]:
            if key not in data:
                return _missing(key, data), None
            return Misfit((key,), f"must be text{found(data[key])}"), None
    version, name = data["apiVersion"], data["kind"]
    kind = kind_of(version, name)
    return (None, kind) if kind else (_wrong_kind(version, name), None)


def _missing(key: str, data: dict[str, Any]) -> Misfit:
    if "apiVersion" not in data and "kind" not in data and not any(nearest(one, _IDENTIFYING) for one in data):
        return Misfit((), "is no Kubernetes object: the fields 'apiVersion' and 'kind' are missing")
    misspelt = next((other for other in data if nearest(other, (key,))), None)
    if misspelt is not None:
        return Misfit((misspelt,), f"unknown field '{clipped(misspelt)}'", valid=(key,), at_key=True)
    version = next(iter(all_fields().versions.get(str(data.get("kind")), ())), "apps/v1")
    kinds = (kind.name for kind in reversed(UNDERSTOOD) if kind.api_version == data.get("apiVersion"))
    example = f"apiVersion: {version}" if key == "apiVersion" else f"kind: {next(kinds, 'Deployment')}"
    return Misfit((), f"the field '{key}' is missing; write one, such as `{example}`", at_key=True)


def _wrong_kind(version: str, name: str) -> Misfit | None:
    """Why an object is not of a kind of Kubernetes; None if it is of somebody else's."""
    table = all_fields()
    group = version.rpartition("/")[0]
    kinds = tuple(sorted(key.split()[1] for key in table.kinds if key.split()[0] == version))
    if kinds:
        if name in table.versions:
            needed = " or ".join(table.versions[name])
            return Misfit(("apiVersion",), f"{version} has no {name}; write {needed}", valid=table.versions[name])
        return Misfit(("kind",), f"unknown kind '{clipped(name)}' of {version}", valid=kinds)
    is_builtin = "." not in group or group in {one.rpartition("/")[0] for one in table.groups}
    if name in table.versions and (is_builtin or nearest(version, table.versions[name])):
        needed = " or ".join(table.versions[name])
        return Misfit(("apiVersion",), f"unknown apiVersion '{clipped(version)}' of {name}; write {needed}", valid=())
    return (
        Misfit(("apiVersion",), f"unknown apiVersion '{clipped(version)}'", valid=table.groups) if is_builtin else None
    )


def _metadata_misfits(data: dict[str, Any], kind: Kind) -> Iterator[Misfit]:
    """Problems with an object's name and namespace."""
    metadata = data.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        return
    name = (metadata or {}).get("name")
    if name is None:
        what = "generateName is not supported here; write a name" if "generateName" in (metadata or {}) else ""
        at: Loc = ("metadata", "generateName") if what else ("metadata",) if metadata else ()
        yield Misfit(at, what or "the field 'metadata.name' is missing", at_key=True)
    elif isinstance(name, str):
        try:
            kind.check_name(name)
        except ValueError as error:
            yield Misfit(("metadata", "name"), str(error))
    if not kind.is_namespaced and (metadata or {}).get("namespace"):
        message = f"a {kind.name} belongs to no namespace; remove this field"
        yield Misfit(("metadata", "namespace"), message, at_key=True)


def without_empty(data: Any) -> Any:
    """The data without empty fields, as the API server reads them."""
    if isinstance(data, list):
        return [without_empty(item) for item in data]
    if not isinstance(data, dict):
        return data
    return {
        key: {name: "" if text is None else text for name, text in value.items()}
        if key in _FILLED and isinstance(value, dict)
        else without_empty(value)
        for key, value in data.items()
        if value is not None
    }


def _duplicates(objects: list[Written]) -> Iterator[Problem]:
    first: dict[tuple[str, str, str], Written] = {}
    for one in objects:
        earlier = first.setdefault(one.key, one)
        if earlier is not one:
            before = earlier.problem(Misfit(("metadata", "name"), ""))
            place = f"{before.file} line {before.line}" if before.file != one.source.file else f"line {before.line}"
            name = f"{one.kind.name} '{one.typed.metadata.name}'"
            where = f" in namespace '{one.namespace}'" if one.namespace else ""
            yield one.problem(Misfit(("metadata", "name"), f"duplicate {name}{where}, first in {place}"))
