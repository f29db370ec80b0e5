"""A plan as plain data for JSON."""

from dataclasses import fields, is_dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

_TEXT = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)


def as_data(value: Any) -> Any:
    """Dataclasses as dictionaries, each with its `type`; addresses as text, bytes in hexadecimal; the rest as it is."""
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: as_data(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__name__.lower()} | named
    if isinstance(value, tuple | list):
        return [as_data(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, _TEXT) else value
