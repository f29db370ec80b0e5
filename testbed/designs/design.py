"""A design combines an attachment and a transport into one pure function from topology to plan."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

from testbed.designs.attachment import Attachment, Delivers, Uplink
from testbed.designs.node_rules import add_node_rules, tools
from testbed.designs.transport import Joining, Leg, Transport, skips, straight
from testbed.plan.addressing import Layout, NodePlace, layout, with_pods
from testbed.plan.allocation import Allocation, Allocator
from testbed.plan.collecting import without_collecting
from testbed.plan.draft import Draft, unmasked
from testbed.plan.fabric import UPLINK, fabric
from testbed.plan.objects import Plan, Space
from testbed.plan.parts import Parts, parts_of
from testbed.plan.pods import POD_INTERFACE
from testbed.plan.sightings import Tunnel, Way, between, inside
from testbed.plan.ways import ways
from testbed.spec.design import DesignSpec, ReadCni, TransportSpec, spelt_out
from testbed.spec.problems import Loc, Unfit
from testbed.spec.topology import MIN_MTU, Topology, with_other_pods
from testbed.spec.types import Address

_WANTED = {
    Delivers.PACKETS: "carries Ethernet frames, but {attach} delivers packets that the node routes",
    Delivers.FRAMES: "carries routed packets, but {attach} puts the pods of all nodes on one Ethernet",
    Delivers.FABRIC_FRAMES: "routes or encapsulates packets on the node, but {attach} puts pods' frames on the fabric, "
    "bypassing the node's stack",
    Delivers.FABRIC_PACKETS: "requires packets that can leave the node through any device, but {attach} routes them "
    "only to the node's device on the fabric",
}
"""Why a transport does not accept what an attachment delivers, by the latter."""


def _nothing_more(joining: Joining) -> None:
    """The agent of a design without one."""


def _unlabelled(tunnel: Tunnel, plan: Plan, layout: Layout, sender: Space) -> Tunnel:
    """For tunnels that are the same for all pods."""
    return tunnel


def refusal(attachment: Attachment, transport: Transport) -> str:
    """Why the two do not work together; empty if they do."""
    if attachment.delivers in transport.takes:
        return ""
    return f"{transport.name} {_WANTED[attachment.delivers].format(attach=attachment.name)}"


@dataclass(frozen=True)
class Design:
    """How pods are attached to their node, and how pod traffic crosses the fabric."""

    name: str
    attachment: Attachment
    transport: Transport
    options: TransportSpec
    mtu: int | None = None
    """MTU of the pods in bytes; None for the largest that fits."""
    summary: str = ""
    """One line for a list of designs."""
    like: tuple[str, ...] = ()
    """Real networks that work in this way."""
    agent: Callable[[Joining], None] = _nothing_more
    """Adds the other state that a CNI's agent creates on `nodes`: rules, files, daemons."""
    agent_knows_pods: bool = False
    """Whether the agent of a node depends on the pods of other nodes. If not, its layout has no pods."""
    masks: Callable[[NodePlace], tuple[Address, ...]] = unmasked
    """The source addresses of packets that a node's pods send out of the pods' network."""
    addressing: Callable[[Topology, Allocator], Layout] = layout
    """Allocates addresses."""
    pods_addressing: Callable[[Layout, Topology, Collection[str], Allocator], Layout | None] = with_pods
    """The same for a topology that differs from a layout's only in the pods of some nodes; None if the ranges of nodes
    change too."""
    also_needs: tuple[str, ...] = ()
    """Names of kernel features that the agent needs."""
    programs: tuple[str, ...] = ()
    """Names of the system programs that it runs, see `testbed.kernel.programs`."""
    plugins: ReadCni | None = None
    """The user's specification of a design with CNI plugins."""
    usual_mtu: int | None = None
    """Default MTU of the pods in bytes, limited to what fits."""
    on_link: str = ""
    """If each node's address must be on its link to the fabric, the reason."""
    labelled: Callable[[Tunnel, Plan, Layout, Space], Tunnel] = _unlabelled
    """The transport's tunnel for packets of a pod or node, where its header identifies the sender."""
    page: str = ""
    """Documentation, if not only that of its attachment and transport."""

    @property
    def spec(self) -> DesignSpec | ReadCni:
        """The specification that a user would write for it."""
        return self.plugins or spelt_out(self.name, self.attachment.name, self.options, self.mtu)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of kernel features, see `testbed.kernel.features`."""
        return tuple(dict.fromkeys(("veth", "bridge", *self.attachment.needs, *self.transport.needs, *self.also_needs)))

    @property
    def _is_on_fabric(self) -> bool:
        """Whether pods are on the fabric's Ethernet."""
        return self.attachment.delivers is not Delivers.PACKETS and Delivers.FABRIC_FRAMES in self.transport.takes

    @property
    def uplink(self) -> Uplink:
        """Where each node has its own address."""
        return self.attachment.on_fabric if self._is_on_fabric else Uplink()

    def lay_out(self, topology: Topology, before: Allocation | None = None) -> Layout:
        """The addresses of a topology. `before` is the allocation of a running lab's plan; None for a new lab."""
        return self.addressing(topology, Allocator(before))

    def pod_mtu(self, topology: Topology) -> int:
        """The largest packet that a pod may send, in bytes."""
        return self._pod_mtu(self.lay_out(topology))

    def _pod_mtu(self, addresses: Layout) -> int:
        fitting = self.transport.room(addresses.fabric_mtu, addresses)
        return min(self.mtu or self.usual_mtu or fitting, fitting)

    def misfits(self, topology: Topology) -> Iterator[Unfit]:
        """Reasons why this design does not fit the topology."""
        addresses, transport = self.lay_out(topology), self.transport
        families = addresses.fabric_families
        if transport.one_subnet and not addresses.is_one_subnet:
            yield self._of_one_subnet(transport.one_subnet)
        elif self.options.flood == "multicast" and not addresses.is_one_subnet:
            yield self._of_one_subnet("its multicast group is joined on one subnet", ("transport", "flood"))
        elif transport.one_subnet_of and not addresses.is_one_subnet:
            family, reason = transport.one_subnet_of
            if any(cidr.version == family for cidr in addresses.pod_cidrs):
                yield self._of_one_subnet(f"for IPv{family}: {reason}")
        if self.on_link and any(node.is_on_loopback for node in addresses.nodes):
            yield Unfit(
                ("fabric",),
                f"{self.name} needs each node's address on its link to the fabric ({self.on_link}), but "
                "nodes with several links have it on lo",
                at_key=True,
            )
        if (transport.by_router or transport.needs_router) and not addresses.routers:
            yield Unfit(
                ("fabric",), f"{self.name} needs a router in the fabric; add one, linked to a switch", at_key=True
            )
        for number, cidr in enumerate(topology.cluster.pod_cidr):
            if cidr.version not in transport.pod_families:
                only = " and ".join(f"IPv{family}" for family in transport.pod_families)
                yield Unfit(
                    ("cluster", "pod_cidr", number),
                    f"{self.name} carries only {only} packets, but {cidr} is IPv{cidr.version}",
                )
                return
            if cidr.version not in families and not transport.any_family:
                yield Unfit(
                    ("fabric", "subnet"),
                    f"{self.name} carries pods' IPv{cidr.version} packets over IPv{cidr.version}, so the fabric needs "
                    f"an IPv{cidr.version} range to carry {cidr}",
                )
                return
        if not set(families) & set(transport.outer_families):
            yield Unfit(
                ("fabric", "subnet"),
                f"{self.name} sends IPv{transport.outer_families[0]} packets over the fabric, which has no such range",
            )
            return
        yield from self._mtu_misfits(topology, addresses)
        yield from self.pod_misfits(topology)

    def pod_misfits(self, topology: Topology) -> Iterator[Unfit]:
        """The subset of `misfits` that depends on the pods."""
        for name in self.plugins.pods if self.plugins else ():
            if name not in topology.pod_ids:
                message = f"{self.name} has plugin arguments for an unknown pod '{name}'"
                yield Unfit(("nodes",), message, topology.pod_ids, at_key=True, in_design=("pods", name))
        if self.plugins:
            from testbed.designs.attachments.cni import problems_of  # Most designs need no CNI configuration.

            addresses = self.lay_out(topology)
            for problem in problems_of(self.plugins, addresses, self._pod_mtu(addresses)):
                yield Unfit((), f"{problem.file}:{problem.line}: {problem.message}", problem=problem)

    def _of_one_subnet(self, reason: str, in_design: Loc = ()) -> Unfit:
        return Unfit(
            ("fabric",),
            f"{self.name} needs all nodes in one subnet ({reason}), but this fabric has several; "
            "use a design with a tunnel, such as vxlan, or l3-gateway",
            at_key=True,
            in_design=in_design,
        )

    def _mtu_misfits(self, topology: Topology, addresses: Layout) -> Iterator[Unfit]:
        fitting = self.transport.room(addresses.fabric_mtu, addresses)
        added = addresses.fabric_mtu - fitting
        least = max(MIN_MTU[cidr.version] for cidr in topology.cluster.pod_cidr)
        family = 6 if least == MIN_MTU[6] else 4
        if fitting < least:
            yield Unfit(
                ("fabric", "mtu"),
                f"{self.name} adds {added} bytes to each packet, which leaves pods an MTU of {fitting}; "
                f"IPv{family} needs {least}, so the fabric's MTU must be at least {least + added}",
            )
        elif self.mtu is not None and not least <= self.mtu <= fitting:
            yield Unfit(
                ("fabric", "mtu"),
                f"{self.name} sets the pods' MTU to {self.mtu}, but over this fabric it must be {least} to {fitting}",
                in_design=("mtu",),
            )

    def needs_on(self, topology: Topology) -> tuple[str, ...]:
        """Names of the kernel features that the design and the topology's fabric need."""
        ways = [way for link in topology.underlay.links for way in (link.forth, link.back)]
        rates = ("tbf",) if any(way.rate for way in ways) else ()
        delays = ("netem",) if any(way.is_disturbed for way in ways) else ()
        return (*self.needs, *self.transport.needs_there(self.lay_out(topology)), *rates, *delays)

    def programs_on(self, topology: Topology) -> tuple[str, ...]:
        """Names of the system programs that the design runs and that the topology's rules need."""
        return tuple(dict.fromkeys((*self.programs, *tools(topology))))

    @property
    def _knows_pods(self) -> bool:
        """Whether the state of a node depends on the pods of other nodes."""
        return self.agent_knows_pods or self.attachment.delivers in self.transport.knows_pods

    def plan(self, topology: Topology, offload: bool = True, before: Plan | Allocation | None = None) -> Plan:
        """The plan of a topology that has no misfits with this design.

        Without `offload` no device carries segments larger than its MTU. `before` is the plan that this one replaces,
        or its allocation: nodes and pods that are in both keep their addresses and numbers. If the two topologies
        differ only in pods, and nodes keep their ranges, only the nodes of these pods are planned and the rest is
        copied from `before`; the result is the same. Raises Exhausted if a range of the lab is used up.
        """
        known = parts_of(before) if isinstance(before, Plan) and before.offload == offload else None
        if known and known.design == self and (nodes := with_other_pods(known.layout.topology, topology)) is not None:
            assert isinstance(before, Plan)
            if (exchanged := self._exchanged(before, known, topology, nodes)) is not None:
                return exchanged
        with without_collecting():
            return self._whole(topology, offload, before.allocation if isinstance(before, Plan) else before)

    def _whole(self, topology: Topology, offload: bool, before: Allocation | None) -> Plan:
        """The plan, all of it made."""
        numbers = Allocator(before)
        addresses = self.addressing(topology, numbers)
        mtu = self._pod_mtu(addresses)
        uplink = self.uplink
        draft = fabric(
            addresses,
            numbers,
            node_device=uplink.node_device,
            uplink_master=uplink.master,
            carried=self.transport.carried(addresses),
        )
        shown = addresses if self._knows_pods else addresses.without_pods()
        joining = self._attached(draft, shown, mtu)
        draft.begin()
        self.transport.join(joining)
        add_node_rules(draft, shown)
        draft.begin()
        self.agent(joining)
        plan = draft.finished(topology.name, self.name, mtu, offload)
        if not self._knows_pods:
            draft.remember(plan, self, addresses, shown)
        return plan

    def _exchanged(self, before: Plan, parts: Parts, topology: Topology, names: Collection[str]) -> Plan | None:
        """The plan `before` with the pods of these nodes replaced; None if ranges of nodes change."""
        numbers = Allocator(before.allocation, keeps=True)
        addresses = self.pods_addressing(parts.layout, topology, names, numbers)
        if addresses is None:
            return None
        draft = Draft(numbers, [node for node in addresses.nodes if node.name in names], parts.nodes)
        joining = self._attached(draft, parts.bare, before.pod_mtu)
        draft.begin()
        draft.join_as_before()
        draft.begin()
        self.agent(joining)
        return draft.exchanged(before, parts, addresses)

    def _attached(self, draft: Draft, shown: Layout, mtu: int) -> Joining:
        """Attaches the pods and returns the input of transport and agent, which may read only the layout `shown`."""
        draft.masks = self.masks
        draft.begin()
        self.attachment.attach(draft, shown, mtu, self._is_on_fabric)
        return Joining(draft, shown, mtu, self.options, self.attachment.delivers, self.uplink.node_device)

    def leg(self, plan: Plan, addresses: Layout, source: Space, target: Space, family: int) -> Leg:
        """How packets of a pod, of family 4 or 6, travel from its node to another pod's node."""
        places = {node.name: node for node in addresses.nodes}
        one, other = places[source.home], places[target.home]
        if skips(addresses, self.options, one, other):
            return straight(family)
        leg = self.transport.leg(plan, addresses, self.options, one, other, family)
        return leg._replace(tunnel=self.labelled(leg.tunnel, plan, addresses, source)) if leg.tunnel else leg

    def crossing(self, plan: Plan, addresses: Layout, source: Space, target: Space, family: int) -> tuple[Way, ...]:
        """How a packet of family 4 or 6 from a pod to a pod of another node appears on the fabric.

        Several ways if the fabric has several equally short ones; the packet takes one of them. Empty if any way is
        right.
        """
        if not self.transport.claims:
            return ()
        leg = self.leg(plan, addresses, source, target, family)
        found = ways(
            addresses,
            source.home,
            target.home,
            leg.outer,
            by_router=self.transport.by_router,
            node_device=self.uplink.node_device if self.attachment.has_own_macs else UPLINK,
        )
        if not self.attachment.has_own_macs:
            return inside(found, leg.tunnel)
        macs = plan.device(source.name, POD_INTERFACE).mac, plan.device(target.name, POD_INTERFACE).mac
        if leg.tunnel and leg.tunnel.is_opaque:
            return inside(found, leg.tunnel)
        if leg.tunnel:
            return inside(found, replace(leg.tunnel, inner_macs=macs))
        return between(found, *macs)
