"""A document as its model, and what is wrong in it.

A document with errors is read as far as it is valid, so that one mistake does not hide others: checks of values that
must fit together run on all values that are valid. A value that is missing or invalid is absent from its model; a check
that reads it ends with `Invalid` (see `each`). Text stays as written where text is expected, even if it is not a valid
name, because other places of the file may refer to it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin

from pydantic import BeforeValidator, Discriminator, ValidationError, create_model
from pydantic.fields import FieldInfo

from testbed.spec.nearest import nearest
from testbed.spec.problems import Invalid, Misfit
from testbed.spec.source import Source
from testbed.spec.types import Spec
from testbed.spec.wording import has_tag, item_types, keys_of, members_of, misfits_of, without_notes

SpecT = TypeVar("SpecT", bound=Spec)


def read(model: type[SpecT], source: Source) -> tuple[SpecT, list[Misfit]]:
    """The document as that model, and the errors in its keys and values; with errors, only its valid values."""
    try:
        # By alias only: the key of the field `source` is `from`, and `source` is an unknown key.
        return model.model_validate(source.data, by_alias=True, by_name=False), []
    except ValidationError as error:
        return _valid_part(model, source.data), list(misfits_of(error, model, source))


class _Unreadable:
    """An invalid item of a list or mapping. Whatever is done with it raises Invalid."""

    def _refuse(self, *_: object) -> NoReturn:
        raise Invalid

    __getattr__ = __eq__ = __hash__ = __str__ = __bool__ = __iter__ = __len__ = __lt__ = _refuse


def _valid_part(model: type[SpecT], data: object) -> SpecT:
    """The model with the valid values of a mapping."""
    found = model.model_construct()
    written = data if isinstance(data, dict) else {}
    valid = keys_of(model)
    # The value of a misspelt key belongs to a field that is not absent.
    misspelt = {nearest(str(key), valid) for key in written if key not in valid}
    for key, (name, info) in zip(valid, model.model_fields.items(), strict=True):
        if key not in written and key not in misspelt and isinstance(data, dict):
            continue  # It has its default, or no value if it is required.
        found.__dict__.pop(name, None)
        found.__pydantic_fields_set__.add(name)
        with suppress(Invalid, KeyError):
            found.__dict__[name] = _Type(Annotated[info.annotation, name, *info.metadata]).read(written[key])
    return found


class _Type:
    """The type of a field or item, with its validators."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation

    def read(self, data: object) -> Any:
        """The value, or its valid parts. Raises Invalid if there are none."""
        try:
            return self._alone.model_validate({"value": data}).value  # type: ignore[attr-defined]
        except ValidationError:
            return self._parts(self._prepared(data))

    @cached_property
    def _alone(self) -> type[Spec]:
        return create_model("Alone", __base__=Spec, value=(self.annotation, ...))

    @property
    def _notes(self) -> tuple[Any, ...]:
        return get_args(self.annotation)[1:] if get_origin(self.annotation) is Annotated else ()

    @property
    def _chosen(self) -> Any:
        """The only member of the type, without None."""
        members = members_of(self.annotation)
        return without_notes(members[0]) if len(members) == 1 else None

    def _prepared(self, data: object) -> object:
        """The data after all conversions of short forms."""
        for note in reversed(self._notes):
            if isinstance(note, BeforeValidator):
                convert: Callable[[object], object] = note.func  # type: ignore[assignment]
                try:
                    data = convert(data)
                except ValueError:
                    raise Invalid from None
        return data

    def _parts(self, data: object) -> Any:
        kind = self._member(data)
        if kind is None:
            raise Invalid
        if isinstance(kind, type) and issubclass(kind, Spec):
            return _valid_part(kind, data)
        if get_origin(kind) is dict and isinstance(data, dict) and data:
            return dict(zip(data, _items(kind, data.values()), strict=True))
        if get_origin(kind) is tuple and isinstance(data, tuple) and data:
            return tuple(_items(kind, data))
        if kind is str and isinstance(data, str):
            return data
        raise Invalid

    def _member(self, data: object) -> Any:
        """The type of the data: the member of a union that the data's tag selects."""
        if self._chosen is not None:
            return self._chosen
        for note in self._notes:
            if isinstance(note, FieldInfo | Discriminator) and note.discriminator:
                tag = _tag(note.discriminator, data)
                members = members_of(self.annotation)
                return next((without_notes(member) for member in members if has_tag(member, tag)), None)
        return None


def _items(kind: object, data: Iterable[object]) -> Iterator[Any]:
    """The items of a list or mapping of that type."""
    item = _Type(item_types(kind)[-1])
    for each in data:
        try:
            yield item.read(each)
        except Invalid:
            yield _Unreadable()


def _tag(discriminator: Any, data: object) -> object:
    """What selects the member of a union: a key's value, or the result of a function."""
    if not isinstance(discriminator, str):
        return discriminator(data)
    return data.get(discriminator) if isinstance(data, dict) else None
