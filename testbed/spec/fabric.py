"""The network between the nodes: one subnet, a shape with several subnets, or switches, routers and links by name.

fabric: {subnet: 192.168.56.0/24, mtu: 1500}                                # one switch, one router
fabric: {shape: subnets, subnets: 2, subnet: 192.168.0.0/16}                # racks, joined by one router
fabric: {shape: leaf-spine, leaves: 4, spines: 2, subnet: 192.168.0.0/16}   # racks, with a router each
fabric: {shape: wan, sites: 3, subnet: 192.168.0.0/16, wan: {rate: 100Mbit, delay: 20ms}}
fabric:
  switches: {rack1: {subnet: 192.168.1.0/24}, rack2: {subnet: 192.168.2.0/24}}
  routers: [core]
  links:
    - {ends: [node1, rack1]}
    - {ends: [node2, rack2], rate: 1Gbit, delay: 1ms, back: {delay: 2ms}}
    - {ends: [core, rack1]}
    - {ends: [core, rack2]}

`underlay` converts each of them to the one form that plans are made from.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from testbed.spec.named import Named
from testbed.spec.shapes import LeafSpine, OneSubnet, Subnets, Wan


def shape(value: object) -> str:
    """The fabric's shape: its `shape` key, or else implied by its other keys."""
    get: Callable[[str], Any] = value.get if isinstance(value, dict) else lambda key: getattr(value, key, None)
    if given := get("shape"):
        return str(given)
    for key, implied in _IMPLIED_SHAPES.items():
        if get(key) is not None:
            return implied
    # If `subnets` is text, it is a misspelt `subnet`.
    return "subnets" if isinstance(get("subnets"), int) else "one-subnet"


_IMPLIED_SHAPES = {
    "switches": "named",
    "routers": "named",
    "links": "named",
    "leaves": "leaf-spine",
    "spines": "leaf-spine",
    "sites": "wan",
    "wan": "wan",
}
"""Keys that imply the shape of a fabric without a `shape` key."""

Fabric = Annotated[
    Annotated[OneSubnet, Tag("one-subnet")]
    | Annotated[Subnets, Tag("subnets")]
    | Annotated[LeafSpine, Tag("leaf-spine")]
    | Annotated[Wan, Tag("wan")]
    | Annotated[Named, Tag("named")],
    Discriminator(shape),
]
