"""Base of the models, and their checks of values that do not fit together."""

from collections.abc import Iterator
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from testbed.kubernetes.models.values import InMapping, Unsupported
from testbed.spec.problems import Misfit

_ABOUT_TYPES = frozenset(f"{name}_type" for name in ("model", "string", "int", "bool", "dict", "tuple", "float"))
"""Errors that `fields` reports."""

ModelT = TypeVar("ModelT", bound="Model")


class _Misfits(ValueError):
    """The misfits of a part."""

    def __init__(self, misfits: tuple[Misfit, ...]) -> None:
        super().__init__(misfits[0].message)
        self.misfits = misfits


class Model(BaseModel):
    """A part of an object. Fields that it does not have are ignored."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, strict=True, populate_by_name=True, defer_build=True, alias_generator=to_camel
    )

    def misfits(self) -> Iterator[Misfit]:
        """Values that do not fit together; locations are relative to this part. Asked if every value is valid."""
        return iter(())

    @model_validator(mode="after")
    def _check(self) -> Self:
        if found := tuple(self.misfits()):
            raise _Misfits(found)
        return self


def read(model: type[ModelT], data: dict[str, Any]) -> tuple[ModelT | None, list[Misfit]]:
    """An object, or the errors in its values. Fields and types are checked before (`fields`)."""
    try:
        return model.model_validate(data, by_alias=True, by_name=False), []
    except ValidationError as error:
        every = error.errors(include_url=False, include_input=False)
        return None, [misfit for details in every for misfit in _located(details)]


def _located(details: Any) -> Iterator[Misfit]:
    loc, error = details["loc"], details.get("ctx", {}).get("error")
    match error:
        case _Misfits():
            for misfit in error.misfits:
                yield Misfit((*loc, *misfit.loc), misfit.message, misfit.valid, misfit.at_key)
        case InMapping():
            yield Misfit((*loc, error.key), str(error), at_key=error.is_key)
        case Unsupported():
            yield Misfit(loc, str(error), valid=error.valid)
        case ValueError():
            yield Misfit(loc, str(error))
        case _ if details["type"] == "missing":
            yield Misfit(loc[:-1], f"the field '{loc[-1]}' is missing", at_key=True)
        case _ if details["type"] not in _ABOUT_TYPES:
            yield Misfit(loc, details["msg"])
