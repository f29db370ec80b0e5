"""Changes of a topology while a lab lives: pods, nodes and the qualities of links, one at a time.

Each function takes a valid topology and gives another valid one, or raises EditError, which says what is wrong. What
follows from how many nodes there are, and in which order, is written out first: the rack of each, how large the racks'
subnets are. So nobody else moves.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

from pydantic import ValidationError

from testbed.spec.fabric import Fabric
from testbed.spec.named import Named
from testbed.spec.nearest import nearest
from testbed.spec.problems import Misfit
from testbed.spec.qualities import UNLIMITED, Link, LinkQualities, Qualities, own_qualities, usual_queue
from testbed.spec.topology import DEFAULT_NAMESPACE, Node, Pod, Topology
from testbed.spec.types import Spec
from testbed.spec.underlay import Link as PlannedLink
from testbed.spec.underlay import Quality, Underlay

MAX_LISTED = 12
WHOLE = ("mtu", "offload")
"""Qualities of a link that are the same in both directions."""
_SWITCH = {"on": True, "off": False}
_ENDS = re.compile(r"(?P<one>[^,>#\s]+) ?(?P<way>[,>]) ?(?P<other>[^,>#\s]+)(?:#(?P<number>[0-9]{1,4}))?")

SpecT = TypeVar("SpecT", bound=Spec)


class EditError(Exception):
    """A change that a topology cannot have, in words for the one who asked for it."""

    def __init__(self, message: str, valid: Iterable[str] = (), found: str = "") -> None:
        self.message = message
        self.valid = tuple(valid)
        self.nearest = nearest(found, self.valid)
        super().__init__("; ".join([message, *self._hints()]))

    def _hints(self) -> Iterator[str]:
        if self.nearest:
            yield f"did you mean '{self.nearest}'?"
        if self.valid:
            more = f", ... ({len(self.valid)} in all)" if len(self.valid) > MAX_LISTED else ""
            yield f"valid: {', '.join(self.valid[:MAX_LISTED])}{more}"


def with_pod(
    topology: Topology,
    name: str,
    node: str,
    namespace: str = DEFAULT_NAMESPACE,
    labels: Mapping[str, str] | None = None,
) -> Topology:
    """The topology with one more pod, the last one of that node."""
    spec = _node(topology, node)
    pod = _valid(Pod, {"name": name, "namespace": namespace, "labels": dict(labels or {})}, "the pod")
    _refuse_taken(topology, pod.id)
    pods = (*topology.pods_of(node), pod)
    made = _with_nodes(topology, topology.nodes | {node: spec.model_copy(update={"pods": pods})})
    return _checked(made, made.pod_misfits())


def without_pod(topology: Topology, name: str) -> Topology:
    """The topology without that pod, which is called as everywhere: `web-1`, or `web-1.shop`."""
    node = topology.home_of(name)
    if not node:
        raise EditError(f"there is no pod '{name}'", topology.pod_ids, name)
    left = tuple(pod for pod in topology.pods_of(node) if pod.id != name)
    return _with_nodes(topology, topology.nodes | {node: topology.nodes[node].model_copy(update={"pods": left})})


def with_node(
    topology: Topology,
    name: str,
    pods: int | Sequence[str | Pod | Mapping[str, Any]] | None = None,
    at: str | Sequence[str] | None = None,
) -> Topology:
    """The topology with one more node, the last one.

    `pods` are their names, or how many there are; if None, as many as each node has that says nothing of its own. `at`
    is the rack, leaf or site that the node is at, and in a fabric of links by name the switches and routers that it is
    linked with. If None, it is at the rack that has the fewest nodes, or linked as the first node is.
    """
    _refuse_taken(topology, name)
    pinned = _pinned(topology)
    fabric = pinned.fabric
    places = [at] if isinstance(at, str) else at
    if isinstance(fabric, Named):
        fabric, places = _plugged(pinned, fabric, name, places), None
    elif places is None and fabric.seats():
        taken = list(fabric.seated(pinned.members).values())
        places = [min(fabric.seats(), key=taken.count)]
    if places and len(places) > 1:
        raise EditError(f"a node of this fabric is at one place, not at {' and '.join(places)}")
    written: dict[str, Any] = {"at": places[0]} if places else {}
    if pods is not None:
        written["pods"] = pods if isinstance(pods, int) else list(pods)
    _valid(Pod, {"name": name}, "the node")  # Names of nodes and pods are made alike.
    node = _valid(Node, written, "the node")
    made = _with_nodes(pinned, pinned.nodes | {name: node}).model_copy(update={"fabric": fabric})
    return _checked(made, made.misfits(), found=node.at or "")


def without_node(topology: Topology, name: str) -> Topology:
    """The topology without that node, its pods and its links."""
    _node(topology, name)
    if len(topology.nodes) == 1:
        raise EditError(f"{name} is the only node, and a topology has at least one")
    pinned = _pinned(topology)
    fabric = pinned.fabric
    links = fabric.links if isinstance(fabric, Named) else fabric.overrides
    left = tuple(link for link in links if name not in link.ends)
    fabric = fabric.model_copy(update={"links" if isinstance(fabric, Named) else "overrides": left})
    nodes = {node: spec for node, spec in pinned.nodes.items() if node != name}
    made = _with_nodes(pinned, nodes).model_copy(update={"fabric": fabric})
    return _checked(made, made.misfits())


def with_link(topology: Topology, ends: str | tuple[str, str], **qualities: Any) -> Topology:
    """The topology with another rate, queue, delay, jitter, loss, duplicate, reorder, mtu or offload of one link.

    `ends` are the two places that it links, as `("node1", "rack1")` or `node1,rack1`; `node1>rack1` is the direction
    from node1 to rack1 alone. Of several links between the same two `node1,rack1#2` is the second. Values are written
    as in a file, such as `10ms` or `100Mbit`; None takes away what the link has of its own, so that it has what the
    fabric says.
    """
    fabric = topology.fabric
    number, source = _found(topology.underlay, ends if isinstance(ends, str) else ",".join(ends))
    values = _values(qualities, is_one_way=bool(source))
    if isinstance(fabric, Named):
        own = fabric.links[number]
        plain = _link(topology, fabric.model_copy(update={"links": _put(fabric.links, number, _bare(own))}), number)
        links = _put(fabric.links, number, _edited(own, plain, source, values))
        made: Fabric = fabric.model_copy(update={"links": links})
    else:
        plain = _link(topology, fabric.model_copy(update={"overrides": ()}), number)
        known = [set(override.ends) for override in fabric.overrides]
        place = known.index(set(plain.ends)) if set(plain.ends) in known else len(known)
        own = (*fabric.overrides, Link(ends=plain.ends))[place]
        overrides = _put(fabric.overrides, place, _edited(own, plain, source, values))
        made = fabric.model_copy(update={"overrides": tuple(each for each in overrides if each != _bare(each))})
    changed = topology.model_copy(update={"fabric": made})
    return _checked(changed, changed.misfits())


def _node(topology: Topology, name: str) -> Node:
    if name not in topology.nodes:
        raise EditError(f"there is no node '{name}'", topology.nodes, name)
    return topology.nodes[name]


def _refuse_taken(topology: Topology, name: str) -> None:
    if by := topology.taken_by(name):
        raise EditError(f"the name '{name}' is taken by {by}; nodes and pods need names of their own")


def _with_nodes(topology: Topology, nodes: Mapping[str, Node]) -> Topology:
    return topology.model_copy(update={"nodes": nodes})


def _checked(topology: Topology, misfits: Iterable[Misfit], found: str = "") -> Topology:
    if wrong := list(islice(misfits, MAX_LISTED)):
        raise EditError("; ".join(misfit.message for misfit in wrong), wrong[0].valid, found)
    return topology


def _valid(model: type[SpecT], data: Mapping[str, Any], what: str) -> SpecT:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = str(first.get("ctx", {}).get("error", first["msg"]))
        raise EditError(f"{first['loc'][0]} of {what}: {message[:1].lower()}{message[1:]}") from None


def _pinned(topology: Topology) -> Topology:
    """The topology with all written out that follows from how many nodes there are, and in which order."""
    fabric, members = topology.fabric, topology.members
    if isinstance(fabric, Named):
        return topology
    seats, lengths = fabric.seated(members), fabric.prefixes(members)
    nodes = {
        name: spec.model_copy(update={"at": seats[name]}) if name in seats else spec
        for name, spec in topology.nodes.items()
    }
    pins = {"subnet_prefix": lengths} if lengths else {}
    return _with_nodes(topology, nodes).model_copy(update={"fabric": fabric.model_copy(update=pins)})


def _plugged(topology: Topology, fabric: Named, name: str, places: Sequence[str] | None) -> Named:
    """The fabric with links of a new node, each as an older node has one with that place, or else as the first has."""
    nodes = set(topology.nodes)
    first = next(iter(topology.nodes))
    of_first = [link for link in fabric.links if first in link.ends]
    fresh = []
    for place in places or [end for link in of_first for end in link.ends if end != first]:
        if place not in fabric.places():
            raise EditError(f"there is no switch or router '{place}'", fabric.places(), place)
        there = [link for link in fabric.links if place in link.ends]
        alike = next((link for link in there if nodes & set(link.ends)), of_first[0])
        ends = tuple(name if end in nodes else place for end in alike.ends)
        # All links of an Ethernet have one MTU.
        fresh.append(alike.model_copy(update={"ends": ends, "mtu": there[0].mtu if there else None}))
    return fabric.model_copy(update={"links": (*fabric.links, *fresh)})


def _found(underlay: Underlay, text: str) -> tuple[int, str]:
    """Which link is meant, and the end that its direction starts at if one direction alone is."""
    named = tuple(",".join(link.ends) for link in underlay.links)
    if not (match := _ENDS.fullmatch(text)):
        one_way = named[-1].replace(",", ">")
        raise EditError(f"'{text}' is no link; write its two ends as {named[-1]}, or {one_way} for one direction")
    one, other = match["one"], match["other"]
    found = [number for number, link in enumerate(underlay.links) if {one, other} == set(link.ends)]
    if not found:
        said = f"{one},{other}" if nearest(f"{one},{other}", named) else f"{other},{one}"
        raise EditError(f"there is no link between {one} and {other}", named, said)
    chosen = int(match["number"] or 1)
    if chosen > len(found) or not chosen or (len(found) > 1 and not match["number"]):
        valid = [f"{one}{match['way']}{other}#{number}" for number in range(1, len(found) + 1)]
        raise EditError(f"there are {len(found)} links between {one} and {other}; say which", valid)
    return found[chosen - 1], one if match["way"] == ">" else ""


def _values(qualities: Mapping[str, Any], is_one_way: bool) -> dict[str, Any]:
    """Each as the model has it; None for those that are to be taken away."""
    valid = (*Qualities.model_fields, *WHOLE)
    if not qualities:
        raise EditError("say what is to change, such as delay=10ms", valid)
    for key, value in qualities.items():
        if key not in valid:
            raise EditError(f"a link has no quality '{key}'", valid, key)
        if key in WHOLE and is_one_way:
            raise EditError(f"{key} is the same in both directions of a link; name its ends with ',' instead of '>'")
        if key == "offload" and isinstance(value, str) and value not in _SWITCH:
            raise EditError(f"offload of the link: on or off, not '{value}'", _SWITCH, value)
    written = {key: _READ.get((key, type(value)), _as_it_is)(value) for key, value in qualities.items()}
    model = _valid(LinkQualities, {key: value for key, value in written.items() if value is not None}, "the link")
    return {key: getattr(model, key) for key in written}


def _as_it_is(value: object) -> object:
    return value


_READ: Mapping[tuple[str, type], Callable[[Any], object]] = {
    ("offload", str): _SWITCH.get,
    ("mtu", str): lambda text: int(text) if text.isdigit() else text,
}
"""What YAML makes of texts that are no texts there."""


ItemT = TypeVar("ItemT")


def _put(items: tuple[ItemT, ...], place: int, new: ItemT) -> tuple[ItemT, ...]:
    return (*items[:place], new, *items[place + 1 :])


def _bare(link: Link) -> Link:
    """The link with nothing of its own."""
    return Link(ends=link.ends)


def _link(topology: Topology, fabric: Fabric, number: int) -> PlannedLink:
    return fabric.underlay(topology.members, topology.pod_families).links[number]


def _edited(own: Link, plain: PlannedLink, source: str, values: Mapping[str, Any]) -> Link:
    """A link with other qualities, from one end alone if that is given; `plain` is what it has without its own."""
    forth = own_qualities(own)
    back = forth | (own_qualities(own.back) if own.back else {})
    of_way = {key: value for key, value in values.items() if key not in WHOLE}
    for way, start in zip((forth, back), own.ends, strict=True):
        if source in ("", start):
            way.update(of_way)
            for key in [key for key, value in way.items() if value is None]:
                del way[key]
    # The way back has what is said of the way forth, unless another value is written.
    spelt_out = _spelt_out(plain.back if plain.ends == own.ends else plain.forth, back)
    back |= {key: spelt_out[key] for key in forth if key not in back and key in spelt_out}
    differing = {key: value for key, value in back.items() if forth.get(key) != value}
    written = forth | {key: values[key] if key in values else getattr(own, key) for key in WHOLE}
    written["back"] = Qualities(**differing) if differing else None
    return Link(ends=own.ends, **{key: value for key, value in written.items() if value is not None})


def _spelt_out(quality: Quality, own: Mapping[str, Any]) -> dict[str, Any]:
    """All that a link does in one direction by the fabric, as a user would write it."""
    rate = own.get("rate", quality.rate)
    queue = quality.queue or (usual_queue(rate) if rate else None)
    return {
        "rate": quality.rate or UNLIMITED,
        "delay": timedelta(microseconds=quality.delay_us),
        "jitter": timedelta(microseconds=quality.jitter_us),
        "loss": quality.loss,
        "duplicate": quality.duplicate,
        "reorder": quality.reorder,
        **({"queue": queue} if queue else {}),
    }
