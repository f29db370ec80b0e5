"""Names, labels, ports, addresses and quantities, checked as the API server checks them.

Each validator returns the value, or raises ValueError with a message for the user.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator

from testbed.kubernetes.fields import QUANTITY, clipped, found
from testbed.spec.labels import label_key, label_value

LABEL_LENGTH = 63
SUBDOMAIN_LENGTH = 253
PORT_NAME_LENGTH = 15

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_PORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_PERCENT = re.compile(r"[0-9]{1,9}%")
_FACTORS = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1)}
_FACTORS |= {unit: Fraction(1000 ** (number + 1)) for number, unit in enumerate("kMGTPE")}
_FACTORS |= {f"{unit}i": Fraction(1024 ** (number + 1)) for number, unit in enumerate("KMGTPE")}


class Unsupported(ValueError):
    """A word that is none of the valid ones."""

    def __init__(self, value: str, valid: tuple[str, ...]) -> None:
        super().__init__(f"must be {either(valid)}{found(value)}")
        self.valid = valid


def either(words: Iterable[str]) -> str:
    """`TCP, UDP or SCTP`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def label(text: str) -> str:
    """A DNS-1123 label: a name of a container, namespace, or volume."""
    return _named(
        text, _LABEL, LABEL_LENGTH, "lower-case letters, digits and '-', and start and end with a letter or digit"
    )


def label_1035(text: str) -> str:
    """A DNS-1035 label: a name of a Service."""
    return _named(
        text,
        _LABEL_1035,
        LABEL_LENGTH,
        "lower-case letters, digits and '-', start with a letter, and end with a letter or digit",
        "web-",
    )


def subdomain(text: str) -> str:
    """A DNS-1123 subdomain: a name of most objects."""
    return _named(
        text,
        _SUBDOMAIN,
        SUBDOMAIN_LENGTH,
        "lower-case letters, digits, '-' and '.', and each part must start and end with a letter or digit",
    )


def _named(text: str, pattern: re.Pattern[str], longest: int, rule: str, prefix: str = "") -> str:
    if not text:
        raise ValueError("a name cannot be empty")
    if len(text) > longest:
        raise ValueError(f"a name can have at most {longest} characters, found {len(text)}")
    if pattern.fullmatch(text):
        return text
    dots = "." if pattern is _SUBDOMAIN else ""
    fixed = re.sub(rf"[^a-z0-9{dots}]+", "-", text.lower()).strip("-.")
    fixed = fixed if pattern.fullmatch(fixed) else f"{prefix}{fixed}"
    example = fixed if pattern.fullmatch(fixed) else "web-1"
    raise ValueError(f"a name must consist of {rule}, such as '{clipped(example)}'{found(text)}")


def annotation_key(text: str) -> str:
    """A key of an annotation, which can have upper-case prefixes."""
    label_key(text.lower())
    return text


def port(number: int) -> int:
    """A port number."""
    if not 1 <= number <= 65535:
        raise ValueError(f"a port must be 1 to 65535, not {number}")
    return number


def port_name(text: str) -> str:
    """A name of a container's port (IANA_SVC_NAME)."""
    if not text or len(text) > PORT_NAME_LENGTH:
        raise ValueError(f"a port's name must have 1 to {PORT_NAME_LENGTH} characters, found {len(text)}")
    if not _PORT_NAME.fullmatch(text) or "--" in text:
        raise ValueError(
            "a port's name must consist of lower-case letters, digits and single '-', and start and end with a letter "
            f"or digit{found(text)}"
        )
    if not re.search("[a-z]", text):
        raise ValueError(f"a port's name must contain a letter{found(text)}")
    return text


def port_or_name(value: int | str) -> int | str:
    """A port number, or the name of a container's port."""
    if isinstance(value, int):
        return port(value)
    if value.isdigit():
        raise ValueError(f"a port number must be without quotes; write {value}")
    return port_name(value)


def address(text: str) -> str:
    """An IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"must be an IP address, such as 10.0.0.1 or fd00::1{found(text)}") from None
    return text


def cidr(text: str) -> str:
    """An address range, in which host bits may be set."""
    try:
        if "/" not in text:
            raise ValueError
        ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError(f"must be an address range, such as 10.0.0.0/8 or fd00::/8{found(text)}") from None
    return text


def data_key(text: str) -> str:
    """A key of a ConfigMap or Secret, which becomes a file name."""
    if not text or len(text) > SUBDOMAIN_LENGTH or not _KEY.fullmatch(text) or text in (".", ".."):
        raise ValueError(f"a key must consist of letters, digits, '-', '_' and '.'{found(text)}")
    return text


def env_name(text: str) -> str:
    """A name of an environment variable."""
    if not text or "=" in text or not all(" " <= char <= "~" for char in text):
        raise ValueError(f"must consist of printable ASCII characters without '='{found(text)}")
    return text


def absolute_path(text: str) -> str:
    """A path of HTTP."""
    if not text.startswith("/"):
        raise ValueError(f"a path must start with '/'{found(text)}")
    return text


def nonempty(text: str) -> str:
    """Text that is not empty and has no white space around it."""
    if not text.strip():
        raise ValueError("cannot be empty")
    if text != text.strip():
        raise ValueError(f"must not start or end with white space{found(text)}")
    return text


def share(value: int | str) -> int | str:
    """A number of pods, or a percentage of them."""
    if isinstance(value, str) and not _PERCENT.fullmatch(value):
        raise ValueError(f"must be a number, or a percentage such as 25%{found(value)}")
    if isinstance(value, int) and value < 0:
        raise ValueError(f"must be at least 0, not {value}")
    return value


def within(least: int, most: int = 2**31 - 1) -> AfterValidator:
    """A whole number in a range."""

    def check(number: int) -> int:
        if not least <= number <= most:
            bounds = f"at least {least}" if most == 2**31 - 1 and number < least else f"{least} to {most}"
            raise ValueError(f"must be {bounds}, not {number}")
        return number

    return AfterValidator(check)


def word(*valid: str) -> AfterValidator:
    """One of a few words."""

    def check(text: str) -> str:
        if text not in valid:
            raise Unsupported(text, tuple(filter(None, valid)))
        return text

    return AfterValidator(check)


def quantity(value: str | int | float) -> Fraction:
    """A quantity as a number: `500m` is 1/2, `1Ki` is 1024. Raises ValueError."""
    match = QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError(f"must be a quantity, such as 500m or 64Mi{found(value)}")
    number, unit = Fraction(str(value)[: match.end(1)]), match[2] or ""
    if unit[:1] in ("e", "E") and len(unit) > 1:
        exponent = int(unit[1:])
        if abs(exponent) > 30:
            raise ValueError(f"is out of range{found(value)}")
        return number * Fraction(10) ** exponent
    return number * _FACTORS[unit]


def share_of(value: int | str, total: int, *, round_up: bool) -> int:
    """A number of pods, from a number or a percentage of `total`."""
    if isinstance(value, int):
        return value
    hundredfold = int(value.removesuffix("%")) * total
    return -(-hundredfold // 100) if round_up else hundredfold // 100


def _each(check: Callable[[str], str], value: Callable[[str], str] | None = None) -> AfterValidator:
    """Check the keys and values of a mapping; the first error is raised with its key."""

    def validate(mapping: Mapping[str, str]) -> Mapping[str, str]:
        for key, own in mapping.items():
            for test, text, is_key in ((check, key, True), (value, own, False)):
                try:
                    if test is not None:
                        test(text)
                except ValueError as error:
                    raise InMapping(key, str(error), is_key) from None
        return mapping

    return AfterValidator(validate)


class InMapping(ValueError):
    """An error in a key of a mapping, or in its value."""

    def __init__(self, key: str, message: str, is_key: bool) -> None:
        super().__init__(message)
        self.key = key
        self.is_key = is_key


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


T = TypeVar("T")
Items = Annotated[tuple[T, ...], BeforeValidator(_listed)]
"""A list."""

Label = Annotated[str, AfterValidator(label)]
Subdomain = Annotated[str, AfterValidator(subdomain)]
LabelKey = Annotated[str, AfterValidator(label_key)]
Labels = Annotated[dict[str, str], _each(label_key, label_value)]
Annotations = Annotated[dict[str, str], _each(annotation_key)]
Port = Annotated[int, AfterValidator(port)]
PortName = Annotated[str, AfterValidator(port_name)]
PortOrName = Annotated[int | str, AfterValidator(port_or_name)]
Address = Annotated[str, AfterValidator(address)]
Cidr = Annotated[str, AfterValidator(cidr)]
DataKeys = Annotated[dict[str, str], _each(data_key)]
Text = Annotated[str, AfterValidator(nonempty)]
HttpPath = Annotated[str, AfterValidator(absolute_path)]
Share = Annotated[int | str, AfterValidator(share)]
Count = Annotated[int, within(0)]
Protocol = Annotated[str, word("TCP", "UDP", "SCTP")]
Quantity = Annotated[str | int | float, AfterValidator(lambda value: quantity(value) is not None and value)]
