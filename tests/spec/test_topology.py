"""Topologies as models, and checks of values that must fit together."""

import ipaddress
from typing import Any

import pytest
from pydantic import ValidationError

from testbed.spec.topology import MAX_PODS, Topology
from testbed.spec.types import NAME_LENGTH


def topology(
    nodes: dict[str, Any], pod_cidr: Any = "10.244.0.0/16", subnet: Any = "192.168.56.0/24", **fields: Any
) -> Topology:
    cluster = {"pod_cidr": pod_cidr} | {key: fields[key] for key in fields.keys() & {"node_prefix"}}
    fabric = {"subnet": subnet} | {key: fields[key] for key in fields.keys() & {"mtu"}}
    return Topology.model_validate({"name": "test", "cluster": cluster, "fabric": fabric, "nodes": nodes})


def locs(topology: Topology) -> list[tuple[str | int, ...]]:
    return [misfit.loc for misfit in topology.misfits()]


def test_pods_by_name_and_by_count() -> None:
    read = topology({"a": {"pods": ["x", {"name": "y", "namespace": "shop"}]}, "b": {"pods": 2}, "c": {}})
    assert read.pod_ids == ("x", "y.shop", "b-pod-1", "b-pod-2")
    assert [pod.name for pod in read.pods_of("a")] == ["x", "y"]
    assert read.pods_of("c") == ()
    assert locs(read) == []


def test_one_range_or_a_list() -> None:
    assert topology({"a": {}}).cluster.pod_cidr == (ipaddress.ip_network("10.244.0.0/16"),)
    both = topology({"a": {}}, pod_cidr=["10.244.0.0/16", "fd00::/56"])
    assert [(cidr.version, prefix) for cidr, prefix in both.cluster.ranges] == [(4, 24), (6, 64)]
    assert locs(both) == []


@pytest.mark.parametrize("prefix", range(16, 31))
def test_exactly_as_many_pods_as_a_share_has_room_for(prefix: int) -> None:
    """Pods cannot have the network address, the bridge's address and the broadcast address."""
    room = min(2 ** (32 - prefix) - 3, MAX_PODS)
    assert locs(topology({"a": {"pods": room}}, node_prefix=prefix)) == []
    if room < MAX_PODS:
        full = topology({"a": {"pods": room + 1}}, node_prefix=prefix)
        assert locs(full) == [("cluster", "node_prefix")]


def test_exactly_as_many_nodes_as_ranges() -> None:
    nodes: dict[str, Any] = {f"n{index}": {} for index in range(4)}
    assert locs(topology(nodes, "10.244.0.0/22")) == []
    assert locs(topology(nodes, "10.244.0.0/23")) == [("cluster", "pod_cidr")]


def test_exactly_as_many_nodes_as_the_subnet_has_addresses() -> None:
    assert locs(topology({f"n{index}": {} for index in range(5)}, subnet="10.0.0.0/29")) == []
    assert locs(topology({f"n{index}": {} for index in range(6)}, subnet="10.0.0.0/29")) == [("fabric", "subnet")]
    assert locs(topology({"n": {}}, subnet="10.0.0.0/32")) == [("fabric", "subnet")]


def test_overlap_in_the_second_family() -> None:
    read = topology({"a": {}}, ["10.244.0.0/16", "fd00::/48"], ["192.168.56.0/24", "fd00:0:0:1::/64"])
    assert locs(read) == [("fabric", "subnet", 1)]


def test_very_many_ranges_are_not_compared_with_each_other() -> None:
    read = topology({"a": {}}, [f"10.{index // 256}.{index % 256}.0/24" for index in range(20_000)])
    assert len(locs(read)) == 19_999


def test_pods_of_many_nodes_are_counted_before_they_are_made() -> None:
    read = topology({f"n{index}": {"pods": MAX_PODS} for index in range(5000)}, node_prefix=18)
    assert ("nodes",) in locs(read)


def test_node_name_too_long_for_counted_pods() -> None:
    name = "n" * (NAME_LENGTH - len("-pod-9"))
    assert locs(topology({name: {"pods": 9}})) == []
    assert locs(topology({name: {"pods": 10}})) == [("nodes", name)]
    assert locs(topology({"n" * NAME_LENGTH: {"pods": 0}})) == []


def test_same_pod_name_in_two_namespaces() -> None:
    read = topology({"a": {"pods": ["web", {"name": "web", "namespace": "shop"}]}})
    assert locs(read) == []


@pytest.mark.parametrize("cidr", ["10.0.0.0/33", "10.0.0.1/8", "127.0.0.0/8", "::1/128", "10.0.0.0", "::/0", "/"])
def test_unusable_range(cidr: str) -> None:
    with pytest.raises(ValidationError):
        topology({"a": {}}, cidr)


@pytest.mark.parametrize("cidr", ["10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10", "fd00::/8", "2001:DB8::/32"])
def test_usable_range(cidr: str) -> None:
    assert topology({"a": {}}, cidr).cluster.pod_cidr == (ipaddress.ip_network(cidr),)
