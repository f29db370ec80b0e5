"""Pydantic's errors as messages for the author of the file.

A validation error has a path through the models, with tags of unions and `[key]` for a key. Following it gives the
location in the document and the model at its end. The table at the end of this file has the message for each type of
error.
"""

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from testbed.spec.problems import Loc, Misfit
from testbed.spec.source import Source
from testbed.spec.tree import Node, Odd
from testbed.spec.types import unusual_character

KEY = "[key]"
"""Pydantic's mark for an error in a key of a mapping."""


@dataclass(frozen=True)
class _Mistake:
    """A pydantic error with its location in the document."""

    loc: Loc
    holder: type[BaseModel] | None
    """The model with the wrong, missing or unknown field."""
    annotation: object
    """The expected type of the value."""
    node: Node
    ctx: Mapping[str, Any]
    message: str


def misfits_of(error: ValidationError, model: type[BaseModel], source: Source) -> Iterator[Misfit]:
    """The errors as misfits."""
    for details in error.errors(include_url=False):
        steps = details["loc"]
        at_key = steps[-1:] == (KEY,) and details["type"] != "extra_forbidden"
        loc, holder, annotation = _follow(model, steps[:-1] if at_key else steps)
        node = source.place(loc).value
        if details["type"] == "too_short" and (source.problems or node.data not in ([], {})):
            continue  # Counted without invalid items, which are reported separately.
        mistake = _Mistake(loc, holder, annotation, node, details.get("ctx", {}), details["msg"])
        if at_key:
            yield Misfit(loc, str(mistake.ctx.get("error", mistake.message)), at_key=True)
        else:
            yield _WORDING.get(details["type"], _other)(mistake)


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Keys of the model, as the user writes them."""
    return tuple(info.alias or name for name, info in model.model_fields.items())


def _follow(model: type[BaseModel], steps: Loc) -> tuple[Loc, type[BaseModel] | None, object]:
    """The path in the document, the model of its last key, and the type at its end."""
    loc: list[str | int] = []
    holder: type[BaseModel] | None = None
    annotation: object = model
    for step in steps:
        members = members_of(annotation)
        if len(members) > 1:
            annotation = next((member for member in members if has_tag(member, step)), None)
            continue
        loc.append(step)
        kind = without_notes(members[0])
        holder = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        annotation = _field_type(holder, step) if holder else next(reversed(item_types(kind)), None)
    return tuple(loc), holder, annotation


def without_notes(annotation: object) -> object:
    """The type without its validators and other notes."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def members_of(annotation: object) -> tuple[object, ...]:
    """The types of a union, without None; or the single type."""
    bare = without_notes(annotation)
    if get_origin(bare) in (Union, types.UnionType):
        return tuple(member for member in get_args(bare) if member is not types.NoneType)
    return (annotation,)


def has_tag(member: object, tag: object) -> bool:
    """Whether a member of a union is selected by that tag."""
    if any(isinstance(note, Tag) and note.tag == tag for note in get_args(member)[1:]):
        return True
    return tag in _literals(member)


def _literals(annotation: object) -> tuple[str, ...]:
    """Values of a literal, or of a model's first field, which is the discriminator of a union."""
    bare = without_notes(annotation)
    if get_origin(bare) is Literal:
        return get_args(bare)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        first = next(iter(bare.model_fields.values()))
        return _literals(first.annotation)
    members = members_of(annotation)
    return tuple(value for member in members for value in _literals(member)) if members != (annotation,) else ()


def _field_type(model: type[BaseModel], key: object) -> object:
    fields = {info.alias or name: info.annotation for name, info in model.model_fields.items()}
    return fields.get(str(key))


def item_types(annotation: object) -> tuple[object, ...]:
    """Type arguments; the last is the item type V, for `dict[K, V]` and `tuple[V, ...]`."""
    return tuple(kind for kind in get_args(annotation) if kind is not ...)


def _but_found(node: Node) -> str:
    """The end of a message: the value found instead."""
    if isinstance(node.data, list | dict):
        return f", not {'a list' if isinstance(node.data, list) else 'a mapping'}"
    if node.data is None:
        return ", but the value is empty"
    if isinstance(node.data, str):
        return f", not the text '{_clipped(node.data)}'"
    return f", but {_reading(node)}" if _reading(node) else f", not {_clipped(node.text)}"


def _reading(node: Node) -> str:
    """How YAML reads a scalar, if that differs from how it looks."""
    plain_number = isinstance(node.data, int | float) and node.reading == "a number"
    if node.data is None or plain_number or node.reading in ("", node.text.lower()):
        return ""
    return f"YAML reads {_clipped(node.text)} as {node.reading}"


def _either(words: tuple[str, ...]) -> str:
    return " or ".join(words)


def _clipped(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _missing(mistake: _Mistake) -> Misfit:
    *parent, key = mistake.loc
    field = next((f for f in mistake.holder.model_fields.values() if f.alias == key), None) if mistake.holder else None
    field = field or (mistake.holder.model_fields.get(str(key)) if mistake.holder else None)
    meaning = f" ({field.description})" if field and field.description else ""
    return Misfit(tuple(parent), f"the key '{key}' is missing{meaning}", at_key=True)


def _unknown_key(mistake: _Mistake) -> Misfit:
    key = str(mistake.loc[-1])
    unusual = unusual_character(key)
    note = f" with the character {unusual}" if unusual else ""
    valid = keys_of(mistake.holder) if mistake.holder else ()
    return Misfit(mistake.loc, f"unknown key '{_clipped(key)}'{note}", valid=valid, at_key=True)


def _not_a_mapping(mistake: _Mistake) -> Misfit:
    kind = without_notes(mistake.annotation)
    members = members_of(mistake.annotation)
    if len(members) > 1:
        kind = without_notes(members[0])
        assert isinstance(kind, type) and issubclass(kind, BaseModel)
        needed = f"a mapping with the key {keys_of(kind)[0]} ({_either(_literals(mistake.annotation))})"
        return Misfit(mistake.loc, f"must be {needed}{_but_found(mistake.node)}")
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        keys = keys_of(kind)
        needed = f"a mapping with the key {keys[0]}" if len(keys) == 1 else f"a mapping with keys {', '.join(keys)}"
        optional = not any(info.is_required() for info in kind.model_fields.values())
        remedy = "; write {} for the defaults" if optional and mistake.node.data is None else ""
        return Misfit(mistake.loc, f"must be {needed}{_but_found(mistake.node)}{remedy}")
    return Misfit(mistake.loc, f"must be a mapping of names{_but_found(mistake.node)}")


def _not_text(mistake: _Mistake) -> Misfit:
    node = mistake.node
    remedy = f"; write '{node.text}' with the quotes" if node.text and node.data is not None else ""
    return Misfit(mistake.loc, f"must be text{_but_found(node)}{remedy}")


def _not_whole(mistake: _Mistake) -> Misfit:
    data, text = mistake.node.data, mistake.node.text
    remedy = ""
    if isinstance(data, Odd):
        remedy = "; write a decimal number"
    elif isinstance(data, float) and data.is_integer():
        remedy = f"; write {int(data)}"
    elif isinstance(data, str) and _is_short_number(text):
        remedy = f"; write {int(text)}"
    return Misfit(mistake.loc, f"must be a whole number{_but_found(mistake.node)}{remedy}")


def _not_a_switch(mistake: _Mistake) -> Misfit:
    return Misfit(mistake.loc, f"must be on or off{_but_found(mistake.node)}")


def _is_short_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def _not_a_list(mistake: _Mistake) -> Misfit:
    node = mistake.node
    remedy = f"; write [{node.text}]" if isinstance(node.data, str) and node.text.isprintable() else ""
    return Misfit(mistake.loc, f"must be a list{_but_found(node)}{remedy}")


def _too_short(mistake: _Mistake) -> Misfit:
    return Misfit(mistake.loc, "must have at least one entry")


def _bound(word: str, name: str) -> Callable[[_Mistake], Misfit]:
    def misfit(mistake: _Mistake) -> Misfit:
        bound, text = mistake.ctx[name], mistake.node.text
        if isinstance(mistake.node.data, str):
            bound = f"{bound}B"  # A number given as text is a size.
        return Misfit(mistake.loc, f"must be {word} {bound}, not {_clipped(text)}")

    return misfit


def _not_listed(mistake: _Mistake) -> Misfit:
    valid = _literals(mistake.annotation)
    return Misfit(mistake.loc, f"must be {_either(valid)}{_but_found(mistake.node)}", valid=valid)


def _wrong_tag(mistake: _Mistake) -> Misfit:
    """The discriminator key of a union is missing or has an unknown value."""
    key = str(mistake.ctx["discriminator"]).strip("'()")  # A discriminator function is named after its key.
    valid = _literals(mistake.annotation)
    if key not in mistake.node.children:
        return Misfit(mistake.loc, f"the key '{key}' is missing ({_either(valid)})", at_key=True)
    chosen = mistake.node.children[key]
    return Misfit((*mistake.loc, key), f"must be {_either(valid)}{_but_found(chosen)}", valid=valid)


def _message_of_type(mistake: _Mistake) -> Misfit:
    """The messages of the types in `testbed.spec.types`."""
    node = mistake.node
    note = f"; {_reading(node)}" if _reading(node) else "; the value is empty" if node.data is None else ""
    return Misfit(mistake.loc, f"{mistake.ctx['error']}{note}")


def _other(mistake: _Mistake) -> Misfit:
    return Misfit(mistake.loc, mistake.message)


_WORDING: dict[str, Callable[[_Mistake], Misfit]] = {
    "missing": _missing,
    "extra_forbidden": _unknown_key,
    "model_type": _not_a_mapping,
    "model_attributes_type": _not_a_mapping,
    "dict_type": _not_a_mapping,
    "string_type": _not_text,
    "int_type": _not_whole,
    "bool_type": _not_a_switch,
    "tuple_type": _not_a_list,
    "too_short": _too_short,
    "greater_than_equal": _bound("at least", "ge"),
    "less_than_equal": _bound("at most", "le"),
    "literal_error": _not_listed,
    "union_tag_invalid": _wrong_tag,
    "union_tag_not_found": _wrong_tag,
    "value_error": _message_of_type,
}
