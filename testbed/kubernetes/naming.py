"""Names and identities as a cluster gives them, but the same in each run with the same seed."""

import hashlib
import json
import uuid
from collections.abc import Callable
from typing import Any

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Characters of generated names: without vowels, so that they form no words."""
SUFFIX_LENGTH = 5
MAX_BASE = 63 - SUFFIX_LENGTH
_TRIES = 1000


def uid(*parts: object) -> str:
    """A UID that depends on the parts alone."""
    return str(uuid.UUID(bytes=_digest(parts)[:16], version=4))


def template_hash(template: Any) -> str:
    """The value of the label pod-template-hash: the FNV-1a hash of a template, written in `ALPHABET`."""
    value = 0x811C9DC5
    for byte in json.dumps(template, sort_keys=True, separators=(",", ":"), default=str).encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(ALPHABET[ord(digit) % len(ALPHABET)] for digit in str(value))


def generated(base: str, is_taken: Callable[[str], bool], *parts: object) -> str:
    """A name of `base` and five characters, as generateName makes it."""
    base = base[:MAX_BASE]
    for number in range(_TRIES):
        digest = _digest((*parts, base, number))
        name = base + "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:SUFFIX_LENGTH])
        if not is_taken(name):
            return name
    raise ValueError(f"no free name for {base}")


def _digest(parts: tuple[object, ...]) -> bytes:
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=16).digest()
