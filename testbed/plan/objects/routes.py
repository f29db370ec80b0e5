"""Routes."""

import ipaddress
import socket
import struct
import sys
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace

from testbed.plan.messages import (
    CHANGE,
    CREATE,
    REPLACE,
    IndexOf,
    Request,
    address_in,
    attribute,
    attributes,
    family,
    number,
    number_in,
)
from testbed.plan.objects.encapsulation import Encapsulation, encap_attributes, encap_in, encap_words
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.uapi import RTM_DELROUTE, RTM_GETROUTE, RTM_NEWROUTE, RTNH_F_ONLINK
from testbed.spec.types import Address, Network

MAIN_TABLE = 254
LOCAL_TABLE = 255
"""The kernel's table of local addresses. A planned rule for it replaces the kernel's rule, which has priority 0."""
BOOT, BIRD = 3, 12
"""Route protocols (rtnetlink(7)): the default of `ip route add`, and BIRD."""
_OWNERS = {BIRD: "bird"}
"""Names in ip(8)."""

ROUTE_HEADER = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, prefix lengths of destination and source, TOS, table, protocol, scope, type, flags."""
_NEXT_HOP = struct.Struct("=HBxi")
"""struct rtnexthop: length, flags, index."""
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS, _RTA_MULTIPATH = 1, 4, 5, 6, 7, 8, 9
_RTA_TABLE, _RTA_VIA, _RTA_ENCAP_TYPE = 15, 18, 21
_SCOPE_LINK, _SCOPE_UNIVERSE, _SCOPE_NOWHERE = 253, 0, 255
_UNICAST, _BLACKHOLE = 1, 6
_TYPES = {2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 7: "unreachable", 8: "prohibit", 9: "throw"}
"""Other types of routes, by their names in ip(8)."""
_RTPROT_KERNEL = 2
_RTM_F_CLONED = 0x200
_METRIC_6 = 1024
"""The metric of IPv6 routes that are added without one."""
_METRICS = ("lock", "mtu", "window", "rtt", "rttvar", "ssthresh", "cwnd", "advmss", "reordering", "hoplimit")
"""Names in ip(8) of the attributes in RTA_METRICS, from 1."""


@dataclass(frozen=True)
class NextHop:
    """One of several next hops of a route."""

    via: Address
    dev: str


@dataclass(frozen=True)
class Route:
    """A route. Without `via` the destination is on the device's link; `onlink` skips the check that `via` is on it."""

    to: Network
    dev: str
    via: Address | None = None
    onlink: bool = False
    encap: Encapsulation | None = None
    nexthops: tuple[NextHop, ...] = ()
    """Replaces `dev` and `via`, which are then empty; flows are distributed over the next hops."""
    blackhole: bool = False
    """Whether packets are dropped; `dev` is then empty."""
    source: Address | None = None
    """Preferred source address of the space's own packets; an address of the device if None."""
    table: int = MAIN_TABLE
    protocol: int = BOOT
    """The daemon that added it, as a protocol number of rtnetlink(7); BOOT if none."""
    metric: int = 0
    """Of several routes to a destination, the one with the lowest metric is used; 0 is the default."""
    further: str = ""
    """Further attributes of an observed route in the syntax of `ip route`, such as `mtu 1400`; empty in designs."""

    @property
    def devices(self) -> frozenset[str]:
        """All its outgoing devices."""
        return frozenset(filter(None, (self.dev, *(hop.dev for hop in self.nexthops))))


@dataclass(frozen=True)
class LearnedRoute:
    """A route that a daemon must add."""

    route: Route


@dataclass(frozen=True)
class CutRoute:
    """A prefix route that the kernel added for an address, and a CNI plugin removed."""

    route: Route


def route_words(route: Route, verb: str = "add") -> str:
    """Arguments of `ip` that `add`, `replace` or `del` the route."""
    to = "default" if route.to.prefixlen == 0 else str(route.to)
    start = f"-{route.to.version} route {verb}"
    owner = f" proto {route.protocol}" if route.protocol != BOOT else ""
    table = f"{owner} table {route.table}" if route.table != MAIN_TABLE else owner
    metric = f" metric {route.metric}" if route.metric else ""
    further = f"{metric} {route.further}" if route.further else metric
    if route.blackhole:
        return f"{start} blackhole {to}{table}{further}"
    source = f" src {route.source}" if route.source else ""
    if route.nexthops:
        hops = "".join(f" nexthop via {hop.via} dev {hop.dev}" for hop in route.nexthops)
        return f"{start} {to}{table}{source}{further}{hops}"
    via = f" via {route.via}" if route.via else ""
    onlink = " onlink" if route.onlink else ""
    return f"{start} {to}{encap_words(route.encap)}{via} dev {route.dev}{onlink}{table}{source}{further}"


def new_route(item: Route, index_of: IndexOf, flags: int = CREATE) -> Request:
    """Request for a route."""
    verb = "add" if flags == CREATE else "replace"
    # Without the family option: ip(8) takes the family from the address.
    return Request(
        RTM_NEWROUTE, flags, _body(item, index_of), lambda: f"ip {route_words(item, verb).partition(' ')[2]}"
    )


def _body(item: Route, index_of: IndexOf) -> bytes:
    scope = _SCOPE_UNIVERSE if item.via or item.nexthops or item.blackhole or item.to.version == 6 else _SCOPE_LINK
    encap = encap_attributes(item.encap) if item.encap else b""
    return _described(item, index_of, scope, encap)


def _described(item: Route, index_of: IndexOf, scope: int, encap: bytes = b"") -> bytes:
    kind = _BLACKHOLE if item.blackhole else _UNICAST
    flags = RTNH_F_ONLINK if item.onlink else 0
    table = item.table & 0xFF
    body = ROUTE_HEADER.pack(family(item.to), item.to.prefixlen, 0, 0, table, item.protocol, scope, kind, flags)
    if item.to.prefixlen:
        body += attribute(_RTA_DST, item.to.network_address.packed)
    body += encap
    if item.nexthops:
        body += attribute(_RTA_MULTIPATH, b"".join(_next_hop(hop.via, index_of(hop.dev)) for hop in item.nexthops))
    if item.dev:
        body += number(_RTA_OIF, index_of(item.dev))
    if item.via:
        body += attribute(_RTA_GATEWAY, item.via.packed)
    if item.source:
        body += attribute(_RTA_PREFSRC, item.source.packed)
    if item.table > 0xFF:
        body += number(_RTA_TABLE, item.table)
    if item.metric:
        body += number(_RTA_PRIORITY, item.metric)
    return body


def _next_hop(via: Address, index: int) -> bytes:
    gateway = attribute(_RTA_GATEWAY, via.packed)
    return _NEXT_HOP.pack(_NEXT_HOP.size + len(gateway), 0, index) + gateway


def _remove(item: Route, index_of: IndexOf) -> Request:
    body = _described(item, index_of, _SCOPE_NOWHERE)
    return Request(RTM_DELROUTE, CHANGE, body, lambda: f"ip {route_words(item, 'del').partition(' ')[2]}")


def _key(item: Route) -> Hashable:
    return item.to, item.table, item.metric


def _read(payload: memoryview, names: Mapping[int, str]) -> Route | None:
    """A route of any table except the local one; includes the kernel's prefix routes."""
    plain = _destination(payload)
    if plain is None:
        return None
    to, kind, table, found = plain
    protocol = int(payload[5])
    # Prefix routes of the kernel are compared as routes of BOOT.
    owner = BOOT if protocol == _RTPROT_KERNEL else protocol
    # Daemons choose the metrics of their routes.
    metric = 0 if protocol in (_RTPROT_KERNEL, BIRD) else _metric_in(to, found)
    if kind == _BLACKHOLE:
        return Route(to, "", blackhole=True, table=table, protocol=owner, metric=metric)
    if kind != _UNICAST or _has_hops_without_gateway(found):
        return None
    further = " ".join(_further(payload, found))
    has_source = _RTA_PREFSRC in found and protocol != _RTPROT_KERNEL
    source = address_in(found[_RTA_PREFSRC]) if has_source else None
    if _RTA_MULTIPATH in found:
        hops = tuple(sorted(_hops_in(found[_RTA_MULTIPATH], names), key=str))
        return Route(to, "", nexthops=hops, source=source, table=table, protocol=owner, metric=metric, further=further)
    via = address_in(found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else None
    dev = names.get(number_in(found[_RTA_OIF]), "") if _RTA_OIF in found else ""
    flags = int.from_bytes(payload[8:12], "little" if struct.pack("=H", 1)[0] else "big")
    return Route(
        to,
        dev,
        via,
        bool(flags & RTNH_F_ONLINK),
        encap_in(found),
        source=source,
        table=table,
        protocol=owner,
        metric=metric,
        further=further,
    )


def _metric_in(to: Network, found: Mapping[int, memoryview]) -> int:
    metric = number_in(found[_RTA_PRIORITY]) if _RTA_PRIORITY in found else 0
    return 0 if (to.version, metric) == (6, _METRIC_6) else metric


def _further(payload: memoryview, found: Mapping[int, memoryview]) -> Iterator[str]:
    """Attributes that designs do not use, in the syntax of `ip route`."""
    if payload[3]:
        yield f"tos {payload[3]:#x}"
    for kind, value in attributes(found[_RTA_METRICS]).items() if _RTA_METRICS in found else ():
        if kind <= len(_METRICS) and len(value) == 4:
            yield f"{_METRICS[kind - 1]} {number_in(value)}"
    if _RTA_VIA in found:
        yield f"via inet6 {address_in(found[_RTA_VIA][2:])}"
    if _RTA_ENCAP_TYPE in found and encap_in(dict(found)) is None:
        yield f"encap type {int.from_bytes(found[_RTA_ENCAP_TYPE][:2], sys.byteorder)}"


def _has_hops_without_gateway(found: Mapping[int, memoryview]) -> bool:
    value = found.get(_RTA_MULTIPATH, memoryview(b""))
    while len(value) >= _NEXT_HOP.size:
        length = _NEXT_HOP.unpack_from(value)[0]
        if _RTA_GATEWAY not in attributes(value[:length], _NEXT_HOP.size):
            return True
        value = value[(length + 3) & ~3 :]
    return False


def _destination(payload: memoryview) -> tuple[Network, int, int, dict[int, memoryview]] | None:
    """Destination, type, table and attributes of a route; None for routes that the kernel manages itself."""
    of, length, _, _, table, _, _, kind, flags = ROUTE_HEADER.unpack_from(payload)
    found = attributes(payload, ROUTE_HEADER.size)
    table = number_in(found[_RTA_TABLE]) if _RTA_TABLE in found else table
    # The listing also has cached routes to single destinations, for example with their path MTU.
    is_kernels = table == LOCAL_TABLE and payload[5] == _RTPROT_KERNEL
    if is_kernels or flags & _RTM_F_CLONED:
        return None
    nowhere: bytes | memoryview = bytes(4 if of == socket.AF_INET else 16)
    to = ipaddress.ip_network((address_in(memoryview(found.get(_RTA_DST, nowhere))), length))
    is_link_local = to.is_link_local and to.prefixlen < to.max_prefixlen  # The kernel adds it for each device.
    return None if is_link_local or to.is_multicast else (to, kind, table, found)


def _hops_in(value: memoryview, names: Mapping[int, str]) -> Iterator[NextHop]:
    while len(value) >= _NEXT_HOP.size:
        length, _, index = _NEXT_HOP.unpack_from(value)
        found = attributes(value[:length], _NEXT_HOP.size)
        yield NextHop(address_in(found[_RTA_GATEWAY]), names[index])
        value = value[(length + 3) & ~3 :]


def refusal_in(payload: memoryview) -> str | None:
    """A route of another type, in the syntax of `ip route`: `prohibit 10.0.0.0/8`."""
    plain = _destination(payload)
    if plain is None:
        return None
    to, kind, table, found = plain
    if kind in (_UNICAST, _BLACKHOLE) and not _has_hops_without_gateway(found):
        return None
    metric = _metric_in(to, found)
    words = ("" if kind == _UNICAST else _TYPES.get(kind, str(kind)), "default" if to.prefixlen == 0 else str(to))
    further = (f"table {table}" if table != MAIN_TABLE else "", f"metric {metric}" if metric else "")
    return " ".join(filter(None, (*words, *further)))


def ordered(route: Route) -> Route:
    """The route with its next hops sorted, as they are read; their order has no meaning."""
    return replace(route, nexthops=tuple(sorted(route.nexthops, key=str)))


def destination_words(route: Route) -> str:
    """The destination of a route, in a message."""
    return "default" if route.to.prefixlen == 0 else str(route.to)


def way_words(route: Route) -> str:
    """Next hops and device of a route, in a message."""
    owner = f" proto {_OWNERS.get(route.protocol, route.protocol)}" if route.protocol != BOOT else ""
    table = f" table {route.table}" if route.table != MAIN_TABLE else ""
    metric = f" metric {route.metric}" if route.metric else ""
    further = f" {route.further}" if route.further else ""
    return f"{_hops(route)}{owner}{table}{metric}{further}"


def _hops(route: Route) -> str:
    if route.blackhole:
        return "blackhole"
    if route.nexthops:
        return " or ".join(f"via {hop.via} dev {hop.dev}" for hop in route.nexthops)
    if route.encap:
        return f"dev {route.dev} with{encap_words(route.encap)}"
    return f"via {route.via} dev {route.dev}" if route.via else f"dev {route.dev}"


def _describe(planned: Route | None, there: Route | None) -> str:
    if planned and there:
        return f"route {destination_words(planned)}: {way_words(there)}, expected {way_words(planned)}"
    if planned:
        return f"route {destination_words(planned)} {way_words(planned)} missing"
    assert there
    if there.blackhole:
        table = f" table {there.table}" if there.table != MAIN_TABLE else ""
        return f"unexpected route `blackhole {there.to}{table}`"
    return f"unexpected route {destination_words(there)} {way_words(there)}"


ROUTES = ObjectKind(
    type=Route,
    key=_key,
    devices=lambda item: item.devices,
    make=new_route,
    replace=lambda item, index_of: new_route(item, index_of, REPLACE),
    remove=_remove,
    words=lambda item, verb: f"ip {route_words(item, verb)}",
    describe=_describe,
    dumps=tuple(
        (RTM_GETROUTE, ROUTE_HEADER.pack(of, 0, 0, 0, 0, 0, 0, 0, 0)) for of in (socket.AF_INET, socket.AF_INET6)
    ),
    read=_read,
)
