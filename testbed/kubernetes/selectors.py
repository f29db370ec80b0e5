"""Label selectors as commands take them: `app=web,tier!=db,env in (a, b),!old,new`."""

import re

from testbed.kubernetes.models.meta import LabelSelector, Requirement
from testbed.spec.labels import label_key, label_value

_PART = re.compile(
    r"\s*(?:(?P<set>[^\s,()=!]+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)"
    r"|(?P<key>[^\s,()=!]+)\s*(?P<equal>==|=|!=)\s*(?P<value>[^\s,()=!]*)"
    r"|(?P<absent>!)?\s*(?P<exists>[^\s,()=!]+))\s*(?:,|$)"
)


def parse_selector(text: str) -> LabelSelector:
    """A selector of a command. Raises ValueError with a message for the user."""
    requirements: list[Requirement] = []
    at = 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None:
            raise ValueError(f"invalid selector '{text[at:]}'; write one such as app=web,tier!=db,env in (a,b),!old")
        requirements.append(_requirement(match))
        at = match.end()
    return LabelSelector.model_construct(match_labels={}, match_expressions=tuple(requirements))


def _requirement(match: re.Match[str]) -> Requirement:
    if match["set"]:
        values = tuple(part.strip() for part in match["values"].split(","))
        return _made(match["set"], "In" if match["operator"] == "in" else "NotIn", values)
    if match["key"]:
        return _made(match["key"], "NotIn" if match["equal"] == "!=" else "In", (match["value"],))
    return _made(match["exists"], "DoesNotExist" if match["absent"] else "Exists", ())


def _made(key: str, operator: str, values: tuple[str, ...]) -> Requirement:
    label_key(key)
    for value in values:
        label_value(value)
    return Requirement.model_construct(key=key, operator=operator, values=values)
