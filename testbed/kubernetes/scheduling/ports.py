"""Ports that pods take on their node: each address, protocol and number only once."""

from collections.abc import Iterable

HostPort = tuple[str, str, int]
"""Address, protocol and number; the address 0.0.0.0 is all addresses."""
ANY = ("0.0.0.0", "::")
NO_PORTS = "node(s) didn't have free ports for the requested pod ports"


def conflicts(wanted: tuple[HostPort, ...], taken: Iterable[HostPort]) -> bool:
    """Whether one of the wanted ports is taken."""
    return any(
        protocol == other and number == another and (address == place or address in ANY or place in ANY)
        for address, protocol, number in wanted
        for place, other, another in taken
    )
