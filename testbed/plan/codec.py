"""Convert a plan to JSON data and back.

This module does not depend on kinds of objects: it follows the annotations of the dataclasses in
`testbed.plan.objects`:

- a dataclass is a mapping of its fields, without those that have their default
- if one of several dataclasses is possible, `type` is its name
- addresses and networks are text, bytes are hexadecimal, an enumeration is its value, a tuple is a list
- a mapping is a list of its items, as its keys may be tuples
"""

import json
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from itertools import repeat, starmap
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from testbed.plan.objects import Plan

T = TypeVar("T")
_TYPE = "type"
_NOTHING = type(None)
_PLAIN = (str, int, bool, _NOTHING)
"""Types whose values are JSON data already."""
_FORMS = {
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    _NOTHING: "null",
}
_FAMILIES = {
    (IPv4Address, IPv6Address): "an IP address",
    (IPv4Network, IPv6Network): "an IP network",
    (IPv4Interface, IPv6Interface): "an IP address with its prefix",
}
_TEXTS_REMEMBERED = 1 << 16
"""Size of caches: a plan repeats the same few texts, and parsing an address takes microseconds."""


class BadPlan(ValueError):
    """The data or text is not a valid plan; the message has the location and the reason."""

    def __init__(self, reason: str, path: tuple[str | int, ...] = ()) -> None:
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        super().__init__(f"plan{where}: {reason}")
        self.reason = reason
        self.path = path

    def within(self, step: str | int) -> "BadPlan":
        """The same error with the path of the enclosing object."""
        return BadPlan(self.reason, (step, *self.path))


def to_data(value: Any) -> dict[str, Any]:
    """A plan, or an object of a plan, as JSON data."""
    kind: Any = type(value)
    data = _codec(kind).encode(value)
    assert isinstance(data, dict)
    return data


def object_from(kind: type[T], data: object) -> T:
    """The object from which `to_data` made the data. Raises BadPlan."""
    annotation: Any = kind
    found = _codec(annotation).decode(data)
    assert isinstance(found, kind)
    return found


def plan_from(data: object) -> Plan:
    """The plan from which `to_data` made the data. Raises BadPlan."""
    return object_from(Plan, data)


def to_text(plan: Plan) -> str:
    """A plan as JSON, in one line."""
    return json.dumps(to_data(plan), separators=(",", ":"))


def plan_of_text(text: str | bytes) -> Plan:
    """Parse a plan from JSON. Raises BadPlan."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadPlan(f"not valid JSON: {error}") from None
    return plan_from(data)


class _Codec(NamedTuple):
    """Conversion of the values of one annotation to data and back."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    """Raises BadPlan."""
    values: tuple[type, ...]
    """Types of the values."""
    forms: tuple[type, ...]
    """Types of the JSON data."""


@cache
def _codec(annotation: Any) -> _Codec:
    """The codec of an annotation. Raises TypeError if the annotation is not supported."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if is_dataclass(annotation):
        assert isinstance(annotation, type)
        return _record(annotation)
    if annotation in _PLAIN:
        return _scalar(_FORMS[annotation], (annotation,), (annotation,), _same, _same)
    if annotation is float:
        return _scalar("a number", (float, int), (float, int), _same, float)
    if annotation is bytes:
        return _scalar("hexadecimal digits", (bytes,), (str,), bytes.hex, bytes.fromhex)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        values = [member.value for member in annotation]
        return _scalar(_one_of(values), (annotation,), _types(values), lambda member: member.value, annotation)
    if origin is Literal:
        read = {value: value for value in arguments}.__getitem__
        return _scalar(_one_of(arguments), _types(arguments), _types(arguments), _same, read)
    if origin is tuple:
        return _tuple(arguments)
    if origin is Mapping:
        return _mapping(arguments)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    raise TypeError(f"{annotation!r} in a plan: cannot be converted to data")


def _same(value: Any) -> Any:
    return value


def _bad(wanted: str, data: object) -> BadPlan:
    return BadPlan(f"expected {wanted}, found {json.dumps(data, default=str)[:60]}")


def _types(values: Iterable[object]) -> tuple[type, ...]:
    return tuple(dict.fromkeys(map(type, values)))


def _one_of(values: Iterable[object]) -> str:
    return f"one of {', '.join(map(str, values))}"


def _scalar(
    wanted: str,
    values: tuple[type, ...],
    forms: tuple[type, ...],
    encode: Callable[[Any], Any],
    read: Callable[[Any], Any],
) -> _Codec:
    def decode(data: Any) -> Any:
        if type(data) not in forms:
            raise _bad(wanted, data)
        try:
            return read(data)
        except (ValueError, LookupError, OverflowError):
            raise _bad(wanted, data) from None

    return _Codec(encode, decode, values, forms)


def _address(four: type, six: type) -> _Codec:
    @lru_cache(_TEXTS_REMEMBERED)
    def read(text: str) -> Any:
        return (six if ":" in text else four)(text)

    return _scalar(_FAMILIES[four, six], (four, six), (str,), str, read)


def _tuple(arguments: tuple[Any, ...]) -> _Codec:
    """A tuple of any length, `tuple[T, ...]`, or of a fixed length."""
    is_long = arguments[1:] == (...,)
    codecs = [_codec(argument) for argument in (arguments[:1] if is_long else arguments)]
    encoders, decoders = [codec.encode for codec in codecs], [codec.decode for codec in codecs]

    def encode(value: tuple[Any, ...]) -> list[Any]:
        return [encode(item) for encode, item in zip(repeat(*encoders) if is_long else encoders, value, strict=False)]

    def decode(data: Any) -> tuple[Any, ...]:
        if type(data) is not list or not (is_long or len(data) == len(decoders)):
            raise _bad("a list" if is_long else f"a list of {len(decoders)}", data)
        found: list[Any] = []
        items = map(decoders[0], data) if is_long else (read(item) for read, item in zip(decoders, data, strict=True))
        try:
            found.extend(items)  # On an error, the number of items before it is its index.
        except BadPlan as error:
            raise error.within(len(found)) from None
        return tuple(found)

    return _Codec(encode, decode, (tuple,), (list,))


def _mapping(arguments: tuple[Any, ...]) -> _Codec:
    item: Any = tuple.__class_getitem__(arguments)
    items = _tuple((item, ...))
    return _Codec(lambda value: items.encode(value.items()), lambda data: dict(items.decode(data)), (dict,), (list,))


def _union(arguments: tuple[Any, ...]) -> _Codec:
    """Dataclasses are distinguished by `type`, others by the type of their data."""
    records: list[Any] = [one for one in arguments if is_dataclass(one)]
    families = [pair for pair in _FAMILIES if {*pair} <= {*arguments}]
    others = [one for one in arguments if one not in {*records}.union(*families)]
    members = [*map(_codec, others), *starmap(_address, families)]
    if records:
        members.append(_codec(records[0]) if len(records) == 1 else _records(records))
    if len(members) == 1:
        return members[0]
    encoders = {kind: member.encode for member in members for kind in member.values}
    decoders = {form: member.decode for member in members for form in member.forms}
    if len(decoders) < sum(len(member.forms) for member in members):
        raise TypeError(f"{' | '.join(map(str, arguments))} in a plan: their data cannot be distinguished")

    def decode(data: Any) -> Any:
        if type(data) not in decoders:
            raise _bad(" or ".join(_FORMS[form] for form in decoders), data)
        return decoders[type(data)](data)

    return _Codec(lambda value: encoders[type(value)](value), decode, tuple(encoders), tuple(decoders))


def _records(of: Sequence[Any]) -> _Codec:
    """One of several dataclasses, with its `type`."""
    codecs = {one.__name__: _record(one, is_tagged=True) for one in of}
    encoders = {one: codecs[one.__name__].encode for one in of}
    decoders = {name: codec.decode for name, codec in codecs.items()}

    def decode(data: Any) -> Any:
        try:
            decode_one = decoders[data[_TYPE]]
        except (TypeError, LookupError):
            raise _bad(f"an object with the {_TYPE} {' or '.join(decoders)}", data) from None
        return decode_one(data)

    return _Codec(lambda value: encoders[type(value)](value), decode, tuple(of), (dict,))


def _record(of: type, is_tagged: bool = False) -> _Codec:
    """A dataclass. Its fields are resolved at the first use, as types may be recursive."""
    known = cache(lambda: _fields(of))
    is_plain = cache(lambda: all(field.plain for field in known().values()))

    def encode(value: Any) -> dict[str, Any]:
        data: dict[str, Any] = {_TYPE: of.__name__} if is_tagged else {}
        own = vars(value)
        for name, field in known().items():
            held = own[name]
            if held is not field.default and (field.default is MISSING or held != field.default):
                data[name] = held if type(held) is field.plain else field.encode(held)
        return data

    def decode(data: Any) -> Any:
        if type(data) is not dict:
            raise _bad("an object", data)
        if is_plain():
            try:
                return remembered(tuple(data.items()), tuple(map(type, data.values())))
            except TypeError:
                pass  # An unexpected list or mapping; `read` reports where.
        return read(data)

    @lru_cache(_TEXTS_REMEMBERED)
    def remembered(items: tuple[tuple[str, Any], ...], _: tuple[type, ...]) -> Any:
        """The types are part of the cache key, as 1 equals True."""
        return read(dict(items))

    def read(data: dict[str, Any]) -> Any:
        fields, values, name = known(), {}, ""
        try:
            for name, held in data.items():
                if name in fields:
                    field = fields[name]
                    values[name] = held if type(held) is field.plain else field.decode(held)
                elif not (is_tagged and name == _TYPE):
                    raise BadPlan(f"unknown field of {of.__name__}")
        except BadPlan as error:
            raise error.within(name) from None
        try:
            return of(**values)
        except TypeError:
            lacking = [name for name, field in fields.items() if field.default is MISSING and name not in values]
            raise BadPlan(f"{of.__name__}: {', '.join(lacking)} missing") from None

    return _Codec(encode, decode, (of,), (dict,))


class _Field(NamedTuple):
    """A field of a dataclass."""

    default: Any
    """MISSING if it has none."""
    plain: type | None
    """Values of this type are used as they are, without a call."""
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def _fields(of: Any) -> dict[str, _Field]:
    hints = get_type_hints(of)
    found = {}
    for field in fields(of):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        codec = _codec(hints[field.name])
        plain = hints[field.name] if hints[field.name] in _PLAIN else None
        found[field.name] = _Field(default, plain, codec.encode, codec.decode)
    return found
