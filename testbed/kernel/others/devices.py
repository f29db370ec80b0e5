"""Devices: flags, alias, XDP programs, and the sysctls that the kernel keeps for each device."""

import sys
from collections.abc import Container, Iterator, Mapping, Sequence

from testbed.kernel.dumped import BUILT_IN, IFLA_AF_SPEC, Dumped, Link
from testbed.kernel.others.settings import COPIED, fresh
from testbed.plan.messages import attributes, number_in, text_in
from testbed.plan.objects import Other, Sysctl

_IFLA_IFALIAS, _IFLA_PROTO_DOWN, _IFLA_XDP, _XDP_ATTACHED, _XDP_PROG_ID = 20, 39, 43, 2, 4
_IFF_ALLMULTI, _IFF_MULTICAST = 0x200, 0x1000
_ETHERNET = ("veth", "bridge", "vxlan", "macvlan")
_AF_INET, _AF_INET6, _CONF_4, _CONF_6 = 2, 10, 1, 2
_NOTHING = memoryview(b"")
CONF_4: Mapping[int, str] = {
    1: "forwarding",
    2: "mc_forwarding",
    3: "proxy_arp",
    8: "rp_filter",
    9: "accept_source_route",
    13: "arp_filter",
    15: "disable_xfrm",
    16: "disable_policy",
    18: "arp_announce",
    19: "arp_ignore",
    20: "promote_secondaries",
    21: "arp_accept",
    23: "accept_local",
    24: "src_valid_mark",
    25: "proxy_arp_pvlan",
    26: "route_localnet",
    29: "ignore_routes_with_linkdown",
    30: "drop_unicast_in_l2_multicast",
    31: "drop_gratuitous_arp",
    32: "bc_forwarding",
}
"""IPV4_DEVCONF_..., from 1."""
CONF_6: Mapping[int, str] = {
    0: "forwarding",
    1: "hop_limit",
    3: "accept_ra",
    5: "autoconf",
    22: "proxy_ndp",
    24: "accept_source_route",
    26: "disable_ipv6",
}
"""DEVCONF_... of IPv6, from 0."""


def others(dumped: Dumped, planned: Sequence[Sysctl], differing: Container[str]) -> Iterator[Other]:
    """`differing` sysctls of the namespace that the kernel copies to devices explain those of the devices."""
    copied = {key for key, _ in COPIED if key in differing}
    values = {item.key.replace("/", "."): item.value for item in planned}
    for link in dumped.links:
        yield from _properties(link)
        # The devices that a module adds to each namespace are older than the settings of a lab.
        if link.is_up or link.name not in BUILT_IN:
            yield from _settings(link, values, copied)


def _properties(link: Link) -> Iterator[Other]:
    found, name = link.attributes, link.name
    if _IFLA_IFALIAS in found and (alias := text_in(found[_IFLA_IFALIAS])):
        yield Other(
            name, f"alias {alias!r}", f"ip link set {name} alias ''", "none", f"ip link set {name} alias {alias!r}"
        )
    if link.flags & _IFF_ALLMULTI:
        yield Other(name, "allmulticast on", f"ip link set {name} allmulticast off", "off")
    if link.kind in _ETHERNET and not link.flags & _IFF_MULTICAST:
        yield Other(name, "multicast off", f"ip link set {name} multicast on", "on")
    if found.get(_IFLA_PROTO_DOWN, b"\0")[0]:
        yield Other(name, "protodown on", f"ip link set {name} protodown off", "off")
    xdp = attributes(found[_IFLA_XDP]) if _IFLA_XDP in found else {}
    if xdp.get(_XDP_ATTACHED, b"\0")[0]:
        number = f" {number_in(xdp[_XDP_PROG_ID])}" if _XDP_PROG_ID in xdp else ""
        yield Other(name, f"XDP program{number} attached", f"ip link set dev {name} xdp off", "none")


def _settings(link: Link, planned: Mapping[str, str], copied: Container[str]) -> Iterator[Other]:
    """Per-device sysctls that differ from the default of the namespace."""
    spec = attributes(link.attributes[IFLA_AF_SPEC]) if IFLA_AF_SPEC in link.attributes else {}
    for family, inner, names, of, start in (
        ("ipv4", _AF_INET, CONF_4, _CONF_4, 1),
        ("ipv6", _AF_INET6, CONF_6, _CONF_6, 0),
    ):
        conf = attributes(spec[inner]).get(of, _NOTHING) if inner in spec else _NOTHING
        for number, name in names.items() if conf else ():
            at = 4 * (number - start)
            value = int.from_bytes(conf[at : at + 4], sys.byteorder, signed=True)
            expected = _expected(family, link.name, name, planned)
            of_all = (
                "net.ipv4.ip_forward" if (family, name) == ("ipv4", "forwarding") else f"net.{family}.conf.all.{name}"
            )
            if of_all in copied:
                continue
            if at + 4 <= len(conf) and expected not in (None, str(value)):
                key = f"net/{family}/conf/{link.name}/{name}"
                yield Other(
                    link.name,
                    f"sysctl {key}: {value}",
                    f"sysctl -w {key}={expected}",
                    str(expected),
                    f"sysctl -w {key}={value}",
                )


def _expected(family: str, dev: str, name: str, planned: Mapping[str, str]) -> str | None:
    """The value that a device has if nobody changed it; None if the plan has one, which is compared elsewhere."""
    if f"net.{family}.conf.{dev}.{name}" in planned:
        return None
    if dev == "lo" and name in ("disable_policy", "disable_xfrm"):
        return "1"
    if dev == "lo" and name in ("accept_ra", "autoconf"):
        return None
    keys = [f"net.{family}.conf.default.{name}"]
    if name == "forwarding" or (family, name) == ("ipv6", "disable_ipv6"):
        # Writing the value for all devices writes it for each.
        keys = ["net.ipv4.ip_forward"] * (family == "ipv4") + [f"net.{family}.conf.all.{name}", *keys]
    return next((planned[key] for key in keys if key in planned), fresh().get(keys[-1]))
