"""Changes to the topology of a running lab: pods, nodes and the qualities of links.

Each function takes a valid topology and returns a new valid one, or raises EditError. Values that depend on the number
and order of nodes (the rack of each node, the size of the racks' subnets) are first made explicit, so that a change
does not affect the other nodes.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
"""Link qualities that apply to both directions."""
_SWITCH = {"on": True, "off": False}
_ENDS = re.compile(r"(?P<one>[^,>#\s]+) ?(?P<way>[,>]) ?(?P<other>[^,>#\s]+)(?:#(?P<number>[0-9]{1,4}))?")

SpecT = TypeVar("SpecT", bound=Spec)


class EditError(Exception):
    """An invalid change, described for the user."""

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
    """The topology with a new pod, appended to the node's pods."""
    pod = _valid(Pod, {"name": name, "namespace": namespace, "labels": dict(labels or {})}, "the pod")
    return with_pods(topology, (), {node: (pod,)})


def without_pod(topology: Topology, name: str) -> Topology:
    """The topology without the pod; `name` is its id, `web-1` or `web-1.shop`."""
    return with_pods(topology, (name,), {})


def with_pods(topology: Topology, gone: Collection[str], fresh: Mapping[str, Sequence[Pod]]) -> Topology:
    """The topology without the pods `gone`, given by id, and with the `fresh` ones appended to their nodes' pods.

    A pod in both raises EditError: an address belongs to an id, so the new pod would keep it.
    """
    leaving: dict[str, set[str]] = {}
    for pod_id in gone:
        if not (home := topology.home_of(pod_id)):
            raise EditError(f"unknown pod '{pod_id}'", topology.pod_ids, pod_id)
        leaving.setdefault(home, set()).add(pod_id)
    _refuse_unfit(topology, set(gone), fresh)
    changed = {node: topology.pods_of(node) for node in (*leaving, *fresh)}
    for node, ids in leaving.items():
        changed[node] = tuple(pod for pod in changed[node] if pod.id not in ids)
    for node, pods in fresh.items():
        changed[node] = (*changed[node], *pods)
    made = topology.with_pods_of(changed, gone)
    return _checked(made, made.pod_misfits())


def _refuse_unfit(topology: Topology, gone: set[str], fresh: Mapping[str, Sequence[Pod]]) -> None:
    """Raises EditError if a node of new pods is unknown, or the name of one is used."""
    taken = topology.fabric.places() if fresh else {}
    for node, pods in fresh.items():
        _node(topology, node)
        for pod in pods:
            if pod.id in gone:
                raise EditError(f"pod {pod.id}: removed and added in one change; remove it first, then add it")
            _refuse_taken(pod.id, taken.get(pod.id) or topology.taken_by_member(pod.id))
            taken[pod.id] = f"a pod of {node}"


def with_node(
    topology: Topology,
    name: str,
    pods: int | Sequence[str | Pod | Mapping[str, Any]] | None = None,
    at: str | Sequence[str] | None = None,
) -> Topology:
    """The topology with a new node, appended to the nodes.

    `pods` are pod names or a count; `pods_per_node` if None. `at` is the node's rack, leaf or site, or in a fabric with
    named links the switches and routers to link it to. If None, the node is put at the rack with the fewest nodes, or
    linked like the first node.
    """
    _refuse_taken(name, topology.taken_by(name))
    pinned = _pinned(topology)
    fabric = pinned.fabric
    places = [at] if isinstance(at, str) else at
    if isinstance(fabric, Named):
        fabric, places = _with_links_of(pinned, fabric, name, places), None
    elif places is None and fabric.default_places():
        used = list(fabric.placement(pinned.members).values())
        places = [min(fabric.default_places(), key=used.count)]
    if places and len(places) > 1:
        raise EditError(f"a node of this fabric must be at one place, not at {' and '.join(places)}")
    written: dict[str, Any] = {"at": places[0]} if places else {}
    if pods is not None:
        written["pods"] = pods if isinstance(pods, int) else list(pods)
    _valid(Pod, {"name": name}, "the node")  # Names of nodes and pods have the same rules.
    node = _valid(Node, written, "the node")
    made = _with_nodes(pinned, pinned.nodes | {name: node}).model_copy(update={"fabric": fabric})
    return _checked(made, made.misfits(), found=node.at or "")


def without_node(topology: Topology, name: str) -> Topology:
    """The topology without the node, its pods and its links."""
    _node(topology, name)
    if len(topology.nodes) == 1:
        raise EditError(f"{name} is the only node; a topology requires at least one")
    pinned = _pinned(topology)
    fabric = pinned.fabric
    links = fabric.links if isinstance(fabric, Named) else fabric.overrides
    left = tuple(link for link in links if name not in link.ends)
    fabric = fabric.model_copy(update={"links" if isinstance(fabric, Named) else "overrides": left})
    nodes = {node: spec for node, spec in pinned.nodes.items() if node != name}
    made = _with_nodes(pinned, nodes).model_copy(update={"fabric": fabric})
    return _checked(made, made.misfits())


def with_link(topology: Topology, ends: str | tuple[str, str], **qualities: Any) -> Topology:
    """The topology with a changed rate, queue, delay, jitter, loss, duplicate, reorder, mtu or offload of one link.

    `ends` are the two ends of the link, as `("node1", "rack1")` or `node1,rack1`; `node1>rack1` changes only the
    direction from node1 to rack1. `node1,rack1#2` is the second of several links between the two. Values are written
    as in a file, such as `10ms` or `100Mbit`; None restores the fabric's value.
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
        raise EditError(f"unknown node '{name}'", topology.nodes, name)
    return topology.nodes[name]


def _refuse_taken(name: str, by: str) -> None:
    if by:
        raise EditError(f"the name '{name}' is already used by {by}; choose another")


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
    """The topology with every value explicit that depends on the number and order of nodes."""
    fabric, members = topology.fabric, topology.members
    if isinstance(fabric, Named):
        return topology
    placement, lengths = fabric.placement(members), fabric.prefixes(members)
    nodes = {
        name: spec.model_copy(update={"at": placement[name]}) if name in placement else spec
        for name, spec in topology.nodes.items()
    }
    pins = {"subnet_prefix": lengths} if lengths else {}
    return _with_nodes(topology, nodes).model_copy(update={"fabric": fabric.model_copy(update=pins)})


def _with_links_of(topology: Topology, fabric: Named, name: str, places: Sequence[str] | None) -> Named:
    """The fabric with links for a new node, copied from another node's link to the same place, or the first node's."""
    nodes = set(topology.nodes)
    first = next(iter(topology.nodes))
    of_first = [link for link in fabric.links if first in link.ends]
    new = []
    for place in places or [end for link in of_first for end in link.ends if end != first]:
        if place not in fabric.places():
            raise EditError(f"unknown switch or router '{place}'", fabric.places(), place)
        there = [link for link in fabric.links if place in link.ends]
        pattern = next((link for link in there if nodes & set(link.ends)), of_first[0])
        ends = tuple(name if end in nodes else place for end in pattern.ends)
        # All links of an Ethernet have one MTU.
        new.append(pattern.model_copy(update={"ends": ends, "mtu": there[0].mtu if there else None}))
    return fabric.model_copy(update={"links": (*fabric.links, *new)})


def _found(underlay: Underlay, text: str) -> tuple[int, str]:
    """The link's index, and for a single direction the end that it starts from."""
    named = tuple(",".join(link.ends) for link in underlay.links)
    if not (match := _ENDS.fullmatch(text)):
        one_way = named[-1].replace(",", ">")
        raise EditError(f"'{text}' is not a link; write its two ends as {named[-1]}, or {one_way} for one direction")
    one, other = match["one"], match["other"]
    found = [number for number, link in enumerate(underlay.links) if {one, other} == set(link.ends)]
    if not found:
        written = f"{one},{other}" if nearest(f"{one},{other}", named) else f"{other},{one}"
        raise EditError(f"no link between {one} and {other}", named, written)
    chosen = int(match["number"] or 1)
    if chosen > len(found) or not chosen or (len(found) > 1 and not match["number"]):
        valid = [f"{one}{match['way']}{other}#{number}" for number in range(1, len(found) + 1)]
        raise EditError(f"{len(found)} links between {one} and {other}; choose one", valid)
    return found[chosen - 1], one if match["way"] == ">" else ""


def _values(qualities: Mapping[str, Any], is_one_way: bool) -> dict[str, Any]:
    """The values in the model's types; None for those to remove."""
    valid = (*Qualities.model_fields, *WHOLE)
    if not qualities:
        raise EditError("no quality to change; write one, such as delay=10ms", valid)
    for key, value in qualities.items():
        if key not in valid:
            raise EditError(f"unknown link quality '{key}'", valid, key)
        if key in WHOLE and is_one_way:
            raise EditError(f"{key} is the same in both directions of a link; name its ends with ',' instead of '>'")
        if key == "offload" and isinstance(value, str) and value not in _SWITCH:
            raise EditError(f"offload of the link: must be on or off, not '{value}'", _SWITCH, value)
    written = {key: _READ.get((key, type(value)), _as_it_is)(value) for key, value in qualities.items()}
    model = _valid(LinkQualities, {key: value for key, value in written.items() if value is not None}, "the link")
    return {key: getattr(model, key) for key in written}


def _as_it_is(value: object) -> object:
    return value


_READ: Mapping[tuple[str, type], Callable[[Any], object]] = {
    ("offload", str): _SWITCH.get,
    ("mtu", str): lambda text: int(text) if text.isdigit() else text,
}
"""Conversions that YAML would do for values given as text."""


ItemT = TypeVar("ItemT")


def _put(items: tuple[ItemT, ...], place: int, new: ItemT) -> tuple[ItemT, ...]:
    return (*items[:place], new, *items[place + 1 :])


def _bare(link: Link) -> Link:
    """The link without its own qualities."""
    return Link(ends=link.ends)


def _link(topology: Topology, fabric: Fabric, number: int) -> PlannedLink:
    return fabric.underlay(topology.members, topology.pod_families).links[number]


def _edited(own: Link, plain: PlannedLink, source: str, values: Mapping[str, Any]) -> Link:
    """A link with changed qualities, only from `source` if given; `plain` is the link without its own qualities."""
    forth = own_qualities(own)
    back = forth | (own_qualities(own.back) if own.back else {})
    of_way = {key: value for key, value in values.items() if key not in WHOLE}
    for way, start in zip((forth, back), own.ends, strict=True):
        if source in ("", start):
            way.update(of_way)
            for key in [key for key, value in way.items() if value is None]:
                del way[key]
    # A quality of `forth` also applies to `back`, unless `back` has its own value.
    explicit = _explicit(plain.back if plain.ends == own.ends else plain.forth, back)
    back |= {key: explicit[key] for key in forth if key not in back and key in explicit}
    differing = {key: value for key, value in back.items() if forth.get(key) != value}
    written = forth | {key: values[key] if key in values else getattr(own, key) for key in WHOLE}
    written["back"] = Qualities(**differing) if differing else None
    return Link(ends=own.ends, **{key: value for key, value in written.items() if value is not None})


def _explicit(quality: Quality, own: Mapping[str, Any]) -> dict[str, Any]:
    """All qualities of a link in one direction, as a user would write them."""
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
