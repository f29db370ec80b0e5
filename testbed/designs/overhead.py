"""Bytes that a transport adds to pods' packets."""

from functools import cache

from testbed.designs.design import Design
from testbed.designs.transport import Transport
from testbed.plan.addressing import Layout, layout
from testbed.spec.topology import Topology

_FABRIC_MTU = 1500
_RANGES = {4: "10.244.0.0/16", 6: "fd00:10:244::/56"}


@cache
def _sample(family: int) -> Layout:
    """A layout with pods of one family, over a fabric with both."""
    return layout(
        Topology.model_validate(
            {
                "name": "sample",
                "cluster": {"pod_cidr": _RANGES[family]},
                "fabric": {"subnet": ["192.168.56.0/24", "fd00:192:168:56::/64"], "mtu": _FABRIC_MTU},
                "nodes": 2,
            }
        )
    )


def overhead(of: Design | Transport) -> dict[int, int]:
    """Bytes by the family of the pods' packets, over a fabric with an MTU of 1500 bytes."""
    transport = of.transport if isinstance(of, Design) else of
    return {family: _FABRIC_MTU - transport.room(_FABRIC_MTU, _sample(family)) for family in (4, 6)}
