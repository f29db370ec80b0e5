"""Generate testbed/kubernetes/fields.json, the fields of every kind, from kubernetes-validate's schemas.

Run it as `python -m tests.kubernetes.fields_table` after an update of kubernetes-validate. Types are written short:

    string, bytes, time, int, number, bool, any, object     a value
    int|string, quantity                                    text or a number
    PodSpec                                                 a type of this file
    [T], {T}                                                a list, a mapping of names
    T!                                                      required

The table holds the fields of all releases in `RELEASES`; a field is required if all of these require it.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any

RELEASES = ("1.34", "1.35", "1.36", "1.37")
TARGET = Path(__file__).parents[2] / "testbed/kubernetes/fields.json"
_PREFIXES = ("io.k8s.api.", "io.k8s.apimachinery.pkg.apis.", "io.k8s.apimachinery.pkg.", "io.k8s.")
_SPECIAL = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int|string",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "time",
}


def table() -> dict[str, Any]:
    """The kinds and types of all releases."""
    kinds: dict[str, str] = {}
    types: dict[str, dict[str, str]] = {}
    for release in RELEASES:
        definitions = _definitions(release)
        for name, schema in definitions.items():
            for kind in schema.get("x-kubernetes-group-version-kind", ()):
                if _is_object(schema):
                    version = f"{kind['group']}/{kind['version']}".removeprefix("/")
                    kinds[f"{version} {kind['kind']}"] = _short(name)
            if "properties" in schema:
                known = types.setdefault(_short(name), {})
                required = set(schema.get("required", ()))
                for field, value in schema["properties"].items():
                    is_required = field in required and known.get(field, "!").endswith("!")
                    known[field] = _type(value, definitions) + ("!" if is_required else "")
    return {
        "releases": list(RELEASES),
        "kinds": dict(sorted(kinds.items())),
        "types": {name: dict(sorted(fields.items())) for name, fields in sorted(types.items())},
    }


def text() -> str:
    """The file: a line for each kind and each type."""
    made = table()
    parts = [f' "releases": {json.dumps(made["releases"])}']
    for key in ("kinds", "types"):
        lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in made[key].items())
        parts.append(f' "{key}": {{\n' + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _definitions(release: str) -> dict[str, Any]:
    folder = resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{release}.0-local-strict"
    found: dict[str, Any] = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return found


def _is_object(schema: dict[str, Any]) -> bool:
    """Whether a kind can be in a manifest: an object, or a list of objects."""
    metadata = schema.get("properties", {}).get("metadata", {}).get("$ref", "").split(".")[-1]
    return metadata == "ObjectMeta" or (metadata == "ListMeta" and "items" in schema["properties"])


def _short(name: str) -> str:
    return next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), name)


def _type(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    if ref := value.get("$ref"):
        name = ref.split("/")[-1]
        target = definitions[name]
        if name in _SPECIAL:
            return _SPECIAL[name]
        return _short(name) if "properties" in target else _type(target, definitions)
    kind = value.get("type", "any")
    kind = next(one for one in kind if one != "null") if isinstance(kind, list) else kind
    if kind == "array":
        return f"[{_type(value['items'], definitions)}]"
    if kind == "object":
        more = value.get("additionalProperties")
        return f"{{{_type(more, definitions)}}}" if isinstance(more, dict) else "object"
    if kind == "string":
        return {"byte": "bytes", "date-time": "time"}.get(value.get("format", ""), "string")
    return {"integer": "int", "boolean": "bool"}.get(kind, kind)


if __name__ == "__main__":
    TARGET.write_text(text())
