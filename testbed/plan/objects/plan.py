"""Network namespaces with their objects, and the plan of all namespaces."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TypeVar, cast

from testbed.plan.allocation import Allocation
from testbed.plan.objects.addresses import DeviceAddress
from testbed.plan.objects.child import Child
from testbed.plan.objects.entries import DownDevice, Esp, NftTable, Other, SegmentSource, Sysctl
from testbed.plan.objects.fdb import FdbEntry
from testbed.plan.objects.links import LINKS, Device, Link
from testbed.plan.objects.neighbours import Neighbour
from testbed.plan.objects.netem import Netem
from testbed.plan.objects.programs import Bpf, File, Plugged, Program
from testbed.plan.objects.routes import CutRoute, LearnedRoute, Route
from testbed.plan.objects.rules import RoutingRule
from testbed.plan.objects.token_bucket import TokenBucket
from testbed.plan.objects.veth import Veth
from testbed.plan.rulesets import Ruleset
from testbed.spec.types import Address


class Kind(StrEnum):
    """The role of a namespace."""

    NODE = "node"
    POD = "pod"
    SWITCH = "switch"
    ROUTER = "router"
    CABLE = "cable"
    """A link between two other namespaces, with delay, loss or a rate limit."""


Object = (
    Link
    | Sysctl
    | DeviceAddress
    | Neighbour
    | FdbEntry
    | Route
    | RoutingRule
    | TokenBucket
    | Netem
    | Esp
    | SegmentSource
    | Ruleset
    | Program
    | File
    | Bpf
    | LearnedRoute
    | DownDevice
    | CutRoute
    | NftTable
    | Other
)
"""Any object of a namespace, except devices that it shares with another namespace."""
T = TypeVar("T", bound=Object)


@dataclass(frozen=True)
class Space:
    """A network namespace with its objects, except veth pairs, which connect two spaces."""

    name: str
    kind: Kind
    objects: tuple[Object, ...] = ()
    """Objects of one type are created in this order."""
    node: str | None = None
    """For a pod: the node that it is attached to."""
    reached_at: tuple[Address, ...] = ()
    """The addresses at which others reach this pod or node."""
    snat_addresses: tuple[Address, ...] = ()
    """For a pod: the source addresses that replace its own in packets to other nodes and beyond (masquerading)."""

    @cached_property
    def _by_type(self) -> dict[type, tuple[Object, ...]]:
        found: dict[type, list[Object]] = {}
        for item in self.objects:
            found.setdefault(type(item), []).append(item)
        return {kind: tuple(items) for kind, items in found.items()}

    @property
    def types(self) -> Iterable[type]:
        """The types of its objects."""
        return self._by_type

    def of(self, kind: type[T]) -> tuple[T, ...]:
        """Its objects of that type."""
        return cast("tuple[T, ...]", self._by_type.get(kind, ()))

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Its devices, except those that it shares with another space (see `Plan.veths`, `Plan.children`)."""
        return tuple(item for item in self.objects if isinstance(item, LINKS))

    @property
    def learned(self) -> tuple[Route, ...]:
        """The routes that daemons must add."""
        return tuple(item.route for item in self.of(LearnedRoute))

    @property
    def bpf(self) -> Bpf | None:
        """Its eBPF programs, if it has any."""
        return next(iter(self.of(Bpf)), None)

    @property
    def home(self) -> str:
        """The node of a pod; otherwise the space itself."""
        return self.node or self.name

    def masked_towards(self, other: "Space", family: int) -> tuple[Address, ...]:
        """The source addresses that the other space sees instead of its own; empty if they are not replaced."""
        if other.kind is not Kind.NODE or other.name == self.home:
            return ()
        return tuple(address for address in self.snat_addresses if address.version == family)

    @property
    def has_folders(self) -> bool:
        """Whether it has private folders for its programs."""
        return any(kind in self._by_type for kind in (File, Program, Bpf))


@dataclass(frozen=True)
class Plan:
    """All namespaces and devices of a lab under one design."""

    topology: str
    design: str
    pod_mtu: int
    spaces: tuple[Space, ...]
    veths: tuple[Veth, ...]
    children: tuple[Child, ...] = ()
    plugged: tuple[Plugged, ...] = ()
    offload: bool = True
    """Whether devices may carry segments larger than their MTU; if not, TSO, GSO and GRO are off on all of them."""
    allocation: Allocation = field(default_factory=Allocation)
    """The allocated numbers and addresses, from which the lab's next plan starts."""

    @cached_property
    def _by_name(self) -> dict[str, Space]:
        return {space.name: space for space in self.spaces}

    def __getitem__(self, name: str) -> Space:
        return self._by_name[name]

    def has(self, name: str) -> bool:
        """Whether the plan has a space with that name."""
        return name in self._by_name

    @property
    def made_of(self) -> object:
        """The parts that the next plan of the same lab can reuse, see `testbed.plan.parts`.

        Not a field: it is neither compared nor serialized, and `replace` omits it.
        """
        return vars(self).get("_made_of")

    def remember(self, made_of: object) -> None:
        """Records the parts. To be called once, by the creator of the plan."""
        vars(self)["_made_of"] = made_of

    def reuse_lookups(
        self,
        before: "Plan",
        gone: Iterable[str],
        fresh: Iterable[Space],
        devices: Mapping[str, Mapping[str, Device]],
    ) -> None:
        """Reuses cached lookups of the previous plan, without the spaces `gone`, with `fresh` ones and `devices`."""
        names = tuple(gone)
        for known, own in (("_by_name", {space.name: space for space in fresh}), ("_devices", devices)):
            if known in vars(before):
                found = vars(before)[known].copy()
                for name in names:
                    found.pop(name, None)
                vars(self)[known] = found | own

    def of_kind(self, *kinds: Kind) -> tuple[Space, ...]:
        return tuple(space for space in self.spaces if space.kind in kinds)

    @cached_property
    def _devices(self) -> dict[str, dict[str, Device]]:
        """All devices, by space and name."""
        devices: dict[str, dict[str, Device]] = {
            space.name: {link.name: link for link in space.links} for space in self.spaces
        }
        for veth in self.veths:
            for end in (veth.a, veth.b):
                devices[end.space][end.name] = end
        for child in self.children:
            devices[child.space][child.name] = child
        return devices

    def devices_of(self, space: str) -> dict[str, Device]:
        """All devices of a space, by name."""
        return dict(self._devices[space])

    def device(self, space: str, name: str) -> Device:
        """A device of a space. Raises KeyError if it is missing."""
        return self._devices[space][name]

    def without_offload(self, space: str) -> tuple[str, ...]:
        """The devices of a space that may not carry segments larger than their MTU."""
        devices = self._devices[space].items()
        return tuple(name for name, dev in devices if not (self.offload and getattr(dev, "offload", True)))

    def without_checksums(self, space: str) -> tuple[str, ...]:
        """The devices of a space that must not send partial checksums."""
        return tuple(name for name, dev in self._devices[space].items() if not getattr(dev, "checksums", True))
