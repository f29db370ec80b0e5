"""Import of containerlab topology files (https://containerlab.dev/manual/topo-def-file/)."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from testbed.spec.foreign import kind
from testbed.spec.foreign.containers import CLUSTER, Container, cluster_nodes, containers, home_of, misfits, role_of
from testbed.spec.foreign.fabric import fabric_of, origins_of
from testbed.spec.foreign.imported import Imported, Origin, in_order, name_for, names_for
from testbed.spec.foreign.links import cables_of, external_containers
from testbed.spec.foreign.networks import MTU as NETWORK_MTU
from testbed.spec.foreign.networks import Subnets, on_container_network, on_management
from testbed.spec.foreign.notes import Notes
from testbed.spec.foreign.places import ENDS, Cable, Part, Place, Role, connected
from testbed.spec.foreign.reading import Foreign, plain
from testbed.spec.problems import Loc, Misfit, SpecError

MTU = 9500
"""MTU of links without one."""
_KEPT = {"kind", "image", "group", "type", "sysctls", "network-mode"}

ReadCluster = Callable[[str], Foreign]
"""Reads the configuration of a cluster; raises SpecError."""


def is_one(data: dict[str, Any]) -> bool:
    """Whether data is a containerlab topology."""
    return isinstance(data.get("topology"), dict) and "nodes" in data["topology"]


def read(file: Foreign, read_cluster: ReadCluster) -> Imported:
    """The topology with the file's nodes, switches, routers and links. Raises SpecError."""
    data: Any = file.source.data
    topology = data["topology"]
    notes = Notes(file.source, list(file.notes))
    notes.refuse(misfits(topology))
    found = external_containers(topology.get("links")) | containers(topology)
    for key in data:
        if key not in ("name", "topology"):
            notes.drop((key,), key, at_key=True)
    for key in topology:
        if key not in ("nodes", "links", "kinds", "groups", "defaults"):
            notes.drop(("topology", key), f"topology.{key}", at_key=True)
    cables = cables_of(notes, topology.get("links") or [], found)
    nodes = cluster_nodes(found)
    clusters = _clusters(notes, found, nodes, cables, read_cluster)
    places = _places(found, nodes, cables)
    subnets: Subnets = {}
    if clusters and not any(set(cable.ends) & set(nodes) for cable in cables):
        subnets = on_container_network(notes, clusters, found, nodes, places, cables)
    elif all(one == other for one, other in (cable.ends for cable in cables)):
        on_it = [name for name in places if not found[name].is_apart]
        subnets = on_management(data, places, on_it, cables)
    part = connected(places.values(), cables)
    if not part.places:
        message = "no container has a link or is on the management network" if found else "the file has no containers"
        notes.refuse([Misfit(("topology", "nodes"), message, at_key=True)])
    return _imported(notes, found, part, next(iter(clusters.values()), kind.USUAL), subnets, plain(data.get("name")))


def _imported(
    notes: Notes, found: Mapping[str, Container], part: Part, cluster: kind.Cluster, subnets: Subnets, title: str
) -> Imported:
    names = names_for(part.places)
    cluster = cluster.with_room(len(part.of_role(*ENDS)))
    notes.left_out += cluster.left_out
    families = sorted({cidr.version for cidr in cluster.pod_cidrs})
    mtu = NETWORK_MTU if subnets else MTU
    fabric, more = fabric_of(part, names, mtu, families, cluster.pod_cidrs, subnets)
    for misfit in (*part.left_out, *more):
        notes.drop(misfit.loc, misfit.message, misfit.at_key)
    has_cluster = any(not part.places[name].added for name in part.of_role(Role.NODE))
    _remark(notes, found, part, names)
    notes.remarks += _meaning(has_cluster, mtu)
    topology = {
        "name": name_for(title, "containerlab"),
        "cluster": cluster.as_data(),
        "fabric": fabric,
        "nodes": {
            names[name]: {"pods": 0} if has_cluster and part.places[name].role is Role.HOST else {}
            for name in part.of_role(*ENDS)
        },
        "pods_per_node": 2,
    }
    source = notes.source
    origins: dict[Loc, Origin] = {loc: (source, at) for loc, at in origins_of(part, names).items()}
    origins |= {(): (source, ("topology", "nodes")), ("name",): (source, ("name",))}
    left_out = tuple(in_order(notes.left_out, source))
    return Imported(topology, tuple(notes.remarks), left_out, tuple(notes.added), origins)


def _remark(notes: Notes, found: Mapping[str, Container], part: Part, names: Mapping[str, str]) -> None:
    """Remarks on the places of the part, and what is left out of their settings."""
    for name, place in part.places.items():
        if name in found and (keys := [key for key in found[name].written if key not in _KEPT]):
            notes.drop(place.loc, f"{', '.join(keys)} of {name}", at_key=True)
        if place.role is Role.ROUTER:
            notes.remarks.append(f"{name}: {found[name].kind}, imported as a router with static routes")
        if place.role is Role.NODE and place.added:
            notes.add(place.loc, f"added the node {name}: the file has no host or Kubernetes node")
    notes.remarks += part.remarks
    notes.remarks += (f"{original}: renamed to {name}" for original, name in names.items() if name != original)


def _meaning(has_cluster: bool, mtu: int) -> Iterator[str]:
    if has_cluster:
        yield "Nodes of kind's clusters have two pods each; other containers are nodes without pods."
    else:
        yield "Containers that do not forward are imported as nodes with two pods each."
    if mtu == MTU:
        yield f"Links without an MTU have that of containerlab, {MTU} bytes."
    yield "Addresses are chosen by the import. All nodes run this machine's kernel and programs: no images,"
    yield "no start-up configurations."


def _places(found: Mapping[str, Container], nodes: Mapping[str, str], cables: Sequence[Cable]) -> dict[str, Place]:
    links = Counter(end for cable in cables for end in cable.ends)
    return {
        name: Place(name, role_of(container, links[name], nodes), container.loc)
        for name, container in found.items()
        if container.kind != CLUSTER and home_of(name, found) == name
    }


def _clusters(
    notes: Notes,
    found: Mapping[str, Container],
    nodes: Mapping[str, str],
    cables: Sequence[Cable],
    read_cluster: ReadCluster,
) -> dict[str, kind.Cluster]:
    """The clusters by name; the ranges of the first one are used. It has a link if any cluster has one."""
    linked = {nodes[end] for cable in cables for end in cable.ends if end in nodes}
    clusters = [one for one in found.values() if one.kind == CLUSTER]
    clusters.sort(key=lambda one: one.name not in linked)
    read = {one.name: _cluster(notes, one, read_cluster) for one in clusters}
    for name, cluster in read.items():
        first = next(iter(read.values()))
        if cluster.pod_cidrs != first.pod_cidrs:
            ranges = " and ".join(map(str, cluster.pod_cidrs))
            notes.drop(found[name].loc, f"the ranges of {name}, {ranges}: a lab is one cluster", at_key=True)
        for node in cluster.nodes if name in linked and cluster is not kind.USUAL else ():
            if f"{name}-{node}" not in nodes:
                notes.drop(found[name].loc, f"{node} of {name}: no ext-container", at_key=True)
    for name, home in nodes.items():
        if home not in read:
            message = f"the ranges of the cluster {home}, which is not in the file; imported with kind's usual ranges"
            notes.drop(found[name].loc, message, at_key=True)
            break
    return read


def _cluster(notes: Notes, one: Container, read_cluster: ReadCluster) -> kind.Cluster:
    """A cluster by its configuration, or the usual one."""
    config = plain(one.settings.get("startup-config"))
    if not config:
        return kind.USUAL
    try:
        cluster = kind.read_cluster(read_cluster(config))
    except SpecError as error:
        for problem in error.problems:
            where = f" (line {problem.line})" if problem.line else ""
            message = f"{config} of {one.name}{where}: {problem.message}; imported with kind's usual ranges"
            notes.drop((*one.loc, "startup-config"), message)
        return kind.USUAL
    notes.left_out += cluster.left_out
    return cluster
