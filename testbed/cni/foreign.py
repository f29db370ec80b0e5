"""Networks in files of other tools: JSON with comments, Multus' NetworkAttachmentDefinitions, records of libcni.

The result is the text of a CNI configuration. It keeps the lines and columns of the file where possible, so that errors
can be located.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from testbed.spec.json_tree import parse_json
from testbed.spec.problems import Loc, Misfit, SpecError
from testbed.spec.source import Source, parse

YAML = (".yaml", ".yml")
_ATTACHMENT = "NetworkAttachmentDefinition"
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])', re.DOTALL)
"""Strings, comments, and trailing commas of JSON with comments."""
_DOCUMENT = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_KEYS = {
    "a network of Podman (netavark)": ("driver", "network_interface"),
    "a network of Docker": ("Driver", "IPAM"),
    "the result of a CNI plugin": ("ips", "interfaces"),
}
"""Keys by which files of other formats are recognised."""
_REMEDY = "a CNI configuration has `name`, `cniVersion` and `plugins`"


def network_text(file: str, text: str) -> tuple[str, str]:
    """The file, and the text of the CNI configuration in it. Raises SpecError if it has another format."""
    suffix = PurePath(file).suffix
    if suffix in YAML:
        return file, _from_manifests(list(_documents(file, text)))
    if suffix == ".jsonc":
        text = without_comments(text)
    try:
        source = parse_json(text, file)
    except SpecError:
        return file, text  # A template, or a mistake, which is reported when the template has been filled.
    return file, _from_json(source)


def without_comments(text: str) -> str:
    """JSON with comments and trailing commas as JSON; blanks replace what is removed."""
    return _TOKEN.sub(lambda found: found[0] if found[0].startswith('"') else _blank(found[0]), text)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _documents(file: str, text: str) -> Iterator[Source]:
    """The documents of a YAML file, each with its lines of the file."""
    ends = [found.start() for found in _DOCUMENT.finditer(text)]
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        document = _DOCUMENT.sub("   ", text[start:end], count=1)
        if any(line.split("#")[0].strip() for line in document.splitlines()):
            yield parse(_blank(text[:start]) + document, file)


def _from_json(source: Source) -> str:
    data = source.data
    if isinstance(data, dict) and data.get("kind") == "cniCacheV1" and isinstance(data.get("config"), str):
        return base64.b64decode(data["config"]).decode(errors="replace")
    if isinstance(data, dict) and "apiVersion" in data and isinstance(data.get("kind"), str):
        return _from_manifests([source])
    loc: Loc = (0,) if isinstance(data, list) and data else ()
    one = data[0] if isinstance(data, list) and data else data
    for what, keys in _KEYS.items():
        if isinstance(one, dict) and all(key in one for key in keys):
            raise _refused(source, loc, f"this is {what}; {_REMEDY}")
    return source.text


def _from_manifests(sources: list[Source]) -> str:
    """The configuration in the only NetworkAttachmentDefinition of these documents."""
    found = [(source, loc, item) for source in sources for loc, item in _items(source.data)]
    attachments = [one for one in found if one[2].get("kind") == _ATTACHMENT]
    if len(attachments) == 1:
        return _configuration(*attachments[0])
    if attachments:
        source, loc, _ = attachments[1]
        names = ", ".join(str(_mapping(item, "metadata").get("name")) for _, _, item in attachments)
        raise _refused(
            source, (*loc, "metadata", "name"), f"the file has several networks: {names}; keep the one to use"
        )
    for source, loc, item in found:
        for key, value in _mapping(item, "data").items():
            if isinstance(value, str) and '"cniVersion"' in value:
                message = (
                    f"this {item.get('kind')} has a CNI configuration; save the text of '{key}' as a .conflist file"
                )
                raise _refused(source, (*loc, "data", key), message, at_key=True)
    source, loc, item = found[0] if found else (sources[0], (), {})
    if str(item.get("apiVersion")).startswith("kind.x-k8s.io/"):
        raise _refused(
            source, loc, f"this is a configuration of kind; `testbed import {source.file}` makes a topology of it"
        )
    kind = item.get("kind", "unknown")
    raise _refused(source, (*loc, "kind"), f"found a Kubernetes object of kind {kind}, expected a {_ATTACHMENT}")


def _items(data: object) -> Iterator[tuple[Loc, Mapping[str, Any]]]:
    """The objects of a document, which may be a list as `kubectl get` prints it."""
    if not isinstance(data, dict):
        return
    items = data.get("items")
    if str(data.get("kind")).endswith("List") and isinstance(items, list):
        yield from ((("items", number), item) for number, item in enumerate(items) if isinstance(item, dict))
        return
    yield (), data


def _configuration(source: Source, loc: Loc, item: Mapping[str, Any]) -> str:
    """The CNI configuration of a NetworkAttachmentDefinition; its name is the object's, as for Multus."""
    name, where = str(_mapping(item, "metadata").get("name") or "network"), (*loc, "spec", "config")
    written = _mapping(item, "spec").get("config")
    if not isinstance(written, str) or not written.strip():
        message = f"{name} has no `spec.config`; use the configuration of that name in /etc/cni/net.d of a node"
        raise _refused(source, loc if source.place(where).reached is False else where, message)
    text = _in_place(source, where, written)
    if re.search(r'"name"\s*:', _outermost(text)):
        return text
    return text.replace("{", f'{{"name": "{name}", ', 1)


def _in_place(source: Source, where: Loc, written: str) -> str:
    """The configuration where it is in the file; at the start of a line if it is written with escapes."""
    value = source.place(where).value
    raw = source.text[value.start : value.end]
    first, last = raw.find("{"), raw.rfind("}") + 1
    if 0 <= first < last and "".join(raw[first:last].split()) == "".join(written.split()):
        return _blank(source.text[: value.start + first]) + raw[first:last]
    return "\n" * source.text.count("\n", 0, value.start) + written


def _outermost(text: str) -> str:
    """The text without nested objects and lists."""
    depth, kept = 0, []
    for part in re.findall(r'"(?:[^"\\]|\\.)*"|\{\{.*?\}\}|[^"]', text, re.DOTALL):
        depth -= part in "}]"
        if depth <= 1:
            kept.append(part)
        depth += part in "{["
    return "".join(kept)


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    return found if isinstance(found, dict) else {}


def _refused(source: Source, loc: Loc, message: str, at_key: bool = False) -> SpecError:
    return SpecError((source.problem(Misfit(loc, message, at_key=at_key)),))
