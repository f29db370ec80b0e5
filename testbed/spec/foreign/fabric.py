"""A fabric with switches, routers and links by name, made from the places and links of another tool's topology."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from testbed.spec.foreign.places import ENDS, Part, Role
from testbed.spec.foreign.ranges import LINKS, LOOPBACKS, ethernets, first_free, one_or_list
from testbed.spec.problems import Loc, Misfit
from testbed.spec.types import Network


def fabric_of(
    part: Part,
    names: Mapping[str, str],
    mtu: int,
    families: Sequence[int],
    taken: Sequence[Network],
    subnets: Mapping[str, Sequence[Network]],
) -> tuple[dict[str, Any], list[Misfit]]:
    """The fabric and what was left out.

    `names` are the names in the topology, `mtu` that of links without one, `taken` the ranges of pods, `subnets` the
    given ranges of switches.
    """
    fabric: dict[str, Any] = {"mtu": mtu}
    together = _ethernets(part)
    used = [*taken, *(cidr for cidrs in subnets.values() for cidr in cidrs)]
    if together:
        fabric["switches"] = _switches(part, together, names, families, used, subnets)
    if routers := [names[name] for name in part.of_role(Role.ROUTER)]:
        fabric["routers"] = routers
    ends = Counter(end for cable in part.cables for end in cable.ends)
    needed = {
        "transit": (LINKS, any(not set(cable.ends) & set(together) for cable in part.cables)),
        "loopbacks": (LOOPBACKS, any(ends[name] > 1 for name in part.of_role(*ENDS))),
    }
    for key, (wanted, is_needed) in needed.items():
        ranges = [str(first_free(wanted[family], used)) for family in families]
        usual = ranges == [wanted[family][0] for family in families]
        # Without switches, the range of the links sets the address family.
        if is_needed and not (usual and (together or key == "loopbacks")):
            fabric[key] = one_or_list(ranges)
    fabric["links"], left_out = _links(part, names, mtu, together)
    return fabric, left_out


def origins_of(part: Part, names: Mapping[str, str]) -> dict[Loc, Loc]:
    """Where the fabric's and the nodes' parts come from in the file."""
    found: dict[Loc, Loc] = {("fabric", "links", number): cable.loc for number, cable in enumerate(part.cables)}
    routers = part.of_role(Role.ROUTER)
    found |= {("fabric", "routers", number): part.places[name].loc for number, name in enumerate(routers)}
    for name, place in part.places.items():
        if place.is_end:
            found["nodes", names[name]] = place.loc
        elif place.role is Role.SWITCH:
            found["fabric", "switches", names[name]] = place.loc
    return found


def _switches(
    part: Part,
    together: Mapping[str, str],
    names: Mapping[str, str],
    families: Sequence[int],
    used: Sequence[Network],
    subnets: Mapping[str, Sequence[Network]],
) -> dict[str, Any]:
    """Each switch; the first of an Ethernet has its subnets."""
    ports = Counter(together[end] for cable in part.cables for end in cable.ends if end in together)
    number, most = len(set(together.values())), max(ports.values(), default=0)
    free = [ethernets(family, number, most, used) for family in families]
    found: dict[str, Any] = {}
    for name, first in together.items():
        own: Iterable[Network | None] = ()
        if name == first:
            own = subnets.get(name) or [next(ranges, None) for ranges in free]
        found[names[name]] = {"subnet": one_or_list(filter(None, own))} if own else {}
    return found


def _ethernets(part: Part) -> dict[str, str]:
    """The first switch of the Ethernet of each switch."""
    first = {name: name for name in part.of_role(Role.SWITCH)}
    for cable in part.cables:
        one, other = cable.ends
        if one in first and other in first:
            both = first[one], first[other]
            keep = min(both, key=list(first).index)
            first = {name: keep if at in both else at for name, at in first.items()}
    return first


def _links(
    part: Part, names: Mapping[str, str], mtu: int, together: Mapping[str, str]
) -> tuple[list[dict[str, Any]], list[Misfit]]:
    sizes = {name: min(found) for name, found in _sizes(part, mtu, together).items()}
    links: list[dict[str, Any]] = []
    left_out = []
    for cable in part.cables:
        on = next((together[end] for end in cable.ends if end in together), None)
        size = cable.mtu or mtu if on is None else sizes[on]
        links.append({"ends": [names[end] for end in cable.ends], **({"mtu": size} if size != mtu else {})})
        if cable.mtu and cable.mtu != size:
            message = f"mtu {cable.mtu}: all links of an Ethernet have the same MTU, here {size}"
            left_out.append(Misfit((*cable.loc, "mtu"), message))
    return links, left_out


def _sizes(part: Part, mtu: int, together: Mapping[str, str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for cable in part.cables:
        for name in _on(cable.ends, together):
            found.setdefault(name, set()).add(cable.mtu or mtu)
    return found


def _on(ends: Iterable[str], together: Mapping[str, str]) -> Iterator[str]:
    return (together[end] for end in ends if end in together)
