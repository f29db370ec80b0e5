"""What one owner has in one backend of a namespace: chains with rules, and sets.

Rules and members are kept as text, one string each, since a node may have 10,000 of them:

    backend     table          a chain's rule                       a set's member
    iptables    filter         -s 10.0.0.1/32 -j DROP               (none)
    ipset       (empty)        (none)                               10.0.0.1 timeout 0
    nftables    ip kube-proxy  [{"drop":null}], as JSON             "10.0.0.1", as JSON
    ipvs        (empty)        (none)                               -r 10.244.0.2:8080 -m -w 1

Texts are in the very words in which the backend lists them, so that what is read back can be compared.
"""

from dataclasses import dataclass
from typing import Literal

Backend = Literal["ipset", "iptables", "ip6tables", "nftables", "ipvs"]
BACKENDS: tuple[Backend, ...] = ("ipset", "iptables", "ip6tables", "nftables", "ipvs")
"""In the order in which they are told: sets come before the rules that name them."""
BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
"""Chains of iptables that the kernel makes, in the order in which packets meet them."""


@dataclass(frozen=True)
class Hook:
    """Where the kernel hands packets to a chain of nftables."""

    type: Literal["filter", "nat", "route"]
    name: str
    """`prerouting`, `input`, `forward`, `output`, `postrouting`, `ingress` or `egress`."""
    priority: int
    """Chains of lower priority come first."""
    dev: str = ""
    """The device, of the family netdev."""


@dataclass(frozen=True)
class Chain:
    """An owner's rules in a chain. Other owners may have rules in the same chain: see `OWNERS` for the order."""

    table: str
    """Of iptables `filter`; of nftables with the family, `ip kube-proxy`; `inet filter`."""
    name: str
    rules: tuple[str, ...] = ()
    """At the chain's head: of iptables what stands behind `-A NAME `, of nftables see `nftables.rule`."""
    last: tuple[str, ...] = ()
    """At its end."""
    hook: Hook | None = None
    """Of nftables; none of a chain that rules jump to."""
    policy: str = ""
    """What becomes of packets that no rule decides on: `ACCEPT`, `DROP`; of nftables in small letters. Empty leaves
    it as it is, which is to accept."""


@dataclass(frozen=True)
class Set:
    """A set or map that rules name; or a virtual service of IPVS, whose members are its real servers."""

    name: str
    kind: str
    """Of ipset what stands behind `create NAME `; of nftables JSON, see `nftables.set_of`; of IPVS `-s rr`."""
    members: tuple[str, ...] = ()
    """Of ipset what stands behind `add NAME `; of nftables JSON; of IPVS what stands behind `-a -t SERVICE `."""
    table: str = ""
    """Of nftables."""


@dataclass(frozen=True)
class Ruleset:
    """What an owner has in one backend of a namespace."""

    owner: str
    """One of `OWNERS`."""
    backend: Backend
    chains: tuple[Chain, ...] = ()
    sets: tuple[Set, ...] = ()
