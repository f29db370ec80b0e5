"""Features that the running kernel may lack, tested on a stock kernel in the virtual machine of tests/vm."""

import shlex
import subprocess

import pytest

pytestmark = [pytest.mark.vm, pytest.mark.sealed]


def run(line: str) -> str:
    return subprocess.run(shlex.split(line), capture_output=True, check=True, text=True).stdout


@pytest.mark.needs("veth", "ipip")
def test_an_ipip_tunnel_carries_packets() -> None:
    run("ip netns add there")
    run("ip link add v0 type veth peer name v0 netns there")
    for here, number, other in (("", 1, 2), ("-n there", 2, 1)):
        run(f"ip {here} address add 192.0.2.{number}/24 dev v0")
        run(f"ip {here} link set v0 up")
        run(f"ip {here} link add t0 type ipip local 192.0.2.{number} remote 192.0.2.{other}")
        run(f"ip {here} address add 10.0.0.{number}/24 dev t0")
        run(f"ip {here} link set t0 up")
    run("ping -c 1 -w 20 10.0.0.2")
    assert int(run("ip netns exec there cat /sys/class/net/t0/statistics/rx_packets")) == 1


@pytest.mark.needs("netem")
def test_a_delay_delays() -> None:
    run("ip link set lo up")
    run("tc qdisc add dev lo root netem delay 50ms")
    said = run("ping -c 1 -w 20 127.0.0.1")
    assert float(said.rpartition(" = ")[2].split("/")[0]) >= 100  # Request and reply, both over lo.
