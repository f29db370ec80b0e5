"""What a pod asks of its node: affinity, tolerations, spread."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from testbed.kubernetes.models.meta import LabelSelector
from testbed.kubernetes.models.model import Model
from testbed.kubernetes.models.values import Items, Label, LabelKey, within, word
from testbed.spec.labels import EFFECTS, label_value
from testbed.spec.problems import Misfit

Weight = Annotated[int, within(1, 100)]


class NodeRequirement(Model):
    """An expression about a node's labels or fields."""

    key: str
    operator: Annotated[str, word("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")]
    values: Items[str] = ()

    def misfits(self) -> Iterator[Misfit]:
        if self.operator in ("In", "NotIn") and not self.values:
            yield Misfit(("operator",), f"the operator {self.operator} requires `values`", at_key=True)
        elif self.operator in ("Exists", "DoesNotExist") and self.values:
            yield Misfit(("values",), f"the operator {self.operator} cannot have `values`; remove them", at_key=True)
        elif self.operator in ("Gt", "Lt") and (len(self.values) != 1 or _number(self.values[0]) is None):
            message = f"the operator {self.operator} requires one whole number, as text"
            yield Misfit(("values",) if self.values else ("operator",), message)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a node's labels (or fields) fulfil the expression."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        have, bound = _number(value), _number(self.values[0])
        return have is not None and bound is not None and (have > bound if self.operator == "Gt" else have < bound)


def _number(text: str | None) -> int | None:
    sign, digits = ("-", text[1:]) if text and text[0] == "-" else ("", text or "")
    return int(sign + digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None


class NodeSelectorTerm(Model):
    """Expressions that must all be fulfilled; without any, nothing matches."""

    match_expressions: Items[NodeRequirement] = ()
    match_fields: Items[NodeRequirement] = ()

    def misfits(self) -> Iterator[Misfit]:
        for number, one in enumerate(self.match_fields):
            if one.key != "metadata.name":
                yield Misfit(("matchFields", number, "key"), "must be metadata.name", valid=("metadata.name",))

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a node fulfils the term."""
        if not self.match_expressions and not self.match_fields:
            return False
        fields = {"metadata.name": name}
        return all(one.matches(labels) for one in self.match_expressions) and all(
            one.matches(fields) for one in self.match_fields
        )


class NodeSelector(Model):
    """Terms of which one must be fulfilled."""

    node_selector_terms: Items[NodeSelectorTerm]

    def misfits(self) -> Iterator[Misfit]:
        if not self.node_selector_terms:
            yield Misfit(("nodeSelectorTerms",), "must have at least one term")

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a node fulfils one of the terms."""
        return any(term.matches(name, labels) for term in self.node_selector_terms)


class PreferredNode(Model):
    """A term that is worth `weight`."""

    weight: Weight
    preference: NodeSelectorTerm


class NodeAffinity(Model):
    """Required and preferred nodes."""

    required: NodeSelector | None = Field(default=None, alias="requiredDuringSchedulingIgnoredDuringExecution")
    preferred: Items[PreferredNode] = Field(default=(), alias="preferredDuringSchedulingIgnoredDuringExecution")


class PodAffinityTerm(Model):
    """Pods to be near to, or apart from, in a topology domain."""

    topology_key: LabelKey
    label_selector: LabelSelector | None = None
    namespaces: Items[Label] = ()
    namespace_selector: LabelSelector | None = None
    match_label_keys: Items[LabelKey] = ()
    mismatch_label_keys: Items[LabelKey] = ()


class PreferredPods(Model):
    """A term that is worth `weight`."""

    weight: Weight
    pod_affinity_term: PodAffinityTerm


class PodAffinity(Model):
    """Required and preferred neighbours (or, as anti-affinity, pods to avoid)."""

    required: Items[PodAffinityTerm] = Field(default=(), alias="requiredDuringSchedulingIgnoredDuringExecution")
    preferred: Items[PreferredPods] = Field(default=(), alias="preferredDuringSchedulingIgnoredDuringExecution")


class Affinity(Model):
    """All affinities of a pod."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class Taint(Model):
    """A reason not to place pods on a node."""

    key: LabelKey
    value: str = ""
    effect: Annotated[str, word(*EFFECTS)]

    def misfits(self) -> Iterator[Misfit]:
        yield from _value_misfits(self.value)


class Toleration(Model):
    """Taints that a pod does not mind."""

    key: str = ""
    operator: Annotated[str, word("Exists", "Equal", "Lt", "Gt")] = "Equal"
    value: str = ""
    effect: Annotated[str, word("", *EFFECTS)] = ""
    toleration_seconds: int | None = None

    def misfits(self) -> Iterator[Misfit]:
        if not self.key and self.operator != "Exists":
            yield Misfit((), "without a key the operator must be Exists; add `key:` or `operator: Exists`", at_key=True)
        if self.operator == "Exists" and self.value:
            yield Misfit(("value",), "the operator Exists cannot have a value; remove it", at_key=True)
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            yield Misfit(("tolerationSeconds",), "requires `effect: NoExecute`", at_key=True)
        yield from _value_misfits(self.value)

    def tolerates(self, taint: Taint) -> bool:
        """Whether the taint does not keep the pod away."""
        if self.effect not in ("", taint.effect) or self.key not in ("", taint.key):
            return False
        if self.operator in ("Lt", "Gt"):
            bound, have = _number(self.value), _number(taint.value)
            return bound is not None and have is not None and (have < bound if self.operator == "Lt" else have > bound)
        return self.operator == "Exists" or self.value == taint.value


def _value_misfits(value: str) -> Iterator[Misfit]:
    try:
        label_value(value)
    except ValueError as error:
        yield Misfit(("value",), str(error))


class TopologySpread(Model):
    """How unevenly pods may be spread over topology domains."""

    max_skew: Annotated[int, within(1)]
    topology_key: LabelKey
    when_unsatisfiable: Annotated[str, word("DoNotSchedule", "ScheduleAnyway")]
    label_selector: LabelSelector | None = None
    min_domains: Annotated[int, within(1)] | None = None
    node_affinity_policy: Annotated[str, word("Honor", "Ignore")] = "Honor"
    node_taints_policy: Annotated[str, word("Honor", "Ignore")] = "Ignore"
    match_label_keys: Items[LabelKey] = ()

    def misfits(self) -> Iterator[Misfit]:
        if self.min_domains is not None and self.when_unsatisfiable != "DoNotSchedule":
            yield Misfit(("minDomains",), "requires `whenUnsatisfiable: DoNotSchedule`", at_key=True)


def duplicates(items: tuple[Any, ...], key: Any, what: str) -> Iterator[Misfit]:
    """Items of a list with a value that an earlier item has; `key` returns the location in the item and its value."""
    seen: set[Any] = set()
    for number, one in enumerate(items):
        at, value = key(one)
        if value in seen:
            shown = "/".join(map(str, value)) if isinstance(value, tuple) else value
            yield Misfit((number, *at), f"duplicate {what} '{shown}'")
        seen.add(value)
