"""Import of containerlab topology files (https://containerlab.dev/manual/topo-def-file/)."""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from testbed.spec.foreign.imported import Imported, names_for
from testbed.spec.problems import Loc, Misfit, SpecError
from testbed.spec.source import Source

SWITCHES = ("bridge", "ovs-bridge")
HOST = "linux"
ROUTING_IMAGES = re.compile(r"frr|bird|vyos|gobgp|openbgpd|quagga|sonic|holo")
"""Images of routers with kind linux."""
NOT_NODES = ("host", "mgmt-net", "macvlan", "vxlan", "vxlan-stitch", "dummy")
"""Link ends that are not nodes."""
SUBNETS = ipaddress.ip_network("192.168.0.0/16")
_KEPT = {"kind", "image"}

End = tuple[str, Loc]
"""A node's name and its location."""


def is_one(data: dict[str, Any]) -> bool:
    """Whether data is a containerlab topology."""
    return isinstance(data.get("topology"), dict) and isinstance(data["topology"].get("nodes"), dict)


def read(source: Source) -> Imported:
    """The topology with the file's nodes, switches, routers and links. Raises SpecError."""
    data: Any = source.data
    topology = data["topology"]
    nodes = {name: node or {} for name, node in topology["nodes"].items()}
    links, misfits = _links(topology.get("links") or [], nodes)
    if misfits:
        raise SpecError(tuple(source.problem(misfit) for misfit in misfits))
    roles = {name: _role(topology, node) for name, node in nodes.items()}
    left_out = list(_left_out(data, nodes))
    plugged = Counter(end for ends, _, _ in links for end in ends if len(ends) == 2)
    for name in nodes:
        if not plugged[name]:
            left_out.append(f"{name}: no link")
    kept = {name: role for name, role in roles.items() if plugged[name]}
    between = [
        ends
        for ends, _, _ in links
        if len(ends) == 2 and {roles[end] for end in ends} == {"node"} and ends[0] != ends[1]
    ]
    # Nodes do not forward, so other nodes could not reach an Ethernet between these two.
    spare = [ends for ends in between if min(plugged[end] for end in ends) > 1]
    left_out += (f"the link between {' and '.join(ends)}, which both have other links" for ends in spare)
    names = names_for([*kept, *(_switch_between(ends) for ends in between if ends not in spare)])
    remarks = [
        f"{name}: {_kind(topology, nodes[name])}, imported as a router with static routes"
        for name, role in kept.items()
        if role == "router"
    ]
    remarks += [f"{original}: renamed to {name}" for original, name in names.items() if name != original]
    switches = [name for name, role in kept.items() if role == "switch"]
    fabric_links = []
    for ends, mtu, dropped in links:
        left_out += dropped
        if len(ends) < 2 or ends in spare:
            continue
        more = {"mtu": mtu} if mtu else {}
        if ends in between:
            # The testbed links nodes to switches, not to each other.
            switch = _switch_between(ends)
            switches.append(switch)
            remarks.append(f"{' and '.join(ends)} are linked directly; imported with the switch {names[switch]}")
            fabric_links += [{"ends": [names[end], names[switch]], **more} for end in ends]
        else:
            fabric_links.append({"ends": [names[end] for end in ends], **more})
    subnets = SUBNETS.subnets(new_prefix=24)
    fabric: dict[str, Any] = {"mtu": 1500}
    if switches:
        fabric["switches"] = {names[name]: {"subnet": str(next(subnets))} for name in switches}
    if routers := [names[name] for name, role in kept.items() if role == "router"]:
        fabric["routers"] = routers
    if not switches:
        # Without switches, the range of the links sets the address family.
        fabric["transit"] = "172.31.0.0/16"
    fabric["links"] = fabric_links
    made = {
        "name": names_for([str(data.get("name") or "containerlab")]).popitem()[1],
        "cluster": {"pod_cidr": "10.244.0.0/16"},
        "fabric": fabric,
        "nodes": {names[name]: {} for name, role in kept.items() if role == "node"},
        "pods_per_node": 2,
    }
    remarks.append(
        "Containers of kind linux are imported as nodes with two pods each; addresses are chosen by the import."
    )
    return Imported(made, tuple(remarks), tuple(left_out))


def _kind(topology: dict[str, Any], node: dict[str, Any]) -> str:
    return str(node.get("kind") or (topology.get("defaults") or {}).get("kind") or HOST)


def _role(topology: dict[str, Any], node: dict[str, Any]) -> str:
    """Role of a container: `node`, `switch` or `router`."""
    kind = _kind(topology, node)
    if kind in SWITCHES:
        return "switch"
    image = str(node.get("image") or ((topology.get("kinds") or {}).get(kind) or {}).get("image") or "")
    return "node" if kind == HOST and not ROUTING_IMAGES.search(image) else "router"


Read = tuple[list[str], int | None, list[str]]
"""A link: its ends, its MTU, and the parts that are left out."""


def _links(written: Any, nodes: dict[str, Any]) -> tuple[list[Read], list[Misfit]]:
    found: list[Read] = []
    misfits: list[Misfit] = []
    if not isinstance(written, list):
        return [], [Misfit(("topology", "links"), "must be a list of links")]
    for number, link in enumerate(written):
        loc: Loc = ("topology", "links", number)
        endpoints = link.get("endpoints") if isinstance(link, dict) else None
        if isinstance(link, dict) and "endpoint" in link:
            endpoints = [link["endpoint"]]
        if not isinstance(endpoints, list) or not endpoints:
            misfits.append(Misfit(loc, "a link requires the list endpoints, such as [leaf1:e1-1, spine:e1-1]"))
            continue
        ends, dropped = [], []
        for place, endpoint in enumerate(endpoints):
            name = endpoint.get("node") if isinstance(endpoint, dict) else str(endpoint).partition(":")[0]
            if name in nodes:
                ends.append(str(name))
            elif name in NOT_NODES or (isinstance(link, dict) and link.get("type") in NOT_NODES):
                dropped.append(f"a link to {name}")
            else:
                misfits.append(Misfit((*loc, "endpoints", place), f"unknown node '{name}'", valid=tuple(nodes)))
        more = [key for key in link if key not in ("endpoints", "endpoint", "type", "mtu")]
        if more:
            dropped.append(f"{', '.join(more)} of the link between {' and '.join(ends)}")
        mtu = link.get("mtu")
        found.append((ends, mtu if isinstance(mtu, int) else None, dropped))
    return found, misfits


def _switch_between(ends: list[str]) -> str:
    return "-".join(ends)


def _left_out(data: dict[str, Any], nodes: dict[str, Any]) -> Iterator[str]:
    for key in data:
        if key not in ("name", "topology"):
            yield str(key)
    for key in data["topology"]:
        if key not in ("nodes", "links", "kinds", "defaults"):
            yield f"topology.{key}"
    for name, node in nodes.items():
        if more := [key for key in node if key not in _KEPT]:
            yield f"{', '.join(more)} of {name}"
    yield "images and start-up configurations: all nodes run this machine's kernel and programs"
