"""The links of a containerlab topology, and what was left out of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from testbed.spec.foreign.containers import CLUSTER, Container, home_of
from testbed.spec.foreign.notes import Notes
from testbed.spec.foreign.places import Cable
from testbed.spec.foreign.reading import plain
from testbed.spec.nearest import nearest
from testbed.spec.problems import Loc, Misfit, Problem, SpecError
from testbed.spec.qualities import MAX_MTU, MIN_MTU

NOT_NODES = ("host", "mgmt-net", "macvlan", "macvtap", "vxlan", "vxlan-stitch", "dummy")
"""Link ends that are not containers."""
_EXTERNAL = "container:"


def external_containers(links: object) -> dict[str, Container]:
    """Containers that only links name, as they were started by other means."""
    found = {}
    for number, link in enumerate(links if isinstance(links, list) else []):
        for endpoint in _endpoints(link):
            if plain(endpoint).startswith(_EXTERNAL):
                name = _end(endpoint)
                found[name] = Container(name, "ext-container", {}, {}, ("topology", "links", number))
    return found


def cables_of(notes: Notes, written: object, found: Mapping[str, Container]) -> list[Cable]:
    """The links between containers. Raises SpecError for those that containerlab does not accept either."""
    if not isinstance(written, list):
        raise SpecError((notes.source.problem(Misfit(("topology", "links"), "must be a list of links")),))
    cables: list[Cable] = []
    wrong: list[Problem] = []
    for number, link in enumerate(written):
        loc: Loc = ("topology", "links", number)
        ends = [home_of(_end(endpoint), found) for endpoint in _endpoints(link)]
        if not ends or (len(ends) != 2 and not _type(link)):
            message = "a link requires two endpoints, such as [leaf1:e1-1, spine:e1-1]"
            wrong.append(notes.source.problem(Misfit(loc, message)))
            continue
        outside = [end for end in ends if end not in found or found[end].kind == CLUSTER]
        for place, end in enumerate(ends):
            if end not in found and end not in NOT_NODES and _type(link) not in NOT_NODES:
                misfit = Misfit((*loc, "endpoints", place), f"unknown node '{end}'", valid=tuple(found))
                wrong.append(replace(notes.source.problem(misfit), nearest=nearest(end, tuple(found))))
        if outside or len(ends) != 2:
            notes.drop(loc, f"a link to {outside[0] if outside else _type(link)}")
            continue
        cables.append(Cable((ends[0], ends[1]), loc, _mtu(notes, link, loc)))
        if more := [key for key in link if key not in ("endpoints", "type", "mtu")]:
            notes.drop(loc, f"{', '.join(more)} of the link between {' and '.join(ends)}")
    if wrong:
        raise SpecError(tuple(wrong))
    return cables


def _type(link: object) -> str:
    return plain(link.get("type")) if isinstance(link, dict) else ""


def _endpoints(link: object) -> list[object]:
    """The endpoints of a link, which has one if its type says where it leads."""
    if not isinstance(link, dict):
        return []
    if "endpoint" in link:
        return [link["endpoint"]]
    return link["endpoints"] if isinstance(link.get("endpoints"), list) else []


def _end(endpoint: object) -> str:
    """The name of the container at an end, such as `leaf1` of `leaf1:e1-1` and `nginx` of `container:nginx:eth1`."""
    if isinstance(endpoint, dict):
        return plain(endpoint.get("node"))
    return plain(endpoint).removeprefix(_EXTERNAL).partition(":")[0].strip()


def _mtu(notes: Notes, link: Mapping[str, Any], loc: Loc) -> int | None:
    mtu = link.get("mtu")
    if mtu is None or (isinstance(mtu, int) and MIN_MTU[6] <= mtu <= MAX_MTU):
        return mtu
    notes.drop((*loc, "mtu"), f"mtu {plain(mtu)}: must be {MIN_MTU[6]} to {MAX_MTU}")
    return None
