"""Places and links of another tool's topology, and the largest part of it that a lab can have.

In a topology of the testbed nodes do not forward, switches run no spanning tree, and there is no bonding. So of each
group of links that close a loop of switches one is left out, likewise a second link of a node to the same Ethernet. All
places must reach each other without passing a node: of a topology in several such parts, one is kept.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from testbed.spec.problems import Loc, Misfit


class Role(Enum):
    """What a place is in the testbed's topology."""

    NODE = auto()
    """A Kubernetes node."""
    HOST = auto()
    """A container that may be a node or, if only it joins two parts, a router."""
    SWITCH = auto()
    ROUTER = auto()


ENDS = (Role.NODE, Role.HOST)
"""Places that do not forward."""


@dataclass(frozen=True)
class Place:
    """A node, switch or router."""

    name: str
    role: Role
    loc: Loc
    added: bool = False
    """Whether the file does not have it."""

    @property
    def is_end(self) -> bool:
        """Whether it does not forward."""
        return self.role in ENDS


@dataclass(frozen=True)
class Cable:
    """A link; its MTU is None if the file has none."""

    ends: tuple[str, str]
    loc: Loc
    mtu: int | None = None
    written: tuple[str, str] | None = None
    """The ends in the file, if these differ."""

    def left_out(self, why: str) -> Misfit:
        """A note that the link is left out."""
        return Misfit(self.loc, f"the link between {' and '.join(self.written or self.ends)}: {why}")


@dataclass(frozen=True)
class Part:
    """Places that reach each other, with their links, what was left out, and remarks."""

    places: Mapping[str, Place]
    cables: tuple[Cable, ...]
    left_out: tuple[Misfit, ...] = ()
    remarks: tuple[str, ...] = ()
    joints: tuple[str, ...] = ()
    """Those of the remarks that name hosts which became routers."""

    @property
    def size(self) -> int:
        """The number of nodes and routers of the file."""
        return sum(place.role is not Role.SWITCH for place in self.places.values())

    def of_role(self, *roles: Role) -> tuple[str, ...]:
        """The names of the places with one of these roles, in the order of the file."""
        return tuple(place.name for place in self.places.values() if place.role in roles)


def connected(places: Iterable[Place], cables: Sequence[Cable]) -> Part:
    """The part to import. It has nodes, unless there are no places.

    A host that alone joins two parts becomes a router: containers forward by default, as they take over the setting of
    a machine with Docker.
    """
    known = {place.name: place for place in places}
    part = _largest(known, cables)
    while joined := _joined(known, cables, part):
        name, part = joined
        known[name] = replace(known[name], role=Role.ROUTER)
    return part if part.of_role(*ENDS) else _with_nodes(part)


def _joined(known: Mapping[str, Place], cables: Sequence[Cable], part: Part) -> tuple[str, Part] | None:
    """The host that as a router adds most to a part, and the larger part; None if none adds anything."""
    outside = [set(cable.ends) for cable in cables if not set(cable.ends) <= set(part.places)]
    found: tuple[str, Part] | None = None
    for name in part.of_role(Role.HOST):
        if not any(name in ends for ends in outside):
            continue
        larger = _largest({**known, name: replace(known[name], role=Role.ROUTER)}, cables)
        if larger.of_role(*ENDS) and larger.size > (found[1] if found else part).size:
            found = name, larger
    if found is None:
        return None
    name, larger = found
    remark = f"{name} joins networks that have no other connection; imported as a router"
    return name, replace(larger, remarks=(*larger.remarks, *part.joints, remark), joints=(*part.joints, remark))


@dataclass
class _Wiring:
    """Links that a lab can have, and what was left out."""

    places: dict[str, Place]
    cables: list[Cable] = field(default_factory=list)
    left_out: list[Misfit] = field(default_factory=list)
    between: dict[frozenset[str], str] = field(default_factory=dict)
    """The switches that are added between two nodes."""
    ethernet: dict[str, str] = field(default_factory=dict)
    """The Ethernet of each switch."""
    on_it: set[tuple[str, str]] = field(default_factory=set)
    """Places with a link to an Ethernet."""

    def drop(self, cable: Cable, why: str) -> None:
        self.left_out.append(cable.left_out(why))


def _wired(places: Mapping[str, Place], cables: Iterable[Cable]) -> _Wiring:
    made = _Wiring(dict(places))
    made.ethernet = {name: name for name, place in places.items() if place.role is Role.SWITCH}
    # Switches first, as their links decide what is one Ethernet.
    for cable in sorted(cables, key=lambda cable: not set(cable.ends) <= set(made.ethernet)):
        one, other = cable.ends
        if one == other:
            made.drop(cable, "both ends are the same place")
        elif one in made.ethernet and other in made.ethernet:
            _join(made, cable)
        elif one in made.ethernet or other in made.ethernet:
            _plug(made, cable)
        elif places[one].is_end and places[other].is_end:
            _between(made, cable)
        else:
            made.cables.append(cable)
    made.cables.sort(key=lambda cable: [(isinstance(step, str), step) for step in cable.loc])
    return made


def _join(made: _Wiring, cable: Cable) -> None:
    one, other = (made.ethernet[end] for end in cable.ends)
    if one == other:
        made.drop(cable, "it closes a loop of switches, which run no spanning tree")
        return
    made.cables.append(cable)
    made.ethernet = {name: one if at == other else at for name, at in made.ethernet.items()}


def _plug(made: _Wiring, cable: Cable) -> None:
    end, switch = sorted(cable.ends, key=lambda name: name in made.ethernet)
    if (end, made.ethernet[switch]) in made.on_it:
        made.drop(cable, f"{end} already has a link to this Ethernet, and bonding is not supported")
        return
    made.on_it.add((end, made.ethernet[switch]))
    made.cables.append(cable)


def _between(made: _Wiring, cable: Cable) -> None:
    """A link between two nodes, which in the testbed needs a switch."""
    pair = frozenset(cable.ends)
    if pair in made.between:
        made.drop(cable, "a second link between the two, and bonding is not supported")
        return
    name = made.between[pair] = free_name("-".join(sorted(pair)), made.places)
    made.places[name] = Place(name, Role.SWITCH, cable.loc, added=True)
    made.ethernet[name] = name
    made.cables += (replace(cable, ends=(end, name), written=cable.ends) for end in cable.ends)


def free_name(wanted: str, taken: Container[str]) -> str:
    """That name, or a longer one if it is taken."""
    while wanted in taken:
        wanted += "-x"
    return wanted


def _largest(places: Mapping[str, Place], cables: Iterable[Cable]) -> Part:
    """The part with the most Kubernetes nodes, then other nodes, then places of the file."""
    made = _wired(places, cables)
    near = _neighbours(made)
    core = max(_cores(made.places, near), key=lambda core: _worth(core, made.places, near), default=frozenset())
    ends = {name for inner in core for name in near[inner] if made.places[name].is_end}
    kept = {name: place for name, place in made.places.items() if name in core or name in ends}
    left_out = list(made.left_out)
    for name, place in made.places.items():
        if name not in kept and not place.added:
            why = "no path to the other places" if near[name] else "no link"
            left_out.append(Misfit(place.loc, f"{name}: {why}", at_key=True))
    inside = []
    for cable in made.cables:
        if all(end in kept for end in cable.ends):
            inside.append(cable)
        elif any(end in ends for end in cable.ends):
            left_out.append(cable.left_out("nodes do not forward, so it would lead nowhere"))
    order = {name: place for name, place in kept.items() if not place.added}
    order |= {name: place for name, place in kept.items() if place.added}
    remarks = tuple(
        f"{' and '.join(sorted(pair))} are linked directly; imported with the switch {name}"
        for pair, name in made.between.items()
        if name in kept
    )
    return Part(order, tuple(inside), tuple(left_out), remarks)


def _neighbours(made: _Wiring) -> dict[str, set[str]]:
    near: dict[str, set[str]] = {name: set() for name in made.places}
    for cable in made.cables:
        one, other = cable.ends
        near[one].add(other)
        near[other].add(one)
    return near


def _cores(places: Mapping[str, Place], near: Mapping[str, set[str]]) -> Iterator[frozenset[str]]:
    """Groups of switches and routers that are linked with each other, in the order of the file."""
    seen: set[str] = set()
    for name, place in places.items():
        if place.is_end or name in seen:
            continue
        core, frontier = {name}, [name]
        while frontier:
            fresh = {other for other in near[frontier.pop()] if not places[other].is_end} - core
            core |= fresh
            frontier += fresh
        seen |= core
        yield frozenset(core)


def _worth(core: frozenset[str], places: Mapping[str, Place], near: Mapping[str, set[str]]) -> tuple[int, int, int]:
    ends = {name for inner in core for name in near[inner] if places[name].is_end}
    nodes = sum(places[name].role is Role.NODE for name in ends)
    return nodes, len(ends), sum(not places[name].added for name in core)


def _with_nodes(part: Part) -> Part:
    """The part with a node at each router at its edge, or two at its only one."""
    near: dict[str, set[str]] = {name: set() for name in part.of_role(Role.ROUTER) or part.of_role(Role.SWITCH)}
    for cable in part.cables:
        for end, far in (cable.ends, cable.ends[::-1]):
            if end in near:
                near[end].add(far)
    fewest = min(map(len, near.values()), default=0)
    edge = [name for name, others in near.items() if len(others) == fewest]
    wanted = [(name, f"{name}-node") for name in edge]
    if len(edge) == 1:
        wanted.append((edge[0], f"{edge[0]}-node2"))
    places = dict(part.places)
    cables = list(part.cables)
    for at, usual in wanted:
        name = free_name(usual, places)
        places[name] = Place(name, Role.NODE, part.places[at].loc, added=True)
        cables.append(Cable((name, at), part.places[at].loc))
    return replace(part, places=places, cables=tuple(cables))
