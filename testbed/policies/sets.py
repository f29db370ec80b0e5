"""Addresses of pods, and ranges of addresses, as the sets of all engines hold them."""

import ipaddress
from collections.abc import Iterable, Iterator

from testbed.kubernetes.policies import Rule
from testbed.kubernetes.policies.members import Bits, Members, numbers_in
from testbed.kubernetes.policies.rules import Block
from testbed.spec.types import Address, Network


def ranges(blocks: Iterable[Block], family: int) -> tuple[Network, ...]:
    """The ranges of blocks in a family without their exceptions, disjoint and as few as possible, ascending."""
    parts = (part for block in blocks if block.network.version == family for part in _rest(block))
    return tuple(ipaddress.collapse_addresses(parts))  # type: ignore[type-var]


def _rest(block: Block) -> Iterator[Network]:
    """The ranges that remain of a block."""
    parts: list[Network] = [block.network]
    for without in block.without:
        parts = [rest for part in parts for rest in _minus(part, without)]
    return iter(parts)


def _minus(network: Network, without: Network) -> Iterator[Network]:
    if network.subnet_of(without):  # type: ignore[arg-type]
        return
    if without.subnet_of(network):  # type: ignore[arg-type]
        yield from network.address_exclude(without)  # type: ignore[arg-type]
    else:
        yield network


def named_ports(members: Members, rule: Rule, pods: Bits, family: int) -> Iterator[tuple[Address, str, int]]:
    """The ports of pods that have one of a rule's names: address, protocol and number."""
    names = [one for one in rule.ports if one.name]
    for number in numbers_in(pods) if names else ():
        pod = members.pods[number]
        address = pod.address(family)
        for port in sorted(pod.ports, key=lambda one: (one.protocol, one.number)) if address else ():
            if any(one.name == port.name and one.protocol in ("", port.protocol) for one in names):
                assert address
                yield address, port.protocol, port.number


def port_ranges(rule: Rule, protocol: str) -> tuple[tuple[int, int], ...]:
    """The port numbers of a rule for a protocol: first and last of each range, disjoint, ascending."""
    found: list[tuple[int, int]] = []
    for first, last in sorted((one.first, one.last) for one in rule.ports if one.protocol == protocol and not one.name):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return tuple(found)
