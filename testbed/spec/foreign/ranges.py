"""Address ranges that the import chooses: the usual ones, or others if the file uses these."""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from testbed.spec.types import Network

SWITCHES = {4: ("192.168.0.0/16", "10.192.0.0/16", "172.20.0.0/16"), 6: ("fd00:192:168::/48", "fd00:192:169::/48")}
"""Ranges that are divided among the Ethernets with switches, by family; the first free one is used."""
LINKS = {4: ("172.31.0.0/16", "10.193.0.0/16", "172.21.0.0/16"), 6: ("fd00:172:31::/64", "fd00:172:32::/64")}
"""Ranges of links without switches."""
LOOPBACKS = {4: ("172.30.0.0/16", "10.194.0.0/16", "172.22.0.0/16"), 6: ("fd00:172:30::/64", "fd00:172:33::/64")}
"""Ranges of nodes with several links."""


def first_free(wanted: Iterable[str], taken: Sequence[Network]) -> Network:
    """The first range that overlaps none of `taken`, or the last one."""
    ranges = [ipaddress.ip_network(cidr) for cidr in wanted]
    return next((net for net in ranges if not any(_overlap(net, other) for other in taken)), ranges[-1])


def ethernets(family: int, number: int, ports: int, taken: Sequence[Network]) -> Iterator[Network]:
    """Ranges for a number of Ethernets with switches, each with at most that number of ports, one after another."""
    whole = first_free(SWITCHES[family], taken)
    usual = (whole.max_prefixlen - whole.prefixlen) // 2 if family == 4 else 64
    room = whole.max_prefixlen - whole.prefixlen - (number - 1).bit_length()
    bits = max((ports + 2).bit_length(), min(usual, room))
    return iter(whole.subnets(new_prefix=whole.max_prefixlen - bits))


def one_or_list(networks: Iterable[object]) -> str | list[str]:
    """A single range as text, several as a list, as topology files have them."""
    texts = [str(network) for network in networks]
    return texts[0] if len(texts) == 1 else texts


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
