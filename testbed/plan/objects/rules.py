"""Routing rules: the routing table to use for a packet."""

import ipaddress
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from testbed.plan.messages import CHANGE, CREATE, Request, address_in, attribute, attributes, number, number_in, text_in
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.objects.routes import ROUTE_HEADER
from testbed.plan.uapi import RTM_DELRULE, RTM_GETRULE, RTM_NEWRULE
from testbed.spec.types import Network

_FRA_SRC, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK = 2, 6, 10, 15, 16
_TO_TABLE, _INVERTED = 1, 2
_FAMILY = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
_LAST = ((32766, 254), (32767, 253))
"""Priority and table of the kernel's default rules, except that of the local table."""
_FRA_DST, _FRA_IIF, _FRA_GOTO, _FRA_SUPPRESS, _FRA_OIF, _FRA_IP_PROTO, _FRA_SPORT, _FRA_DPORT = (
    *(1, 3, 4, 14),
    *(17, 22, 23, 24),
)
_FRA_FLOW, _FRA_TUN_ID, _FRA_L3MDEV, _FRA_UIDS, _FRA_DSCP = 11, 12, 19, 20, 25
_ACTIONS = {2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
"""Other actions than to look up a table, by their names in ip(8)."""
_NO_LIMIT = 0xFFFFFFFF
_PORTS = struct.Struct("=HH")


@dataclass(frozen=True)
class RoutingRule:
    """A routing rule: the table for packets with a source network or a mark."""

    priority: int
    family: Literal[4, 6]
    table: int
    source: Network | None = None
    mark: int = 0
    mask: int = 0
    """The bits of a packet's mark to compare; 0 if the mark is not compared."""
    inverted: bool = False
    """Whether the rule applies to packets that do not match (`ip rule add not ...`)."""


def rule_words(rule: RoutingRule, verb: str = "add") -> str:
    """Arguments of `ip` that `add` or `del` the rule."""
    inverted = " not" if rule.inverted else ""
    mark = f" fwmark 0x{rule.mark:x}/0x{rule.mask:x}" if rule.mask else ""
    source = f" from {rule.source or 'all'}"
    return f"-{rule.family} rule {verb}{inverted}{source}{mark} lookup {rule.table} priority {rule.priority}"


def new_rule(item: RoutingRule) -> Request:
    """Request for a rule."""
    return Request(RTM_NEWRULE, CREATE, _body(item), lambda: f"ip {rule_words(item).partition(' ')[2]}")


def no_rule(item: RoutingRule) -> Request:
    """Request that removes a rule."""
    return Request(RTM_DELRULE, CHANGE, _body(item), lambda: f"ip {rule_words(item, 'del').partition(' ')[2]}")


def _body(item: RoutingRule) -> bytes:
    flags = _INVERTED if item.inverted else 0
    length = item.source.prefixlen if item.source else 0
    body = ROUTE_HEADER.pack(_FAMILY[item.family], 0, length, 0, item.table & 0xFF, 0, 0, _TO_TABLE, flags)
    body += number(_FRA_PRIORITY, item.priority) + number(_FRA_TABLE, item.table)
    if item.source:
        body += attribute(_FRA_SRC, item.source.network_address.packed)
    if item.mask:
        body += number(_FRA_FWMARK, item.mark) + number(_FRA_FWMASK, item.mask)
    return body


def _read(payload: memoryview, names: Mapping[int, str]) -> RoutingRule | None:
    rule = _rule_in(payload)
    return None if rule is None or _is_default(rule) else rule


def _rule_in(payload: memoryview) -> RoutingRule | None:
    of, _, length, _, table, _, _, _, flags = ROUTE_HEADER.unpack_from(payload)
    found = attributes(payload, ROUTE_HEADER.size)
    if _is_unusual(payload, found):
        return None

    def of_kind(kind: int, otherwise: int = 0) -> int:
        return number_in(found[kind]) if kind in found else otherwise

    return RoutingRule(
        of_kind(_FRA_PRIORITY),
        4 if of == socket.AF_INET else 6,
        of_kind(_FRA_TABLE, table),
        ipaddress.ip_network((address_in(found[_FRA_SRC]), length)) if _FRA_SRC in found else None,
        of_kind(_FRA_FWMARK),
        of_kind(_FRA_FWMASK),
        bool(flags & _INVERTED),
    )


def _is_unusual(payload: memoryview, found: Mapping[int, memoryview]) -> bool:
    """Whether a rule has an action or a selector that plans do not have."""
    _, to, _, tos, _, _, _, action, _ = ROUTE_HEADER.unpack_from(payload)
    selectors = (_FRA_IIF, _FRA_GOTO, _FRA_OIF, _FRA_IP_PROTO, _FRA_SPORT, _FRA_DPORT, _FRA_FLOW, _FRA_TUN_ID)
    others = (_FRA_UIDS, _FRA_DSCP)
    has_selector = not found.keys().isdisjoint((*selectors, *others)) or any(found.get(_FRA_L3MDEV, b""))
    suppresses = _FRA_SUPPRESS in found and number_in(found[_FRA_SUPPRESS]) != _NO_LIMIT
    mark_in_full = _FRA_FWMARK in found and _FRA_FWMASK not in found
    return bool(action != _TO_TABLE or to or tos or has_selector or suppresses or mark_in_full)


def unusual_rule_words(payload: memoryview) -> str | None:
    """Arguments of `ip rule add` of a rule that `RoutingRule` cannot describe; None for others."""
    found = attributes(payload, ROUTE_HEADER.size)
    return " ".join(_unusual_words(payload, found)) if _is_unusual(payload, found) else None


def _unusual_words(payload: memoryview, found: Mapping[int, memoryview]) -> Iterator[str]:
    _, to, of, tos, table, _, _, action, flags = ROUTE_HEADER.unpack_from(payload)
    if flags & _INVERTED:
        yield "not"
    yield f"from {address_in(found[_FRA_SRC])}/{of}" if _FRA_SRC in found else "from all"
    if _FRA_DST in found:
        yield f"to {address_in(found[_FRA_DST])}/{to}"
    if tos:
        yield f"tos {tos:#x}"
    if _FRA_FWMARK in found:
        mask = number_in(found[_FRA_FWMASK]) if _FRA_FWMASK in found else _NO_LIMIT
        yield f"fwmark {number_in(found[_FRA_FWMARK]):#x}/{mask:#x}"
    for kind, word in ((_FRA_IIF, "iif"), (_FRA_OIF, "oif")):
        if kind in found:
            yield f"{word} {text_in(found[kind])}"
    if _FRA_IP_PROTO in found:
        yield f"ipproto {found[_FRA_IP_PROTO][0]}"
    for kind, word in ((_FRA_SPORT, "sport"), (_FRA_DPORT, "dport")):
        if kind in found:
            first, last = _PORTS.unpack(found[kind])
            yield f"{word} {first}" if first == last else f"{word} {first}-{last}"
    if action == _TO_TABLE:
        yield f"lookup {number_in(found[_FRA_TABLE]) if _FRA_TABLE in found else table}"
    elif action in _ACTIONS:
        yield _ACTIONS[action] + (f" {number_in(found[_FRA_GOTO])}" if _FRA_GOTO in found else "")
    if _FRA_SUPPRESS in found and number_in(found[_FRA_SUPPRESS]) != _NO_LIMIT:
        yield f"suppress_prefixlength {number_in(found[_FRA_SUPPRESS])}"
    yield f"priority {number_in(found[_FRA_PRIORITY]) if _FRA_PRIORITY in found else 0}"


def default_rule_in(payload: memoryview) -> RoutingRule | None:
    """One of the kernel's last two rules; None for others."""
    rule = _rule_in(payload)
    return rule if rule and _is_default(rule) else None


def _is_default(rule: RoutingRule) -> bool:
    return (rule.priority, rule.table) in _LAST and rule == RoutingRule(rule.priority, rule.family, rule.table)


DEFAULT_RULES = (RoutingRule(32766, 4, 254), RoutingRule(32767, 4, 253), RoutingRule(32766, 6, 254))
"""The kernel's last rules in each namespace: the main table, then the table `default`."""


def _describe(planned: RoutingRule | None, there: RoutingRule | None) -> str:
    if planned:
        return f"routing rule `{rule_words(planned).partition(' add ')[2]}` missing"
    assert there
    return f"unexpected routing rule `{rule_words(there).partition(' add ')[2]}`"


RULES = ObjectKind(
    type=RoutingRule,
    key=lambda item: item,
    devices=lambda item: (),
    make=lambda item, index_of: new_rule(item),
    remove=lambda item, index_of: no_rule(item),
    words=lambda item, verb: f"ip {rule_words(item, verb)}",
    describe=_describe,
    dumps=tuple(
        (RTM_GETRULE, ROUTE_HEADER.pack(of, 0, 0, 0, 0, 0, 0, 0, 0)) for of in (socket.AF_INET, socket.AF_INET6)
    ),
    read=_read,
)
