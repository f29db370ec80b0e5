"""Configurations as Jinja2 templates, with values that differ between nodes, such as `{{ node.pod_cidr }}`."""

import re
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from testbed.spec.nearest import nearest
from testbed.spec.problems import Problem, SpecError

if TYPE_CHECKING:
    from jinja2 import nodes


@dataclass(frozen=True)
class NodeValues:
    """Variables of the node that a template is filled for."""

    name: str
    index: int
    """From 0, in the topology's order. A node that is added later gets an index that no other node has used."""
    pod_cidr: str
    """Its part of the first pod CIDR of the cluster."""
    pod_cidrs: tuple[str, ...]
    """One of each family."""
    address: str
    """The address at which other nodes reach it, in the first family."""
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class ClusterValues:
    """Variables of the cluster."""

    pod_cidr: str
    pod_cidrs: tuple[str, ...]


@dataclass(frozen=True)
class Values:
    """All variables of a template."""

    node: NodeValues
    cluster: ClusterValues
    mtu: int
    """The largest packet that pods can send to other nodes, in bytes."""


_RANGES = {
    4: ("10.244.0.0/24", "192.168.56.1", "10.244.0.0/16"),
    6: ("fd00:10:244::/64", "fd00:56::1", "fd00:10:244::/56"),
}
"""A node's pod range and address, and the cluster's range, by family."""
_FAMILIES = ((4,), (6,), (4, 6), (6, 4))


def _example(pods: tuple[int, ...], fabric: tuple[int, ...]) -> Values:
    own, cluster = (tuple(_RANGES[family][number] for family in pods) for number in (0, 2))
    addresses = tuple(_RANGES[family][1] for family in fabric)
    node = NodeValues("node1", 0, own[0], own, addresses[0], addresses)
    return Values(node, ClusterValues(cluster[0], cluster), 1500)


EXAMPLES = tuple(_example(pods, fabric) for pods in _FAMILIES for fabric in _FAMILIES)
"""For checking a template without a topology: one for each combination of families that a topology may have."""
EXAMPLE = EXAMPLES[0]
_NAMES: Mapping[str, tuple[str, ...]] = {
    name: tuple(value) if isinstance(value, dict) else () for name, value in asdict(EXAMPLE).items()
}
_MARKS = ("{{", "{%", "{#")
_OTHER_TEMPLATE = re.compile(r"\{\{-?\s*(?:\.\w*|\$\w*|range|if|with|end|else|template|include)\b")
_TEMPLATE = "<template>"
"""What Jinja2 calls the file of a template."""


def is_template(text: str) -> bool:
    """Whether the text contains marks of a template."""
    return any(mark in text for mark in _MARKS)


def filled(text: str, file: str, values: Values) -> str:
    """The text filled with a node's values. Raises SpecError with the line of each error."""
    if not is_template(text):
        return text
    from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    try:
        tree = environment.parse(text)
        if problems := _unknown_names(tree, text, file):
            raise SpecError(problems)
        return environment.from_string(text).render(asdict(values))
    except TemplateSyntaxError as error:
        other = _OTHER_TEMPLATE.search(text)
        hint = f"; '{other[0]}' is of a Go template: write a value such as {{{{ node.pod_cidr }}}}" if other else ""
        message = f"invalid template: {error.message}{hint}"
        raise SpecError((_problem(text, file, error.lineno, "", message),)) from None
    except TemplateError as error:
        ranges = ", ".join(values.cluster.pod_cidrs)
        reason = (error.message or "").replace("tuple object", "the list")
        message = f"the template cannot be filled: {reason}; the pod ranges of the cluster: {ranges}"
        index = re.search(r"no element (\d+)$", reason)
        raise SpecError((_problem(text, file, _line_of(error), f"[{index[1]}]" if index else "", message),)) from None


def _line_of(error: BaseException) -> int:
    """The line of a template whose expression failed."""
    frames = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == _TEMPLATE]
    return frames[-1] if frames else 1


def _unknown_names(tree: "nodes.Template", text: str, file: str) -> tuple[Problem, ...]:
    """A problem for each unknown variable, including attributes of `node` and `cluster`."""
    from jinja2 import nodes
    from jinja2.meta import find_undeclared_variables

    free = find_undeclared_variables(tree)
    problems = []
    for name in tree.find_all(nodes.Name):
        if name.name in free and name.name not in _NAMES:
            message = f"unknown template variable '{name.name}'"
            problems.append(_problem(text, file, name.lineno, name.name, message, tuple(_NAMES)))
    for part in tree.find_all(nodes.Getattr):
        whole = part.node
        if not isinstance(whole, nodes.Name) or whole.name not in free or whole.name not in _NAMES:
            continue
        if part.attr not in (valid := _NAMES[whole.name]):
            message = f"unknown template variable '{whole.name}.{part.attr}'"
            problems.append(_problem(text, file, part.lineno, part.attr, message, valid))
    return tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))


def _problem(text: str, file: str, line: int, word: str, message: str, valid: tuple[str, ...] = ()) -> Problem:
    """A problem at the first occurrence of a word in a line, after the mark of a template."""
    lines = text.splitlines() or [""]
    excerpt = lines[min(line, len(lines)) - 1]
    begin = max(min((at for mark in _MARKS if (at := excerpt.find(mark)) >= 0), default=0), 0)
    whole = rf"\b{re.escape(word)}\b" if word.isidentifier() else re.escape(word)
    match = re.compile(whole).search(excerpt, begin) if word else None
    start = match.start() if match else begin
    return Problem(
        file,
        line,
        start + 1,
        message,
        found=word,
        valid=valid,
        nearest=nearest(word, valid),
        excerpt=excerpt,
        width=max(1, len(word)),
    )
