"""The scalar types of the files a user writes: names, networks, durations, sizes.

Each takes the text of the YAML scalar, says in one line what is wrong with it, and shows an example that
would do. Pydantic makes its own errors of the ValueErrors, `testbed.spec.wording` makes misfits of those.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

NAME_PATTERN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
NAME_LENGTH = 63

UNUSABLE_RANGES = {
    ipaddress.ip_network(cidr): use
    for cidr, use in {
        "0.0.0.0/8": "addresses that mean 'this network'",
        "127.0.0.0/8": "loopback addresses, which never leave a host",
        "169.254.0.0/16": "link-local addresses, which are not routed",
        "224.0.0.0/4": "multicast addresses",
        "240.0.0.0/4": "reserved addresses",
        "::/127": "the unspecified and the loopback address",
        "::ffff:0:0/96": "IPv4 addresses in IPv6 notation",
        "fe80::/10": "link-local addresses, which are not routed",
        "ff00::/8": "multicast addresses",
    }.items()
}
"""Ranges that no node or pod can have its address from, and what they are for."""


_STORED = {"stored": True}
"""The context in which models read what they themselves have written: seconds and bytes are numbers then."""


class Spec(BaseModel):
    """What every part of a user's file shares: no unknown keys, no guessing of types, no change later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True, defer_build=True)

    def as_data(self) -> dict[str, Any]:
        """What was written of it, ready for JSON."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @classmethod
    def of_data(cls, data: object) -> Self:
        """What `as_data` made, read back; equal to that one. Raises ValueError."""
        return cls.model_validate(data, strict=False, context=_STORED, by_alias=True)


def unusual_character(text: str) -> str:
    """The first character beyond printable ASCII, by number and name: it may look like another one."""
    for char in text:
        if not " " <= char <= "~":
            return f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()
    return ""


def _name(text: str) -> str:
    if unusual := unusual_character(text):
        raise ValueError(f"a name is made of a-z, 0-9 and '-', but this one has the character {unusual}")
    if not text:
        raise ValueError("a name has at least one character")
    if len(text) > NAME_LENGTH:
        raise ValueError(f"a name has at most {NAME_LENGTH} characters, this one has {len(text)}")
    if re.fullmatch(NAME_PATTERN, text):
        return text
    mend = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    raise ValueError(
        "a name is made of lower-case letters, digits and '-', and starts and ends with a letter or digit, "
        f"such as '{mend or 'web-1'}'"
    )


Name = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$", "maxLength": NAME_LENGTH}),
]
"""A DNS-1123 label, as Kubernetes wants the names of namespaces and nodes."""


def _network(value: object) -> Network:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    if not isinstance(value, str):
        raise ValueError("an address range is written like 10.244.0.0/16 or fd00:10:244::/56")
    address, slash, length = value.partition("/")
    network = ipaddress.ip_interface((_address(address), _prefix_length(address, slash, length))).network
    if str(network.network_address) != str(ipaddress.ip_address(address)):
        raise ValueError(f"the address has bits set behind the prefix; the range around it is {network}")
    for unusable, use in UNUSABLE_RANGES.items():
        if network.version == unusable.version and network.overlaps(unusable):
            raise ValueError(f"{network} holds {use}; private ranges are 10.0.0.0/8, 192.168.0.0/16 and fd00::/8")
    return network


def _address(text: str) -> Address:
    if "%" in text:
        raise ValueError("an address range has no zone; leave out what follows the '%'")
    try:
        return ipaddress.IPv6Address(text) if ":" in text else ipaddress.IPv4Address(text)
    except ValueError as error:
        raise ValueError(f"{error}; an address range is written like 10.244.0.0/16 or fd00:10:244::/56") from None


def _prefix_length(address: str, slash: str, length: str) -> int:
    version, longest, example = (6, 128, 56) if ":" in address else (4, 32, 16)
    if not slash:
        raise ValueError(f"an address range ends with its prefix length, such as {address}/{example}")
    if not re.fullmatch(r"[0-9]{1,3}", length) or int(length) > longest:
        raise ValueError(f"the prefix length of an IPv{version} range is a number from 0 to {longest}, not '{length}'")
    return int(length)


NetworkRange = Annotated[
    Network,
    PlainValidator(_network),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["10.244.0.0/16", "fd00:10:244::/56"]}),
]


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def listed(value: object) -> object:
    """A list as a tuple."""
    return tuple(value) if isinstance(value, list) else value


def one_or_many(item_schema: dict[str, Any]) -> tuple[BeforeValidator, WithJsonSchema]:
    """For a tuple field that may be written as a bare item: `pod_cidr: 10.244.0.0/16`."""
    many = {"type": "array", "items": item_schema, "minItems": 1}
    return BeforeValidator(_as_tuple), WithJsonSchema({"anyOf": [item_schema, many]})


def _quantity(what: str, units: dict[str, float], example: str) -> Callable[[object], float]:
    # At most nine digits, so that no product of them and a unit is beyond what a timedelta can hold.
    pattern = re.compile(rf"([0-9]{{1,9}}(?:\.[0-9]{{1,9}})?) ?({'|'.join(sorted(units, key=len, reverse=True))})")

    def parse(value: object) -> float:
        match = pattern.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"{what} is a number with its unit ({', '.join(units)}), such as {example}")
        return float(match[1]) * units[match[2]]

    return parse


_seconds = _quantity("a duration", {"ms": 1e-3, "s": 1.0, "min": 60.0}, "2s or 500ms")
_delay_seconds = _quantity("a delay", {"us": 1e-6, "ms": 1e-3, "s": 1.0}, "20ms or 100us")
_bits_per_second = _quantity("a rate", {"kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}, "100Mbit or 1Gbit")
_bytes = _quantity("a size", {"B": 1, "KB": 1e3, "MB": 1e6, "KiB": 1024, "MiB": 1024**2}, "64B or 16KiB")


def _timedelta(value: object, info: ValidationInfo, seconds: Callable[[object], float]) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if info.context == _STORED and isinstance(value, int | float):
        return timedelta(seconds=value)
    return timedelta(seconds=seconds(value))


def _duration(value: object, info: ValidationInfo) -> timedelta:
    return _timedelta(value, info, _seconds)


def _delay(value: object, info: ValidationInfo) -> timedelta:
    return _timedelta(value, info, _delay_seconds)


def _size(value: object, info: ValidationInfo) -> int:
    if info.context == _STORED and type(value) is int:
        return value
    size = _bytes(value)
    if size != int(size):
        raise ValueError("a size is a whole number of bytes, such as 64B")
    return int(size)


def rate_of(value: object) -> int:
    """Bits per second of a rate as a user writes it; ValueError if it is none."""
    return value if type(value) is int else round(_bits_per_second(value))


def _share(value: object) -> float:
    if isinstance(value, float):
        return value
    match = re.fullmatch(r"([0-9]{1,2}(?:\.[0-9]{1,4})?) ?%", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a share is a number of percent below 100, such as 1% or 0.5%")
    return float(match[1]) / 100


Duration = Annotated[
    timedelta,
    PlainValidator(_duration),
    PlainSerializer(timedelta.total_seconds, return_type=float, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})? ?(ms|s|min)$",
            "examples": ["2s", "500ms"],
        }
    ),
]
Delay = Annotated[
    timedelta,
    PlainValidator(_delay),
    PlainSerializer(timedelta.total_seconds, return_type=float, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})? ?(us|ms|s)$",
            "examples": ["20ms", "100us"],
        }
    ),
]
"""How long a link takes, to the microsecond."""
Size = Annotated[
    int,
    PlainValidator(_size),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})? ?(B|KB|MB|KiB|MiB)$",
            "examples": ["64B", "16KiB"],
        }
    ),
]
"""A number of bytes."""

Rate = Annotated[
    int,
    PlainValidator(rate_of),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})? ?(kbit|Mbit|Gbit)$",
            "examples": ["100Mbit", "1Gbit"],
        }
    ),
]
"""Bits per second."""
Share = Annotated[
    float,
    PlainValidator(_share),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,2}(\.[0-9]{1,4})? ?%$", "examples": ["1%"]}),
]
"""A part of one, written in percent."""


def rate_text(bits_per_second: int) -> str:
    """A rate as a user would write it."""
    for unit, factor in (("Gbit", 10**9), ("Mbit", 10**6)):
        if bits_per_second >= factor:
            return f"{bits_per_second / factor:g}{unit}"
    return f"{bits_per_second / 1000:g}kbit"


def duration_text(duration: timedelta) -> str:
    """A duration as a user would write it."""
    milliseconds = duration // timedelta(milliseconds=1)
    for unit, factor in (("min", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % factor == 0:
            return f"{milliseconds // factor}{unit}"
    return f"{milliseconds}ms"
