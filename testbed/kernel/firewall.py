"""Rules and sets of iptables and ipset: as those programs print them, without what changes by itself."""

import re
import subprocess
from collections.abc import Iterable

SAVE = {"ipset": ("ipset", "save"), "iptables": ("iptables-save",), "ip6tables": ("ip6tables-save",)}
"""The commands that print a firewall's text."""
_PATIENCE_S = 30
_COUNTERS = re.compile(r"\s*\[\d+:\d+\]$")
_OWN_CHOICE = re.compile(r" (bucketsize|initval) \w+")
"""Of a set: what newer kernels and programs choose by themselves."""
_FAMILIES = {"iptables": "ip", "ip6tables": "ip6"}
_BUILT_IN = frozenset(("INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"))


def saved(tool: str) -> str:
    """What the calling thread's namespace has, in the words of the tool that would make it. Raises OSError."""
    done = subprocess.run(SAVE[tool], capture_output=True, text=True, timeout=_PATIENCE_S)
    if done.returncode:
        raise OSError(f"{' '.join(SAVE[tool])}: {done.stderr.strip()}")
    return done.stdout


def tables_of(tool: str, text: str) -> frozenset[str]:
    """The tables that a text of iptables or ip6tables is about, as nftables lists them: `ip nat`; none of ipset's."""
    if tool not in _FAMILIES:
        return frozenset()
    return frozenset(f"{_FAMILIES[tool]} {line[1:]}" for line in text.splitlines() if line.startswith("*"))


def lines_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Each rule, chain and set in a line, rules and chains with their table; the order of rules within a chain is kept.

    Left out is what is there without anybody's doing: built-in chains that accept what no rule says anything of.
    """
    chains: dict[str, None] = {}
    rules: dict[tuple[str, str], list[str]] = {}
    table = ""
    for line in (line for text in texts for line in text.splitlines()):
        if line.startswith("*"):
            table = f"-t {line[1:]} "
        elif line.startswith(":"):
            name, policy = _COUNTERS.sub("", line[1:]).split()
            if name not in _BUILT_IN:
                chains[f"{table}-N {name}"] = None
            elif policy != "ACCEPT":
                chains[f"{table}-P {name} {policy}"] = None
        elif line.startswith(("create ", "add ")):
            chains[_OWN_CHOICE.sub("", line)] = None
        elif line and not line.startswith("#") and line != "COMMIT":
            chain = line.split()[1]
            rules.setdefault((table, chain), []).append(f"{table}{line}")
    return (*sorted(chains), *(line for key in sorted(rules) for line in rules[key]))
