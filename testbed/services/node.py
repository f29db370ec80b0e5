"""A node as its proxy knows it, and what all proxies need of a port there."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache

from testbed.kubernetes.services.ports import ServicePort, Usable, usable
from testbed.plan.objects import Sysctl
from testbed.plan.rulesets import Ruleset
from testbed.spec.types import Address, Network

OWNER = "kube-proxy"
"""The owner of the rules of every proxy, see `testbed.plan.rulesets.owners`."""


@dataclass(frozen=True)
class ProxyNode:
    """A node, in one family."""

    name: str
    address: Address
    """Its primary address: that of the Node object."""
    pod_range: Network
    """The range of all pods. Packets with another source come from outside the cluster, or from a node."""
    service_ranges: tuple[Network, ...] = ()
    zone: str = ""

    @property
    def family(self) -> int:
        return self.address.version


@dataclass(frozen=True)
class Served:
    """What a proxy adds to a node."""

    rulesets: tuple[Ruleset, ...] = ()
    settings: tuple[Sysctl, ...] = ()


class Same(Hashable):
    """An object that is looked up in a cache by its identity."""

    __slots__ = ("it",)

    def __init__(self, it: ServicePort) -> None:
        self.it = it

    def __hash__(self) -> int:
        return id(self.it)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.it is other.it


@lru_cache(maxsize=200_000)
def is_equal_everywhere(port: Same) -> bool:
    """Whether all nodes have the same rules for a port."""
    one = port.it
    hinted = any(endpoint.zones or endpoint.nodes for endpoint in one.endpoints)
    return not (one.uses_local or one.source_ranges or hinted)


@dataclass(frozen=True)
class Ways:
    """Where packets to a port go, on one node."""

    usable: Usable
    internal: bool
    """Whether the cluster address leads to an endpoint."""
    external: bool
    """Whether addresses besides the cluster address lead to an endpoint, also for clients outside the cluster."""


def ways(port: ServicePort, node: str, zone: str) -> Ways:
    """The endpoints that a node uses for a port, and which addresses lead to one."""
    found = usable(port, node, zone)
    return Ways(
        found,
        found.exist and bool(found.local or not port.internal_local),
        found.exist and bool(found.local or not port.external_local),
    )
