"""Addresses of a network on the nodes of a topology: each node allocates by itself, so nodes must not share a range."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from testbed.cni import standard
from testbed.cni.network import Text, as_written, network_of_texts
from testbed.spec.json_tree import parse_json
from testbed.spec.problems import Loc, Misfit, Problem
from testbed.spec.types import Address

_OWN = f'"subnet": {standard.OWN_RANGE}'
_WHY = "host-local allocates on each node independently, so pods of different nodes get the same addresses"


class _Range(NamedTuple):
    """Addresses from which `host-local` allocates."""

    first: Address
    last: Address
    written: str
    file: str
    loc: Loc


def shared(by_node: Mapping[str, Sequence[Text]], texts: Sequence[Text], pods: Mapping[str, int]) -> Iterator[Problem]:
    """A problem for each range that several nodes with pods share, and for other ways that cannot work.

    `by_node` has the texts filled for each node, `texts` those as written, `pods` the number of pods by node.
    """
    nodes = [node for node in by_node if pods.get(node)]
    if not nodes:
        return
    yield from _unusable(by_node[nodes[0]], texts, sum(pods.values()))
    ranges = {node: list(_ranges(by_node[node])) for node in nodes}
    reported = set()
    for one, other in combinations(nodes, 2):
        for mine in ranges[one]:
            theirs = next((item for item in ranges[other] if _overlap(mine, item)), None)
            if theirs is None or (mine.file, mine.loc) in reported:
                continue
            reported.add((mine.file, mine.loc))
            message = f"{one} and {other} share the range {mine.written}: {_WHY}; write {_own(mine.loc)}"
            yield _located(by_node[one], texts, mine.file, Misfit(mine.loc, message))


def _overlap(one: _Range, other: _Range) -> bool:
    same = one.first.version == other.first.version
    return same and int(one.first) <= int(other.last) and int(other.first) <= int(one.last)


def _own(loc: Loc) -> str:
    """What to write for a range: the node's own part of the pod range of the same number."""
    number = loc[loc.index("ranges") + 1] if "ranges" in loc else 0
    return f'"subnet": "{{{{ node.pod_cidrs[{number}] }}}}"' if number else _OWN


def _unusable(filled: Sequence[Text], texts: Sequence[Text], pods: int) -> Iterator[Problem]:
    """A problem for addresses that `static` gives to several pods, and for `dhcp`."""
    for part in standard.parts(network_of_texts(filled)):
        if part.type == "static" and part.keys.get("addresses") and pods > 1:
            message = f'static gives each pod the same address; use host-local with {_OWN}, or the capability "ips"'
            yield _located(filled, texts, part.file, Misfit((*part.loc, "addresses"), message))
        if part.type == "dhcp" and part.loc[-1:] == ("ipam",):
            message = (
                f"dhcp needs its daemon on each node and a DHCP server; labs have neither: use host-local with {_OWN}"
            )
            yield _located(filled, texts, part.file, Misfit((*part.loc, "type"), message))


def _located(filled: Sequence[Text], texts: Sequence[Text], file: str, misfit: Misfit) -> Problem:
    return as_written(parse_json(dict(filled)[file], file).problem(misfit), texts)


def _ranges(texts: Sequence[Text]) -> Iterator[_Range]:
    """The ranges of all `host-local` parts. Invalid ones are left to the plugin."""
    for part in standard.parts(network_of_texts(texts)):
        if part.type == "host-local":
            for loc, keys in standard.ranges_in(part.keys):
                try:
                    network = ipaddress.ip_network(keys["subnet"], strict=False)
                    first = ipaddress.ip_address(keys.get("rangeStart") or network[0])
                    last = ipaddress.ip_address(keys.get("rangeEnd") or network[-1])
                except (KeyError, ValueError, TypeError):
                    continue
                yield _Range(first, last, str(keys["subnet"]), part.file, (*part.loc, *loc, "subnet"))
