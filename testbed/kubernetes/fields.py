"""The fields of every kind of Kubernetes, and checks that an object has no others.

`fields.json` is generated from the schemas of the Kubernetes releases that it lists. Types in it are written short:
`string`, `int`, `[T]` (a list), `{T}` (a mapping of names), `T!` (required), or the name of another type.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any

from testbed.kubernetes.own_fields import OWN_KINDS, OWN_TYPES
from testbed.spec.problems import Loc, Misfit
from testbed.spec.tree import Odd

QUANTITY = re.compile(r"[+-]?([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
MAX_INT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Field:
    """A field's type: `shape` is "", "list" or "mapping" of `name`."""

    name: str
    shape: str = ""
    is_required: bool = False


@dataclass(frozen=True)
class Fields:
    """Every kind and its fields."""

    releases: tuple[str, ...]
    kinds: Mapping[str, str]
    """Type of each kind, by `apiVersion kind`."""
    types: Mapping[str, Mapping[str, Field]]

    @cached_property
    def required(self) -> Mapping[str, tuple[str, ...]]:
        """Required fields of each type."""
        return {
            name: tuple(key for key, field in fields.items() if field.is_required)
            for name, fields in self.types.items()
        }

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """All API versions, such as `apps/v1`."""
        return tuple(sorted({key.split()[0] for key in self.kinds}))

    @cached_property
    def versions(self) -> Mapping[str, tuple[str, ...]]:
        """API versions of each kind."""
        found: dict[str, tuple[str, ...]] = {}
        for key in self.kinds:
            version, kind = key.split()
            found[kind] = (*found.get(kind, ()), version)
        return found


@cache
def all_fields() -> Fields:
    """The table of this release."""
    text = (resources.files(__package__) / "fields.json").read_text()
    data: dict[str, Any] = json.loads(text)
    types = {
        name: {key: _field(written) for key, written in fields.items()}
        for name, fields in (data["types"] | OWN_TYPES).items()
    }
    return Fields(tuple(data["releases"]), data["kinds"] | OWN_KINDS, types)


@cache
def _field(written: str) -> Field:
    name = written.removesuffix("!")
    shape = {"[": "list", "{": "mapping"}.get(name[0], "")
    return Field(name[1:-1] if shape else name, shape, written.endswith("!"))


def field_misfits(data: object, kind: str, loc: Loc) -> Iterator[Misfit]:
    """Unknown and missing fields, and values of another type, in an object of a type of `all_fields`."""
    yield from _Checker(all_fields()).fields(data, kind, loc)


class _Checker:
    def __init__(self, table: Fields) -> None:
        self.types = table.types
        self.required = table.required

    def fields(self, data: object, kind: str, loc: Loc) -> Iterator[Misfit]:
        known = self.types[kind]
        if not isinstance(data, dict):
            yield Misfit(loc, f"must be a mapping with keys {', '.join(list(known)[:6])}{found(data)}")
            return
        unknown = []
        for key, value in data.items():
            field = known.get(key)
            if field is None:
                unknown.append(key)
            elif value is not None:
                yield from self.value(value, field, (*loc, key))
        for key in unknown:
            message = f"unknown field '{clipped(key)}'{self.home(key, known)}"
            yield Misfit((*loc, key), message, valid=tuple(known), at_key=True)
        for key in self.required[kind]:
            if data.get(key) is None and not _is_misspelt(key, unknown):
                yield Misfit((*loc, key) if key in data else loc, f"the field '{key}' is missing", at_key=True)

    def home(self, key: str, known: Mapping[str, Field]) -> str:
        """The end of a message: the field that a misplaced one belongs into."""
        parts = (name for name, field in known.items() if not field.shape and key in self.types.get(field.name, ()))
        found = next((name for name in parts if name != "status"), "")
        return f"; indent it, it belongs into '{found}'" if found else ""

    def value(self, data: object, field: Field, loc: Loc) -> Iterator[Misfit]:
        if field.shape == "list":
            if not isinstance(data, list):
                yield Misfit(loc, f"must be a list{found(data)}{_as_item(data)}")
                return
            for number, item in enumerate(data):
                yield from self.single(item, field.name, (*loc, number))
        elif field.shape == "mapping":
            if not isinstance(data, dict):
                yield Misfit(loc, f"must be a mapping of names{found(data)}")
                return
            for key, item in data.items():
                yield from self.single(item, field.name, (*loc, key)) if item is not None else ()
        else:
            yield from self.single(data, field.name, loc)

    def single(self, data: object, name: str, loc: Loc) -> Iterator[Misfit]:
        if name in self.types:
            yield from self.fields(data, name, loc)
        elif name[0] in "[{":
            yield from self.value(data, _field(name), loc)
        elif message := _wrong(data, name):
            yield Misfit(loc, message)


def _wrong(data: object, name: str) -> str:
    """Why a value is not of a simple type; empty if it is."""
    kind = type(data)
    match name:
        case "string" | "bytes" | "time":
            if kind is not str:
                return f"must be text{found(data)}{_as_text(data)}"
            assert isinstance(data, str)
            if name == "bytes" and not _BASE64.fullmatch("".join(data.split())):
                return "must be base64; write plain text in stringData, or encode it with `base64`"
            if name == "time" and not TIME.fullmatch(data):
                return f"must be a time, such as 2026-01-31T12:00:00Z{found(data)}"
        case "int":
            if kind is not int:
                return f"must be a whole number{found(data)}{_as_number(data)}"
            assert isinstance(data, int)
            if abs(data) > MAX_INT:
                return "must be a whole number of at most 64 bits"
        case "number" if kind not in (int, float):
            return f"must be a number{found(data)}"
        case "bool" if kind is not bool:
            remedy = f"; write {data}" if data in ("true", "false") else ""
            return f"must be true or false{found(data)}{remedy}"
        case "object" if kind is not dict:
            return f"must be a mapping{found(data)}"
        case "int|string" if kind not in (int, str):
            return f"must be a whole number or text{found(data)}"
        case "quantity":
            if kind not in (int, float, str):
                return f"must be a quantity, such as 500m or 64Mi{found(data)}"
            if kind is str and not QUANTITY.fullmatch(str(data)):
                return f"must be a quantity, such as 500m or 64Mi{found(data)}; units: m, k, M, G, Ki, Mi, Gi"
    return ""


def found(data: object) -> str:
    """The end of a message: the value found instead."""
    if isinstance(data, list | dict):
        return f", not {'a list' if isinstance(data, list) else 'a mapping'}"
    if data is None:
        return ", but the value is empty"
    if isinstance(data, bool):
        return f", not {str(data).lower()}"
    if isinstance(data, str):
        return f", not '{clipped(data)}'"
    return f", not {clipped(data.text if isinstance(data, Odd) else str(data))}"


def clipped(text: str) -> str:
    """At most 60 characters of a text."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def _as_text(data: object) -> str:
    if isinstance(data, bool):
        return f"; write '{str(data).lower()}' with the quotes"
    return f"; write '{clipped(str(data))}' with the quotes" if isinstance(data, int | float) else ""


def _as_number(data: object) -> str:
    if isinstance(data, str) and data.isascii() and data.isdigit() and len(data) < 19:
        return f"; write {int(data)} without quotes"
    return f"; write {int(data)}" if isinstance(data, float) and data.is_integer() else ""


def _as_item(data: object) -> str:
    if isinstance(data, str):
        words = data.split() if data.isprintable() else []
        return f"; write [{', '.join(words) if len(words) < 2 else json.dumps(words)[1:-1]}]" if words else ""
    return "; put '- ' before it" if isinstance(data, dict) else ""


def _is_misspelt(key: str, unknown: list[str]) -> bool:
    """Whether one of the unknown fields is meant for a missing one."""
    from testbed.spec.nearest import nearest

    return any(nearest(other, (key,)) == key for other in unknown)
