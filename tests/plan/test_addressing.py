import ipaddress
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.plan.addressing import at, layout, share
from testbed.spec.topology import Topology


def topology(nodes: int, pods: int, pod_cidr: object = "10.244.0.0/16", node_prefix: object = 24) -> Topology:
    return Topology.model_validate(
        {
            "name": "generated",
            "cluster": {"pod_cidr": pod_cidr, "node_prefix": node_prefix},
            "fabric": {"subnet": ["192.168.0.0/20", "fd00:1::/64"]},
            "nodes": {f"node{number}": {"pods": pods} for number in range(1, nodes + 1)},
        }
    )


def test_node_cidrs_are_allocated_as_kubernetes_does() -> None:
    nodes = layout(topology(3, 1)).nodes
    assert [str(node.pod_cidrs[0]) for node in nodes] == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]


def test_the_first_address_of_a_node_cidr_is_reserved_for_the_bridge() -> None:
    node = layout(topology(1, 2)).nodes[0]
    assert [str(pod.addresses[0]) for pod in node.pods] == ["10.244.0.2/24", "10.244.0.3/24"]


def test_fabric_addresses_count_from_one_and_the_gateway_is_last() -> None:
    made = layout(topology(2, 1))
    assert [str(node.addresses[0].ip) for node in made.nodes] == ["192.168.0.1", "192.168.0.2"]
    assert [str(address) for address in made.gateway] == [
        "192.168.15.254/20",
        "fd00:1::ffff:ffff:ffff:ffff/64",
    ]


def test_dual_stack_gives_each_pod_an_address_of_each_family() -> None:
    made = layout(topology(2, 1, ["10.244.0.0/16", "fd00:10:244::/56"], [24, 64]))
    assert [str(address) for address in made.nodes[1].pods[0].addresses] == [
        "10.244.1.2/24",
        "fd00:10:244:1::2/64",
    ]


@settings(deadline=None)
@given(
    st.integers(1, 40),
    st.integers(0, 61),
    st.sampled_from([("10.0.0.0/8", 26), ("172.16.0.0/14", 24), ("10.244.0.0/16", 26), ("fd00::/48", 64)]),
)
def test_addresses_are_unique_and_in_their_range(nodes: int, pods: int, ranges: tuple[str, int]) -> None:
    made = layout(topology(nodes, pods, *ranges))
    seen = [address.ip for node in made.nodes for pod in node.pods for address in pod.addresses]
    seen += [address.ip for node in made.nodes for address in node.addresses]
    seen += [address.ip for address in made.gateway]
    assert len(set(seen)) == len(seen)
    for node in made.nodes:
        (cidr,) = node.pod_cidrs
        assert cidr.subnet_of(made.pod_cidrs[0])  # type: ignore[arg-type]  # of one family by construction
        for pod in node.pods:
            address = pod.addresses[0].ip
            assert address in cidr
            assert address not in (cidr.network_address, at(cidr, 1).ip)
            assert cidr.version == 6 or address != cidr.broadcast_address
    for one, other in combinations(made.nodes, 2):
        assert not one.pod_cidrs[0].overlaps(other.pod_cidrs[0])


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.data())
def test_shares_equal_the_subnets_of_the_standard_library(base: int, prefix: int, data: st.DataObject) -> None:
    cidr = ipaddress.ip_network((base, prefix), strict=False)
    longer = data.draw(st.integers(prefix, min(prefix + 6, 32)))
    expected = list(cidr.subnets(new_prefix=longer))
    assert [share(cidr, longer, index) for index in range(len(expected))] == expected
