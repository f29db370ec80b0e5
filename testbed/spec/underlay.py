"""What a fabric comes to, however it was written: its switches, its routers, and every link with its qualities."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from testbed.spec.types import Network


@dataclass(frozen=True)
class Quality:
    """What a link does to what it carries in one direction. Shares are parts of one."""

    rate: int | None = None
    """Bits per second; unlimited if None."""
    queue: int | None = None
    """Bytes that wait for the rate before packets are dropped; if None what the rate carries in a while."""
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
        """Whether packets come later than they were sent, or not as they were."""
        return self.is_delayed or self.is_uneven

    @property
    def is_uneven(self) -> bool:
        """Whether single packets fare otherwise than those around them, so that it matters how large they are."""
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
        """Whether it is more than a plain cable."""
        return any(way.rate or way.is_disturbed for way in (self.forth, self.back))


@dataclass(frozen=True)
class Underlay:
    """A fabric with every name in it. Whoever is an end of a link and neither switch nor router is a node."""

    switches: Mapping[str, tuple[Network, ...]]
    """By name: the subnets of its Ethernet that are written with it."""
    routers: tuple[str, ...]
    links: tuple[Link, ...]
    transit: tuple[Network, ...] = ()
    """Where links that have no switch at either end take their addresses from, a range a family."""
    loopbacks: tuple[Network, ...] = ()
    """Where nodes with several links take their one address from, a range a family."""
    families: tuple[int, ...] = field(default=(4,))
    """Address families in use, in the order in which they are written."""

    def ethernets(self) -> tuple[tuple[str, ...], ...]:
        """The switches, those that are linked with each other together; each in the order in which they are written."""
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
