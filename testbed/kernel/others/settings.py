"""Sysctls of the namespace that decide what becomes of packets."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from testbed.kernel.namespace import Namespace
from testbed.kernel.sysctls import Sysctls
from testbed.plan.objects import Other, Sysctl

_OF_ALL_4 = (
    *("forwarding", "mc_forwarding", "proxy_arp", "rp_filter", "accept_source_route", "arp_filter", "disable_xfrm"),
    *("disable_policy", "arp_announce", "arp_ignore", "promote_secondaries", "arp_accept", "accept_local"),
    *("src_valid_mark", "proxy_arp_pvlan", "route_localnet", "ignore_routes_with_linkdown", "bc_forwarding"),
    *("drop_unicast_in_l2_multicast", "drop_gratuitous_arp"),
)
_OF_ALL_6 = ("forwarding", "hop_limit", "accept_ra", "autoconf", "proxy_ndp", "accept_source_route", "disable_ipv6")
WATCHED = (
    *(f"net.ipv4.conf.{of}.{name}" for of in ("all", "default") for name in _OF_ALL_4),
    *(f"net.ipv6.conf.{of}.{name}" for of in ("all", "default") for name in _OF_ALL_6),
    *(f"net.ipv4.{name}" for name in ("ip_forward", "ip_default_ttl", "ip_nonlocal_bind", "ip_no_pmtu_disc")),
    *(f"net.ipv4.{name}" for name in ("icmp_echo_ignore_all", "icmp_echo_ignore_broadcasts", "fwmark_reflect")),
    *(f"net.ipv4.{name}" for name in ("fib_multipath_hash_policy", "fib_multipath_use_neigh", "ip_local_port_range")),
    *(f"net.ipv4.{name}" for name in ("ip_unprivileged_port_start", "tcp_mtu_probing", "tcp_ecn", "ping_group_range")),
    *(f"net.ipv6.{name}" for name in ("icmp.echo_ignore_all", "ip_nonlocal_bind", "bindv6only")),
    *(f"net.ipv6.{name}" for name in ("fib_multipath_hash_policy", "seg6_flowlabel")),
    *(f"net.bridge.bridge-nf-call-{name}" for name in ("iptables", "ip6tables", "arptables")),
    *(f"net.bridge.bridge-nf-filter-{name}" for name in ("vlan-tagged", "pppoe-tagged")),
)
"""Compared with their values in a new namespace, unless the plan has a value."""
_ITEMS = tuple(Sysctl(key, "", optional=True) for key in WATCHED)
COPIED = (
    ("net.ipv4.ip_forward", ("net.ipv4.conf.all.forwarding", "net.ipv4.conf.default.forwarding")),
    ("net.ipv6.conf.all.forwarding", ("net.ipv6.conf.default.forwarding",)),
    ("net.ipv6.conf.all.disable_ipv6", ("net.ipv6.conf.default.disable_ipv6",)),
)
"""Sysctls whose value the kernel copies to others, and to each device, when it changes."""


@cache
def fresh() -> dict[str, str]:
    """The values in a new namespace."""
    namespace = Namespace.create()
    try:
        with namespace.entered(), Sysctls() as settings:
            return settings.values(_ITEMS)
    finally:
        namespace.close()


def differing(planned: Sequence[Sysctl]) -> dict[str, tuple[str, str]]:
    """Those of the calling thread's namespace that differ, planned ones too: value and expected value, by key."""
    own = {item.key: item.value for item in planned if not item.dev}
    expected = fresh() | own
    for key, copies in COPIED:
        expected |= {copy: own[key] for copy in copies if key in own and copy not in own}
    with Sysctls() as settings:
        values = settings.values(_ITEMS)
    found = {key: (value, expected[key]) for key, value in values.items() if expected.get(key, value) != value}
    for key, copies in COPIED:
        if key in found:
            found = {name: pair for name, pair in found.items() if name not in copies or name in own}
    return found


def others(found: Mapping[str, tuple[str, str]], planned: Sequence[Sysctl]) -> Iterator[Other]:
    """Those that differ, without planned ones."""
    own = {item.key: item.value for item in planned}
    for key, (value, wanted) in found.items():
        if key not in own:
            undo = "\n".join(writing(key, wanted, own))
            yield Other("", f"sysctl {key}: {value}", undo, wanted, _command(key, value))


def writing(key: str, value: str, planned: Mapping[str, str]) -> tuple[str, ...]:
    """The commands that write a sysctl, and restore the planned one that the kernel changes with it."""
    redirects = "net.ipv4.conf.all.accept_redirects"
    changes_redirects = key in ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding") and redirects in planned
    return (_command(key, value), *((_command(redirects, planned[redirects]),) if changes_redirects else ()))


def _command(key: str, value: str) -> str:
    words = value.replace("\t", " ")
    return f"sysctl -w {key}='{words}'" if " " in words else f"sysctl -w {key}={words}"
