"""Rules and sets outside the backends of a plan: iptables-legacy, ipset, IPVS, tables of nftables."""

import shutil
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from testbed.kernel.netlink import connect, dump
from testbed.kernel.tools import run
from testbed.plan.messages import attribute, attributes, text_in
from testbed.plan.objects import Other
from testbed.plan.objects.entries import SAID
from testbed.plan.rulesets import BUILT_IN, ipset, iptables
from testbed.plan.rulesets.quoting import quoted

_NETLINK_NETFILTER = 12
_IPSET_LIST, _SET_PROTOCOL, _SET_NAME, _SET_FLAGS, _NAMES_ONLY = (6 << 8) | 7, 1, 2, 6, 2
_HEADER = struct.pack("=BBH", 2, 0, 0)
_PATIENCE_S = 30
_NFT_GETCHAIN, _CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK = (10 << 8) | 4, 1, 3, 4
NFT_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_HERE = Path("/proc/thread-self/net")


def others(has_sets: bool, has_services: bool) -> Iterator[Other]:
    yield from _legacy()
    yield from _chains()
    if not has_sets and _has_sets():
        yield from _sets()
    if not has_services:
        yield from _services()


def _legacy() -> Iterator[Other]:
    """Rules of the kernel's older tables, which iptables-legacy writes."""
    for family, program in (("ip", "iptables-legacy"), ("ip6", "ip6tables-legacy")):
        with suppress(OSError):
            if not (_HERE / f"{family}_tables_names").read_text().strip() or not shutil.which(program):
                continue
            found = iptables.listed("iptables", run((f"{program}-save",), "", _PATIENCE_S).stdout)
            for (table, name), chain in found.chains.items():
                if chain.policy and name in BUILT_IN:
                    what = f"policy {chain.policy} of {name} in {table}"
                    yield Other("", f"{program}: {what}", f"{program} -t {table} -P {name} ACCEPT", "ACCEPT")
                for rule in chain.rules:
                    delete = f"{program} -t {table} -D {name} {quoted(rule)}"
                    yield Other("", f"{program}: unexpected `-t {table} -A {name} {rule}`", delete, SAID)
            for (table, name), _ in found.chains.items():
                if name not in BUILT_IN:
                    what = f"{program}: unexpected `-t {table} -N {name}`"
                    yield Other("", what, f"{program} -t {table} -F {name}\n{program} -t {table} -X {name}", SAID)


def _chains() -> Iterator[Other]:
    """Base chains that nft added to tables of iptables, which iptables-save leaves out."""
    for family, table, chain, has_hook in _all_chains():
        name = f"{family} {table}"
        if has_hook and iptables.is_table(name) and chain not in BUILT_IN:
            listed = run(("nft", "list", "chain", family, table, chain), "", _PATIENCE_S).stdout
            rules = "; ".join(rule.partition(": ")[2] for rule in _rules_in(listed)) or "no rules"
            undo = f"nft flush chain {name} {chain}\nnft delete chain {name} {chain}"
            yield Other("", f"nftables: unexpected chain `{name} {chain}` with {rules}", undo, SAID)


def tables_with_chains() -> set[str]:
    """The tables of nftables that have a chain, as `ip nat`."""
    return {f"{family} {table}" for family, table, _, _ in _all_chains()}


def _all_chains() -> Iterator[tuple[str, str, str, bool]]:
    """Family, table and name of each chain, and whether it has a hook; none on a kernel without nftables."""
    with suppress(OSError), connect(_NETLINK_NETFILTER) as sock:
        for found in dump(sock, _NFT_GETCHAIN, bytes(len(_HEADER))):
            chain = attributes(found, len(_HEADER))
            names = NFT_FAMILIES.get(found[0], ""), text_in(chain[_CHAIN_TABLE]), text_in(chain[_CHAIN_NAME])
            yield *names, _CHAIN_HOOK in chain


def _has_sets() -> bool:
    """Whether ipset has any set; false on a kernel without it."""
    body = _HEADER + attribute(_SET_PROTOCOL, b"\6") + attribute(_SET_FLAGS | 0x4000, struct.pack("!I", _NAMES_ONLY))
    with suppress(OSError), connect(_NETLINK_NETFILTER) as sock:
        return any(_SET_NAME in attributes(found, len(_HEADER)) for found in dump(sock, _IPSET_LIST, body))
    return False


def _sets() -> Iterator[Other]:
    for line in run(("ipset", "save"), "", _PATIENCE_S).stdout.splitlines():
        verb, name, *_ = line.split(" ", 2)
        if verb == "create":
            yield Other("", f"ipset: unexpected `{ipset.without_choices(line)}`", f"ipset destroy {name}", SAID)


def _services() -> Iterator[Other]:
    """Virtual services of IPVS."""
    with suppress(OSError):
        lines = (_HERE / "ip_vs").read_text().splitlines()[3:]
        if lines and shutil.which("ipvsadm"):
            for line in run(("ipvsadm", "--save", "--numeric"), "", _PATIENCE_S).stdout.splitlines():
                verb, kind, address, *_ = line.split()
                if verb == "-A":
                    yield Other("", f"ipvs: unexpected `{line.strip()}`", f"ipvsadm -D {kind} {address}", SAID)


def rules_of(table: str) -> tuple[str, ...]:
    """The rules of a table of nftables in one line each, with their chain; empty if it cannot be listed."""
    return tuple(_rules_in(run(("nft", "list", "table", *table.split(" ")), "", _PATIENCE_S).stdout))


def _rules_in(text: str) -> list[str]:
    found, chain = [], ""
    for line in text.splitlines():
        words = line.strip()
        if words.startswith(("chain ", "set ", "map ", "flowtable ")):
            chain = words.removesuffix(" {")
            if not chain.startswith("chain "):
                found.append(chain)
        elif words.startswith("type ") and "policy drop" in words:
            found.append(f"{chain}: policy drop")
        elif (
            chain.startswith("chain ")
            and words not in ("", "}")
            and not words.startswith(("type ", "policy ", "comment "))
        ):
            found.append(f"{chain}: {words}")
    return found
