"""Deleted devices are gone when `unlink` returns, together with their addresses and routes."""

import subprocess
import time

import pytest

from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import KernelRefusal
from testbed.kernel.unlinking import unlink
from testbed.plan.objects import VethEnd

pytestmark = pytest.mark.sealed


def made(count: int) -> list[VethEnd]:
    """Pairs in the calling thread's namespace, each with an address; the first end of each."""
    ends = [VethEnd("here", f"pair{number}", 1000 + number, "", 1500) for number in range(count)]
    for number, end in enumerate(ends):
        for words in (
            f"link add {end.name} index {end.index} type veth peer name other{number}",
            f"addr add 10.9.{number}.1/24 dev {end.name}",
            f"link set {end.name} up",
            f"link set other{number} up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
    return ends


def shown(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("count", [1, 20])
def test_devices_are_gone_with_all_that_depends_on_them(count: int) -> None:
    fresh = Namespace.create()
    with fresh.entered():
        ends = made(count)
        unlink(ends)
        assert not {"pair", "other"} & set(shown("-o", "link").split())
        assert "pair" not in shown("-o", "link") + shown("addr") + shown("route", "show", "table", "all")
        unlink(ends)  # Missing ones are no error.
    fresh.close()


def test_many_devices_are_deleted_in_the_time_of_one() -> None:
    fresh = Namespace.create()
    with fresh.entered():
        ends = made(31)
        begin = time.perf_counter()
        unlink(ends[:1])
        between = time.perf_counter()
        unlink(ends[1:])
        end = time.perf_counter()
        assert "pair" not in shown("-o", "link")
    fresh.close()
    assert end - between < 30 * max(between - begin, 0.01) / 2


def test_a_device_that_cannot_be_deleted_is_reported() -> None:
    fresh = Namespace.create()
    with fresh.entered(), pytest.raises(KernelRefusal, match="Operation not supported"):
        unlink([VethEnd("here", "lo", 1, "", 1500)])
    fresh.close()
