"""A plan in the making: what a design function adds objects to before it returns the finished plan."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from testbed.plan.addressing import Layout, NodePlace, PodPlace
from testbed.plan.allocation import Allocator
from testbed.plan.naming import mac_address
from testbed.plan.objects import (
    BOOT,
    LINKS,
    MAIN_TABLE,
    Bpf,
    BpfEntry,
    BpfHook,
    Bridge,
    Child,
    CountingMap,
    Datapath,
    DeviceAddress,
    Encapsulation,
    FdbEntry,
    File,
    Flow,
    Geneve,
    IpTunnel,
    Kind,
    Link,
    Neighbour,
    NextHop,
    Object,
    Plan,
    Plugged,
    Route,
    Space,
    Sysctl,
    Tun,
    TunnelKind,
    Veth,
    VethEnd,
    Vxlan,
    Wireguard,
    WireguardPeer,
)
from testbed.plan.parts import JOIN, NodePart, Parts, PodPart, Shared, Written, numbered
from testbed.plan.rulesets import Backend, Chain, Ruleset, Set
from testbed.spec.types import Address, Interface, Network

FIRST_INDEX = 101
"""Behind the numbers of devices that some kernels put into each new namespace (tunl0, sit0, ...)."""


@dataclass
class SpaceDraft:
    """A namespace in the making; its methods read like the commands that they stand for."""

    name: str
    kind: Kind
    node: str | None
    reached_at: tuple[Address, ...]
    _index: Callable[[str, str], int]
    _settings: list[Sysctl] = field(default_factory=list)
    _objects: list[Object] = field(default_factory=list)
    masked_by: tuple[Address, ...] = ()

    @property
    def links(self) -> tuple[Link, ...]:
        """Those so far, without ends of pairs."""
        return tuple(item for item in self._objects if isinstance(item, LINKS))

    def add(self, item: Object) -> None:
        """Any object; the methods below are for those that are made in many places."""
        self._objects.append(item)

    def sysctl(self, key: str, value: int, optional: bool = False, dev: str = "") -> None:
        """Sets a kernel setting; a later value replaces an earlier one. That of a device has slashes for dots."""
        self._settings.append(Sysctl(key, str(value), optional, dev))

    def bridge(self, name: str, mtu: int, promiscuous: bool = False, checksums: bool = True) -> None:
        mac = mac_address(self.name, name)
        self._objects.append(Bridge(name, self._index(self.name, name), mac, mtu, promiscuous, checksums=checksums))
        # Bridged frames stay out of the IP layer's hooks. Kernels with br_netfilter turn them on in each new
        # namespace, kernels without it have no such key; either way the design is the same.
        for table in ("iptables", "ip6tables", "arptables"):
            self.sysctl(f"net.bridge.bridge-nf-call-{table}", 0, optional=True)

    def vxlan(
        self,
        name: str,
        mtu: int,
        vni: int,
        port: int,
        local: Address | None,
        *,
        learning: bool = False,
        external: bool = False,
        group: Address | None = None,
        dev: str = "",
        master: str | None = None,
        mac: str = "",
    ) -> None:
        mac = mac or mac_address(self.name, name)
        index = self._index(self.name, name)
        self._objects.append(Vxlan(name, index, mac, mtu, vni, port, local, learning, external, group, dev, master))

    def geneve(self, name: str, mtu: int, port: int) -> None:
        self._objects.append(Geneve(name, self._index(self.name, name), mac_address(self.name, name), mtu, port))

    def ip_tunnel(
        self, name: str, mtu: int, kind: TunnelKind, local: Address | None, remote: Address | None = None
    ) -> None:
        self._objects.append(IpTunnel(name, self._index(self.name, name), mtu, kind, local, remote))

    def wireguard(self, name: str, mtu: int, port: int, peers: Iterable[WireguardPeer], mark: int = 0) -> None:
        self._objects.append(Wireguard(name, self._index(self.name, name), mtu, port, tuple(peers), mark))

    def tun(self, name: str, mtu: int) -> None:
        self._objects.append(Tun(name, self._index(self.name, name), mtu))

    def datapath(self, name: str, mtu: int, ports: Sequence[str], flows: Iterable[Flow]) -> None:
        mac = mac_address(self.name, name)
        self._objects.append(Datapath(name, self._index(self.name, name), mac, mtu, tuple(ports), tuple(flows)))

    def address(self, dev: str, interface: Interface, noprefixroute: bool = False) -> None:
        self._objects.append(DeviceAddress(dev, interface, noprefixroute))

    def neighbour(self, address: Address, mac: str, dev: str) -> None:
        self._objects.append(Neighbour(address, mac, dev))

    def fdb(self, mac: str, dev: str, remote: Address) -> None:
        self._objects.append(FdbEntry(mac, dev, remote))

    def route(
        self,
        to: Network,
        dev: str,
        via: Address | None = None,
        onlink: bool = False,
        encap: Encapsulation | None = None,
        source: Address | None = None,
        *,
        table: int = MAIN_TABLE,
        protocol: int = BOOT,
    ) -> None:
        self._objects.append(Route(to, dev, via, onlink, encap, source=source, table=table, protocol=protocol))

    def routes(self, to: Network, hops: Sequence[NextHop], source: Address | None = None) -> None:
        """A route by one or several ways; own packets have that source, unless they have another one already."""
        if len(hops) == 1:
            self._objects.append(Route(to, hops[0].dev, hops[0].via, source=source))
        else:
            self._objects.append(Route(to, "", nexthops=tuple(hops), source=source))

    def blackhole(self, to: Network, protocol: int = BOOT) -> None:
        self._objects.append(Route(to, "", blackhole=True, protocol=protocol))

    def file(self, path: str, text: str, mode: int = 0o644) -> None:
        self._objects.append(File(path, text, mode))

    def ruleset(self, owner: str, backend: Backend, chains: Iterable[Chain] = (), sets: Iterable[Set] = ()) -> None:
        """What an owner, one of `OWNERS`, has in a backend: rules in chains, sets."""
        self._objects.append(Ruleset(owner, backend, tuple(chains), tuple(sets)))

    def bpf(
        self,
        source: str,
        defines: Iterable[str],
        hooks: Iterable[BpfHook],
        entries: Iterable[BpfEntry],
        counts: Iterable[CountingMap] = (),
    ) -> None:
        """The eBPF programs of a space."""
        self._objects.append(Bpf(source, tuple(defines), tuple(hooks), tuple(entries), tuple(counts)))

    def mark(self) -> tuple[int, int]:
        """How much is written until now."""
        return len(self._settings), len(self._objects)

    def written(self, start: tuple[int, int] = (0, 0), end: tuple[int, int] | None = None) -> Written:
        """What was written between two marks."""
        settings, objects = end or self.mark()
        return Written(tuple(self._settings[start[0] : settings]), tuple(self._objects[start[1] : objects]))

    def write(self, written: Written) -> None:
        """Writes what was written before in another draft."""
        self._settings += written.settings
        self._objects += written.objects

    def finished(self) -> Space:
        settings = {item.key: item for item in self._settings}
        objects = (*settings.values(), *self._objects)
        return Space(self.name, self.kind, objects, self.node, self.reached_at, self.masked_by)


@dataclass
class _Step:
    """What is made between spaces in one step of a design, and how much each node's space held when it began."""

    marks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    veths: list[Veth] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)
    plugged: list[Plugged] = field(default_factory=list)

    def mark(self) -> tuple[int, int, int]:
        return len(self.veths), len(self.children), len(self.plugged)

    def since(self, start: tuple[int, int, int]) -> Shared:
        veths, children, plugged = start
        return Shared(tuple(self.veths[veths:]), tuple(self.children[children:]), tuple(self.plugged[plugged:]))

    def add(self, shared: Shared) -> None:
        self.veths += shared.veths
        self.children += shared.children
        self.plugged += shared.plugged


def unmasked(node: NodePlace) -> tuple[Address, ...]:
    """What pods are masked by where nobody does."""
    return ()


INDICES = "interface indices"


class Draft:
    """All namespaces and veth pairs of a plan in the making, or of those nodes of it that are to be planned anew.

    A design makes the fabric, and then goes on in steps, each begun by `begin`. All steps go through `nodes`, and that
    which attaches pods through `pods` of each.
    """

    def __init__(
        self,
        numbers: Allocator | None = None,
        nodes: Iterable[NodePlace] = (),
        before: Mapping[str, NodePart] | None = None,
    ) -> None:
        """`before` are the parts of nodes whose pods alone are planned: their spaces begin with what the fabric wrote.
        Of no others there is anything in the draft then.
        """
        self.numbers = numbers or Allocator()
        self.nodes = tuple(nodes)
        """The nodes that are planned."""
        self.masks: Callable[[NodePlace], tuple[Address, ...]] = unmasked
        """The addresses that pods of a node are masked by."""
        self._spaces: dict[str, SpaceDraft] = {}
        self._steps = [_Step()]
        self._before = before or {}
        self._pods: dict[str, list[PodPart]] = {node.name: [] for node in self.nodes}
        for node in self.nodes if before else ():
            old = self._before[node.name].space
            self.space(node.name, old.kind, reached_at=old.reached_at).write(self._before[node.name].fabric)

    @property
    def _step(self) -> _Step:
        return self._steps[-1]

    def begin(self) -> None:
        """The next step begins."""
        self._steps.append(_Step({node.name: self._spaces[node.name].mark() for node in self.nodes}))

    def pods(self, node: NodePlace) -> Iterator[PodPlace]:
        """The node's pods that are to be attached. What is made until the next one is asked for belongs to the pod.

        Those that are the very same in the plan before are taken over with all of that, and left out here.
        """
        space, step, found = self._spaces[node.name], self._step, self._pods[node.name]
        before = self._before.get(node.name)
        known = {id(part.place): part for part in before.pods} if before else {}
        for place in node.pods:
            part = known.get(id(place))
            if part:
                space.write(part.beside)
                step.add(part.shared)
            else:
                mark, shared = space.mark(), step.mark()
                yield place
                own = self._spaces.pop(place.pod.id).finished()
                part = PodPart(place, own, space.written(mark), step.since(shared))
            found.append(part)

    def join_as_before(self) -> None:
        """What joins the nodes that are planned with others is what joined them before."""
        for node in self.nodes:
            before = self._before[node.name]
            self._spaces[node.name].write(before.joined)
            self._step.add(before.shared[JOIN])

    def _index(self, space: str, device: str) -> int:
        """The number of a device, which no other one of the lab ever had."""
        return FIRST_INDEX + self.numbers.number(INDICES, (space, device))

    def __getitem__(self, name: str) -> SpaceDraft:
        return self._spaces[name]

    def space(self, name: str, kind: Kind, node: str | None = None, reached_at: tuple[Address, ...] = ()) -> SpaceDraft:
        """Adds a namespace."""
        self._spaces[name] = SpaceDraft(name, kind, node, reached_at, self._index)
        return self._spaces[name]

    def veth(
        self,
        a: tuple[str, str],
        b: tuple[str, str],
        mtu: int,
        a_master: str | None = None,
        b_master: str | None = None,
        *,
        a_mac: str = "",
        offload: bool = True,
        a_checksums: bool = True,
        b_checksums: bool = True,
        arp: bool = True,
    ) -> None:
        """Adds a veth pair between two (space, interface name) places."""
        self._step.veths.append(
            Veth(
                VethEnd(
                    *a,
                    self._index(*a),
                    a_mac or mac_address(*a),
                    mtu,
                    a_master,
                    offload,
                    checksums=a_checksums,
                    arp=arp,
                ),
                VethEnd(*b, self._index(*b), mac_address(*b), mtu, b_master, offload, checksums=b_checksums, arp=arp),
            )
        )

    def indices(self, space: str) -> dict[str, int]:
        """The numbers of a space's devices so far, by name, without those that share another one."""
        ends = (end for step in self._steps for veth in step.veths for end in (veth.a, veth.b) if end.space == space)
        return {dev.name: dev.index for dev in (*self._spaces[space].links, *ends)}

    def netkit(self, a: tuple[str, str], b: tuple[str, str], mtu: int) -> None:
        """Adds a pair of netkit devices, the first of which is the primary one."""
        one, other = (VethEnd(*end, self._index(*end), "", mtu) for end in (a, b))
        self._step.veths.append(Veth(one, other, is_netkit=True))

    def macvlan(self, place: tuple[str, str], parent: tuple[str, str], mtu: int) -> None:
        """Adds a macvlan device, whose parent is a device of a node."""
        self._step.children.append(
            Child(*place, self._index(*place), mac_address(*place), mtu, "macvlan", "bridge", *parent)
        )

    def ipvlan(self, place: tuple[str, str], parent: tuple[str, str], mtu: int, mode: Literal["l2", "l3"]) -> None:
        """Adds an ipvlan device, whose parent is a device of a node."""
        self._step.children.append(Child(*place, self._index(*place), "", mtu, "ipvlan", mode, *parent))

    def plugged(self, plugged: Plugged) -> None:
        """Adds a pod's attachment that CNI plugins are to make."""
        self._step.plugged.append(plugged)

    def finished(self, topology: str, design: str, pod_mtu: int, offload: bool = True) -> Plan:
        pods = (part.space for parts in self._pods.values() for part in parts)
        spaces = (*(space.finished() for space in self._spaces.values()), *pods)
        veths, children, plugged = self._shared()
        _check_names(spaces, veths, children)
        numbers = self.numbers.finished()
        return Plan(topology, design, pod_mtu, spaces, veths, children, plugged, offload, numbers)

    def remember(self, plan: Plan, design: object, layout: Layout, bare: Layout) -> None:
        """Lets the plan, which this draft has come to, know what it is made of.

        Of a draft with all steps, whose pods all went through `pods`; `bare` is what the steps have read.
        """
        fixed = {name: plan[name] for name in self._spaces}
        plan.remember(Parts(design, layout, bare, fixed, tuple(self._steps[0].veths), self._parts(fixed)))

    def exchanged(self, before: Plan, parts: Parts, layout: Layout) -> Plan:
        """The plan before with the nodes of this draft in the place of what they were. `parts` are those of that plan.

        All else is taken over as it is: what this costs is what these nodes cost, and little for each of the others.
        """
        fresh = self._parts({name: space.finished() for name, space in self._spaces.items()})
        gone = [parts.nodes[name] for name in fresh]
        self.numbers.free(INDICES, set(numbered(gone)).difference(numbered(fresh.values())))
        fixed = {**parts.fixed, **{name: part.space for name, part in fresh.items()}}
        made_of = replace(parts, layout=layout, fixed=fixed, nodes={**parts.nodes, **fresh})
        coming = [space for part in fresh.values() for space in part.spaces]
        _check_names(coming, *self._shared()[:2])
        plan = replace(
            before, spaces=made_of.spaces(), **made_of.shared()._asdict(), allocation=self.numbers.finished()
        )
        plan.remember(made_of)
        devices = {space: own for part in fresh.values() for space, own in part.devices.items()}
        for name, part in fresh.items():
            links = {link.name: link for link in part.space.links}
            devices[name] = {**links, **made_of.uplinks[name], **devices[name]}
        plan.know_from(before, [space.name for part in gone for space in part.spaces], coming, devices)
        return plan

    def _shared(self) -> Shared:
        return Shared(
            tuple(veth for step in self._steps for veth in step.veths),
            tuple(child for step in self._steps for child in step.children),
            tuple(plugged for step in self._steps for plugged in step.plugged),
        )

    def _parts(self, spaces: Mapping[str, Space]) -> dict[str, NodePart]:
        """By node what the steps have made, if there were all of them. `spaces` are those of the nodes, finished."""
        steps = [self._by_node(step) for step in self._steps[1:]]
        found = {}
        for node in self.nodes:
            assert len(self._pods[node.name]) == len(node.pods), f"pods of {node.name} that are in no part"
            draft = self._spaces[node.name]
            attach, join, agent = (step.marks[node.name] for step in self._steps[1:])
            found[node.name] = NodePart(
                node,
                draft.written(end=attach),
                draft.written(join, agent),
                spaces[node.name],
                tuple(self._pods[node.name]),
                tuple(step[node.name] for step in steps),
            )
        return found

    def _by_node(self, step: _Step) -> dict[str, Shared]:
        """What a step has made between spaces, by the node that has it or whose pods have it."""
        home = {part.space.name: name for name, parts in self._pods.items() for part in parts}
        sorted_out: dict[str, tuple[list[Veth], list[Child], list[Plugged]]]
        sorted_out = {node.name: ([], [], []) for node in self.nodes}
        for veth in step.veths:
            sorted_out[home.get(veth.a.space, veth.a.space)][0].append(veth)
        for child in step.children:
            sorted_out[child.node][1].append(child)
        for plugged in step.plugged:
            sorted_out[plugged.node][2].append(plugged)
        return {name: Shared(tuple(one), tuple(two), tuple(three)) for name, (one, two, three) in sorted_out.items()}


def _check_names(spaces: Iterable[Space], veths: Iterable[Veth], children: Iterable[Child]) -> None:
    """Two devices of one name in one space would be a mistake of the design's, not of the user's."""
    names = [(space.name, link.name) for space in spaces for link in space.links]
    names += [(end.space, end.name) for veth in veths for end in (veth.a, veth.b)]
    names += [(child.space, child.name) for child in children]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise ValueError(f"two devices of one name in one namespace: {sorted(twice)}")
