"""Objects named in a command, as kubectl takes them: `pods`, `pod web-1`, `deploy/web svc/web`, `pods -l app=web`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed.kubernetes.kinds import Kind, all_names, kind_named, plurals
from testbed.kubernetes.models.meta import LabelSelector
from testbed.kubernetes.refused import Refused, not_found
from testbed.kubernetes.selectors import parse_selector
from testbed.kubernetes.state import ClusterState, Resource
from testbed.spec.nearest import nearest, unknown

ALL = ("pods", "services", "daemonsets", "deployments", "replicasets", "statefulsets", "jobs")
"""What kubectl means by `all`."""


@dataclass(frozen=True)
class Named:
    """A kind, and the name of one object of it; empty for all of them."""

    kind: Kind
    name: str = ""


@dataclass(frozen=True)
class Scope:
    """Which of the objects of a kind a command means."""

    namespace: str = "default"
    all_namespaces: bool = False
    selector: LabelSelector | None = None

    def has(self, one: Resource) -> bool:
        """Whether the object is in the namespace and has the labels."""
        is_there = self.all_namespaces or one.namespace in ("", self.namespace)
        return is_there and (self.selector is None or self.selector.matches(one.labels))


def scope(namespace: str = "default", all_namespaces: bool = False, selector: str = "") -> Scope:
    """The scope of a command. Raises Refused for an invalid selector."""
    try:
        labels = parse_selector(selector) if selector else None
    except ValueError as error:
        raise Refused("BadRequest", f"--selector: {error}") from None
    return Scope(namespace, all_namespaces, labels)


def references(words: Sequence[str]) -> tuple[Named, ...]:
    """The objects that the words of a command name. Raises Refused."""
    if not words:
        raise Refused("BadRequest", "name a kind of objects, such as pods, or an object, such as deployment/web")
    if any("/" in word for word in words):
        if plain := next((word for word in words if "/" not in word), ""):
            raise Refused("BadRequest", f"'{plain}' has no kind; write KIND/NAME for each object, such as pod/{plain}")
        return tuple(_named(word) for word in words)
    kinds = [kind for part in words[0].split(",") for kind in _kinds(part)]
    names = words[1:]
    if not names:
        return tuple(Named(kind) for kind in kinds)
    return tuple(Named(kind, name) for kind in kinds for name in names)


def _named(word: str) -> Named:
    kind, _, name = word.partition("/")
    if not name or "/" in name:
        raise Refused("BadRequest", f"'{word}' is not KIND/NAME; write one such as deployment/web")
    return Named(_kind(kind), name)


def _kinds(text: str) -> Iterator[Kind]:
    yield from map(_kind, ALL if text == "all" else [text])


def _kind(text: str) -> Kind:
    kind = kind_named(text)
    if kind is None:
        valid = plurals() if nearest(text, plurals()) else all_names()
        raise Refused("BadRequest", unknown("kind", text, valid))
    return kind


def found(state: ClusterState, named: Sequence[Named], scope: Scope) -> tuple[Resource, ...]:
    """The objects, in the order of the command. Raises Refused (NotFound) for a name that does not exist."""
    result: dict[tuple[str, str, str], Resource] = {}
    for one in named:
        there = state.of(one.kind)
        if one.name:
            key = (scope.namespace if one.kind.is_namespaced else "", one.name)
            if key not in there:
                raise not_found(one.kind, one.name, (name for space, name in there if space == key[0]))
            result[one.kind.qualified, *key] = there[key]
        else:
            result |= {(one.kind.qualified, *key): each for key, each in there.items() if scope.has(each)}
    return tuple(result.values())
