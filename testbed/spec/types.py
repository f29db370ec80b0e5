"""The scalar types of the files a user writes: names, networks, durations, sizes.

Each takes the text of the YAML scalar, says in one line what is wrong with it, and shows an example that would do.
Pydantic turns the ValueErrors into located problems (see `testbed.spec.source`).
"""

import ipaddress
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainValidator, WithJsonSchema

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

NAME_PATTERN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
NAME_LENGTH = 63


class Spec(BaseModel):
    """What every part of a user's file shares: unknown keys are mistakes, types are not guessed, values stay put."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


def _name(text: str) -> str:
    if len(text) > NAME_LENGTH:
        raise ValueError(f"a name has at most {NAME_LENGTH} characters, this one has {len(text)}")
    if not re.fullmatch(NAME_PATTERN, text):
        raise ValueError(
            "a name is made of lower-case letters, digits and '-', and starts and ends with a letter or digit, "
            "such as 'web-1'"
        )
    return text


Name = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$", "maxLength": NAME_LENGTH}),
]
"""A DNS-1123 label, as Kubernetes wants the names of namespaces and nodes."""


def _network(value: object) -> Network:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("an address range is written like 10.244.0.0/16 or fd00:10:244::/56")
    try:
        interface = ipaddress.ip_interface(value)
    except ValueError as error:
        raise ValueError(f"{error}; an address range is written like 10.244.0.0/16") from None
    if interface.ip != interface.network.network_address:
        raise ValueError(f"the address has bits set behind the prefix; the range around it is {interface.network}")
    return interface.network


NetworkRange = Annotated[
    Network,
    PlainValidator(_network),
    WithJsonSchema({"type": "string", "examples": ["10.244.0.0/16", "fd00:10:244::/56"]}),
]


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


def one_or_many(item_schema: dict[str, Any]) -> tuple[BeforeValidator, WithJsonSchema]:
    """For a tuple field that may be written as a bare item: `pod_cidr: 10.244.0.0/16`."""
    schema = {"anyOf": [item_schema, {"type": "array", "items": item_schema, "minItems": 1}]}
    return BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else _as_list(value)), WithJsonSchema(schema)


def _quantity(what: str, units: dict[str, float], example: str) -> Callable[[object], float]:
    pattern = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(sorted(units, key=len, reverse=True))})")

    def parse(value: object) -> float:
        match = pattern.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"{what} is a number with its unit ({', '.join(units)}), such as {example}")
        return float(match[1]) * units[match[2]]

    return parse


_seconds = _quantity("a duration", {"ms": 1e-3, "s": 1.0, "min": 60.0}, "2s or 500ms")
_bytes = _quantity("a size", {"B": 1, "KB": 1e3, "MB": 1e6, "KiB": 1024, "MiB": 1024**2}, "64B or 16KiB")


def _duration(value: object) -> timedelta:
    return value if isinstance(value, timedelta) else timedelta(seconds=_seconds(value))


def _size(value: object) -> int:
    size = _bytes(value)
    if size != int(size) or size < 1:
        raise ValueError("a size is a whole number of bytes, at least one")
    return int(size)


Duration = Annotated[
    timedelta,
    PlainValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|min)$", "examples": ["2s", "500ms"]}),
]
Size = Annotated[
    int,
    PlainValidator(_size),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(B|KB|MB|KiB|MiB)$", "examples": ["64B", "16KiB"]}),
]
"""A number of bytes."""
