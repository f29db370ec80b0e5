"""What a check asks: every pair of pods and nodes, tile by tile, and how much of that at a time.

In a tile are some sources and some targets, and each of the ones asks each of the others. The reason are the neighbour
tables. All namespaces of a machine share one limit of 1,024 learned entries for each family (`gc_thresh3`), which only
the host could raise. So no more is asked than can be learned, and what was learned is forgotten before more is.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, product
from typing import NamedTuple

from testbed.observe.shots import Protocol
from testbed.plan.objects import DeviceAddress, Kind, Plan, Space
from testbed.spec.types import Address

PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "icmp")
MOST_NEIGHBOURS = 700
"""To be learned at a time; some room is left for those that a user's own traffic needs."""
AT_ONCE = 2000
"""Questions under way at a time."""
_TILE = 64
"""Sources, and targets, of a tile."""


class Question(NamedTuple):
    """One pod or node asking another one, over one protocol and family."""

    source: Space
    target: Space
    address: Address
    protocol: Protocol
    to: str
    """The address as text: to make that takes longer than to ask."""
    own: frozenset[str]
    """The source's addresses, as text."""

    def __str__(self) -> str:
        source, target = self.source, self.target
        return f"{source.kind} {source.name} -> {target.kind} {target.name} {self.protocol} {self.to}"


def questions(plan: Plan, protocols: Sequence[Protocol] = PROTOCOLS) -> Iterator[Question]:
    """Every pod to every pod, every node to every pod, every pod to every node, nodes to each other."""
    for tile in tiles(plan):
        yield from asked_in(tile, protocols)


Tile = tuple[Sequence[Space], Sequence[Space]]
"""Sources and targets."""


def tiles(plan: Plan) -> Iterator[Tile]:
    """All pairs of places in parts."""
    places = plan.of_kind(Kind.POD, Kind.NODE)
    blocks = [places[start : start + _TILE] for start in range(0, len(places), _TILE)]
    yield from product(blocks, blocks)


def asked_in(tile: Tile, protocols: Sequence[Protocol]) -> Iterator[Question]:
    """The questions of a tile."""
    sources, targets = tile
    reached = [(target, address, str(address)) for target in targets for address in target.reached_at]
    for source in sources:
        families = {address.version for address in source.reached_at}
        own = own_addresses(source)
        for target, address, text in reached:
            if source is not target and address.version in families:
                for protocol in protocols:
                    yield Question(source, target, address, protocol, text, own)


def own_addresses(source: Space) -> frozenset[str]:
    """Those that others may see it ask from, as text."""
    return frozenset(map(str, source.reached_at))


def batches(
    plan: Plan, asked: Iterable[Question], most_neighbours: int
) -> Iterator[tuple[list[Question], frozenset[str]]]:
    """Questions to be asked at a time, and the places that are to forget what they have learned when they are answered.

    Those are none as long as the neighbour tables have room for the questions that follow.
    """
    batch: list[Question] = []
    learned: set[_Entry] = set()
    is_on_link = _OnLink()
    for _, pair in groupby(asked, key=lambda q: (q.source.name, q.target.name, q.address.version)):
        together = list(pair)
        one = together[0]
        more = _to_learn(one.source, one.target, one.address.version, is_on_link)
        is_full = len(learned) + len(more - learned) > most_neighbours
        if batch and (is_full or len(batch) >= AT_ONCE):
            yield batch, _learners(plan, learned) if is_full else frozenset()
            batch = []
            if is_full:
                learned.clear()
        batch += together
        learned |= more
    if batch:
        yield batch, _learners(plan, learned)


_Entry = tuple[str, str, int]
"""Of a neighbour table: in which place, of whom, in which family."""


def _learners(plan: Plan, learned: Iterable[_Entry]) -> frozenset[str]:
    return frozenset({place for place, _, _ in learned} | {space.name for space in plan.of_kind(Kind.ROUTER)})


def _to_learn(source: Space, target: Space, family: int, is_on_link: "_OnLink") -> set[_Entry]:
    """The entries that two ends and their nodes may need to reach each other.

    Two on one link need each other, any others their routers. It is an estimate, and rather too much.
    """
    here, there = source.home, target.home
    return {
        (source.name, target.name if is_on_link(source, target, family) else "router", family),
        (target.name, source.name if is_on_link(target, source, family) else "router", family),
        (here, source.name, family),
        (there, target.name, family),
        (here, there, family),
        (there, here, family),
    }


class _OnLink:
    """Whether the first takes the other for a neighbour: asked for each of a million pairs, so reckoned in numbers."""

    def __init__(self) -> None:
        self._links: dict[str, list[tuple[int, int, int]]] = {}
        """By place: family, mask and network of each link."""
        self._reached: dict[tuple[str, int], int] = {}
        """By place and family: the address."""

    def __call__(self, one: Space, other: Space, family: int) -> bool:
        if (links := self._links.get(one.name)) is None:
            networks = [item.interface.network for item in one.of(DeviceAddress)]
            links = self._links[one.name] = [(n.version, int(n.netmask), int(n.network_address)) for n in networks]
        if (to := self._reached.get((other.name, family))) is None:
            own = [int(address) for address in other.reached_at if address.version == family]
            to = self._reached[other.name, family] = own[0]
        return any(version == family and to & mask == network for version, mask, network in links)
