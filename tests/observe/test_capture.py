"""Capture at several devices: all packets, in order, filtered, in files that other programs read."""

import fcntl
import io
import os
import re
import socket
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from dpkt import pcapng

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.observe.capture import (
    Captured,
    Lines,
    PcapngFile,
    Target,
    UnknownDevice,
    capture,
)
from testbed.observe.frames import decoded
from testbed.spec.topology import Topology

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
SECONDS = 20
"""Time limit of a capture; all captures here end by their count."""


def ping(lab: Lab, source: str, target: str, times: int = 1) -> Callable[[], None]:
    address = str(lab.plan[target].reached_at[0])

    def run() -> None:
        with lab.namespaces[source].entered():
            command = ["ping", "-q", "-c", str(times), "-i", "0.05", "-W", "2", address]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return run


def caught(
    lab: Lab, path: Path, targets: list[str], expression: str, traffic: Callable[[], None], count: int
) -> Captured:
    """Capture to a file, with traffic that starts once the capture has started."""
    thread = threading.Thread(target=traffic)
    with path.open("wb") as file:
        sink = PcapngFile(file, "a test")
        try:
            return capture(
                lab.namespaces, list(map(Target.of, targets)), expression, sink, count, SECONDS, thread.start
            )
        finally:
            thread.join()


def read(path: Path) -> list[tuple[str, int, bytes]]:
    """The packets of a pcapng file: name of the interface, nanoseconds, frame."""
    data, names, found = path.read_bytes(), [], []
    place = int.from_bytes(data[4:8], "little")
    assert pcapng.SectionHeaderBlockLE(data[:place]).bom == pcapng.BYTE_ORDER_MAGIC
    while place < len(data):
        kind, size = (int.from_bytes(data[place + at : place + at + 4], "little") for at in (0, 4))
        block = data[place : place + size]
        if kind == pcapng.PCAPNG_BT_IDB:
            options = {option.code: option.data for option in pcapng.InterfaceDescriptionBlockLE(block).opts}
            assert options[pcapng.PCAPNG_OPT_IF_TSRESOL] == b"\x09"
            names.append(options[pcapng.PCAPNG_OPT_IF_NAME].decode())
        else:
            packet = pcapng.EnhancedPacketBlockLE(block)
            found.append((names[packet.iface_id], (packet.ts_high << 32) + packet.ts_low, packet.pkt_data))
        place += size
    return found


@pytest.mark.sealed
def test_the_bare_and_the_encapsulated_packet_are_in_one_file(two_nodes: Topology, tmp_path: Path) -> None:
    file = tmp_path / "walk.pcapng"
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        ping(lab, "client", "web-2")()
        targets = ["client:eth0", "node1:flannel.1", "node1:eth0", "node1:flannel.1"]
        done = caught(lab, file, targets, "icmp or udp port 8472", ping(lab, "client", "web-2"), 6)
    assert done == Captured(6, 0)
    packets = read(file)
    assert [name for name, _, _ in packets[:3]] == ["client:eth0", "node1:flannel.1", "node1:eth0"]
    assert Counter(name for name, _, _ in packets) == {"client:eth0": 2, "node1:flannel.1": 2, "node1:eth0": 2}
    times = [time for _, time, _ in packets]
    assert times == sorted(times)
    assert times[-1] - times[0] < 1_000_000_000
    shapes = {name: len(packet.tunnels) for name, _, frame in packets if (packet := decoded(frame))}
    assert shapes == {"client:eth0": 0, "node1:flannel.1": 0, "node1:eth0": 1}


@pytest.mark.sealed
def test_without_a_device_all_devices_of_a_place_are_captured_in_order(two_nodes: Topology, tmp_path: Path) -> None:
    file = tmp_path / "node.pcapng"
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        ping(lab, "client", "web-2")()
        caught(lab, file, ["node1"], "icmp or udp port 8472", ping(lab, "client", "web-2"), 4)
    # The bridge's port and the bridge see a packet at the same time.
    expected = ["node1:veth-client", "node1:kube-bridge", "node1:flannel.1", "node1:eth0"]
    assert [name for name, _, _ in read(file)] == expected


@pytest.mark.sealed
def test_only_packets_that_match_the_filter_are_captured(two_nodes: Topology, tmp_path: Path) -> None:
    file = tmp_path / "echo.pcapng"
    with Lab(DESIGNS["l2"].plan(two_nodes)) as lab:
        caught(lab, file, ["client"], "icmp[icmptype] == icmp-echo", ping(lab, "client", "web-2", 3), 3)
    assert [frame[34] for _, _, frame in read(file)] == [8, 8, 8]


@pytest.mark.sealed
def test_a_filter_finds_packets_inside_a_tunnel(two_nodes: Topology, tmp_path: Path) -> None:
    file = tmp_path / "inside.pcapng"
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        ping(lab, "client", "web-2")()
        caught(lab, file, ["node2:eth0"], "icmp and src 10.244.0.2", ping(lab, "client", "web-2", 2), 2)
    packets = [decoded(frame) for _, _, frame in read(file)]
    assert [(packet.source, len(packet.tunnels)) for packet in packets if packet] == [("10.244.0.2", 1)] * 2


@pytest.mark.sealed
def test_tcpdump_reads_the_file(two_nodes: Topology, tmp_path: Path) -> None:
    file = tmp_path / "walk.pcapng"
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        caught(lab, file, ["client", "node2"], "icmp", ping(lab, "client", "web-2", 2), 4)
    shown = subprocess.run(["tcpdump", "-n", "-r", str(file)], capture_output=True, text=True, check=True).stdout
    assert len(re.findall(r"10\.244\.0\.2 > 10\.244\.1\.2: ICMP echo request", shown)) >= 2


@pytest.mark.sealed
def test_a_device_without_ethernet_headers_is_filtered_and_shown(two_nodes: Topology, tmp_path: Path) -> None:
    """A TUN device, which carries bare IP packets, in the same place as Ethernet devices."""
    file = tmp_path / "bare.pcapng"
    with Lab(DESIGNS["l3-host-routes"].plan(two_nodes)) as lab, lab.namespaces["node1"].entered():
        device = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"tun9", IFF_TUN | IFF_NO_PI))
        subprocess.run(["sh", "-ec", "ip address add 10.9.0.1/24 dev tun9; ip link set tun9 up"], check=True)

        def traffic() -> None:
            with lab.namespaces["node1"].entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for address, port in (("10.9.0.2", 9), ("10.9.0.2", 10), ("192.168.56.2", 9)):
                    sock.sendto(b"discard", (address, port))

        traffic()
        caught(lab, file, ["node1"], "udp port 9", traffic, 2)
        lines = io_of(lambda out: capture_lines(lab, out, ["node1"], "udp port 9", traffic, 2))
        os.close(device)
    packets = read(file)
    assert [name for name, _, _ in packets] == ["node1:tun9", "node1:eth0"]
    assert packets[0][2][0] == 0x45, "no Ethernet header"
    assert re.match(r"node1:tun9\s+→ \S+ IP 10.9.0.1.\d+ > 10.9.0.2.9: UDP, length 7\n", lines)


def capture_lines(
    lab: Lab, out: io.BufferedWriter, targets: list[str], expression: str, traffic: Callable[[], None], count: int
) -> None:
    thread = threading.Thread(target=traffic)
    with closing(Lines(out)) as sink:
        capture(lab.namespaces, list(map(Target.of, targets)), expression, sink, count, SECONDS, thread.start)
    thread.join()


def io_of(write: Callable[[io.BufferedWriter], None]) -> str:
    """The text written to a pipe."""
    end, other = os.pipe()
    with os.fdopen(end, "rb") as reading:
        with os.fdopen(other, "wb") as writing:
            write(writing)
        return reading.read().decode()


@pytest.mark.sealed
def test_each_line_names_place_and_device(two_nodes: Topology) -> None:
    with Lab(DESIGNS["vxlan"].plan(two_nodes)) as lab:
        ping(lab, "client", "web-2")()
        traffic = ping(lab, "client", "web-2")
        filter_ = "icmp or udp port 8472"  # Without multicast membership reports of bridges.
        text = io_of(lambda out: capture_lines(lab, out, ["client:eth0", "node2:eth0"], filter_, traffic, 4))
    shapes = [re.sub(r"\d\d:\d\d:\d\d\.\d+|\d{5}|id \d+", "N", line) for line in text.splitlines()]
    request, reply = "ICMP echo request, N, seq 1, length 64", "ICMP echo reply, N, seq 1, length 64"
    assert shapes == [
        f"client:eth0 → N IP 10.244.0.2 > 10.244.1.2: {request}",
        "node2:eth0  ← N IP 192.168.56.1.N > 192.168.56.2.8472: OTV, flags [I] (0x08), overlay 0, instance 1",
        f"              IP 10.244.0.2 > 10.244.1.2: {request}",
        "node2:eth0  → N IP 192.168.56.2.N > 192.168.56.1.8472: OTV, flags [I] (0x08), overlay 0, instance 1",
        f"              IP 10.244.1.2 > 10.244.0.2: {reply}",
        f"client:eth0 ← N IP 10.244.1.2 > 10.244.0.2: {reply}",
    ]


@pytest.mark.sealed
@pytest.mark.parametrize("sink", [lambda file: PcapngFile(file, ""), Lines])
def test_a_capture_ends_when_its_reader_has_gone(sink: type[Lines], two_nodes: Topology) -> None:
    end, other = os.pipe()
    os.close(end)
    file = os.fdopen(other, "wb")
    with Lab(DESIGNS["l2"].plan(two_nodes)) as lab, closing(sink(file)) as opened:
        done = capture(lab.namespaces, [Target("client")], "", opened, seconds=SECONDS)
    with suppress(BrokenPipeError):
        file.close()
    assert done.packets == 0


@pytest.mark.sealed
def test_dropped_packets_of_a_flood_are_counted(two_nodes: Topology, tmp_path: Path) -> None:
    file, sent = tmp_path / "flood.pcapng", 30_000
    with Lab(DESIGNS["l2"].plan(two_nodes)) as lab:
        target = (str(lab.plan["web-1"].reached_at[0]), 9)

        def traffic() -> None:
            with (
                lab.namespaces["client"].entered(),
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
            ):
                for _ in range(sent):
                    sock.sendto(bytes(1000), target)

        thread = threading.Thread(target=traffic)
        with file.open("wb") as opened:
            sink = PcapngFile(opened, "")
            targets = [Target("client", "eth0")]
            done = capture(lab.namespaces, targets, "udp", sink, seconds=8, begun=thread.start)
        thread.join()
    assert done.packets + done.dropped == sent
    assert len(read(file)) == done.packets > 1000


@pytest.mark.sealed
def test_a_missing_device_is_named(two_nodes: Topology) -> None:
    with Lab(DESIGNS["l2"].plan(two_nodes)) as lab, pytest.raises(UnknownDevice) as error:
        capture(lab.namespaces, [Target("client", "eth7")], "", PcapngFile(io.BytesIO(), ""), 1)
    assert error.value.devices == ("lo", "eth0")
