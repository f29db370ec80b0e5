"""Rules and sets outside the backends of a plan: iptables-legacy, ipset, IPVS, tables of nftables."""

import shutil
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from testbed.kernel.netlink import connect, dump
from testbed.kernel.tools import run
from testbed.plan.messages import attribute, attributes
from testbed.plan.objects import Other
from testbed.plan.objects.entries import SAID
from testbed.plan.rulesets import BUILT_IN, ipset, iptables
from testbed.plan.rulesets.quoting import quoted

_NETLINK_NETFILTER = 12
_IPSET_LIST, _SET_PROTOCOL, _SET_NAME, _SET_FLAGS, _NAMES_ONLY = (6 << 8) | 7, 1, 2, 6, 2
_HEADER = struct.pack("=BBH", 2, 0, 0)
_PATIENCE_S = 30
_HERE = Path("/proc/thread-self/net")


def others(has_sets: bool, has_services: bool) -> Iterator[Other]:
    yield from _legacy()
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
    found, chain = [], ""
    for line in run(("nft", "list", "table", *table.split(" ")), "", _PATIENCE_S).stdout.splitlines():
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
    return tuple(found)
