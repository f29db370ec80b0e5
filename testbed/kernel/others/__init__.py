"""Read what exists in a namespace although no kind of planned object covers it.

ports      bridges and their ports: options, state, VLANs, static FDB entries, multicast groups
devices    flags, alias, XDP programs, per-device sysctls
queues     queueing disciplines and filters of tc
routing    rules of other kinds, lost local routes, proxy neighbours, loopback and link-local addresses
settings   sysctls of the namespace that decide what becomes of packets
firewall   iptables-legacy, ipset, IPVS, rules in tables of nftables that nobody planned
ipsec      associations and policies

Each reader compares with what a new namespace or a new device has, so most of them find nothing.
"""

from collections.abc import Collection, Iterable, Iterator

from testbed.kernel.dumped import Dumped
from testbed.kernel.others import devices, firewall, ports, queues, routing, settings
from testbed.plan.objects import BpfHook, Other, Sysctl


def others(
    dumped: Dumped, planned: Iterable[Sysctl], hooks: Collection[BpfHook], has_sets: bool, has_services: bool
) -> Iterator[Other]:
    """All of the calling thread's namespace.

    `planned` sysctls and eBPF programs (`hooks`) are left out, as are sets and virtual services if their backends are
    compared as a whole.
    """
    sysctls = tuple(planned)
    yield from ports.others(dumped)
    differing = settings.differing(sysctls)
    yield from devices.others(dumped, sysctls, differing)
    yield from queues.others(dumped, hooks)
    yield from routing.others(dumped)
    yield from settings.others(differing, sysctls)
    yield from firewall.others(has_sets, has_services)
