"""Rules of other kinds, lost local routes, proxy neighbours, loopback and link-local addresses."""

import ipaddress
import socket
from collections.abc import Iterator

from testbed.kernel.dumped import Dumped
from testbed.plan.messages import address_in, attributes, number_in
from testbed.plan.objects import Other
from testbed.plan.objects.addresses import ADDRESSES
from testbed.plan.objects.entries import SAID
from testbed.plan.objects.neighbours import NDA_DST, NEIGHBOUR_HEADER
from testbed.plan.objects.routes import LOCAL_TABLE, ROUTE_HEADER, ROUTES
from testbed.plan.objects.rules import DEFAULT_RULES, RULES, default_rule_in, rule_words, unusual_rule_words
from testbed.plan.uapi import RTM_GETNEIGH
from testbed.spec.types import Address

_NTF_PROXY = 8
_PROXIES = (RTM_GETNEIGH, NEIGHBOUR_HEADER.pack(socket.AF_UNSPEC, 0, 0, _NTF_PROXY, 0))
_RTN_LOCAL, _RTA_DST, _RTA_TABLE = 2, 1, 15
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _IFA_PROTO = 1, 2, 8, 11
_BY_KERNEL = (1, 2, 3)
"""IFAPROT_...: of the loopback device, router advertisements, link-local."""
_IFA_F_TENTATIVE, _IFA_F_DADFAILED, _IFA_F_DEPRECATED = 0x40, 0x08, 0x20
_LO = 1
"""Index of the loopback device."""
_LOOPBACK = (ipaddress.ip_interface("127.0.0.1/8"), ipaddress.ip_interface("::1/128"))


def others(dumped: Dumped) -> Iterator[Other]:
    yield from _rules(dumped)
    yield from _addresses(dumped)
    yield from _proxies(dumped)


def _rules(dumped: Dumped) -> Iterator[Other]:
    there, families = set(), set()
    for payload in dumped.answers(*RULES.dumps):
        family = 4 if payload[0] == socket.AF_INET else 6
        families.add(family)
        there.add(default_rule_in(payload))
        if words := unusual_rule_words(payload):
            what = f"routing rule `{words}`"
            yield Other("", what, f"ip -{family} rule del {words}", "", f"ip -{family} rule add {words}")
    for rule in DEFAULT_RULES:
        if rule not in there and (rule.family == 4 or families & {6}):
            what = f"routing rule `{rule_words(rule).partition(' add ')[2]}` of the kernel missing"
            yield Other("", what, f"ip {rule_words(rule)}", SAID, f"ip {rule_words(rule, 'del')}")


def _addresses(dumped: Dumped) -> Iterator[Other]:
    """Addresses that plans do not have, and those without their local route."""
    up = {link.index for link in dumped.links if link.is_up}
    local = set(_local(dumped))
    loopback = set()
    for payload in dumped.answers(*ADDRESSES.dumps):
        prefix, index = payload[1], int.from_bytes(payload[4:8], "little")
        found = attributes(payload, 8)
        address = address_in(found[_IFA_LOCAL] if _IFA_LOCAL in found else found[_IFA_ADDRESS])
        interface, dev = ipaddress.ip_interface((address, prefix)), dumped.names[index]
        flags = number_in(found[_IFA_FLAGS]) if _IFA_FLAGS in found else payload[2]
        is_kernels = interface in _LOOPBACK or (_IFA_PROTO in found and found[_IFA_PROTO][0] in _BY_KERNEL)
        loopback.add(interface)
        if (address.is_loopback or address.is_link_local) and not is_kernels:
            words = f"{interface} dev {dev}"
            yield Other(dev, f"address {interface}", f"ip address del {words}", "", f"ip address add {words}")
        if flags & _IFA_F_DADFAILED:
            again = f"ip address replace {interface} dev {dev} nodad"
            yield Other(dev, f"address {interface} is a duplicate (dadfailed)", again, SAID)
        elif flags & _IFA_F_DEPRECATED:
            again = f"ip address change {interface} dev {dev} preferred_lft forever"
            yield Other(dev, f"address {interface} deprecated", again, "preferred")
        if index in up and address not in local and not flags & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED):
            words = f"local {address} dev {dev} table local proto kernel"
            add = f"ip -{address.version} route add {words}{' scope host' if address.version == 4 else ''}"
            if address.version == 4:
                add += f" src {address}"
            yield Other(dev, f"local route to {address} missing", add, SAID, f"ip route del {words}")
    for interface in _LOOPBACK if loopback and _LO in up else ():
        if interface not in loopback and (interface.version == 4 or any(one.version == 6 for one in loopback)):
            yield Other("lo", f"address {interface} missing", f"ip address add {interface} dev lo", SAID)


def _local(dumped: Dumped) -> Iterator[Address]:
    """The addresses with a local route."""
    for payload in dumped.answers(*ROUTES.dumps):
        _, _, _, _, table, _, _, kind, _ = ROUTE_HEADER.unpack_from(payload)
        if kind == _RTN_LOCAL and table == LOCAL_TABLE:
            found = attributes(payload, ROUTE_HEADER.size)
            if _RTA_DST in found:
                yield address_in(found[_RTA_DST])


def _proxies(dumped: Dumped) -> Iterator[Other]:
    """Addresses for which a device answers ARP or NDP."""
    for payload in dumped.answers(_PROXIES):
        family, index, _, flags, _ = NEIGHBOUR_HEADER.unpack_from(payload)
        found = attributes(payload, NEIGHBOUR_HEADER.size)
        if flags & _NTF_PROXY and family in (socket.AF_INET, socket.AF_INET6) and NDA_DST in found:
            address, dev = address_in(found[NDA_DST]), dumped.names.get(index, "")
            words = f"proxy {address} dev {dev}"
            yield Other(
                dev, f"proxy neighbour entry {address}", f"ip neighbour del {words}", "", f"ip neighbour add {words}"
            )
