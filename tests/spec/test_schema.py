"""The JSON Schemas are up to date, valid, and consistent with the models.

Regenerate the shipped copies with `testbed schema topology > schemas/topology.json`, or with
`UPDATE_GOLDEN=1 pytest tests/spec/test_schema.py`.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import create_model

from testbed.spec import design, scenario, topology  # noqa: F401 - define the models
from testbed.spec.schema import Kind, schema, schema_text
from testbed.spec.types import Spec

ROOT = Path(__file__).parents[2]
KINDS: tuple[Kind, ...] = ("topology", "scenario", "design")
FOLDERS = {"topology": "topologies", "scenario": "scenarios", "design": "examples"}
SHIPPED = [
    pytest.param(kind, path, id=path.stem) for kind in KINDS for path in sorted(ROOT.glob(f"{FOLDERS[kind]}/*.yaml"))
]


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_copy_is_up_to_date(kind: Kind) -> None:
    copy = ROOT / "schemas" / f"{kind}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        copy.write_text(schema_text(kind))
    assert copy.read_text() == schema_text(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_schema_is_valid(kind: Kind) -> None:
    Draft202012Validator.check_schema(schema(kind))


@pytest.mark.parametrize(("kind", "path"), SHIPPED)
def test_shipped_file_is_valid_and_names_its_schema(kind: Kind, path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"# yaml-language-server: $schema=../schemas/{kind}.json\n")
    Draft202012Validator(schema(kind)).validate(yaml.safe_load(text))


def _models(model: type[Spec]) -> Iterator[type[Spec]]:
    for one in model.__subclasses__():
        yield one
        yield from _models(one)


def _examples(part: object) -> Iterator[object]:
    """The examples in a field's schema, and the values that its description offers."""
    if isinstance(part, dict):
        yield from part.get("examples", ())
        for match in re.finditer(r"such as ([0-9][\w.]*%?)(?: or ([0-9][\w.]*%?))?", part.get("description", "")):
            yield from filter(None, match.groups())
        for inner in (*part.get("anyOf", ()), part.get("items")):
            yield from _examples(inner)


OFFERED = [
    pytest.param(model, name, example, id=f"{model.__name__}.{name}-{example}")
    for model in dict.fromkeys(_models(Spec))
    for name, info in model.model_fields.items()
    for example in dict.fromkeys(_examples(model.model_json_schema(by_alias=False)["properties"][name]))
]


@pytest.mark.parametrize(("model", "name", "example"), OFFERED)
def test_a_value_that_the_help_offers_is_accepted(model: type[Spec], name: str, example: object) -> None:
    info = model.model_fields[name]
    alone = create_model("Alone", __base__=Spec, value=(Annotated[info.annotation, name, *info.metadata], ...))
    read = yaml.safe_load(example) if isinstance(example, str) and example.isdigit() else example
    alone.model_validate({"value": read})


BROKEN = {
    "topology": "unknown-key-node mtu-quoted mtu-too-small name-upper-case missing-keys pods-is-text "
    "no-nodes no-ranges node-name-unusable pods-negative pod-label-is-number",
    "scenario": "unknown-key-top endpoint-by-field-name unknown-tool duration-without-unit rounds-huge "
    "no-designs unknown-protocol path-name message-without-unit seed-negative",
    "design": "unknown-parameter out-of-range missing-keys wrong-types",
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in BROKEN[kind].split()])
def test_broken_file_is_refused(kind: Kind, name: str) -> None:
    document = yaml.safe_load((Path(__file__).parent / "errors" / f"{kind}-{name}.yaml").read_text())
    assert not Draft202012Validator(schema(kind)).is_valid(document)
