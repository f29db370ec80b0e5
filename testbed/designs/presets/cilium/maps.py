"""Entries of the maps of Cilium's programs, in the layout of `testbed/bpf/maps.h`, and the identities of pods."""

import struct
from collections.abc import Iterable, Iterator

from testbed.plan.allocation import Allocation, Allocator, Key, Room
from testbed.plan.objects import FORWARDED, BpfEntry, CountingMap, KeyPart
from testbed.spec.topology import Pod
from testbed.spec.types import Address, Network

HOST, WORLD, REMOTE_NODE = 1, 2, 6
"""Reserved identities: the node itself, destinations outside the cluster, other nodes."""
FIRST_IDENTITY = 256
"""The first identity of pods."""
ENDPOINT_IS_HOST = 1

_IDENTITIES = "Cilium's identities"
_IDENTITY_ROOM = Room(65536 - FIRST_IDENTITY, "security identity of pods", "give more pods the same labels")
"""Identities of one cluster; those of other clusters have more bits."""
_ENDPOINT_KEY = struct.Struct("=16sB3x")
_ENDPOINT = struct.Struct("=IHHI6s6s")
_IPCACHE_KEY = struct.Struct("=I3xB16s")
_IPCACHE_BEFORE = 32
"""Bits of a key before the address, which are always part of the prefix."""
_REMOTE = struct.Struct("=IB3x16s")
_CONFIG = struct.Struct("=II6s2x")
_FAMILY = {4: 1, 6: 2}
NO_MAC = "00:00:00:00:00:00"


def identities(pods: Iterable[Pod], numbers: Allocator) -> dict[str, int]:
    """Identities by pod. Pods of a namespace with the same labels share one."""
    labels = {pod.id: _labels(pod) for pod in pods}
    keys = tuple(dict.fromkeys(labels.values()))
    of = dict(zip(keys, numbers.numbers(_IDENTITIES, keys, _IDENTITY_ROOM), strict=True))
    return {pod: FIRST_IDENTITY + of[key] for pod, key in labels.items()}


def identity(pod: Pod, allocation: Allocation) -> int:
    """The identity of a pod, from a plan's allocation."""
    return FIRST_IDENTITY + allocation.number(_IDENTITIES, _labels(pod))


def _labels(pod: Pod) -> Key:
    return (pod.namespace, *(f"{key}={value}" for key, value in sorted(pod.labels.items())))


def config(host_index: int, host_mac: str, tunnel_index: int) -> BpfEntry:
    """The devices of the node that the programs use."""
    value = _CONFIG.pack(host_index, tunnel_index, _mac(host_mac))
    return BpfEntry("cilium_config", struct.pack("=I", 0), value, note="devices: cilium_host, cilium_vxlan")


def endpoint(
    address: Address, index: int, number: int, identity: int, mac: str, node_mac: str, dev: str, note: str
) -> BpfEntry:
    """A pod of this node, behind the device `dev` with index `index`."""
    value = _ENDPOINT.pack(index, number, 0, identity, _mac(mac), _mac(node_mac))
    return BpfEntry("cilium_lxc", _endpoint_key(address), value, dev, f"{address}: {note}")


def own_address(address: Address) -> BpfEntry:
    """An address of the node itself."""
    value = _ENDPOINT.pack(0, 0, ENDPOINT_IS_HOST, HOST, bytes(6), bytes(6))
    return BpfEntry("cilium_lxc", _endpoint_key(address), value, note=f"{address}: the node itself")


def location(network: Network, identity: int, tunnel: Address | None) -> BpfEntry:
    """The identity of these addresses, and the node to tunnel to, if any."""
    key = _IPCACHE_KEY.pack(
        _IPCACHE_BEFORE + network.prefixlen, _FAMILY[network.version], _address(network.network_address)
    )
    family, end = (_FAMILY[tunnel.version], _address(tunnel)) if tunnel else (0, bytes(16))
    by = f", by a tunnel to {tunnel}" if tunnel else ""
    return BpfEntry("cilium_ipcache", key, _REMOTE.pack(identity, family, end), note=f"{network}: {identity}{by}")


PROGRAMS = (
    "cil_from_container",
    "cil_from_netdev",
    "cil_from_overlay",
    "cil_to_overlay",
    "cil_from_host",
    "cil_to_host",
)
REASONS = (
    (0, FORWARDED),
    (132, "invalid source IP"),
    (134, "invalid packet"),
    (139, "unsupported L3 protocol"),
    (147, "no tunnel key"),
    (151, "stale or unroutable IP"),
    (165, "no configuration"),
    (169, "FIB lookup failed"),
    (171, "invalid identity"),
    (196, "TTL exceeded"),
)
"""Reasons by Cilium's numbers."""
INTO_PODS, FROM_PODS = "to pods", "from pods"
_DIRECTIONS = ((1, INTO_PODS), (2, FROM_PODS))


def counts(endpoints: Iterable[tuple[int, str]]) -> Iterator[CountingMap]:
    """The maps in which a node's programs count; `endpoints` are pods by endpoint id."""
    by = tuple(enumerate(PROGRAMS, start=1))
    way = KeyPart("direction", 1, 1, _DIRECTIONS)
    yield CountingMap("cilium_metrics", (KeyPart("program", 2, 1, by), way, KeyPart("reason", 0, 1, REASONS)))
    way = KeyPart("direction", 2, 1, _DIRECTIONS)
    yield CountingMap("endpoint_metric", (KeyPart("pod", 0, 2, tuple(endpoints)), way))


def _endpoint_key(address: Address) -> bytes:
    return _ENDPOINT_KEY.pack(_address(address), _FAMILY[address.version])


def _address(address: Address) -> bytes:
    return address.packed.ljust(16, b"\0")


def _mac(mac: str) -> bytes:
    return bytes.fromhex((mac or NO_MAC).replace(":", ""))
