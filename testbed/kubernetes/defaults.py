"""Specs with the default values of fields that are understood, as the API server stores them."""

from collections.abc import Mapping
from typing import Any

from testbed.kubernetes.models.meta import Object
from testbed.kubernetes.models.model import Model


def whole_spec(written: Any, typed: Object) -> dict[str, Any]:
    """What is written, with the default values of fields that are understood; empty without a spec."""
    spec = getattr(typed, "spec", None)
    if not isinstance(written, dict) or not isinstance(spec, Model):
        return {}
    return with_defaults(written, spec.model_dump(mode="json", by_alias=True, exclude_none=True))


def steady(old: Any, new: Any, whole_old: Any, whole_new: Any) -> Any:
    """The new data, in the words of the old where both mean the same, as a default that is now written."""
    if whole_old == whole_new:
        return old
    if isinstance(old, dict) and isinstance(new, dict):
        same = {key for key in whole_new if key in whole_old and whole_old[key] == whole_new[key]}
        changed = {
            key: steady(old.get(key), value, whole_old.get(key), whole_new.get(key))
            for key, value in new.items()
            if key not in same
        }
        return {**{key: value for key, value in old.items() if key in same}, **changed}
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [steady(*each) for each in zip(old, new, whole_old, whole_new, strict=True)]
    return new


def with_defaults(written: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """What is written, with the default values of fields that are understood."""
    result = dict(written)
    for key, value in typed.items():
        own = written.get(key)
        if isinstance(own, dict) and isinstance(value, dict):
            result[key] = with_defaults(own, value)
        elif isinstance(own, list) and isinstance(value, list) and len(own) == len(value):
            pairs = zip(own, value, strict=True)
            result[key] = [
                with_defaults(one, other) if isinstance(one, dict) and isinstance(other, dict) else one
                for one, other in pairs
            ]
        elif key not in written and (default := _shown(value)):
            result[key] = default
    return result


def _shown(value: Any) -> Any:
    """A default without empty parts."""
    if isinstance(value, dict):
        return {key: shown for key, part in value.items() if (shown := _shown(part))}
    return value if not isinstance(value, list) else [_shown(part) for part in value]
