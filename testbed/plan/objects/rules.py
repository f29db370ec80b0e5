"""Routing rules: the routing table to use for a packet."""

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from testbed.plan.messages import CHANGE, CREATE, Request, address_in, attribute, attributes, number, number_in
from testbed.plan.objects.kind import ObjectKind
from testbed.plan.objects.routes import ROUTE_HEADER
from testbed.plan.uapi import RTM_DELRULE, RTM_GETRULE, RTM_NEWRULE
from testbed.spec.types import Network

_FRA_SRC, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK = 2, 6, 10, 15, 16
_TO_TABLE, _INVERTED = 1, 2
_FAMILY = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
_LAST = ((32766, 254), (32767, 253))
"""Priority and table of the kernel's default rules, except that of the local table."""


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
    of, _, length, _, table, _, _, _, flags = ROUTE_HEADER.unpack_from(payload)
    found = attributes(payload, ROUTE_HEADER.size)

    def of_kind(kind: int, otherwise: int = 0) -> int:
        return number_in(found[kind]) if kind in found else otherwise

    rule = RoutingRule(
        of_kind(_FRA_PRIORITY),
        4 if of == socket.AF_INET else 6,
        of_kind(_FRA_TABLE, table),
        ipaddress.ip_network((address_in(found[_FRA_SRC]), length)) if _FRA_SRC in found else None,
        of_kind(_FRA_FWMARK),
        of_kind(_FRA_FWMASK),
        bool(flags & _INVERTED),
    )
    return None if (rule.priority, rule.table) in _LAST else rule


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
