"""Batches of netlink requests against the real kernel."""

import errno
import ipaddress
import json
import struct
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.kernel import encode
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import KernelRefusal, QueryRefused, ask, connect, dump, send
from testbed.plan.messages import attributes, text_in
from testbed.plan.objects import Bridge, DeviceAddress, Route
from testbed.plan.objects.addresses import new_address
from testbed.plan.objects.routes import new_route
from testbed.plan.uapi import RTM_GETLINK

pytestmark = pytest.mark.sealed

BRIDGE = Bridge("br0", 101, "02:00:00:00:00:01", 1400)
ADDRESS = DeviceAddress("br0", ipaddress.ip_interface("10.1.2.3/24"))


def ip(*words: str) -> list[dict[str, Any]]:
    """The output of `ip` in the calling thread's namespace."""
    said = subprocess.run(["ip", "-json", "-details", *words], capture_output=True, check=True)
    return json.loads(said.stdout)  # type: ignore[no-any-return]


def test_a_batch_is_carried_out_in_order() -> None:
    with Namespace.create().entered():
        send([encode.link_up(encode.LOOPBACK), encode.new_link(BRIDGE), new_address(ADDRESS, 101)])
        (link,) = ip("link", "show", "dev", "br0")
        (shown,) = ip("address", "show", "dev", "br0")
    assert (link["ifindex"], link["address"], link["mtu"]) == (101, "02:00:00:00:00:01", 1400)
    assert "UP" in link["flags"]
    assert (shown["addr_info"][0]["local"], shown["addr_info"][0]["prefixlen"]) == ("10.1.2.3", 24)


def test_a_refusal_names_the_command_and_the_kernels_reason() -> None:
    nowhere = Route(ipaddress.ip_network("10.9.0.0/16"), "br0", ipaddress.ip_address("192.0.2.1"))
    with Namespace.create().entered(), pytest.raises(KernelRefusal) as refusal:
        send([encode.new_link(BRIDGE), new_route(nowhere, lambda _: 101)])
    assert "ip route add 10.9.0.0/16 via 192.0.2.1 dev br0" in str(refusal.value)
    assert "Nexthop has invalid gateway" in str(refusal.value)


def test_a_refused_request_does_not_stop_the_others() -> None:
    with Namespace.create().entered():
        with pytest.raises(KernelRefusal, match="ip link add br0"):
            send([encode.new_link(BRIDGE), encode.new_link(BRIDGE), new_address(ADDRESS, 101)])
        assert ip("address", "show", "dev", "br0")[0]["addr_info"]


def test_a_batch_larger_than_one_send_is_carried_out_completely() -> None:
    addresses = [
        DeviceAddress("br0", ipaddress.ip_interface((ipaddress.ip_address("10.0.0.1") + number, 32)))
        for number in range(3000)
    ]
    with Namespace.create().entered():
        send([encode.new_link(BRIDGE), *(new_address(address, 101) for address in addresses)])
        (shown,) = ip("address", "show", "dev", "br0")
    assert len([address for address in shown["addr_info"] if address["family"] == "inet"]) == 3000


def test_an_empty_batch_is_no_error() -> None:
    send([])


def test_a_dump_lists_everything_over_several_datagrams() -> None:
    bridges = [Bridge(f"br{number}", 101 + number, "", 1400) for number in range(100)]
    with Namespace.create().entered():
        send([encode.new_link(bridge) for bridge in bridges])
        with connect() as sock:
            names = {text_in(attributes(found, 16)[3]) for found in dump(sock, RTM_GETLINK, bytes(16))}
            again = sum(1 for _ in dump(sock, RTM_GETLINK, bytes(16)))
    assert names >= {"lo", *(bridge.name for bridge in bridges)}
    assert again == len(names)


def test_a_refused_query_is_an_error_with_the_kernels_number() -> None:
    unknown_kind = 1000
    with Namespace.create().entered(), connect() as sock:
        with pytest.raises(QueryRefused) as refused:
            list(dump(sock, unknown_kind, bytes(16)))
        assert refused.value.errno == errno.EOPNOTSUPP
        with pytest.raises(QueryRefused) as refused:
            ask(sock, RTM_GETLINK, bytes(4) + (4711).to_bytes(4, sys.byteorder) + bytes(8))
        assert refused.value.errno == errno.ENODEV


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=9)), st.sampled_from((0, 0x4000, 0x8000)))
def test_attributes_are_found_by_kind_with_any_flags(wanted: dict[int, bytes], flags: int) -> None:
    packed = b"".join(
        struct.pack("=HH", 4 + len(value), kind | flags) + value + bytes(-len(value) % 4)
        for kind, value in wanted.items()
    )
    assert attributes(memoryview(b"header.." + packed), 8) == wanted
