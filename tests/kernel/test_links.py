"""The devices and counters of a namespace, compared with `ip`."""

import json
import subprocess
from typing import Any

import pytest

from testbed.kernel import encode
from testbed.kernel.links import Carried, carried, links
from testbed.kernel.namespace import Namespace
from testbed.kernel.netlink import send
from testbed.plan.objects import Bridge, TokenBucket, VethEnd
from testbed.plan.objects.token_bucket import new_token_bucket

pytestmark = pytest.mark.sealed


def shown() -> list[dict[str, Any]]:
    said = subprocess.run(["ip", "-json", "-statistics", "link"], capture_output=True, check=True)
    return json.loads(said.stdout)  # type: ignore[no-any-return]


def test_devices_and_counters_equal_the_output_of_ip() -> None:
    far = Namespace.create()
    with Namespace.create().entered():
        here, there = (VethEnd("", f"v{n}", 200 + n, f"02:00:00:00:00:1{n}", 1400) for n in range(2))
        send(
            [
                encode.link_up(encode.LOOPBACK),
                encode.new_link(Bridge("br0", 101, "02:00:00:00:00:01", 9000)),
                encode.new_veth(here, there, far.fd, 101),
                new_token_bucket(TokenBucket("v0", 10**9, 125_000, 125_000), 200),
            ]
        )
        with far.entered():
            send([encode.link_up(201)])
        subprocess.run(["ping", "-q", "-c", "3", "-i", "0.01", "127.0.0.1"], capture_output=True, check=True)
        said = shown()
        assert {(state.name, state.mtu, state.qdisc) for state in links()} == {
            (link["ifname"], link["mtu"], link["qdisc"]) for link in said
        }
        counted = carried(link["ifindex"] for link in said)
        lo = next(link["stats64"] for link in said if link["ifname"] == "lo")
        received = Carried(lo["rx"]["packets"], lo["rx"]["bytes"])
        assert received.packets == 6
        assert counted[encode.LOOPBACK] == (received, Carried(lo["tx"]["packets"], lo["tx"]["bytes"]))


def test_a_missing_device_is_left_out() -> None:
    with Namespace.create().entered():
        assert set(carried([encode.LOOPBACK, 4711])) == {encode.LOOPBACK}
