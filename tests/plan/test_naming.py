import re

from hypothesis import given
from hypothesis import strategies as st

from testbed.plan.naming import IFNAME_LENGTH, interface_name, mac_address
from testbed.spec.types import NAME_PATTERN

names = st.from_regex(NAME_PATTERN, fullmatch=True).filter(lambda name: len(name) <= 63)


@given(names)
def test_an_interface_name_fits_the_kernel(name: str) -> None:
    assert 0 < len(interface_name("veth", name).encode()) <= IFNAME_LENGTH


def test_short_names_stay_readable() -> None:
    assert interface_name("veth", "web-1") == "veth-web-1"
    assert interface_name("to", "node1") == "to-node1"


def test_long_names_with_a_common_prefix_stay_distinct() -> None:
    assert interface_name("veth", "web-frontend-1") != interface_name("veth", "web-frontend-2")


@given(st.lists(names, min_size=2, max_size=50, unique=True))
def test_different_names_give_different_interfaces(some: list[str]) -> None:
    assert len({interface_name("veth", name) for name in some}) == len(some)


@given(names, names)
def test_mac_addresses_are_local_unicast_and_always_the_same(space: str, dev: str) -> None:
    mac = mac_address(space, dev)
    assert re.fullmatch(r"02(:[0-9a-f]{2}){5}", mac)
    assert mac == mac_address(space, dev)
