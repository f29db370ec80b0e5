"""The table of fields, and the models, held against the schemas of kubernetes-validate."""

import copy
import random
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from testbed.kubernetes.cluster import RELEASE
from testbed.kubernetes.fields import Field, all_fields
from testbed.kubernetes.kinds import UNDERSTOOD, Kind, kind_of
from testbed.kubernetes.models.model import Model
from testbed.kubernetes.reading import read_manifests
from testbed.spec.problems import SpecError
from tests.kubernetes import fields_table
from tests.kubernetes.test_fuzz import places

FOLDER = Path(__file__).parent / "manifests"
SHIPPED = [*sorted(FOLDER.glob("*.yaml")), Path(__file__).parents[2] / "examples/manifests/shop.yaml"]
OWN = (
    "NetworkAttachmentDefinition",
    "ClusterNetworkPolicy",
    "AdminNetworkPolicy",
    "BaselineAdminNetworkPolicy",
)
"""Kinds that are not in Kubernetes' own schemas."""


def test_table_is_generated_from_the_schemas() -> None:
    assert fields_table.TARGET.read_text() == fields_table.text()


def test_table_has_the_fields_of_every_supported_release() -> None:
    table = all_fields()
    assert table.releases[0] == "1.34"
    assert "trafficDistribution" in table.types["core.v1.ServiceSpec"]
    assert table.types["core.v1.Container"]["name"] == Field("string", is_required=True)
    assert table.types["core.v1.PodSpec"]["containers"] == Field("core.v1.Container", "list", True)
    assert len(table.kinds) > 150


@pytest.mark.parametrize("kind", UNDERSTOOD, ids=lambda kind: kind.name)
def test_models_have_only_fields_of_kubernetes(kind: Kind) -> None:
    table = all_fields()
    wrong = list(_unknown(kind.model, table.kinds[f"{kind.api_version} {kind.name}"], kind.name))
    assert wrong == []


def _unknown(model: type[Model], name: str, path: str) -> Iterator[str]:
    """Fields of a model that the table does not have."""
    known = all_fields().types[name]
    for key, info in model.model_fields.items():
        field = known.get(info.alias or key)
        if field is None:
            yield f"{path}.{info.alias}"
        elif field.name in all_fields().types:
            for part in _models(info.annotation):
                yield from _unknown(part, field.name, f"{path}.{info.alias}")


def _models(annotation: Any) -> Iterator[type[Model]]:
    if (
        isinstance(annotation, type)
        and not isinstance(annotation, types.GenericAlias)
        and issubclass(annotation, Model)
    ):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models(part)


@pytest.mark.parametrize("kind", [kind for kind in UNDERSTOOD if kind.name not in OWN], ids=lambda kind: kind.name)
def test_scope_and_plural_of_kinds(kind: Kind) -> None:
    assert kind.plural.startswith(kind.name.lower()[:-1])
    found = kind_of(kind.api_version, kind.name)
    assert found is kind


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_manifests_are_valid_to_the_schemas_and_to_us(path: Path) -> None:
    read = read_manifests([(path.name, path.read_text())])
    assert read.objects and not read.left_out
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] not in OWN:
            kubernetes_validate.validate(document, "1.37", strict=True)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_misspelt_field_is_refused_with_the_right_one(path: Path) -> None:
    """Each key of each object is misspelt in turn; only names that users choose may be anything."""
    text = path.read_text()
    table = all_fields()
    free = {"labels", "matchLabels", "annotations", "data", "nodeSelector", "selector", "requests", "limits"}

    def keys(data: Any, inside: str = "") -> Iterator[str]:
        if isinstance(data, dict):
            for key, value in data.items():
                if inside not in free:
                    yield key
                yield from keys(value, key)
        elif isinstance(data, list):
            for one in data:
                yield from keys(one, inside)

    known = {field for fields in table.types.values() for field in fields}
    wanted = sorted({key for document in yaml.safe_load_all(text) for key in keys(document)})
    for key in wanted:
        assert key in known
        wrong = f"{key[:-1]}q"
        broken = text.replace(f"{key}:", f"{wrong}:")
        with pytest.raises(Exception) as caught:
            read_manifests([(path.name, broken)])
        problems = caught.value.problems  # type: ignore[attr-defined]
        assert any(problem.found == wrong and problem.line for problem in problems), key


VALUES = (True, 7, 1.5, "text", [], {}, ["text"], [{}], {"unknown": 1})


@pytest.mark.parametrize("seed", range(60))
def test_what_the_schemas_refuse_is_refused(seed: int) -> None:
    """Objects with one value replaced by one of another type."""
    chance = random.Random(seed)
    documents = list(yaml.safe_load_all(chance.choice(SHIPPED).read_text()))
    document = chance.choice([one for one in documents if "spec" in one and one["kind"] not in OWN])
    replaced = chance.choice(list(places(document["spec"])))
    replaced(copy.deepcopy(chance.choice(VALUES)))
    try:
        kubernetes_validate.validate(document, "1.37", strict=True)
    except kubernetes_validate.ValidationError:
        with pytest.raises(SpecError):
            read_manifests([("changed.yaml", yaml.safe_dump(document))])


def test_nodes_report_the_latest_release_whose_fields_are_known() -> None:
    assert f"v{all_fields().releases[-1]}.0" == RELEASE
