"""A node as its proxy knows it, and what all proxies need of a port there."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from testbed.kubernetes.services.ports import ServicePort, Usable, usable
from testbed.plan.objects import Sysctl
from testbed.plan.rulesets import Ruleset
from testbed.spec.types import Address, Network

T = TypeVar("T")
OWNER = "kube-proxy"
"""The owner of the rules of every proxy, see `testbed.plan.rulesets.owners`."""


@dataclass(frozen=True)
class ProxyNode:
    """A node, in one family."""

    name: str
    address: Address
    """Its primary address: that of the Node object; loopback if it has none in the family."""
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


def remembered(port: ServicePort, node: ProxyNode, what: Hashable, make: Callable[[ProxyNode | None], T]) -> T:
    """What `make` returns for a port: made once for each node, or once for all if they have the same rules.

    It is kept with the port. `what` tells apart what is made.
    """
    memory: dict[Hashable, T] = vars(port).setdefault("_rules", {})
    own = memory.get(what)
    if own is None:
        own = memory.get((what, node))
    if own is None:
        is_for_all = _is_equal_everywhere(port)
        own = memory[what if is_for_all else (what, node)] = make(None if is_for_all else node)
    return own


def _is_equal_everywhere(port: ServicePort) -> bool:
    """Whether all nodes have the same rules for a port."""
    hinted = any(endpoint.zones or endpoint.nodes for endpoint in port.endpoints)
    return not (port.uses_local or port.source_ranges or hinted)


@dataclass(frozen=True)
class Ways:
    """Where packets to a port go, on one node."""

    usable: Usable
    internal: bool
    """Whether the cluster address leads to an endpoint."""
    external: bool
    """Whether addresses besides the cluster address lead to an endpoint, also for clients outside the cluster."""


def ways(port: ServicePort, node: ProxyNode | None) -> Ways:
    """The endpoints that a node, or any node, uses for a port, and which addresses lead to one."""
    found = usable(port, node.name, node.zone) if node else usable(port, "")
    return Ways(
        found,
        found.exist and bool(found.local or not port.internal_local),
        found.exist and bool(found.local or not port.external_local),
    )
