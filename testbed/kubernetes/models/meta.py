"""Metadata and selectors, which all API groups share."""

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from testbed.kubernetes.models.model import Model
from testbed.kubernetes.models.values import Annotations, Items, Label, LabelKey, Labels, word
from testbed.spec.labels import label_value
from testbed.spec.problems import Misfit

MAX_ANNOTATIONS = 256 * 1024
"""Bytes of all annotations of an object."""


class OwnerReference(Model):
    """The object that made this one."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class ObjectMeta(Model):
    """Names, labels and annotations of an object."""

    name: str = ""
    generate_name: str = ""
    namespace: Label | None = None
    labels: Labels = Field(default_factory=dict)
    annotations: Annotations = Field(default_factory=dict)
    owner_references: Items[OwnerReference] = ()

    def misfits(self) -> Iterator[Misfit]:
        size = sum(len(key) + len(value) for key, value in self.annotations.items())
        if size > MAX_ANNOTATIONS:
            yield Misfit(
                ("annotations",), f"annotations can have at most 256 KiB in all, found {size} bytes", at_key=True
            )


class Requirement(Model):
    """An expression of a label selector."""

    key: LabelKey
    operator: Annotated[str, word("In", "NotIn", "Exists", "DoesNotExist")]
    values: Items[str] = ()

    def misfits(self) -> Iterator[Misfit]:
        if self.operator in ("In", "NotIn"):
            if not self.values:
                yield Misfit(("operator",), f"the operator {self.operator} requires `values`", at_key=True)
            for number, value in enumerate(self.values):
                try:
                    label_value(value)
                except ValueError as error:
                    yield Misfit(("values", number), str(error))
        elif self.values:
            yield Misfit(("values",), f"the operator {self.operator} cannot have `values`; remove them", at_key=True)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels fulfil the expression."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
        return value is None


class LabelSelector(Model):
    """A selector of objects by their labels; an empty one selects all."""

    match_labels: Labels = Field(default_factory=dict)
    match_expressions: Items[Requirement] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels fulfil all of the selector."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )

    @property
    def is_empty(self) -> bool:
        return not self.match_labels and not self.match_expressions

    def __str__(self) -> str:
        """The selector as kubectl prints it: `app=web,tier in (a,b)`."""
        parts = [f"{key}={value}" for key, value in sorted(self.match_labels.items())]
        for one in self.match_expressions:
            match one.operator:
                case "Exists":
                    parts.append(one.key)
                case "DoesNotExist":
                    parts.append(f"!{one.key}")
                case operator:
                    parts.append(f"{one.key} {operator.lower()} ({','.join(sorted(one.values))})")
        return ",".join(parts)


class Object(Model):
    """An object of any kind."""

    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
