"""What the parent says of a container."""

from typing import NamedTuple


class Port(NamedTuple):
    number: int
    protocol: str
    """TCP, UDP or SCTP."""
    fixed: str | None = None
    """What it answers to every request; None: the paths and words of netexec."""
    is_raw: bool = False
    """Whether a TCP port sends `fixed` to each connection and closes it, without HTTP."""

    def __str__(self) -> str:
        return f"port {self.number}/{self.protocol}"


class Facts(NamedTuple):
    """What the container tells about itself."""

    host_name: str
    pod: str
    namespace: str
    node: str
    container: str
    image: str
    addresses: tuple[str, ...]
