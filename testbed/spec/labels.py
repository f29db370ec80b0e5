"""Labels and taints, written as Kubernetes has them.

Each check returns its text, or raises ValueError with a message for the user.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

LENGTH = 63
DOMAIN_LENGTH = 253
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_TAINT = re.compile(r"(?P<key>[^=:]+)(=(?P<value>[^=:]*))?:(?P<effect>[A-Za-z]+)")


def label_key(text: str) -> str:
    """A key of a label or annotation: `NAME` or `PREFIX/NAME`."""
    prefix, slash, name = text.rpartition("/")
    if slash and (not _DOMAIN.fullmatch(prefix) or len(prefix) > DOMAIN_LENGTH):
        raise ValueError(f"the part before '/' must be a domain name, such as example.com, not '{_clipped(prefix)}'")
    if len(name) > LENGTH or not _NAME.fullmatch(name):
        raise ValueError(
            f"a key must have 1 to {LENGTH} letters, digits, '-', '_' and '.', and start and end with a letter or "
            f"digit, not '{_clipped(name)}'; a prefix such as example.com/ may precede it"
        )
    return text


def label_value(text: str) -> str:
    """A value of a label."""
    if len(text) > LENGTH:
        raise ValueError(f"a label's value can have at most {LENGTH} characters, found {len(text)}")
    if text and not _NAME.fullmatch(text):
        raise ValueError(
            "a label's value must consist of letters, digits, '-', '_' and '.', and start and end with a letter or "
            f"digit, not '{_clipped(text)}'"
        )
    return text


def taint_parts(text: str) -> tuple[str, str, str]:
    """Key, value and effect of a taint such as `dedicated=db:NoSchedule`. Raises ValueError."""
    match = _TAINT.fullmatch(text)
    if match is None:
        raise ValueError("must be a taint KEY=VALUE:EFFECT or KEY:EFFECT, such as dedicated=db:NoSchedule")
    if match["effect"] not in EFFECTS:
        raise ValueError(f"the effect of a taint must be {', '.join(EFFECTS[:-1])} or {EFFECTS[-1]}")
    return label_key(match["key"]), label_value(match["value"] or ""), match["effect"]


def _taint(text: str) -> str:
    taint_parts(text)
    return text


def _clipped(text: str) -> str:
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 3]}..."


Labels = dict[Annotated[str, AfterValidator(label_key)], Annotated[str, AfterValidator(label_value)]]
TaintText = Annotated[
    str,
    AfterValidator(_taint),
    WithJsonSchema({"type": "string", "pattern": f"^[^=:]+(=[^=:]*)?:({'|'.join(EFFECTS)})$"}),
]
"""A taint, as `kubectl taint` takes it."""
