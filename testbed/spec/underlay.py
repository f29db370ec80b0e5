"""The one form of all fabrics: switches, routers, and every link with its qualities."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from testbed.spec.types import Network


@dataclass(frozen=True)
class Quality:
    """Qualities of a link in one direction. Shares are fractions of 1."""

    rate: int | None = None
    """Bits per second; unlimited if None."""
    queue: int | None = None
    """Queue size in bytes, for a link with a rate; the default of `usual_queue` if None."""
    delay_us: int = 0
    jitter_us: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0

    @property
    def is_delayed(self) -> bool:
        return bool(self.delay_us or self.jitter_us)

    @property
    def is_disturbed(self) -> bool:
        """Whether packets are delayed, lost, duplicated or reordered."""
        return self.is_delayed or self.is_uneven

    @property
    def is_uneven(self) -> bool:
        """Whether single packets are lost, duplicated or reordered, so that packet sizes matter."""
        return bool(self.loss or self.duplicate or self.reorder)


@dataclass(frozen=True)
class Link:
    """A link between two places."""

    ends: tuple[str, str]
    mtu: int
    forth: Quality = Quality()
    """From the first end to the second."""
    back: Quality = Quality()
    offload: bool = True
    """Whether it carries segments larger than its MTU."""

    @property
    def is_shaped(self) -> bool:
        """Whether it has a rate limit, delay, loss or other disturbance."""
        return any(way.rate or way.is_disturbed for way in (self.forth, self.back))


@dataclass(frozen=True)
class Underlay:
    """A fabric with all its names. Link ends that are not switches or routers are nodes."""

    switches: Mapping[str, tuple[Network, ...]]
    """By name, with the subnets given at the switch."""
    routers: tuple[str, ...]
    links: tuple[Link, ...]
    transit: tuple[Network, ...] = ()
    """Address ranges of links without a switch, one per family."""
    loopbacks: tuple[Network, ...] = ()
    """Address ranges of nodes with several links, one per family."""
    families: tuple[int, ...] = field(default=(4,))
    """Address families in use, in the order of the file."""

    def ethernets(self) -> tuple[tuple[str, ...], ...]:
        """Groups of switches that are linked with each other, in the order of the file."""
        group = {name: name for name in self.switches}

        def leader(name: str) -> str:
            while group[name] != name:
                name = group[name]
            return name

        for link in self.links:
            one, other = link.ends
            if one in group and other in group:
                group[leader(other)] = leader(one)
        together: dict[str, list[str]] = {}
        for name in self.switches:
            together.setdefault(leader(name), []).append(name)
        return tuple(map(tuple, together.values()))
