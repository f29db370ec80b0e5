"""Designs: one file each, a pure function from a topology to a plan. A new design is a new file and a row here."""

from testbed.designs import l2, l3_gateway, l3_host_routes, vxlan
from testbed.designs.design import Design

DESIGNS: dict[str, Design] = {module.DESIGN.name: module.DESIGN for module in (l2, l3_gateway, l3_host_routes, vxlan)}

__all__ = ["DESIGNS", "Design"]
