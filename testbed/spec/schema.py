"""The JSON Schemas of topologies, scenarios and designs, for completion and checks in editors.

A schema checks each value by itself. `testbed validate` also checks values that must fit together (ranges, names,
endpoints).
"""

import json
from typing import Any, Literal

from pydantic import TypeAdapter

from testbed.spec.design import CniSpec, DesignSpec
from testbed.spec.scenario import Scenario
from testbed.spec.topology import Topology
from testbed.spec.types import Spec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Kind = Literal["topology", "scenario", "design"]
_MODELS: dict[Kind, TypeAdapter[Spec]] = {
    "topology": TypeAdapter(Topology),
    "scenario": TypeAdapter(Scenario),
    "design": TypeAdapter(DesignSpec | CniSpec),
}


def schema(kind: Kind) -> dict[str, Any]:
    """The JSON Schema of a kind of file."""
    tidied = _tidied(_MODELS[kind].json_schema(by_alias=True))
    return {"$schema": DIALECT, **tidied, "title": f"testbed {kind}"}


def schema_text(kind: Kind) -> str:
    """The schema as printed by `testbed schema` and shipped in `schemas/`."""
    return json.dumps(schema(kind), indent=2) + "\n"


def _tidied(part: Any) -> Any:
    """The schema without titles that repeat keys, without empty defaults, and with strict patterns for names."""
    if isinstance(part, list):
        return [_tidied(item) for item in part]
    if not isinstance(part, dict):
        return part
    tidied = {
        key: _tidied(value)
        for key, value in part.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value == [])
    }
    if "patternProperties" in tidied:
        tidied["additionalProperties"] = False
    return tidied
