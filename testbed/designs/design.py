"""What a design is: a name, a pure function from topology to plan, and what it claims and needs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from testbed.plan.addressing import Layout, layout
from testbed.plan.objects import Plan, Space
from testbed.plan.sightings import Sighting
from testbed.spec.problems import Misfit
from testbed.spec.topology import MIN_MTU, Topology


@dataclass(frozen=True)
class Design:
    """How pods are attached to their node and how pod traffic crosses the fabric."""

    name: str
    summary: str
    """One line for a list of designs."""
    like: tuple[str, ...]
    """Who does it so in real clusters."""
    needs: tuple[str, ...]
    """Names of kernel features, see `testbed.kernel.features`."""
    wire: Callable[[Layout, int], Plan]
    """From addresses and the pods' MTU to the plan."""
    crossing: Callable[[Plan, Layout, Space, Space, int], tuple[Sighting, ...]]
    """What is to be seen on the fabric of a packet from a pod to a pod of another node, in family 4 or 6."""
    overhead: Callable[[Layout], int] = lambda _: 0
    """Bytes that the design puts around a pod's packet on the fabric."""
    carries_any_family: bool = False
    """Whether pods may use an address family that the fabric does not have."""

    one_subnet_because: str = ""
    """Why all nodes have to be neighbours, if so."""
    needs_router: bool = False
    """Whether pod packets go by way of the fabric's routers."""

    def pod_mtu(self, topology: Topology) -> int:
        """The largest packet that a pod may send, in bytes."""
        places = layout(topology)
        return places.fabric_mtu - self.overhead(places)

    def misfits(self, topology: Topology) -> Iterator[Misfit]:
        """Why this design cannot be had on that topology, if so."""
        places = layout(topology)
        added = self.overhead(places)
        mtu = places.fabric_mtu - added
        least = max(MIN_MTU[cidr.version] for cidr in topology.cluster.pod_cidr)
        if mtu < least:
            family = 6 if least == MIN_MTU[6] else 4
            yield Misfit(
                ("fabric", "mtu"),
                f"{self.name} adds {added} bytes to each packet, which leaves pods an MTU of {mtu}; "
                f"IPv{family} needs {least}, so the fabric's must be at least {least + added}",
            )
        if self.one_subnet_because and not places.is_one_subnet:
            yield Misfit(
                ("fabric",),
                f"{self.name} needs all nodes on one subnet, as {self.one_subnet_because}; l3-gateway and vxlan go "
                "over several",
                at_key=True,
            )
        if self.needs_router and not places.routers:
            yield Misfit(
                ("fabric",), f"{self.name} needs a router in the fabric; add one, linked to a switch", at_key=True
            )
        fabric_families = set(places.fabric_families)
        for cidr in topology.cluster.pod_cidr:
            if cidr.version not in fabric_families and not self.carries_any_family:
                yield Misfit(
                    ("fabric", "subnet"),
                    f"{self.name} carries pods' IPv{cidr.version} packets as they are, so the fabric needs an "
                    f"IPv{cidr.version} range for {cidr} to be routed over",
                )

    def needs_on(self, topology: Topology) -> tuple[str, ...]:
        """Names of the kernel features that the design needs, and those that the topology's fabric does."""
        ways = [way for link in topology.underlay.links for way in (link.forth, link.back)]
        return (
            *self.needs,
            *(["tbf"] if any(way.rate for way in ways) else []),
            *(["netem"] if any(way.is_disturbed for way in ways) else []),
        )

    def plan(self, topology: Topology, offload: bool = True) -> Plan:
        """The plan of a topology that has no misfits with this design.

        Without `offload` no device carries segments larger than its MTU.
        """
        return replace(self.wire(layout(topology), self.pod_mtu(topology)), offload=offload)
