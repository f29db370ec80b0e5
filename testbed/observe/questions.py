"""The questions of a check: every pair of pods and nodes, in tiles and batches.

In a tile, some places ask others, each of them. The reason is the neighbour tables: all namespaces of a machine share a
limit of 1,024 learned entries for each family (`gc_thresh3`), which only the host can raise. So a batch asks no more
than can be learned, and learned entries are flushed before the next.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, combinations_with_replacement, groupby, product
from typing import NamedTuple, TypeVar
from typing import Protocol as ProtocolClass

from testbed.observe.shots import Protocol
from testbed.plan.objects import DeviceAddress, Kind, Plan, Space
from testbed.spec.types import Address

PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "icmp")
MOST_NEIGHBOURS = 400
"""Most entries to learn at a time; the rest is left for other labs of the machine, and for checks of them."""
AT_ONCE = 2000
"""Most questions in a batch."""
_TILE = 32
"""Places on each side of a tile."""


class Question(NamedTuple):
    """One pod or node asks another, with one protocol and family."""

    source: Space
    target: Space
    address: Address
    protocol: Protocol
    to: str
    """The address as text, since formatting it takes longer than asking."""
    own: frozenset[str]
    """The source's addresses, as text."""

    def __str__(self) -> str:
        source, target = self.source, self.target
        return f"{source.kind} {source.name} -> {target.kind} {target.name} {self.protocol} {self.to}"


def questions(plan: Plan, protocols: Sequence[Protocol] = PROTOCOLS) -> Iterator[Question]:
    """All questions: every pod and node asks every other."""
    for tile in tiles(plan):
        yield from asked_in(tile, protocols)


Tile = tuple[Sequence[Space], Sequence[Space]]
"""Some places, and others or the same ones: all of the first ask all of the second, and the other way round."""


def tiles(plan: Plan) -> Iterator[Tile]:
    """All pairs of places, in tiles."""
    places = plan.of_kind(Kind.POD, Kind.NODE)
    blocks = [places[start : start + _TILE] for start in range(0, len(places), _TILE)]
    yield from combinations_with_replacement(blocks, 2)


def asked_in(tile: Tile, protocols: Sequence[Protocol]) -> Iterator[Question]:
    """The questions of a tile: of each pair in one direction, then in the other, which needs the same neighbours."""
    some, others = tile
    texts = {address: str(address) for space in (*some, *others) for address in space.reached_at}
    own = {space.name: own_addresses(space) for space in (*some, *others)}
    families = {space.name: {address.version for address in space.reached_at} for space in (*some, *others)}
    pairs = combinations(some, 2) if some is others else product(some, others)
    for source, target in ((a, b) for one, other in pairs for a, b in ((one, other), (other, one))):
        for address in target.reached_at:
            if address.version in families[source.name]:
                for protocol in protocols:
                    yield Question(source, target, address, protocol, texts[address], own[source.name])


class _Asking(ProtocolClass):
    """What a question has in any case."""

    @property
    def source(self) -> Space: ...
    @property
    def target(self) -> Space: ...
    @property
    def address(self) -> Address: ...


QuestionT = TypeVar("QuestionT", bound=_Asking)


def pair_of(question: _Asking) -> tuple[str, str, int]:
    """Source, target and family of a question."""
    return question.source.name, question.target.name, question.address.version


def fan_out(plan: Plan) -> int:
    """The most copies of a broadcast frame that the kernel makes at a time: the ports of the largest bridge."""
    devices = ((space.name, device) for space in plan.spaces for device in plan.devices_of(space.name).values())
    ports = Counter((space, device.master) for space, device in devices if device.master)
    return max(ports.values(), default=1)


def own_addresses(source: Space) -> frozenset[str]:
    """The source's addresses, as text."""
    return frozenset(map(str, source.reached_at))


def batches(
    plan: Plan, asked: Iterable[QuestionT], most_neighbours: int
) -> Iterator[tuple[list[QuestionT], frozenset[str]]]:
    """Batches of questions, each with the places whose learned neighbours must be flushed after it.

    There are none as long as the neighbour tables have room for the next batch.
    """
    batch: list[QuestionT] = []
    learned: set[_Entry] = set()
    is_on_link = _OnLink()
    for _, pair in groupby(asked, key=pair_of):
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
"""A neighbour entry: the place that has it, the neighbour, the family."""


def _learners(plan: Plan, learned: Iterable[_Entry]) -> frozenset[str]:
    return frozenset({place for place, _, _ in learned} | {space.name for space in plan.of_kind(Kind.ROUTER)})


def _to_learn(source: Space, target: Space, family: int, is_on_link: "_OnLink") -> set[_Entry]:
    """The entries that two ends and their nodes may need to reach each other: an estimate, rather too high.

    Ends on one link need each other, all others their routers.
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
    """Whether the second place is on a link of the first; computed with integers, for a million pairs."""

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
