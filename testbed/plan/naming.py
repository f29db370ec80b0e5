"""Deterministic device names and MAC addresses, so that the same topology always gives the same plan."""

import hashlib

IFNAME_LENGTH = 15
"""The kernel's IFNAMSIZ less the closing zero."""


def interface_name(prefix: str, name: str) -> str:
    """`prefix` and `name` joined by '-'; with a hash of the name if that is too long for the kernel.

    Truncation would give `web-frontend-1` and `web-frontend-2` the same name.
    """
    full = f"{prefix}-{name}"
    if len(full) <= IFNAME_LENGTH:
        return full
    # '_' cannot occur in a user's name, so a hash never equals a name.
    room = IFNAME_LENGTH - len(prefix) - 1
    return f"{prefix}_{hashlib.sha256(name.encode()).hexdigest()[:room]}"


def mac_address(*parts: str) -> str:
    """A locally administered unicast MAC address, derived from the parts."""
    return f"02:{hashlib.sha256('/'.join(parts).encode()).digest()[:5].hex(':')}"
