"""Scalar types of users' files: names, networks, durations, sizes.

Each parses the text of a YAML scalar; its ValueError is one line with an example. Pydantic turns it into a
ValidationError, and `testbed.spec.wording` turns that into misfits.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Self

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

from testbed.spec.problems import Invalid

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
"""Ranges that cannot be used for addresses of nodes and pods, and their purpose."""


_STORED = {"stored": True}
"""Validation context for data written by the models, in which seconds and bytes are numbers."""


class Spec(BaseModel):
    """Base of all models of users' files: no unknown keys, no type coercion, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True, defer_build=True)

    if not TYPE_CHECKING:  # Otherwise mypy would accept any attribute.

        def __getattr__(self, name: str) -> Any:
            """Raises Invalid for a field without a value, in a model of a file with errors (`reading.read`)."""
            if name in type(self).model_fields:
                raise Invalid(name)
            return super().__getattr__(name)

    def as_data(self) -> dict[str, Any]:
        """The fields that were set, as JSON data."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @classmethod
    def of_data(cls, data: object) -> Self:
        """The model from the data of `as_data`. Raises ValueError."""
        return cls.model_validate(data, strict=False, context=_STORED, by_alias=True)


def unusual_character(text: str) -> str:
    """Code and name of the first character that is not printable ASCII; empty if there is none."""
    for char in text:
        if not " " <= char <= "~":
            return f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()
    return ""


def _name(text: str) -> str:
    if unusual := unusual_character(text):
        raise ValueError(f"a name must consist of a-z, 0-9 and '-'; found {unusual}")
    if not text:
        raise ValueError("a name cannot be empty")
    if len(text) > NAME_LENGTH:
        raise ValueError(f"a name can have at most {NAME_LENGTH} characters, found {len(text)}")
    if re.fullmatch(NAME_PATTERN, text):
        return text
    fixed = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    raise ValueError(
        "a name must consist of lower-case letters, digits and '-', and start and end with a letter or digit, "
        f"such as '{fixed or 'web-1'}'"
    )


Name = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$", "maxLength": NAME_LENGTH}),
]
"""A DNS-1123 label, as Kubernetes requires for names of namespaces and nodes."""


def _network(value: object) -> Network:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    if not isinstance(value, str):
        raise ValueError("must be an address range, such as 10.244.0.0/16 or fd00:10:244::/56")
    address, slash, length = value.partition("/")
    network = ipaddress.ip_interface((_address(address), _prefix_length(address, slash, length))).network
    if str(network.network_address) != str(ipaddress.ip_address(address)):
        raise ValueError(f"host bits are set; the range is {network}")
    for unusable, use in UNUSABLE_RANGES.items():
        if network.version == unusable.version and network.overlaps(unusable):
            raise ValueError(f"{network} contains {use}; private ranges are 10.0.0.0/8, 192.168.0.0/16 and fd00::/8")
    return network


def _address(text: str) -> Address:
    if "%" in text:
        raise ValueError("an address range cannot have a zone; remove '%' and the text after it")
    try:
        return ipaddress.IPv6Address(text) if ":" in text else ipaddress.IPv4Address(text)
    except ValueError as error:
        raise ValueError(f"{error}; write an address range, such as 10.244.0.0/16 or fd00:10:244::/56") from None


def _prefix_length(address: str, slash: str, length: str) -> int:
    version, longest, example = (6, 128, 56) if ":" in address else (4, 32, 16)
    if not slash:
        raise ValueError(f"the prefix length is missing; write one, such as {address}/{example}")
    if not re.fullmatch(r"[0-9]{1,3}", length) or int(length) > longest:
        raise ValueError(f"the prefix length of an IPv{version} range must be 0 to {longest}, not '{length}'")
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
    """For a tuple field that may be written as a single item: `pod_cidr: 10.244.0.0/16`."""
    many = {"type": "array", "items": item_schema, "minItems": 1}
    return BeforeValidator(_as_tuple), WithJsonSchema({"anyOf": [item_schema, many]})


def _quantity(what: str, units: dict[str, float], example: str) -> Callable[[object], float]:
    # At most nine digits, so that the value in any unit fits into a timedelta.
    pattern = re.compile(rf"([0-9]{{1,9}}(?:\.[0-9]{{1,9}})?) ?({'|'.join(sorted(units, key=len, reverse=True))})")

    def parse(value: object) -> float:
        match = pattern.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"must be {what} with its unit ({', '.join(units)}), such as {example}")
        return float(match[1]) * units[match[2]]

    return parse


_SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0}
_delay_seconds = _quantity("a delay", {"us": 1e-6, "ms": 1e-3, "s": 1.0}, "20ms or 100us")
_bits_per_second = _quantity("a rate", {"kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}, "100Mbit or 1Gbit")
_BYTES = {"B": 1, "KB": 1e3, "MB": 1e6, "KiB": 1024, "MiB": 1024**2}


def _timedelta(value: object, info: ValidationInfo, seconds: Callable[[object], float]) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if info.context == _STORED and isinstance(value, int | float):
        return timedelta(seconds=value)
    return timedelta(seconds=seconds(value))


def _delay(value: object, info: ValidationInfo) -> timedelta:
    return _timedelta(value, info, _delay_seconds)


def rate_of(value: object) -> int:
    """Bits per second of a rate as a user writes it. Raises ValueError."""
    return value if type(value) is int else round(_bits_per_second(value))


def _share(value: object) -> float:
    if isinstance(value, float):
        return value
    match = re.fullmatch(r"([0-9]{1,2}(?:\.[0-9]{1,4})?) ?%", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a percentage below 100%, such as 1% or 0.5%")
    return float(match[1]) / 100


def durations(
    *examples: str, least: timedelta = timedelta(0), most: timedelta = timedelta.max, step: timedelta | None = None
) -> tuple[PlainValidator, PlainSerializer, WithJsonSchema]:
    """For a field with a duration from `least` to `most`, in multiples of `step`. All examples must be valid."""
    seconds = _quantity("a duration", _SECONDS, " or ".join(examples))

    def parse(value: object, info: ValidationInfo) -> timedelta:
        duration = _timedelta(value, info, seconds)
        if not least <= duration <= most:
            allowed = f"must be {duration_text(least)} to {duration_text(most)}"
            raise ValueError(f"{allowed}, such as {examples[0]}, not {duration_text(duration)}")
        if step and duration % step:
            allowed = f"must be a multiple of {duration_text(step)}, such as {examples[0]}"
            raise ValueError(f"{allowed}, not {duration_text(duration)}")
        return duration

    pattern = r"^[0-9]{1,9}(\.[0-9]{1,9})? ?(ms|s|min)$"
    return (
        PlainValidator(parse),
        PlainSerializer(timedelta.total_seconds, return_type=float, when_used="json"),
        WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)}),
    )


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
"""Delay of a link, with microsecond resolution."""


def sizes(*examples: str) -> tuple[PlainValidator, WithJsonSchema]:
    """For a field with a number of bytes. All examples must be valid."""
    in_bytes = _quantity("a size", _BYTES, " or ".join(examples))

    def parse(value: object, info: ValidationInfo) -> int:
        if info.context == _STORED and type(value) is int:
            return value
        size = in_bytes(value)
        if size != int(size):
            raise ValueError(f"must be a whole number of bytes, such as {examples[0]}")
        return int(size)

    pattern = r"^[0-9]{1,9}(\.[0-9]{1,9})? ?(B|KB|MB|KiB|MiB)$"
    return PlainValidator(parse), WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


Size = Annotated[int, *sizes("64B", "16KiB")]
"""The size of a message."""

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
"""A fraction of 1, written in percent."""


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


def minutes(seconds: float) -> str:
    """A time in minutes, or in seconds if it is short."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 600 else f"{seconds / 60:.0f} min"
