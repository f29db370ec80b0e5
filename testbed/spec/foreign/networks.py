"""The networks that containers are on besides their links: kind's container network, and the management network."""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from testbed.spec.foreign import kind
from testbed.spec.foreign.containers import Container
from testbed.spec.foreign.notes import Notes
from testbed.spec.foreign.places import Cable, Place, Role, free_name
from testbed.spec.foreign.ranges import first_free
from testbed.spec.foreign.reading import plain
from testbed.spec.types import Network

MTU = 1500
"""MTU of networks of the container runtime."""
MANAGEMENT = "mgmt"
MANAGEMENT_SUBNETS = ("172.20.20.0/24", "172.20.16.0/20", "10.195.0.0/16")

Subnets = dict[str, tuple[Network, ...]]
"""The subnets of added switches."""


def on_container_network(
    notes: Notes,
    clusters: Mapping[str, kind.Cluster],
    found: Mapping[str, Container],
    nodes: Mapping[str, str],
    places: dict[str, Place],
    cables: list[Cable],
) -> Subnets:
    """Add the nodes of clusters, of which none has a link, and kind's container network, which they are all on."""
    switch = free_name("kind", found)
    first = next(iter(clusters.values()))
    for cluster, spec in clusters.items():
        names = [f"{cluster}-{node}" for node in spec.nodes]
        names += [name for name, home in nodes.items() if home == cluster]
        for name in dict.fromkeys(names):
            loc = found[name if name in nodes else cluster].loc
            places[name] = Place(name, Role.NODE, loc)
            cables.append(Cable((name, switch), loc))
    places[switch] = Place(switch, Role.SWITCH, found[next(iter(clusters))].loc, added=True)
    notes.remarks.append("The nodes of kind's clusters have no links; imported on kind's container network.")
    families = sorted({cidr.version for cidr in first.pod_cidrs})
    return {switch: tuple(first_free(kind.NODE_SUBNETS[family], first.pod_cidrs) for family in families)}


def on_management(
    data: Mapping[str, Any], places: dict[str, Place], on_it: Sequence[str], cables: list[Cable]
) -> Subnets:
    """Add the management network with these containers of a file without links. A single router has no use for it."""
    if all(places[name].role is Role.ROUTER for name in on_it) and len(on_it) < 2:
        return {}
    switch = free_name(MANAGEMENT, places)
    written = data.get("mgmt")
    settings = written if isinstance(written, dict) else {}
    given = plain(settings.get("ipv4-subnet") or settings.get("ipv4_subnet"))
    # Room for all containers and the network's own addresses.
    wanted = [cidr for cidr in (given, *MANAGEMENT_SUBNETS) if _size(cidr) > len(on_it) + 2]
    cables += (Cable((name, switch), places[name].loc) for name in on_it)
    places[switch] = Place(switch, Role.SWITCH, ("mgmt",), added=True)
    return {switch: (first_free(wanted, kind.USUAL.pod_cidrs),)}


def _size(cidr: str) -> int:
    try:
        return ipaddress.IPv4Network(cidr).num_addresses
    except ValueError:
        return 0
