"""Drafts: a design function adds objects to a draft, which then becomes a plan."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from testbed.plan.addressing import Layout, NodePlace, PodPlace
from testbed.plan.allocation import Allocator, Room
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
"""First index of a planned device; lower ones are left to devices that some kernels create in each new namespace
(tunl0, sit0, ...)."""
_INDEX_ROOM = Room(2**31 - FIRST_INDEX, "interface index", "recreate the lab")
"""Indices are positive 32-bit numbers."""


@dataclass
class SpaceDraft:
    """A draft of a namespace; its methods are named after the commands that create the objects."""

    name: str
    kind: Kind
    node: str | None
    reached_at: tuple[Address, ...]
    _index: Callable[[str, str], int]
    _settings: list[Sysctl] = field(default_factory=list)
    _objects: list[Object] = field(default_factory=list)
    snat_addresses: tuple[Address, ...] = ()

    @property
    def links(self) -> tuple[Link, ...]:
        """Its devices so far, except ends of pairs."""
        return tuple(item for item in self._objects if isinstance(item, LINKS))

    def add(self, item: Object) -> None:
        """Adds an object; the methods below are for frequent types."""
        self._objects.append(item)

    def sysctl(self, key: str, value: int, optional: bool = False, dev: str = "") -> None:
        """Sets a sysctl; a later value replaces an earlier one. For a device the key has slashes instead of dots."""
        self._settings.append(Sysctl(key, str(value), optional, dev))

    def bridge(self, name: str, mtu: int, promiscuous: bool = False, checksums: bool = True) -> None:
        mac = mac_address(self.name, name)
        self._objects.append(Bridge(name, self._index(self.name, name), mac, mtu, promiscuous, checksums=checksums))
        # Keep bridged frames out of the IP layer's hooks. Kernels with br_netfilter enable these in each new namespace;
        # kernels without it do not have the keys.
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
        """Adds a route with one or several next hops, and optionally a preferred source address."""
        if len(hops) == 1:
            self._objects.append(Route(to, hops[0].dev, hops[0].via, source=source))
        else:
            self._objects.append(Route(to, "", nexthops=tuple(hops), source=source))

    def blackhole(self, to: Network, protocol: int = BOOT) -> None:
        self._objects.append(Route(to, "", blackhole=True, protocol=protocol))

    def file(self, path: str, text: str, mode: int = 0o644) -> None:
        self._objects.append(File(path, text, mode))

    def ruleset(self, owner: str, backend: Backend, chains: Iterable[Chain] = (), sets: Iterable[Set] = ()) -> None:
        """Adds the rules and sets of an owner (one of `OWNERS`) in a backend."""
        self._objects.append(Ruleset(owner, backend, tuple(chains), tuple(sets)))

    def bpf(
        self,
        source: str,
        defines: Iterable[str],
        hooks: Iterable[BpfHook],
        entries: Iterable[BpfEntry],
        counts: Iterable[CountingMap] = (),
    ) -> None:
        """Adds the eBPF programs of the space."""
        self._objects.append(Bpf(source, tuple(defines), tuple(hooks), tuple(entries), tuple(counts)))

    def mark(self) -> tuple[int, int]:
        """The current position: number of sysctls and of other objects."""
        return len(self._settings), len(self._objects)

    def written(self, start: tuple[int, int] = (0, 0), end: tuple[int, int] | None = None) -> Written:
        """The objects that were added between two marks."""
        settings, objects = end or self.mark()
        return Written(tuple(self._settings[start[0] : settings]), tuple(self._objects[start[1] : objects]))

    def write(self, written: Written) -> None:
        """Adds objects from an earlier draft."""
        self._settings += written.settings
        self._objects += written.objects

    def finished(self) -> Space:
        settings = {item.key: item for item in self._settings}
        objects = (*settings.values(), *self._objects)
        return Space(self.name, self.kind, objects, self.node, self.reached_at, self.snat_addresses)


@dataclass
class _Step:
    """The devices that one step of a design creates between spaces, and the marks of the nodes' spaces at its start."""

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
    """The SNAT addresses of pods without masquerading: none."""
    return ()


INDICES = "interface indices"


class Draft:
    """A draft of a plan: its namespaces and the devices between them. It may be limited to the nodes to plan again.

    A design first creates the fabric, then calls `begin` at the start of each further step. Each step iterates over
    `nodes`; the step that attaches pods also over `pods` of each node.
    """

    def __init__(
        self,
        numbers: Allocator | None = None,
        nodes: Iterable[NodePlace] = (),
        before: Mapping[str, NodePart] | None = None,
    ) -> None:
        """`before` has the previous parts of the nodes if only their pods have changed. The draft then contains only
        these nodes, and their spaces start with the objects of the fabric.
        """
        self.numbers = numbers or Allocator()
        self.nodes = tuple(nodes)
        """The nodes to plan."""
        self.masks: Callable[[NodePlace], tuple[Address, ...]] = unmasked
        """The SNAT addresses of a node's pods."""
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
        """Starts the next step."""
        self._steps.append(_Step({node.name: self._spaces[node.name].mark() for node in self.nodes}))

    def pods(self, node: NodePlace) -> Iterator[PodPlace]:
        """The node's pods to attach. Objects added before the next iteration belong to the pod.

        Unchanged pods are reused from the previous plan with their objects, and not yielded.
        """
        space, step, found = self._spaces[node.name], self._step, self._pods[node.name]
        before = self._before.get(node.name)
        known = {id(part.place): part for part in before.pods} if before else {}
        for place in node.pods:
            part = known.get(id(place))
            if part:
                space.write(part.on_node)
                step.add(part.shared)
            else:
                mark, shared = space.mark(), step.mark()
                yield place
                own = self._spaces.pop(place.pod.id).finished()
                part = PodPart(place, own, space.written(mark), step.since(shared))
            found.append(part)

    def join_as_before(self) -> None:
        """Reuses the previous objects that join the nodes with other nodes."""
        for node in self.nodes:
            before = self._before[node.name]
            self._spaces[node.name].write(before.joined)
            self._step.add(before.shared[JOIN])

    def _index(self, space: str, device: str) -> int:
        """The index of a device, unique in the lab."""
        return FIRST_INDEX + self.numbers.number(INDICES, (space, device), _INDEX_ROOM)

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
        """Adds a veth pair; both ends are given as (space, interface name)."""
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
        """The indices of a space's devices so far, by name, except macvlan and ipvlan devices."""
        ends = (end for step in self._steps for veth in step.veths for end in (veth.a, veth.b) if end.space == space)
        return {dev.name: dev.index for dev in (*self._spaces[space].links, *ends)}

    def netkit(self, a: tuple[str, str], b: tuple[str, str], mtu: int) -> None:
        """Adds a pair of netkit devices; the first is the primary one."""
        one, other = (VethEnd(*end, self._index(*end), "", mtu) for end in (a, b))
        self._step.veths.append(Veth(one, other, is_netkit=True))

    def macvlan(self, place: tuple[str, str], parent: tuple[str, str], mtu: int) -> None:
        """Adds a macvlan device; its parent is a device of a node."""
        self._step.children.append(
            Child(*place, self._index(*place), mac_address(*place), mtu, "macvlan", "bridge", *parent)
        )

    def ipvlan(self, place: tuple[str, str], parent: tuple[str, str], mtu: int, mode: Literal["l2", "l3"]) -> None:
        """Adds an ipvlan device; its parent is a device of a node."""
        self._step.children.append(Child(*place, self._index(*place), "", mtu, "ipvlan", mode, *parent))

    def plugged(self, plugged: Plugged) -> None:
        """Adds an attachment of a pod by CNI plugins."""
        self._step.plugged.append(plugged)

    def finished(self, topology: str, design: str, pod_mtu: int, offload: bool = True) -> Plan:
        pods = (part.space for parts in self._pods.values() for part in parts)
        spaces = (*(space.finished() for space in self._spaces.values()), *pods)
        veths, children, plugged = self._shared()
        _check_names(spaces, veths, children)
        numbers = self.numbers.finished()
        return Plan(topology, design, pod_mtu, spaces, veths, children, plugged, offload, numbers)

    def remember(self, plan: Plan, design: object, layout: Layout, bare: Layout) -> None:
        """Records the parts of this draft in its finished plan.

        Requires a draft with all steps, in which all pods were attached through `pods`. `bare` is the layout that the
        steps read.
        """
        fixed = {name: plan[name] for name in self._spaces}
        plan.remember(Parts(design, layout, bare, fixed, tuple(self._steps[0].veths), self._parts(fixed)))

    def exchanged(self, before: Plan, parts: Parts, layout: Layout) -> Plan:
        """The previous plan with this draft's nodes replaced. `parts` are the parts of the previous plan.

        Everything else is reused, so the cost depends mainly on the number of replaced nodes.
        """
        fresh = self._parts({name: space.finished() for name, space in self._spaces.items()})
        gone = [parts.nodes[name] for name in fresh]
        self.numbers.free(INDICES, set(numbered(gone)).difference(numbered(fresh.values())))
        fixed = {**parts.fixed, **{name: part.space for name, part in fresh.items()}}
        made_of = replace(parts, layout=layout, fixed=fixed, nodes={**parts.nodes, **fresh})
        fresh_spaces = [space for part in fresh.values() for space in part.spaces]
        _check_names(fresh_spaces, *self._shared()[:2])
        plan = replace(
            before, spaces=made_of.spaces(), **made_of.shared()._asdict(), allocation=self.numbers.finished()
        )
        plan.remember(made_of)
        devices = {space: own for part in fresh.values() for space, own in part.devices.items()}
        for name, part in fresh.items():
            links = {link.name: link for link in part.space.links}
            devices[name] = {**links, **made_of.uplinks[name], **devices[name]}
        plan.reuse_lookups(before, [space.name for part in gone for space in part.spaces], fresh_spaces, devices)
        return plan

    def _shared(self) -> Shared:
        return Shared(
            tuple(veth for step in self._steps for veth in step.veths),
            tuple(child for step in self._steps for child in step.children),
            tuple(plugged for step in self._steps for plugged in step.plugged),
        )

    def _parts(self, spaces: Mapping[str, Space]) -> dict[str, NodePart]:
        """The parts by node, after all steps. `spaces` are the finished spaces of the nodes."""
        steps = [self._by_node(step) for step in self._steps[1:]]
        found = {}
        for node in self.nodes:
            assert len(self._pods[node.name]) == len(node.pods), f"pods of {node.name} without a part"
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
        """The devices that a step created between spaces, by the node that they or their pods belong to."""
        home = {part.space.name: name for name, parts in self._pods.items() for part in parts}
        by_node: dict[str, tuple[list[Veth], list[Child], list[Plugged]]]
        by_node = {node.name: ([], [], []) for node in self.nodes}
        for veth in step.veths:
            by_node[home.get(veth.a.space, veth.a.space)][0].append(veth)
        for child in step.children:
            by_node[child.node][1].append(child)
        for plugged in step.plugged:
            by_node[plugged.node][2].append(plugged)
        return {name: Shared(tuple(one), tuple(two), tuple(three)) for name, (one, two, three) in by_node.items()}


def _check_names(spaces: Iterable[Space], veths: Iterable[Veth], children: Iterable[Child]) -> None:
    """Raises ValueError if a space has two devices with the same name, which is a bug of the design."""
    names = [(space.name, link.name) for space in spaces for link in space.links]
    names += [(end.space, end.name) for veth in veths for end in (veth.a, veth.b)]
    names += [(child.space, child.name) for child in children]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise ValueError(f"two devices with the same name in a namespace: {sorted(twice)}")
