"""Names and MAC addresses that follow from what they belong to, so that a plan is the same each time it is made."""

import hashlib

IFNAME_LENGTH = 15
"""The kernel's IFNAMSIZ less the closing zero."""


def interface_name(prefix: str, name: str) -> str:
    """`prefix` and `name` joined by '-', or a hash of the name where that would be too long for the kernel.

    Cutting instead would give `web-frontend-1` and `web-frontend-2` the same name.
    """
    full = f"{prefix}-{name}"
    if len(full) <= IFNAME_LENGTH:
        return full
    # '_' cannot occur in a name that a user writes, so a hash never meets a written-out name.
    room = IFNAME_LENGTH - len(prefix) - 1
    return f"{prefix}_{hashlib.sha256(name.encode()).hexdigest()[:room]}"


def mac_address(*parts: str) -> str:
    """A locally administered unicast MAC address for the thing that the parts name."""
    return f"02:{hashlib.sha256('/'.join(parts).encode()).digest()[:5].hex(':')}"
