"""Flows that the kernel tracks (conntrack)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Flow:
    """A tracked flow, in the direction of its first packet."""

    protocol: str
    """`tcp`, `udp` or `sctp`."""
    source: str
    source_port: int
    target: str
    """Where the first packet went, before DNAT."""
    target_port: int
    answered_by: str
    """Who answers: the endpoint after DNAT."""
    key: bytes = b""
    """How the kernel identifies it: the family, and the packed attribute of its first direction."""
