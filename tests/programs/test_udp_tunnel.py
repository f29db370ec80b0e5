"""The user-space tunnel between two nodes: packets, the wire, ICMP errors, start and end."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import dpkt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from testbed.kernel.namespace import Namespace
from testbed.programs import udp_tunnel
from testbed.programs.udp_tunnel import BadArgument, Peer, Table, aged, checksum, icmp_error, may_be_answered, prefix_of

PROGRAM = [sys.executable, "-I", "-S", udp_tunnel.__file__]
PORT = 8285
MTU = 1452
"""The fabric's MTU less the outer headers of IPv6 and UDP."""
HEADERS = {4: 28, 6: 48}
"""Bytes of headers of an echo request."""
POD = {4: "10.244.{}.1", 6: "fd00:10:244:{}::1"}
DEVICE = {4: "10.244.{}.0", 6: "fd00:10:244:{}::"}
RANGE = {4: "10.244.{}.0/24", 6: "fd00:10:244:{}::/64"}
NODE = {4: "192.168.56.{}", 6: "fd00::{}"}
NOWHERE = {4: "10.244.9.1", 6: "fd00:10:244:9::1"}
"""Routed into the tunnel, but not in its table."""

families = pytest.mark.parametrize(
    ("inner", "outer"), [(4, 4), (4, 6), (6, 4), (6, 6)], ids=lambda version: f"IPv{version}"
)
versions = pytest.mark.parametrize("version", [4, 6], ids=lambda version: f"IPv{version}")


def other(number: int) -> int:
    return 3 - number


class Pair:
    """Two nodes on one wire. Each has a pod's addresses on lo, a persistent device flannel0, and routes into it."""

    def __init__(self) -> None:
        self.namespaces = {number: Namespace.create() for number in (1, 2)}
        self.running: dict[int, subprocess.Popen[str]] = {}
        with self.namespaces[1].entered():
            peer = f"/proc/{os.getpid()}/fd/{self.namespaces[2].fd}"
            ip(f"link add eth0 type veth peer name eth0 netns {peer}")
        for number, namespace in self.namespaces.items():
            with namespace.entered():
                ip(
                    "link set lo up",
                    "link set eth0 up",
                    f"addr add {NODE[4].format(number)}/24 dev eth0",
                    f"addr add {NODE[6].format(number)}/64 dev eth0 nodad",
                    f"addr add {POD[4].format(number)}/32 dev lo",
                    f"addr add {POD[6].format(number)}/128 dev lo",
                    "tuntap add flannel0 mode tun",
                    f"link set flannel0 mtu {MTU}",
                    f"addr add {DEVICE[4].format(number)}/32 dev flannel0",
                    f"addr add {DEVICE[6].format(number)}/128 dev flannel0 nodad",
                )
        for number in self.namespaces:
            self.up(number)

    def up(self, number: int) -> None:
        """Set the device up, and restore the routes that it lost while down."""
        with self.namespaces[number].entered():
            ip(
                "link set flannel0 up",
                f"route replace 10.244.0.0/16 dev flannel0 src {POD[4].format(number)}",
                f"route replace fd00:10:244::/48 dev flannel0 src {POD[6].format(number)}",
            )

    def start(self, number: int, *options: str, outer: int = 4, more: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start the program on a node and wait until it is ready."""
        local = ",".join(NODE[version].format(number) for version in (4, 6))
        far = NODE[outer].format(other(number))
        table = [f"{RANGE[version].format(other(number))}={far}" for version in (4, 6)]
        program = self.running[number] = self.run(number, *options, "flannel0", str(PORT), local, *table, *more)
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        return program

    def run(self, number: int, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        with self.namespaces[number].entered():
            return subprocess.Popen(
                [*prefix, *PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )

    def ping(self, version: int, *options: str, target: str | None = None) -> subprocess.CompletedProcess[str]:
        """One echo request from the first node's pod, by default to the second node's."""
        return self.inside(1, "ping", "-n", "-c", "1", "-W", "5", *options, target or POD[version].format(2))

    def inside(self, number: int, *command: str) -> subprocess.CompletedProcess[str]:
        with self.namespaces[number].entered():
            return subprocess.run(command, capture_output=True, text=True, timeout=30)

    def both(self, *options: str, outer: int = 4) -> None:
        for number in self.namespaces:
            self.start(number, *options, outer=outer)

    @contextmanager
    def seen(self, number: int, device: str) -> Iterator[list[bytes]]:
        """The IP packets at a device, once the context has been left."""
        packets: list[bytes] = []
        with self.namespaces[number].entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        with sock:
            sock.bind((device, 3))
            sock.setblocking(False)
            yield packets
            while True:
                try:
                    packet, (_, protocol, *_) = sock.recvfrom(65536)
                except BlockingIOError:
                    break
                if protocol in (dpkt.ethernet.ETH_TYPE_IP, dpkt.ethernet.ETH_TYPE_IP6):
                    packets.append(packet)


def ip(*commands: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True, timeout=30)


def parsed(packet: bytes) -> "dpkt.ip.IP | dpkt.ip6.IP6":
    return dpkt.ip.IP(packet) if packet[0] >> 4 == 4 else dpkt.ip6.IP6(packet)


def is_echo_request(packet: bytes) -> bool:
    return (packet[0] >> 4 == 4 and packet[9] == 1 and packet[20] == 8) or (
        packet[0] >> 4 == 6 and packet[6] == 58 and packet[40] == 128
    )


def ttl_of(packet: bytes) -> int:
    return packet[8] if packet[0] >> 4 == 4 else packet[7]


def without_ttl(packet: bytes) -> bytes:
    """Without the fields that a router changes: TTL and IPv4 header checksum, or hop limit."""
    return packet[:8] + packet[9:10] + packet[12:] if packet[0] >> 4 == 4 else packet[:7] + packet[8:]


def only_line(program: subprocess.Popen[str]) -> str:
    """The output of a program that has ended by itself: one line on stderr, and no other."""
    out, err = program.communicate(timeout=30)
    assert out == ""
    assert err.startswith("udp_tunnel: ")
    assert err.count("\n") == 1
    return err.removeprefix("udp_tunnel: ").rstrip("\n")


@pytest.mark.sealed
@families
def test_carries_packets_of_any_size(inner: int, outer: int) -> None:
    pair = Pair()
    pair.both(outer=outer)
    for size in (0, 1, 56, 1000, MTU - HEADERS[inner]):
        ping = pair.ping(inner, "-M", "do", "-s", str(size))
        assert ping.returncode == 0, (size, ping.stdout)
    in_fragments = pair.ping(inner, "-s", "20000")
    assert in_fragments.returncode == 0, in_fragments.stdout


@pytest.mark.sealed
@families
def test_the_wire_carries_the_bare_packet_and_each_end_decrements_its_ttl(inner: int, outer: int) -> None:
    pair = Pair()
    pair.both(outer=outer)
    assert pair.ping(inner).returncode == 0  # Now the neighbours are learned.
    with (
        pair.seen(1, "flannel0") as into,
        pair.seen(1, "eth0") as on_the_wire,
        pair.seen(2, "flannel0") as out_of,
    ):
        assert pair.ping(inner, "-s", "101").returncode == 0
    (sent,) = filter(is_echo_request, into)
    (delivered,) = filter(is_echo_request, out_of)
    tunnelled = [packet for packet in map(parsed, on_the_wire) if isinstance(packet.data, dpkt.udp.UDP)]
    request, reply = tunnelled
    assert request.v == outer
    assert (request.data.sport, request.data.dport) == (PORT, PORT)
    assert str(ip_address(request.src)) == NODE[outer].format(1)
    assert str(ip_address(request.dst)) == NODE[outer].format(2)
    assert str(ip_address(reply.src)) == NODE[outer].format(2)
    payload = bytes(request.data.data)
    assert [ttl_of(packet) for packet in (sent, payload, delivered)] == [64, 63, 62]
    assert without_ttl(sent) == without_ttl(payload) == without_ttl(delivered)
    if inner == 4:
        assert all(checksum(packet[:20]) == 0 for packet in (sent, payload, delivered))


@pytest.mark.sealed
def test_outer_packets_have_dont_fragment_set() -> None:
    pair = Pair()
    pair.both()
    with pair.seen(1, "eth0") as on_the_wire:
        assert pair.ping(4).returncode == 0
    outer = [packet for packet in map(parsed, on_the_wire) if isinstance(packet.data, dpkt.udp.UDP)]
    assert len(outer) == 2
    assert all(packet.df for packet in outer)


@pytest.mark.sealed
@versions
def test_a_target_in_no_prefix_is_answered_unreachable(version: int) -> None:
    pair = Pair()
    pair.both()
    ping = pair.ping(version, target=NOWHERE[version])
    assert ping.returncode == 1
    said = {4: "Destination Net Unreachable", 6: "Destination unreachable: No route"}[version]
    assert f"From {DEVICE[version].format(1)} icmp_seq=1 {said}" in ping.stdout
    with pair.namespaces[1].entered():
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6)
    with sock, pytest.raises(OSError) as refusal:
        sock.settimeout(20)
        sock.connect((NOWHERE[version], 80))
    assert refusal.value.errno == errno.ENETUNREACH
    assert pair.ping(version).returncode == 0


@pytest.mark.sealed
@versions
def test_errors_come_from_the_node_if_the_device_has_no_address(version: int) -> None:
    pair = Pair()
    with pair.namespaces[1].entered():
        bits = {4: 32, 6: 128}[version]
        ip(f"addr del {DEVICE[version].format(1)}/{bits} dev flannel0")
    pair.up(1)  # Deleting a device's last IPv4 address deletes its routes.
    pair.both()
    assert f"From {NODE[version].format(1)} icmp_seq=1 " in pair.ping(version, target=NOWHERE[version]).stdout


@pytest.mark.sealed
@versions
def test_the_end_where_the_ttl_is_exhausted_sends_the_error(version: int) -> None:
    pair = Pair()
    pair.both()
    said = {4: "Time to live exceeded", 6: "Time exceeded: Hop limit"}[version]
    assert f"From {DEVICE[version].format(1)} icmp_seq=1 {said}" in pair.ping(version, "-t", "1").stdout
    assert f"From {DEVICE[version].format(2)} icmp_seq=1 {said}" in pair.ping(version, "-t", "2").stdout
    assert pair.ping(version, "-t", "3").returncode == 0


@pytest.mark.sealed
@versions
def test_sends_no_errors_if_silent(version: int) -> None:
    pair = Pair()
    pair.both("--silent")
    for ping in (
        pair.ping(version, "-W", "0.3", target=NOWHERE[version]),
        pair.ping(version, "-W", "0.3", "-t", "1"),
    ):
        assert ping.returncode == 1
        assert "From" not in ping.stdout
    assert pair.ping(version).returncode == 0


@pytest.mark.sealed
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_can_be_restarted_on_a_persistent_device(number: signal.Signals) -> None:
    pair = Pair()
    pair.both()
    assert pair.ping(4).returncode == 0
    pair.running[1].send_signal(number)
    assert pair.running[1].communicate(timeout=30) == ("", "")
    assert pair.running[1].returncode == -number
    assert pair.ping(4, "-W", "0.3").returncode == 1
    pair.start(1)
    for version in (4, 6):
        assert pair.ping(version).returncode == 0


@pytest.mark.sealed
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_device_that_it_made_is_deleted_when_it_ends(number: signal.Signals) -> None:
    pair = Pair()
    program = pair.run(1, "tun7", str(PORT), NODE[4].format(1))
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    assert pair.inside(1, "ip", "link", "show", "tun7").returncode == 0
    program.send_signal(number)
    assert program.wait(30) == -number
    assert pair.inside(1, "ip", "link", "show", "tun7").returncode == 1


@pytest.mark.sealed
def test_does_not_use_the_cpu_while_the_device_is_down() -> None:
    pair = Pair()
    pair.both()
    with pair.namespaces[2].entered():
        ip("link set flannel0 down")
    assert pair.ping(4, "-W", "0.3").returncode == 1  # Received, but not written.
    before = cpu_ticks(pair.running[2].pid)
    time.sleep(1)
    assert cpu_ticks(pair.running[2].pid) - before < 20, "of a hundred"
    pair.up(2)
    assert pair.ping(4).returncode == 0


def cpu_ticks(pid: int) -> int:
    behind_the_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(behind_the_name[11]) + int(behind_the_name[12])


@pytest.mark.sealed
def test_ends_when_the_device_is_deleted() -> None:
    pair = Pair()
    program = pair.start(1)
    with pair.namespaces[1].entered():
        ip("link del flannel0")
    assert only_line(program).startswith("reading the device: ")
    assert program.returncode == 1


@pytest.mark.sealed
def test_continues_when_a_node_is_unreachable() -> None:
    pair = Pair()
    program = pair.start(1, more=("10.244.7.0/24=10.9.9.9",))
    pair.start(2)
    for _ in range(2):
        assert pair.ping(4, "-W", "0.3", target="10.244.7.1").returncode == 1
    assert pair.ping(4).returncode == 0
    program.terminate()
    assert only_line(program) == "sending to 10.9.9.9: Network is unreachable"


@pytest.mark.sealed
def test_continues_after_invalid_packets() -> None:
    pair = Pair()
    pair.both()
    with pair.namespaces[1].entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        for first in (0x00, 0x45, 0x4F, 0x60, 0xFF):
            for size in (0, 1, 19, 20, 21, 39, 40, 41, 1400):
                for rest in (0, 1, 0xFF):
                    sock.sendto((bytes([first]) + bytes([rest]) * size)[:size], (NODE[4].format(2), PORT))
    for version in (4, 6):
        assert pair.ping(version).returncode == 0


@pytest.mark.sealed
def test_prints_one_line_if_it_cannot_start() -> None:
    pair = Pair()
    pair.start(1)
    here = NODE[4].format(1)
    for arguments, line in [
        (("flannel0", "8286", here), "attaching to flannel0: Device or resource busy"),
        (("eth0", "8286", here), "attaching to eth0: Invalid argument"),
        (("tun7", str(PORT), here), f"receiving at {here} port {PORT}: Address already in use"),
        (("tun7", "8286", "192.0.2.1"), "receiving at 192.0.2.1 port 8286: Cannot assign requested address"),
    ]:
        program = pair.run(1, *arguments)
        assert only_line(program) == line
        assert program.returncode == 1
    without_rights = pair.run(1, "tun7", "8286", here, prefix=("setpriv", "--bounding-set=-net_admin"))
    assert only_line(without_rights) == "attaching to tun7: Operation not permitted"
    assert without_rights.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], udp_tunnel.USAGE),
        (["--silent", "tun7", "8285"], udp_tunnel.USAGE),
        (["", "8285", "127.0.0.1"], "'' is not the name of a device"),
        (["a-name-too-long-", "8285", "127.0.0.1"], "'a-name-too-long-' is not the name of a device"),
        (["tun%d", "8285", "127.0.0.1"], "'tun%d' is not the name of a device"),
        (["tun7", "0", "127.0.0.1"], "'0' is not a UDP port"),
        (["tun7", "65536", "127.0.0.1"], "'65536' is not a UDP port"),
        (["tun7", "x", "127.0.0.1"], "'x' is not a UDP port"),
        (["tun7", "8285", "localhost"], "'localhost' is not an IP address"),
        (["tun7", "8285", "127.0.0.1,"], "'' is not an IP address"),
        (["tun7", "8285", "127.0.0.1,127.0.0.2"], "'127.0.0.1,127.0.0.2' has two addresses of one family"),
        (["tun7", "8285", "127.0.0.1", "10.244.1.0/24"], "'10.244.1.0/24' is not PREFIX=NODE"),
        (["tun7", "8285", "127.0.0.1", "10.244.1.0/24=node"], "'node' is not an IP address"),
        (["tun7", "8285", "127.0.0.1", "10.244.1.0=127.0.0.2"], "'10.244.1.0' is not a prefix such as 10.244.1.0/24"),
        (["tun7", "8285", "127.0.0.1", "10.1.0.0/33=127.0.0.2"], "'10.1.0.0/33' is not a prefix such as 10.244.1.0/24"),
        (["tun7", "8285", "127.0.0.1", "10.1.1.0/16=127.0.0.2"], "'10.1.1.0/16' has host bits set"),
        (["tun7", "0", "127.0.0.1", "10.1.0.0/16=::1"], "'0' is not a UDP port"),
        (
            ["tun7", "8285", "127.0.0.1", "@/none"],
            "/none cannot be read: [Errno 2] No such file or directory: '/none'",
        ),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(arguments: list[str], line: str) -> None:
    program = subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert only_line(program) == line
    assert program.returncode == 2


@pytest.mark.sealed
def test_conflicting_entries_are_refused_in_one_line() -> None:
    pair = Pair()
    begin = "flannel0", str(PORT), NODE[4].format(1)
    for entries, line in [
        (["10.1.0.0/16=fd00::2"], "no local address of the family of node fd00::2"),
        (
            ["10.1.0.0/16=192.168.56.2", "10.1.0.0/16=192.168.56.3"],
            "10.1.0.0/16 cannot be on node 192.168.56.3: it is already on another node",
        ),
    ]:
        program = pair.run(1, *begin, *entries)
        assert only_line(program) == line
        assert program.returncode == 2


@pytest.mark.sealed
def test_a_table_in_a_file_is_read_again_on_sighup_and_only_then(tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.write_text(f"{RANGE[4].format(2)}={NODE[4].format(2)}\n")
    pair = Pair()
    pair.start(2)
    program = pair.run(1, "flannel0", str(PORT), NODE[4].format(1), f"@{table}")
    assert program.stdout

    def reread(text: str) -> str:
        table.write_text(text)
        program.send_signal(signal.SIGHUP)
        assert program.stdout
        return program.stdout.readline()

    assert program.stdout.readline() == "ready\n"
    assert pair.ping(4).returncode == 0
    whole = table.read_text()
    table.write_text("")
    assert pair.ping(4).returncode == 0
    assert reread("") == "ready\n"
    assert "Net Unreachable" in pair.ping(4).stdout
    assert reread(whole) == "ready\n"
    assert pair.ping(4).returncode == 0
    assert reread(f"{whole} nonsense") == "refused: 'nonsense' is not PREFIX=NODE\n"
    assert reread("fd00::/16=fd00::1") == "refused: no local address of the family of node fd00::1\n"
    assert pair.ping(4).returncode == 0
    program.terminate()
    assert program.communicate(timeout=10) == ("", "")


def ipv4_header(content: bytes, ttl: int) -> bytearray:
    """A header with a correct checksum."""
    header = bytearray(content)
    header[0], header[8] = 0x45, ttl
    header[10:12] = bytes(2)
    header[10:12] = checksum(header).to_bytes(2, "big")
    return header


@given(st.binary(min_size=20, max_size=20), st.integers(2, 255))
def test_the_updated_checksum_equals_a_computed_one(content: bytes, ttl: int) -> None:
    packet = ipv4_header(content, ttl)
    assert aged(packet)
    assert packet == ipv4_header(content, ttl - 1)


def test_every_checksum_is_updated_correctly() -> None:
    met = set()
    for identification in range(1 << 16):
        content = bytes(4) + identification.to_bytes(2, "big") + bytes(14)
        packet = ipv4_header(content, 64)
        met.add(bytes(packet[10:12]))
        assert aged(packet)
        assert packet == ipv4_header(content, 63)
    assert len(met) == (1 << 16) - 1, "all except 0xFFFF, which no header has"


@given(st.binary(min_size=40, max_size=80), st.integers(2, 255))
def test_only_the_hop_limit_is_changed(content: bytes, limit: int) -> None:
    packet = bytearray(b"\x60" + content[1:7] + bytes([limit]) + content[8:])
    assert aged(packet)
    assert packet == b"\x60" + content[1:7] + bytes([limit - 1]) + content[8:]


@pytest.mark.parametrize("left", [0, 1])
@versions
def test_an_exhausted_packet_is_not_changed(version: int, left: int) -> None:
    packet = ipv4_header(bytes(20), left) if version == 4 else bytearray(b"\x60" + bytes(6) + bytes([left]) + bytes(32))
    before = bytes(packet)
    assert not aged(packet)
    assert bytes(packet) == before


near_v4 = st.integers(0, 255).map(lambda bits: IPv4Address(0x0AF40000 | (bits & 0xF0) << 8 | bits & 0xF))
near_v6 = st.integers(0, 255).map(lambda bits: IPv6Address(0xFD << 120 | (bits & 0xF0) << 60 | bits & 0xF))
addresses = st.one_of(near_v4, near_v6, st.ip_addresses())
"""Mostly addresses with long common prefixes."""


@given(st.lists(st.tuples(addresses, st.integers(0, 128)), max_size=12), st.lists(addresses, min_size=1, max_size=12))
def test_the_most_specific_prefix_wins(
    prefixes: list[tuple[IPv4Address | IPv6Address, int]], targets: list[IPv4Address | IPv6Address]
) -> None:
    table, known = Table(), {}
    with socket.socket() as sock:
        for address, length in prefixes:
            network = ip_network(f"{address}/{min(length, address.max_prefixlen)}", strict=False)
            peer = Peer(sock, str(network), PORT)
            assert table.add(network.network_address.packed, network.prefixlen, peer) is (network not in known)
            known.setdefault(network, peer)
        for target in [*targets, *(network.network_address for network in known)]:
            fitting = [network for network in known if target.version == network.version and target in network]
            expected = known[max(fitting, key=lambda network: network.prefixlen)] if fitting else None
            assert table.lookup(target.packed) is expected
            assert table.lookup(target.packed) is expected, "from the cache"


def test_cached_targets_are_limited() -> None:
    with socket.socket() as sock:
        table, peer = Table(), Peer(sock, "192.0.2.1", PORT)
        table.add(bytes(4), 0, peer)
        for number in range(3 * udp_tunnel.CACHED):
            assert table.lookup(number.to_bytes(4, "big")) is peer
        assert len(table._found) <= udp_tunnel.CACHED


@given(
    st.from_regex(r"[0-9a-f.:]{1,12}/[0-9]{1,3}", fullmatch=True)
    | st.tuples(addresses, st.integers(0, 140)).map("{0[0]}/{0[1]}".format)
)
@example("10.0.0.0/8")
@example("fd00::/8")
@example("1.2.3/24")
def test_a_prefix_is_parsed_as_by_ipaddress(text: str) -> None:
    try:
        network = ip_network(text)
    except ValueError:
        with pytest.raises(BadArgument):
            prefix_of(text)
    else:
        assert prefix_of(text) == (network.network_address.packed, network.prefixlen)


@given(st.sampled_from([0x45, 0x46, 0x4F, 0x60, 0x00, 0xFF]), st.binary(min_size=19, max_size=1600))
def test_an_error_about_any_packet_quotes_it_and_fits_the_smallest_mtu(first: int, content: bytes) -> None:
    packet = bytes([first]) + content
    if may_be_answered(packet):
        message = icmp_error(packet, 3, 0)
        version = first >> 4
        assert version in (4, 6)
        assert packet.startswith(message[8:])
        assert len(message) + {4: 20, 6: 40}[version] <= {4: 576, 6: 1280}[version]
        if version == 4:
            assert checksum(message) == 0


V4 = "4500001c00004000400100000af401010af40901"
V6 = "60000000000a3a40fd000010024400010000000000000001fd000010024400090000000000000001"


@pytest.mark.parametrize(
    ("packet", "may"),
    [
        pytest.param(V4 + "0800", True, id="echo request"),
        pytest.param(V4 + "0300", False, id="ICMP error"),
        pytest.param(V4 + "0b00", False, id="ICMP time exceeded"),
        pytest.param(V4, False, id="ICMP without a type"),
        pytest.param(V4.replace("40004001", "00014011"), False, id="second fragment"),
        pytest.param(V4.replace("40004001", "20004011"), True, id="first fragment"),
        pytest.param(V4.replace("0af40901", "e0000001") + "0800", False, id="multicast"),
        pytest.param(V4.replace("0af40901", "ffffffff") + "0800", False, id="broadcast"),
        pytest.param(V4.replace("0af40101", "00000000") + "0800", False, id="no source"),
        pytest.param(V6 + "8000", True, id="ICMPv6 echo request"),
        pytest.param(V6 + "0100", False, id="ICMPv6 error"),
        pytest.param(V6 + "ff00", True, id="ICMPv6 informational"),
        pytest.param(V6.replace("3a40fd", "1140fd"), True, id="UDP over IPv6"),
        pytest.param(V6.replace("3a40fd", "2c40fd") + "3a00000100000000" + "8000", True, id="first IPv6 fragment"),
        pytest.param(V6.replace("3a40fd", "2c40fd") + "3a00000100000000" + "0100", False, id="error in a fragment"),
        pytest.param(V6.replace("3a40fd", "2c40fd") + "1100000900000000", False, id="second IPv6 fragment"),
        pytest.param(V6.replace("fd00001002440009", "ff02000000000000"), False, id="IPv6 multicast"),
        pytest.param(V6[:16] + "0" * 32 + V6[48:] + "8000", False, id="no source, IPv6"),
    ],
)
def test_which_packets_may_be_answered_with_icmp_errors(packet: str, may: bool) -> None:
    assert may_be_answered(bytes.fromhex(packet)) is may
