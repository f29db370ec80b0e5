"""Ages, selectors and lists in the columns of tables."""

from collections.abc import Iterable, Mapping

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"
_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400


def age(seconds: float) -> str:
    """A duration as kubectl shows it: 45s, 3m20s, 5h12m, 4d3h, 2y18d."""
    whole = max(0, int(seconds))
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    if whole < 10 * _MINUTE:
        return _two(whole, _MINUTE, "m", 1, "s")
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 8 * _HOUR:
        return _two(whole, _HOUR, "h", _MINUTE, "m")
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}h"
    if whole < 8 * _DAY:
        return _two(whole, _DAY, "d", _HOUR, "h")
    if whole < 2 * _YEAR:
        return f"{whole // _DAY}d"
    return _two(whole, _YEAR, "y", _DAY, "d") if whole < 8 * _YEAR else f"{whole // _YEAR}y"


def _two(seconds: int, unit: int, name: str, smaller: int, other: str) -> str:
    rest = seconds % unit // smaller
    return f"{seconds // unit}{name}" + (f"{rest}{other}" if rest else "")


def joined(items: Iterable[object]) -> str:
    """Items with commas; `<none>` if there are none."""
    return ",".join(map(str, items)) or NONE


def pairs(labels: Mapping[str, str]) -> str:
    """`app=web,tier=front`; `<none>` if there are none."""
    return joined(f"{key}={value}" for key, value in sorted(labels.items()))
