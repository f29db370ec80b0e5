"""The reference pages in docs/reference, made from the code: python -m tests.reference.

What they say stands in the code: in the verbs' help texts, the models' descriptions, the designs' pages and the probes'
docstrings. A test holds the pages to it.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Any

import click

from testbed import api
from testbed.cli import verbs
from testbed.designs import ATTACHMENTS, CATALOGUE, DESIGNS, PLAIN, TRANSPORTS, Design
from testbed.designs.attachment import Attachment
from testbed.designs.overhead import overhead
from testbed.designs.transport import Transport
from testbed.kernel.features import FEATURES
from testbed.kernel.programs import PROGRAMS
from testbed.probes import PROBES
from testbed.report import metrics
from testbed.spec.schema import Kind, schema

FOLDER = Path(__file__).parent.parent / "docs/reference"
MADE = "<!-- Made from the code by `python -m tests.reference`. -->"
WIDTH = 100
"""Columns of help texts."""

Schema = Mapping[str, Any]


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in REFERENCE.items():
        (FOLDER / name).write_text(page())
    return 0


def _page(title: str, text: str, sections: Iterator[str]) -> str:
    return "\n\n".join([MADE, f"# {title}", text, *sections]) + "\n"


def _table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


# --- verbs


def verbs_page() -> str:
    text = "Each verb of `testbed` as its `--help` prints it. [Working in labs](../labs.md) shows the verbs at work."
    whole = click.Context(verbs.testbed, info_name="testbed", **verbs.testbed.context_settings)
    return _page("Verbs", text, _verbs(verbs.testbed, whole))


def _verbs(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = copy(group.get_command(context, name))
        assert command is not None
        command._help_option = None  # It is kept with the names (`-h`) of whoever asked first.
        own = command.context_class(
            command, parent=context, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH
        )
        yield f"## {own.command_path}"
        yield f"```text\n{command.get_help(own).strip()}\n```"
        if isinstance(command, click.Group):
            yield from _verbs(command, own)


# --- files


def topology_page() -> str:
    return _model_page(
        "Topology files",
        "topology",
        "All keys of a topology file. [Topologies](../topologies.md) explains them with examples.",
    )


def scenario_page() -> str:
    return _model_page(
        "Scenario files",
        "scenario",
        "All keys of a scenario file. [Scenarios](../scenarios.md) explains them with examples.",
    )


def design_page() -> str:
    return _model_page(
        "Design files",
        "design",
        "All keys of a design that is spelt out, in a file or among the `designs` of a scenario: first one made of an "
        "attachment and a transport, then one whose pods are attached by CNI plugins. [Designs](../designs.md) and "
        "[Write a plugin](../write-a-plugin.md) have examples.",
    )


def _model_page(title: str, kind: Kind, text: str) -> str:
    whole = schema(kind)
    more = f"{text}\n\n`testbed schema {kind}` prints the same as a JSON Schema, which editors can read."
    return _page(title, more, _models(whole, kind))


def _models(whole: Schema, kind: Kind) -> Iterator[str]:
    if "properties" in whole:
        yield from _model(f"The {kind}", whole, whole)
        named = list(whole["$defs"])
    else:
        named = [_name(one) for one in whole["anyOf"]]
        named += [name for name in whole["$defs"] if name not in named]
    for name in named:
        yield from _model(name, whole["$defs"][name], whole)


def _model(title: str, model: Schema, whole: Schema) -> Iterator[str]:
    yield f"## {title}"
    if told := model.get("description"):
        yield inspect.cleandoc(told)
    required = model.get("required", ())
    yield _table(
        ("key", "type", "default", "meaning"),
        (
            (f"`{key}`", _type(field), "required" if key in required else _default(field), field.get("description", ""))
            for key, field in model["properties"].items()
        ),
    )


def _name(field: Schema) -> str:
    return str(field["$ref"]).rpartition("/")[2]


def _type(field: Schema) -> str:
    """What a value may be, in words."""
    if "$ref" in field:
        return f"[{_name(field)}](#{_name(field).lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    for several in ("anyOf", "oneOf"):
        if several in field:
            found = [_type(one) for one in field[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(found))
    match field.get("type"):
        case "array":
            items = _type(field["items"]) if "items" in field else "anything"
            items = f"({items})" if " or " in items else items
            return f"list of {items}" if field.get("maxItems") != 2 else f"two of {items}"
        case "object":
            values = [*field.get("patternProperties", {}).values()] or [field.get("additionalProperties")]
            return f"mapping of {_type(values[0])}" if isinstance(values[0], Mapping) else "mapping"
        case "integer":
            return f"integer{_bounds(field)}"
        case "boolean":
            return "`on` or `off`"
        case "string":
            examples = field.get("examples", ())
            said = f"text, such as {_examples(field)}" if examples else "text"
            return "name" if field.get("maxLength") else said
        case list():
            return f"number or text, such as {_examples(field)}"
        case _:
            return "anything"


def _examples(field: Schema) -> str:
    return ", ".join(f"`{one}`" for one in field.get("examples", ()))


def _bounds(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is None and high is None:
        return ""
    return f" ({low} to {high})" if high is not None else f" (from {low})"


def _default(field: Schema) -> str:
    value = field.get("default")
    if value is None or value in ({}, []):
        return ""
    if isinstance(value, list):
        return ", ".join(f"`{one}`" for one in value)
    return f"`{'on' if value is True else 'off' if value is False else value}`"


# --- designs


def designs_page() -> str:
    text = (
        "Each design, attachment and transport with its page, as `testbed designs NAME` prints it. "
        "[Designs](../designs.md) says how they go together, [CNIs](../cnis.md) compares those of real networks. "
        "*Bytes* are what is added to an IPv4 and to an IPv6 packet of a pod."
    )
    return _page("Designs, attachments, transports", text, _designs())


def _designs() -> Iterator[str]:
    groups: Mapping[str, list[Design | Attachment | Transport]] = {
        "Plain designs": list(PLAIN.values()),
        "Designs of CNIs": [one for name, one in DESIGNS.items() if name not in PLAIN],
        "Attachments": list(ATTACHMENTS.values()),
        "Transports": list(TRANSPORTS.values()),
    }
    yield "\n".join(
        f"- [{title}](#{title.lower().replace(' ', '-')}): {', '.join(f'`{part.name}`' for part in parts)}"
        for title, parts in groups.items()
    )
    told: dict[str, str] = {}
    """Pages of halves that belong to designs of CNIs alone, each with the first design that has it."""
    for title, parts in groups.items():
        yield f"## {title}"
        for part in parts:
            yield f"### {part.name}" if title != "Transports" else f"### {part.name} (transport)"
            yield _sentence(part.summary)
            yield _table(("", ""), _facts(part))
            if page := inspect.cleandoc(part.page):
                yield f"```text\n{page}\n```"
            if isinstance(part, Design):
                yield from _halves(part, told)


def _halves(design: Design, told: dict[str, str]) -> Iterator[str]:
    """The pages of its attachment and transport, unless they stand elsewhere on this page."""
    own = [("How pods are attached", design.attachment)] if design.attachment.name not in ATTACHMENTS else []
    more = [("How nodes reach each other's pods", design.transport)] if design.transport.name not in TRANSPORTS else []
    for title, part in (*own, *more):
        page = inspect.cleandoc(part.page or _sentence(part.summary))
        if (first := told.setdefault(page, design.name)) != design.name:
            yield f"{title}: as in [{first}](#{first})."
        else:
            yield f"{title}:"
            yield f"```text\n{page}\n```"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _link(name: str, is_here: bool, behind: str = "") -> str:
    return f"[{name}](#{name}{behind})" if is_here else f"`{name}`"


def _facts(part: Design | Attachment | Transport) -> Iterator[tuple[str, str]]:
    if isinstance(part, Design):
        yield "attachment", _link(part.attachment.name, part.attachment.name in ATTACHMENTS)
        yield "transport", _link(part.transport.name, part.transport.name in TRANSPORTS, "-transport")
    if part.like:
        yield "as in", ", ".join(part.like)
    if not isinstance(part, Attachment):
        four, six = overhead(part).values()
        yield "bytes", f"{four}" if four == six else f"{four}, {six}"
    if isinstance(part, Transport):
        yield "goes with", ", ".join(f"`{one}`" for one in ATTACHMENTS if CATALOGUE.goes(one, part.name))
        if part.parameters:
            yield "parameters", ", ".join(f"`{one}`" for one in part.parameters)
    if isinstance(part, Attachment):
        yield "goes with", ", ".join(f"`{one}`" for one in TRANSPORTS if CATALOGUE.goes(part.name, one))
    if part.needs:
        yield "needs", ", ".join(FEATURES[name].lacking for name in part.needs)
    if isinstance(part, Design) and part.programs:
        yield "programs", ", ".join(f"{name} ({PROGRAMS[name].package})" for name in part.programs)


# --- probes


def probes_page() -> str:
    text = (
        "The programs that measure, the metrics that each gives, and what each metric means. The keys of each in a "
        "scenario are in [Scenario files](scenario.md); [How measuring works](../measuring.md) says what is done with "
        "the numbers."
    )
    return _page("Probes and metrics", text, _probes())


def _probes() -> Iterator[str]:
    for tool, kind in PROBES.items():
        yield f"## {tool}"
        yield f"{kind.summary}."
        yield _table(
            ("", ""),
            iter(
                [
                    ("metrics", ", ".join(f"`{name}`" for name in kind.metrics)),
                    ("programs", ", ".join(f"{name} ({PROGRAMS[name].package})" for name in kind.programs)),
                    ("keys", f"[{kind.spec.__name__}](scenario.md#{kind.spec.__name__.lower()})"),
                ]
            ),
        )
    yield "## Metrics"
    yield (
        "A metric with a direction gets a verdict; the others are information. `@RATE` behind a name says at which "
        "offered rate it was measured."
    )
    yield _table(
        ("metric", "unit", "title", "better", "enough values"),
        (
            (
                f"`{one.name}`",
                one.unit,
                one.title,
                one.better or "",
                f"{metrics.MIN_VALUES[one.percentile]:,}" if one.percentile in metrics.MIN_VALUES else "",
            )
            for one in metrics.METRICS.values()
        ),
    )


# --- Python


def api_page() -> str:
    text = (
        "`from testbed import Lab`; everything else is in `testbed.api`. [Working in labs](../labs.md) shows it at "
        "work. The fixture `lab_up(topology, design=...)` of pytest takes what `Lab.up` takes; its labs end with the "
        "test."
    )
    return _page("Python", text, _api())


def _api() -> Iterator[str]:
    parts = [getattr(api, name) for name in api.__all__]
    errors = [part for part in parts if issubclass(part, Exception)]
    for part in (api.Lab, *(part for part in parts if part not in (api.Lab, *errors))):
        yield f"## {part.__name__}\n\n{_docstring(part)}"
        rows = [(f"`{name}`", text) for name, text in (*_fields(part), *_methods(part))]
        yield _table(("", "what it is or does"), iter(rows))
    yield "## Exceptions"
    yield _table(("exception", "when"), ((f"`{error.__name__}`", _docstring(error)) for error in errors))


def _methods(part: type) -> Iterator[tuple[str, str]]:
    """The public methods and properties of a class, each with its arguments and its docstring."""
    for name, member in vars(part).items():
        if name.startswith("_") and name not in ("__getitem__", "__iter__"):
            continue
        if isinstance(member, property):
            yield name, _docstring(member)
        elif isinstance(member, classmethod) or inspect.isfunction(member):
            called = f"{part.__name__}.{name}" if isinstance(member, classmethod) else name
            yield called + _arguments(getattr(part, name)), _docstring(getattr(part, name))


def _arguments(function: Callable[..., Any]) -> str:
    known = inspect.signature(function).parameters.values()
    shown = [str(one.replace(annotation=one.empty)) for one in known if one.name != "self"]
    return f"({', '.join(shown)})"


def _fields(part: type) -> Iterator[tuple[str, str]]:
    """The attributes of a class, with the text below each in its source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
    assert isinstance(body, ast.ClassDef)
    made = next((one.body for one in body.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), [])
    for statements in (body.body, made):
        for one, below in zip(statements, [*statements[1:], None][: len(statements)], strict=True):
            if not isinstance(one, ast.Assign | ast.AnnAssign):
                continue
            target = one.target if isinstance(one, ast.AnnAssign) else one.targets[0]
            name = target.attr if isinstance(target, ast.Attribute) else ast.unparse(target)
            if not name.startswith("_"):
                said = below.value if isinstance(below, ast.Expr) else None
                kind = f": {ast.unparse(one.annotation)}" if isinstance(one, ast.AnnAssign) else ""
                yield name + kind, " ".join(str(said.value).split()) if isinstance(said, ast.Constant) else ""


def _docstring(part: object) -> str:
    return " ".join((inspect.getdoc(part) or "").split())


REFERENCE: Mapping[str, Callable[[], str]] = {
    "api.md": api_page,
    "verbs.md": verbs_page,
    "topology.md": topology_page,
    "scenario.md": scenario_page,
    "designs-file.md": design_page,
    "designs.md": designs_page,
    "probes.md": probes_page,
}
"""By file."""

if __name__ == "__main__":
    sys.exit(main())
