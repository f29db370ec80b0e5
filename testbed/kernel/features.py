"""Detect features of the running kernel by trying each in a temporary namespace.

Features that work are cached until the next boot; missing ones are tried again each time, since a module may have been
installed meanwhile.
"""

import ipaddress
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from testbed.kernel import bpf_calls, encode, programs
from testbed.kernel.by_tools import try_esp
from testbed.kernel.datapath import try_openvswitch
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import KernelRefusal, send
from testbed.kernel.programs import MissingPlugin, Program
from testbed.kernel.rights import as_root, is_roots_own
from testbed.kernel.tools import ToolFailed
from testbed.kernel.tun import make_tun
from testbed.plan.messages import Request, attribute, number
from testbed.plan.objects import (
    BpfHook,
    Bridge,
    Child,
    Geneve,
    IpTunnel,
    Link,
    Netem,
    Route,
    Segments,
    TokenBucket,
    Tun,
    TunnelKey,
    TunnelKind,
    VethEnd,
    Vxlan,
    Wireguard,
)
from testbed.plan.objects.netem import new_netem
from testbed.plan.objects.routes import new_route
from testbed.plan.objects.token_bucket import new_token_bucket
from testbed.plan.rulesets import Chain, Hook, Ruleset, Set

_MAC = "02:00:00:00:00:01"
_LOCAL = ipaddress.ip_address("127.0.0.1")
_LOCAL6 = ipaddress.ip_address("::1")
_INDEX = 100
_IFLA_VLAN_ID, _IFLA_BR_VLAN_FILTERING, _IFLA_VRF_TABLE = 1, 7, 1
_COMMENT = "-m comment --comment try"


@dataclass(frozen=True)
class Feature:
    """A kernel feature that a design or fabric needs."""

    name: str
    option: str
    """The kernel's configuration option."""
    module: str
    """The module that provides it in a modular kernel."""
    attempt: Callable[[int], None]
    """Tries it in the calling thread's namespace, whose descriptor is the argument; raises an error if it fails."""
    roots_own: bool = False
    """Whether it needs root on the host, not only in a user namespace."""

    @property
    def remedy(self) -> str:
        """How to get it."""
        return f"needs a kernel with {self.option} (modprobe {self.module}){self._rights}"

    @property
    def lacking(self) -> str:
        """What is missing, in the reason why a design is unavailable."""
        return f"{self.option} (module {self.module}){self._rights}"

    @property
    def _rights(self) -> str:
        return " and root on the host (sudo)" if self.roots_own and not is_roots_own() else ""


def _link(link: Link) -> Callable[[int], None]:
    return lambda _: send([encode.new_link(link)])


def _pair(namespace_fd: int, is_netkit: bool = False) -> Request:
    mac = "" if is_netkit else _MAC
    here, there = (VethEnd("", f"try{number}", _INDEX + number, mac, 1500) for number in range(2))
    return encode.new_veth(here, there, namespace_fd, None, is_netkit)


def _child(child: Child) -> Callable[[int], None]:
    def attempt(namespace_fd: int) -> None:
        send([_pair(namespace_fd)])
        send([encode.new_child(child, _INDEX, namespace_fd)])

    return attempt


def _of_kind(kind: str, data: bytes = b"") -> Callable[[int], None]:
    return lambda _: send([encode.new_of_kind("try", _INDEX, kind, data)])


def _vlan(namespace_fd: int) -> None:
    send([_pair(namespace_fd)])
    send([encode.new_of_kind("try", _INDEX + 2, "vlan", attribute(_IFLA_VLAN_ID, b"\5\0"), parent=_INDEX)])


def _light_weight_tunnel(_: int) -> None:
    send([encode.new_link(Vxlan("try", _INDEX, _MAC, 1450, 0, 8472, None, external=True))])
    to = ipaddress.ip_network("192.0.2.0/24")
    send([new_route(Route(to, "try", encap=TunnelKey(1, _LOCAL, _LOCAL)), lambda _: _INDEX)])


def _programs(_: int) -> None:
    hook = BpfHook("lo", "ingress", "try")
    with bpf_calls.smallest_program() as program:
        send([encode.new_clsact("lo", encode.LOOPBACK), encode.new_filter(hook, encode.LOOPBACK, program)])


def _segments(_: int) -> None:
    send([encode.link_up(encode.LOOPBACK)])
    to = ipaddress.ip_network("2001:db8::/64")
    send([new_route(Route(to, "lo", encap=Segments((_LOCAL6,))), lambda _: encode.LOOPBACK)])


def _rule(table: str, chain: str, rule: str) -> Ruleset:
    return Ruleset("user", "iptables", (Chain(table, chain, (rule,)),))


def _load(parts: Iterable[Ruleset]) -> None:
    from testbed.kernel.rulesets import load  # Rarely needed: features that work are cached.

    load(parts)


def _masquerade(_: int) -> None:
    _load([_rule("nat", "POSTROUTING", f"-m mark --mark 1 {_COMMENT} -j MASQUERADE --random-fully")])


def _bridged_rules(_: int) -> None:
    bridged = "-m physdev --physdev-in try --physdev-is-bridged"
    _load([_rule("filter", "FORWARD", f"{bridged} -m state --state NEW -j NFLOG --nflog-group 86")])
    Path("/proc/sys/net/bridge/bridge-nf-call-iptables").read_text()


def _marked_esp(_: int) -> None:
    _load([_rule("mangle", "INPUT", "-p esp -m esp --espspi 1 -j MARK --set-xmark 0x1/0x1")])
    _load([_rule("filter", "OUTPUT", "-m policy --dir out --pol none -j DROP")])


def _ipset(_: int) -> None:
    sets = (Set("try", "hash:net family inet"), Set("two", "hash:ip family inet"))
    rule = _rule("nat", "POSTROUTING", f"-m set --match-set try src {_COMMENT} -j RETURN")
    _load([Ruleset("user", "ipset", sets=sets), rule])


def _nftables(_: int) -> None:
    """A set, and an address translation rule as Services use it."""
    from testbed.plan.rulesets import nftables

    translating = nftables.rule({"dnat": {"addr": "192.0.2.1"}})
    chain = Chain("ip try", "try", (translating,), hook=Hook("nat", "prerouting", -100))
    sets = (nftables.set_of("try", "ip try", "ipv4_addr", ["192.0.2.1"]),)
    _load([Ruleset("user", "nftables", (chain, Chain("inet try", "try")), sets)])


def _ipvs(_: int) -> None:
    from testbed.plan.rulesets import ipvs

    service = ipvs.service("tcp", ipaddress.ip_address("192.0.2.1"), 80, ())
    _load([Ruleset("user", "ipvs", sets=(service,))])


FEATURES = {
    feature.name: feature
    for feature in (
        Feature("veth", "CONFIG_VETH", "veth", lambda fd: send([_pair(fd)])),
        Feature("bridge", "CONFIG_BRIDGE", "bridge", _link(Bridge("try", _INDEX, _MAC, 1500))),
        Feature("vxlan", "CONFIG_VXLAN", "vxlan", _link(Vxlan("try", _INDEX, _MAC, 1450, 1, 8472, _LOCAL))),
        Feature("lwtunnel", "CONFIG_LWTUNNEL", "vxlan", _light_weight_tunnel),
        Feature(
            "macvlan",
            "CONFIG_MACVLAN",
            "macvlan",
            _child(Child("", "try", _INDEX + 2, _MAC, 1500, "macvlan", "bridge", "", "try0")),
        ),
        Feature(
            "ipvlan",
            "CONFIG_IPVLAN",
            "ipvlan",
            _child(Child("", "try", _INDEX + 2, "", 1500, "ipvlan", "l3", "", "try0")),
        ),
        Feature("vlan", "CONFIG_VLAN_8021Q", "8021q", _vlan),
        Feature(
            "bridge-vlan",
            "CONFIG_BRIDGE_VLAN_FILTERING",
            "bridge",
            _of_kind("bridge", attribute(_IFLA_BR_VLAN_FILTERING, b"\1")),
        ),
        Feature("vrf", "CONFIG_NET_VRF", "vrf", _of_kind("vrf", number(_IFLA_VRF_TABLE, 10))),
        Feature("dummy", "CONFIG_DUMMY", "dummy", _of_kind("dummy")),
        Feature("ifb", "CONFIG_IFB", "ifb", _of_kind("ifb")),
        Feature("netkit", "CONFIG_NETKIT", "netkit", lambda fd: send([_pair(fd, is_netkit=True)])),
        Feature("ipip", "CONFIG_NET_IPIP", "ipip", _link(IpTunnel("try", _INDEX, 1480, TunnelKind.IPIP, _LOCAL))),
        Feature(
            "ip6tnl",
            "CONFIG_IPV6_TUNNEL",
            "ip6_tunnel",
            _link(IpTunnel("try", _INDEX, 1460, TunnelKind.IP6TNL, _LOCAL6)),
        ),
        Feature("gre", "CONFIG_NET_IPGRE", "ip_gre", _link(IpTunnel("try", _INDEX, 1476, TunnelKind.GRE, _LOCAL))),
        Feature(
            "ip6gre", "CONFIG_IPV6_GRE", "ip6_gre", _link(IpTunnel("try", _INDEX, 1456, TunnelKind.IP6GRE, _LOCAL6))
        ),
        Feature("geneve", "CONFIG_GENEVE", "geneve", _link(Geneve("try", _INDEX, _MAC, 1450, 6081))),
        Feature("wireguard", "CONFIG_WIREGUARD", "wireguard", _link(Wireguard("try", _INDEX, 1420, 51820, ()))),
        Feature("esp", "CONFIG_INET_ESP, CONFIG_INET6_ESP and CONFIG_CRYPTO_GCM", "esp4", lambda _: try_esp()),
        Feature("seg6", "CONFIG_IPV6_SEG6_LWTUNNEL", "ipv6", _segments),
        Feature(
            "masquerade", "CONFIG_NFT_COMPAT and CONFIG_NETFILTER_XT_TARGET_MASQUERADE", "xt_MASQUERADE", _masquerade
        ),
        Feature("ipset", "CONFIG_IP_SET_HASH_NET and CONFIG_NETFILTER_XT_SET", "xt_set", _ipset),
        Feature("nftables", "CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET", "nf_tables", _nftables),
        Feature("ipvs", "CONFIG_IP_VS and CONFIG_IP_VS_RR", "ip_vs", _ipvs),
        Feature(
            "bridge-nf",
            "CONFIG_BRIDGE_NETFILTER, CONFIG_NETFILTER_XT_MATCH_PHYSDEV and CONFIG_NETFILTER_XT_TARGET_NFLOG",
            "xt_physdev",
            _bridged_rules,
        ),
        Feature("esp-marks", "CONFIG_IP_NF_MATCH_ESP and CONFIG_NETFILTER_XT_MATCH_POLICY", "xt_esp", _marked_esp),
        Feature("openvswitch", "CONFIG_OPENVSWITCH", "openvswitch", lambda _: try_openvswitch()),
        Feature("bpf", "CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF", "cls_bpf", _programs, roots_own=True),
        Feature("tun", "CONFIG_TUN", "tun", lambda _: make_tun(Tun("try", _INDEX, 1472))),
        Feature(
            "tbf",
            "CONFIG_NET_SCH_TBF",
            "sch_tbf",
            lambda _: send([new_token_bucket(TokenBucket("lo", 10**9, 125_000, 125_000), encode.LOOPBACK)]),
        ),
        Feature(
            "netem",
            "CONFIG_NET_SCH_NETEM",
            "sch_netem",
            lambda _: send([new_netem(Netem("lo", 1000, 0, 0, 0, 0, 1000), encode.LOOPBACK)]),
        ),
    )
}

FOR_LABS = ("veth", "bridge")
"""Features that every fabric needs; only some designs or links need the others."""


def missing_here(names: Iterable[str]) -> tuple[Feature, ...] | None:
    """Like `missing`, for any user; None if this user may not try."""
    wanted = tuple(names)
    if set(wanted) <= _known():
        return ()
    found = as_root(lambda: [feature.name for feature in missing(wanted)])
    if found is None:
        return None
    _remember(set(wanted) - set(found))
    return tuple(FEATURES[name] for name in found)


def missing(names: Iterable[str]) -> tuple[Feature, ...]:
    """The named features that this kernel lacks. Requires the right to make namespaces."""
    wanted, known = tuple(names), _known()
    lacking = tuple(FEATURES[name] for name in wanted if name not in known and not _works(FEATURES[name]))
    _remember(set(wanted) - {feature.name for feature in lacking})
    return lacking


def absent(needs: Iterable[str], tools: Iterable[str]) -> tuple[Feature | Program, ...]:
    """The named features and programs that are missing. Requires the right to make namespaces."""
    return (*missing(needs), *programs.missing(tools))


def absent_here(needs: Iterable[str], tools: Iterable[str]) -> tuple[Feature | Program, ...] | None:
    """Like `absent`, for any user; None if this user may not try and no program is missing."""
    lacking, unfound = missing_here(needs), programs.missing(tools)
    return unfound or None if lacking is None else (*lacking, *unfound)


Lacking = Feature | Program | MissingPlugin
"""Something that a machine lacks."""


def unavailable(lacking: Iterable[Lacking]) -> str:
    """Why a design is unavailable, in one line."""
    return f"not available here: {needs(lacking)}"


def needs(lacking: Iterable[Lacking]) -> str:
    """What is missing, as `needs CONFIG_NET_IPIP (module ipip)`."""
    return f"needs {' and '.join(feature.lacking for feature in lacking)}"


def _works(feature: Feature) -> bool:
    namespace = Namespace.create()
    try:
        with namespace.entered():
            feature.attempt(namespace.fd)
    except (KernelRefusal, ToolFailed, OSError):
        return False
    finally:
        namespace.close()
    return True


def _memory() -> Path:
    """The cache file of this user and boot."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return Path(tempfile.gettempdir()) / f"testbed-features-{os.geteuid()}-{boot}"


def _known() -> frozenset[str]:
    """The features that were found to work since boot."""
    with suppress(OSError):
        file = os.open(_memory(), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(file) as opened:
            # Trust only this user's own file.
            if os.fstat(file).st_uid == os.geteuid():
                return frozenset(opened.read().split()) & FEATURES.keys()
    return frozenset()


def _remember(names: set[str]) -> None:
    if names <= _known():
        return
    with suppress(OSError):
        file = os.open(_memory(), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "w") as opened:
            opened.write(" ".join(sorted(names)) + "\n")
