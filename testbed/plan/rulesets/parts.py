"""Rules and sets of one owner in one backend of a namespace.

Each rule and member is one string, since a node may have 10,000 of them:

    backend     table          a chain's rule                       a set's member
    iptables    filter         -s 10.0.0.1/32 -j DROP               (none)
    ipset       (empty)        (none)                               10.0.0.1 timeout 0
    nftables    ip kube-proxy  [{"drop":null}], as JSON             "10.0.0.1", as JSON
    ipvs        (empty)        (none)                               -r 10.244.0.2:8080 -m -w 1

Strings are written exactly as the backend lists them, so that they can be compared with a listing.
"""

from dataclasses import dataclass
from typing import Literal

Backend = Literal["ipset", "iptables", "ip6tables", "nftables", "ipvs"]
BACKENDS: tuple[Backend, ...] = ("ipset", "iptables", "ip6tables", "nftables", "ipvs")
"""In the order of loading: sets come before the rules that refer to them."""
BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
"""Built-in chains of iptables, in the order in which packets traverse them."""


@dataclass(frozen=True)
class Hook:
    """The hook of an nftables base chain."""

    type: Literal["filter", "nat", "route"]
    name: str
    """`prerouting`, `input`, `forward`, `output`, `postrouting`, `ingress` or `egress`."""
    priority: int
    """Chains of lower priority come first."""
    dev: str = ""
    """The device, for the family netdev."""


@dataclass(frozen=True)
class Chain:
    """An owner's rules in a chain. Other owners may have rules in the same chain: see `OWNERS` for the order."""

    table: str
    """For iptables `filter`; for nftables with the family, such as `ip kube-proxy` or `inet filter`."""
    name: str
    rules: tuple[str, ...] = ()
    """At the head of the chain: for iptables the text after `-A NAME `, for nftables see `nftables.rule`."""
    last: tuple[str, ...] = ()
    """At the end of the chain."""
    hook: Hook | None = None
    """For base chains of nftables."""
    policy: str = ""
    """`ACCEPT` or `DROP`; lower case for nftables. Empty: unchanged, which is to accept."""


@dataclass(frozen=True)
class Set:
    """A set or map that rules refer to; or a virtual service of IPVS, whose members are its real servers."""

    name: str
    kind: str
    """For ipset the text after `create NAME `; for nftables JSON, see `nftables.set_of`; for IPVS `-s rr`."""
    members: tuple[str, ...] = ()
    """For ipset the text after `add NAME `; for nftables JSON; for IPVS the text after `-a -t SERVICE `."""
    table: str = ""
    """For nftables."""


@dataclass(frozen=True)
class Ruleset:
    """The chains and sets of an owner in one backend of a namespace."""

    owner: str
    """One of `OWNERS`."""
    backend: Backend
    chains: tuple[Chain, ...] = ()
    sets: tuple[Set, ...] = ()
