"""Offload as a factor: without it no packet exceeds the MTU on any device; with it packets do on all devices."""

import socket
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from testbed.designs import DESIGNS, PLAIN
from testbed.kernel.refusal import Namespaces
from testbed.lab.lab import Lab
from testbed.spec.topology import Topology

pytestmark = pytest.mark.sealed
every_design = pytest.mark.parametrize("design", list(PLAIN))

SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RCVBUFFORCE = 33
ETHERNET_HEADER = 14


def said_by_ethtool(lab: Lab, place: str, dev: str) -> dict[str, bool]:
    output, _ = lab.start(place, ["ethtool", "--show-features", dev]).communicate(timeout=5)
    lines = dict(line.split(": ", 1) for line in output.decode().splitlines() if ": " in line)
    names = ("tcp-segmentation-offload", "generic-segmentation-offload", "generic-receive-offload")
    return {name: lines[name].startswith("on") for name in names}


@every_design
def test_off_is_off_on_every_device(design: str, dual_stack: Topology) -> None:
    with Lab(DESIGNS[design].plan(dual_stack, offload=False)) as lab:
        for space in lab.plan.spaces:
            for dev in lab.plan.devices_of(space.name):
                assert not any(said_by_ethtool(lab, space.name, dev).values()), (space.name, dev)


def test_segmentation_offload_is_on_by_default(two_nodes: Topology) -> None:
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        for place, dev in (("client", "eth0"), ("node1", "flannel.1"), ("node1", "eth0"), ("fabric", "to-node2")):
            shown = said_by_ethtool(lab, place, dev)
            assert shown["tcp-segmentation-offload"]
            assert shown["generic-segmentation-offload"]


@contextmanager
def largest_frames(namespaces: Namespaces) -> Iterator[dict[tuple[str, str], int]]:
    """Record on all devices of all namespaces; at the end of the block the result has the largest frame of each."""
    largest: dict[tuple[str, str], int] = defaultdict(int)
    with ExitStack() as stack:
        taps = {}
        for name, namespace in namespaces.items():
            with namespace.entered():
                taps[name] = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
            taps[name].setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 28)
            taps[name].setblocking(False)
        yield largest
        for name, tap in taps.items():
            assert tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)[4:] == bytes(4), "frames were lost"
            while True:
                try:
                    # MSG_TRUNC: return the frame's real length.
                    length, _, _, address = tap.recvmsg_into([bytearray(1)], 0, socket.MSG_TRUNC)
                except BlockingIOError:
                    break
                largest[name, address[0]] = max(largest[name, address[0]], length)


def transfer(lab: Lab, source: str, target: str) -> None:
    """Transfer three megabytes over TCP."""
    address = str(lab.plan[target].reached_at[0])
    with lab.namespaces[target].entered():
        listener = socket.create_server((address, 5300))
    with lab.namespaces[source].entered():
        sender = socket.create_connection((address, 5300), timeout=5)
    receiver, _ = listener.accept()
    with listener, sender, receiver:
        thread = threading.Thread(target=sender.sendall, args=(bytes(3_000_000),))
        thread.start()
        left = 3_000_000
        while left:
            left -= len(receiver.recv(1 << 16))
        thread.join()


WAY = {
    ("client", "eth0"),
    ("node1", "veth-client"),
    ("node1", "kube-bridge"),
    ("node1", "eth0"),
    ("fabric", "to-node1"),
    ("fabric", "to-node2"),
    ("node2", "eth0"),
    ("node2", "veth-web-2"),
    ("web-2", "eth0"),
}
"""Devices between `client` and `web-2`, without those of single designs."""
MORE = {"vxlan": {("node1", "flannel.1"), ("node2", "flannel.1")}, "l2": {("node1", "to-pods")}}


@every_design
def test_without_offload_no_packet_is_larger_than_the_mtu(design: str, two_nodes: Topology) -> None:
    with Lab(DESIGNS[design].plan(two_nodes, offload=False)) as lab:
        with largest_frames(lab.namespaces) as largest:
            transfer(lab, "client", "web-2")
            transfer(lab, "node1", "web-2")
        for (space, dev), length in largest.items():
            if dev != "lo":
                assert length <= lab.plan.device(space, dev).mtu + ETHERNET_HEADER, (space, dev)
        way = (WAY - {("node1", "kube-bridge")} if design == "l2" else WAY) | MORE.get(design, set())
        assert all(largest[place] > 1000 for place in way), largest


@every_design
def test_with_offload_packets_are_larger_than_the_mtu_on_all_devices(design: str, two_nodes: Topology) -> None:
    with Lab(DESIGNS[design].plan(two_nodes)) as lab:
        with largest_frames(lab.namespaces) as largest:
            transfer(lab, "client", "web-2")
        way = (WAY - {("node1", "kube-bridge")} if design == "l2" else WAY) | MORE.get(design, set())
        assert all(largest[place] > 10_000 for place in way), largest


def test_a_lab_without_offload_has_the_same_features_as_after_ethtool(two_nodes: Topology) -> None:
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab, Lab(DESIGNS["vxlan"].plan(two_nodes, offload=False)) as off:
        with lab.namespaces["node1"].entered():
            for dev in lab.plan.devices_of("node1"):
                subprocess.run(["ethtool", "-K", dev, "tso", "off", "gso", "off", "gro", "off"], check=True)

        def features(of: Lab, dev: str) -> bytes:
            return of.start("node1", ["ethtool", "--show-features", dev]).communicate(timeout=5)[0]

        for dev in lab.plan.devices_of("node1"):
            assert features(lab, dev) == features(off, dev)
