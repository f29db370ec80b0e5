"""YAML as Kubernetes reads it: several documents, merged mappings, and numbers as Go reads them.

`0644` is an octal number (file modes); dates and `1:30` are text.
"""

import re

from testbed.spec.tree import Dialect

_MANIFEST = re.compile(r"""^[-\s{]*["']?(apiVersion|kind)["']?\s*:""", re.MULTILINE)
MAX_BYTES = 16 * 1024 * 1024
MAX_NODES = 2_000_000
MAX_DEPTH = 100
"""Schemas in CustomResourceDefinitions are deep."""
_TRUE = ("y", "yes", "true", "on")
_LONGEST_NUMBER = 400
_BASES = ((re.compile(r"0[xX][0-9a-fA-F]+"), 16), (re.compile(r"0[bB][01]+"), 2), (re.compile(r"0o?[0-7]+"), 8))
_WHOLE = re.compile(r"0|[1-9][0-9]*")


def is_manifest(text: str) -> bool:
    """Whether a text has the keys of an object."""
    return bool(_MANIFEST.search(text))


def _value(text: str, kind: str) -> tuple[object, str]:
    """A scalar's value, and how YAML reads it; empty for text."""
    if kind == "str" or len(text) > _LONGEST_NUMBER:
        return text, ""
    if kind == "null":
        return None, "nothing"
    if kind == "bool":
        value = text.lower() in _TRUE
        return value, "true" if value else "false"
    if kind == "merge":
        return text, "a merge"
    if kind == "int" and (number := _whole(text)) is not None:
        return number, "a number"
    if kind == "float" and (decimal := _decimal(text)) is not None:
        return decimal, "a number"
    return text, ""


def _whole(text: str) -> int | None:
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-").replace("_", "")
    if _WHOLE.fullmatch(digits):
        return sign * int(digits)
    return next((sign * int(digits, base) for pattern, base in _BASES if pattern.fullmatch(digits)), None)


def _decimal(text: str) -> float | None:
    try:
        number = float(text.replace("_", ""))
    except ValueError:
        return None
    return number if number - number == 0 else None  # Neither infinite nor not a number.


KUBERNETES = Dialect(value=_value, several=True, merges=True, max_nodes=MAX_NODES, max_depth=MAX_DEPTH)
