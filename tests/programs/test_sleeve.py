"""Weave's user-space tunnel: datagrams, flooding and learning, ICMP errors, encryption."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.kernel.namespace import Namespace
from testbed.programs import sleeve
from testbed.programs.sleeve import BadArgument, Box, Replays, fragmentation_needed, peer_of

PORT = 6783
MTU = 1376
NODE = "192.168.56.{}"
POD = "10.32.{}.2"
PASSWORD = "open sesame"
BROADCAST = b"\xff" * 6
PLAIN_HEADERS, FRAME_HEADERS = 6, 14
"""In bytes: the sender's name; for each frame two names and a length."""

encrypted = pytest.mark.parametrize("password", ["", PASSWORD], ids=["plain", "encrypted"])


def name(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def raw(number: int) -> bytes:
    return bytes.fromhex(name(number).replace(":", ""))


def ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


class Mesh:
    """Nodes on one Ethernet, each with a pair vethwe-bridge and vethwe-pcap; the first has the address of a pod.

    Without a bridge: frames out of vethwe-bridge are those that a bridge would receive.
    """

    def __init__(self, nodes: int, fabric_mtu: int = 1500, mtu: int = MTU) -> None:
        self.switch = Namespace.create()
        self.nodes = {number: Namespace.create() for number in range(1, nodes + 1)}
        self.running: dict[int, subprocess.Popen[str]] = {}
        with self.switch.entered():
            ip("link add br0 type bridge stp_state 0 forward_delay 0", "link set br0 up")
            for number, node in self.nodes.items():
                peer = f"/proc/{os.getpid()}/fd/{node.fd}"
                ip(f"link add n{number} mtu {fabric_mtu} type veth peer name eth0 mtu {fabric_mtu} netns {peer}")
                ip(f"link set n{number} master br0 up")
        for number, node in self.nodes.items():
            with node.entered():
                # IPv6's own messages would be captured as well.
                subprocess.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], check=True)
                ip(
                    "link set lo up",
                    "link set eth0 up",
                    f"addr add {NODE.format(number)}/24 dev eth0",
                    f"link add vethwe-bridge mtu {mtu} address 02:00:00:00:01:{number:02x} "
                    f"type veth peer name vethwe-pcap mtu {mtu}",
                    "link set vethwe-bridge up",
                    "link set vethwe-pcap up",
                    f"addr add {POD.format(number)}/16 dev vethwe-bridge",
                )
                subprocess.run(["ethtool", "-K", "vethwe-bridge", "tx", "off"], check=True, capture_output=True)

    def start(self, *numbers: int, password: str = "") -> None:
        """Start the program on these nodes, or on all, and wait until they are ready."""
        for number in numbers or self.nodes:
            peers = [number, *(other for other in self.nodes if other != number)]
            self.running[number] = self.run(
                number, "vethwe-pcap", str(PORT), *(f"{name(n)}={NODE.format(n)}" for n in peers), password=password
            )
        for number in numbers or self.nodes:
            stdout = self.running[number].stdout
            assert stdout and stdout.readline() == "ready\n"

    def run(self, number: int, *arguments: str, password: str = "") -> subprocess.Popen[str]:
        options = ["-I"] if password else ["-I", "-S"]
        with self.nodes[number].entered():
            return subprocess.Popen(
                [sys.executable, *options, sleeve.__file__, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | ({"WEAVE_PASSWORD": password} if password else {}),
            )

    def inside(self, number: int, *command: str) -> subprocess.CompletedProcess[str]:
        with self.nodes[number].entered():
            return subprocess.run(command, capture_output=True, text=True, timeout=30)

    def ping(self, source: int, target: int, *options: str) -> subprocess.CompletedProcess[str]:
        return self.inside(source, "ping", "-n", "-c", "1", "-W", "5", *options, POD.format(target))

    @contextmanager
    def seen(self, number: int, device: str) -> Iterator[list[bytes]]:
        """The frames at a device in both directions, once the context has been left."""
        found: list[bytes] = []
        with self.nodes[number].entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        with sock:
            sock.bind((device, 3))
            sock.settimeout(0.3)
            yield found
            try:
                while True:
                    found.append(sock.recv(65535))
            except TimeoutError:
                pass

    @contextmanager
    def injecting(self, number: int, device: str) -> Iterator[socket.socket]:
        with self.nodes[number].entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with sock:
            sock.bind((device, 0))
            yield sock

    @contextmanager
    def udp(self, number: int, port: int = 0) -> Iterator[socket.socket]:
        with self.nodes[number].entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.bind((NODE.format(number), port))
            sock.settimeout(5)
            yield sock

    def stop(self, number: int, signal_number: int = signal.SIGTERM) -> str:
        """End the program on a node; return its stderr."""
        program = self.running.pop(number)
        program.send_signal(signal_number)
        return program.communicate(timeout=10)[1]


def frame(target: bytes, source: bytes, payload: bytes = b"hello", kind: int = 0x88B5) -> bytes:
    """An Ethernet frame of an experimental type."""
    return target + source + struct.pack("!H", kind) + payload


def datagrams(frames: list[bytes]) -> list[bytes]:
    """The payloads of the UDP datagrams to the port."""
    packets = (dpkt.ethernet.Ethernet(data).data for data in frames)
    udp = [ip.data for ip in packets if isinstance(ip, dpkt.ip.IP) and isinstance(ip.data, dpkt.udp.UDP)]
    return [bytes(datagram.data) for datagram in udp if datagram.dport == PORT]


def inside(datagram: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """For each frame in a datagram: capturing peer, destination peer, frame."""
    found, rest = [], datagram[PLAIN_HEADERS:]
    while rest:
        (length,) = struct.unpack_from("!H", rest, 12)
        found.append((rest[:6], rest[6:12], rest[14 : 14 + length]))
        rest = rest[14 + length :]
    return found


def packet(*frames: tuple[int, int, bytes], sender: int) -> bytes:
    """A datagram as a peer sends it."""
    return raw(sender) + b"".join(
        raw(source) + raw(target) + struct.pack("!H", len(data)) + data for source, target, data in frames
    )


@pytest.mark.sealed
@encrypted
def test_pods_of_two_nodes_reach_each_other(password: str) -> None:
    mesh = Mesh(2)
    mesh.start(password=password)
    assert mesh.ping(1, 2).returncode == 0
    assert mesh.ping(2, 1, "-M", "do", "-s", str(MTU - 28)).returncode == 0
    assert mesh.stop(1) == mesh.stop(2) == ""


@pytest.mark.sealed
def test_a_datagram_names_its_sender_and_each_frames_capturing_and_destination_peer() -> None:
    mesh = Mesh(2)
    mesh.start()
    sent = frame(BROADCAST, b"\x02pod01", b"to everybody")
    with mesh.seen(2, "eth0") as found, mesh.injecting(1, "vethwe-bridge") as bridge:
        bridge.send(sent)
    (datagram,) = datagrams(found)
    assert datagram[:6] == raw(1)
    assert inside(datagram) == [(raw(1), raw(2), sent)]


@pytest.mark.sealed
def test_frames_that_are_ready_together_share_a_datagram() -> None:
    """They queue up while the program is stopped."""
    mesh = Mesh(2)
    mesh.start()
    sent = [frame(BROADCAST, b"\x02pod01", bytes([number]) * 20) for number in range(10)]
    with mesh.seen(2, "eth0") as found, mesh.injecting(1, "vethwe-bridge") as bridge:
        mesh.running[1].send_signal(signal.SIGSTOP)
        for each in sent:
            bridge.send(each)
        mesh.running[1].send_signal(signal.SIGCONT)
    got = [inside(datagram) for datagram in datagrams(found)]
    assert [data for frames in got for _, _, data in frames] == sent
    assert len(got) == 1


@pytest.mark.sealed
def test_frames_are_spread_over_datagrams_that_need_no_fragmentation() -> None:
    mesh = Mesh(2)
    mesh.start()
    sent = [frame(BROADCAST, b"\x02pod01", bytes([number]) * 600) for number in range(4)]
    with mesh.seen(2, "eth0") as found, mesh.injecting(1, "vethwe-bridge") as bridge:
        mesh.running[1].send_signal(signal.SIGSTOP)
        for each in sent:
            bridge.send(each)
        mesh.running[1].send_signal(signal.SIGCONT)
    got = datagrams(found)
    assert [data for datagram in got for _, _, data in inside(datagram)] == sent
    assert [len(inside(datagram)) for datagram in got] == [2, 2]


@pytest.mark.sealed
def test_a_frame_for_an_unknown_mac_goes_to_all_peers_and_for_a_known_mac_to_one() -> None:
    mesh = Mesh(3)
    mesh.start()
    one, two = b"\x02pod01", b"\x02pod02"
    with mesh.injecting(1, "vethwe-bridge") as first, mesh.injecting(2, "vethwe-bridge") as second:
        with mesh.seen(2, "vethwe-bridge") as at_two, mesh.seen(3, "vethwe-bridge") as at_three:
            first.send(frame(two, one, b"who are you"))
        assert frame(two, one, b"who are you") in at_two
        assert frame(two, one, b"who are you") in at_three
        with mesh.seen(1, "vethwe-bridge") as at_one, mesh.seen(3, "vethwe-bridge") as at_three:
            second.send(frame(one, two, b"this is me"))
        assert frame(one, two, b"this is me") in at_one
        assert frame(one, two, b"this is me") not in at_three
        with mesh.seen(2, "vethwe-bridge") as at_two, mesh.seen(3, "vethwe-bridge") as at_three:
            first.send(frame(two, one, b"now I know"))
        assert frame(two, one, b"now I know") in at_two
        assert frame(two, one, b"now I know") not in at_three


@pytest.mark.sealed
def test_a_moved_pod_is_found_at_its_new_node() -> None:
    mesh = Mesh(3)
    mesh.start()
    one, moved = b"\x02pod01", b"\x02pod09"
    for place, other in ((2, 3), (3, 2)):
        with mesh.injecting(place, "vethwe-bridge") as there, mesh.seen(1, "vethwe-bridge"):
            there.send(frame(BROADCAST, moved, b"here I am"))
        with (
            mesh.injecting(1, "vethwe-bridge") as here,
            mesh.seen(place, "vethwe-bridge") as found,
            mesh.seen(other, "vethwe-bridge") as beside,
        ):
            here.send(frame(moved, one, b"hello there"))
        assert frame(moved, one, b"hello there") in found
        assert frame(moved, one, b"hello there") not in beside


@pytest.mark.sealed
def test_frames_from_a_peer_are_not_forwarded_to_another() -> None:
    mesh = Mesh(3)
    mesh.start()
    with mesh.seen(2, "eth0") as found, mesh.injecting(1, "vethwe-bridge") as bridge:
        bridge.send(frame(BROADCAST, b"\x02pod01", b"to everybody"))
    assert [(datagram[:6], inside(datagram)[0][:2]) for datagram in datagrams(found)] == [(raw(1), (raw(1), raw(2)))]


@pytest.mark.sealed
def test_frames_between_local_pods_and_bridge_control_frames_stay_on_the_node() -> None:
    mesh = Mesh(2)
    mesh.start()
    one, two = b"\x02pod01", b"\x02pod02"
    with mesh.seen(2, "eth0"), mesh.injecting(1, "vethwe-bridge") as bridge:
        bridge.send(frame(BROADCAST, two))
    with mesh.seen(2, "eth0") as found, mesh.injecting(1, "vethwe-bridge") as bridge:
        bridge.send(frame(two, one, b"for a neighbour"))
        bridge.send(frame(sleeve.SPANNING_TREE, one, b"spanning tree"))
    assert datagrams(found) == []


@pytest.mark.sealed
def test_a_packet_that_is_too_large_for_the_path_is_answered_with_the_mtu() -> None:
    """The MTU is 1,400 bytes less the headers of IP, UDP, the datagram, the frame and Ethernet."""
    mesh = Mesh(2, fabric_mtu=1400)
    mesh.start()
    fitting = 1400 - 28 - PLAIN_HEADERS - FRAME_HEADERS - 14
    assert mesh.ping(1, 2).returncode == 0
    assert f"mtu = {fitting}" in mesh.ping(1, 2, "-M", "do", "-s", str(MTU - 28)).stdout
    assert mesh.ping(1, 2, "-M", "do", "-s", str(fitting - 28)).returncode == 0


@pytest.mark.sealed
def test_a_packet_that_may_be_fragmented_arrives_at_any_size() -> None:
    mesh = Mesh(2, fabric_mtu=1400)
    mesh.start()
    assert mesh.ping(1, 2, "-M", "dont", "-s", str(MTU - 28)).returncode == 0


@pytest.mark.sealed
def test_a_smaller_path_mtu_is_noticed() -> None:
    mesh = Mesh(2)
    mesh.start()
    assert mesh.ping(1, 2, "-M", "do", "-s", str(MTU - 28)).returncode == 0
    with mesh.nodes[1].entered():
        ip("link set eth0 mtu 1300")
    mesh.ping(1, 2, "-M", "do", "-s", str(MTU - 28), "-W", "1")
    assert "mtu = 1238" in mesh.ping(1, 2, "-M", "do", "-s", str(MTU - 28)).stdout


@pytest.mark.sealed
@encrypted
def test_a_stream_arrives_without_loss(password: str) -> None:
    """Segments are split and get their checksums before they are captured."""
    mesh = Mesh(2)
    mesh.start(password=password)
    data = os.urandom(4 << 20)
    with mesh.nodes[2].entered():
        listener = socket.create_server((POD.format(2), 7000))
    with mesh.nodes[1].entered():
        sender = socket.socket()
    with listener, sender:
        sender.connect((POD.format(2), 7000))
        receiver, _ = listener.accept()
        with receiver, ThreadPoolExecutor(1) as pool:
            sender.settimeout(60)
            receiver.settimeout(60)
            # In a thread, since neither end buffers all of it.
            sending = pool.submit(sender.sendall, data)
            received = bytearray()
            while len(received) < len(data):
                received += receiver.recv(1 << 20)
            sending.result()
    assert bytes(received) == data


@pytest.mark.sealed
@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"\x02\x00\x00",
        packet((2, 1, frame(b"\x02pod01", b"\x02pod02")), sender=9),
        packet((3, 1, frame(b"\x02pod01", b"\x02pod02")), sender=2),
        packet((2, 3, frame(b"\x02pod01", b"\x02pod02")), sender=2),
        packet((2, 1, b"too short"), sender=2),
        packet((2, 1, frame(b"\x02pod01", b"\x02pod02")), sender=2)[:-1],
    ],
    ids=["empty", "half a name", "no peer", "captured elsewhere", "for another", "no frame", "cut short"],
)
def test_an_invalid_datagram_is_dropped(forged: bytes) -> None:
    mesh = Mesh(2)
    mesh.start(1)
    with mesh.seen(1, "vethwe-bridge") as found, mesh.udp(2) as sock:
        sock.sendto(forged, (NODE.format(1), PORT))
    assert found == []
    with mesh.seen(1, "vethwe-bridge") as found, mesh.udp(2) as sock:
        sock.sendto(packet((2, 1, frame(BROADCAST, b"\x02pod02")), sender=2), (NODE.format(1), PORT))
    assert found == [frame(BROADCAST, b"\x02pod02")]


@pytest.mark.sealed
def test_with_a_password_frames_are_encrypted_on_the_wire() -> None:
    mesh = Mesh(2)
    mesh.start(password=PASSWORD)
    secret = b"the quick brown fox jumps over the lazy dog"
    with (
        mesh.seen(2, "eth0") as wire,
        mesh.seen(2, "vethwe-bridge") as found,
        mesh.injecting(1, "vethwe-bridge") as bridge,
    ):
        bridge.send(frame(BROADCAST, b"\x02pod01", secret))
    assert frame(BROADCAST, b"\x02pod01", secret) in found
    (datagram,) = datagrams(wire)
    assert datagram[:6] == raw(1)
    assert len(datagram) == 6 + 8 + 16 + FRAME_HEADERS + 14 + len(secret)
    assert secret[:8] not in datagram
    assert b"\x02pod01" not in datagram


@pytest.mark.sealed
def test_with_a_password_forged_and_replayed_datagrams_are_dropped() -> None:
    mesh = Mesh(2)
    mesh.start(password=PASSWORD)
    with mesh.seen(2, "eth0") as wire, mesh.injecting(1, "vethwe-bridge") as bridge:
        bridge.send(frame(BROADCAST, b"\x02pod01", b"once"))
    (genuine,) = datagrams(wire)
    plain = packet((1, 2, frame(BROADCAST, b"\x02pod01", b"forged")), sender=1)
    changed = genuine[:-1] + bytes([genuine[-1] ^ 1])
    renumbered = genuine[:13] + bytes([genuine[13] ^ 1]) + genuine[14:]
    reflected = raw(2) + genuine[6:]
    with mesh.seen(2, "vethwe-bridge") as found, mesh.udp(1) as sock:
        for data in (plain, changed, renumbered, genuine):
            sock.sendto(data, (NODE.format(2), PORT))
    assert found == []
    with mesh.seen(1, "vethwe-bridge") as found, mesh.udp(2) as sock:
        sock.sendto(reflected, (NODE.format(1), PORT))
    assert found == []
    assert mesh.ping(1, 2).returncode == 0
    assert "dropped a datagram: wrong key, or a replay" in mesh.stop(2)


@pytest.mark.sealed
def test_peers_with_different_passwords_drop_each_others_datagrams() -> None:
    mesh = Mesh(2)
    with_password = [f"{name(n)}={NODE.format(n)}" for n in (2, 1)]
    other = mesh.run(2, "vethwe-pcap", str(PORT), *with_password, password="guessed")
    mesh.start(1, password=PASSWORD)
    assert mesh.ping(1, 2, "-W", "1").returncode == 1
    other.terminate()
    assert "dropped a datagram: wrong key, or a replay" in other.communicate()[1]


@pytest.mark.sealed
@encrypted
def test_a_restarted_peer_is_connected_again(password: str) -> None:
    mesh = Mesh(2)
    mesh.start(password=password)
    for number in (1, 2):
        mesh.stop(number, signal.SIGKILL)
        mesh.start(number, password=password)
        assert eventually(lambda: mesh.ping(1, 2, "-W", "1").returncode == 0)


@pytest.mark.sealed
@encrypted
def test_peers_in_a_file_are_read_again_on_sighup(password: str, tmp_path: Path) -> None:
    mesh = Mesh(3)
    peers = tmp_path / "peers"

    def written(*numbers: int) -> None:
        peers.write_text("".join(f"{name(n)}={NODE.format(n)}\n" for n in numbers))

    def reread(*numbers: int) -> str:
        written(*numbers)
        one.send_signal(signal.SIGHUP)
        assert one.stdout
        return one.stdout.readline()

    written(1, 2)
    one = mesh.run(1, "vethwe-pcap", str(PORT), f"@{peers}", password=password)
    two = [f"{name(n)}={NODE.format(n)}" for n in (2, 1)]
    mesh.running[2] = mesh.run(2, "vethwe-pcap", str(PORT), *two, password=password)
    assert one.stdout
    assert one.stdout.readline() == "ready\n"
    assert mesh.ping(1, 2).returncode == 0
    three = [f"{name(n)}={NODE.format(n)}" for n in (3, 1)]
    mesh.running[3] = mesh.run(3, "vethwe-pcap", str(PORT), *three, password=password)
    assert reread(1, 2, 3) == "ready\n"
    assert mesh.ping(1, 3).returncode == mesh.ping(1, 2).returncode == 0
    assert reread(1, 3) == "ready\n"
    assert mesh.ping(1, 2, "-W", "1").returncode == 1
    assert mesh.ping(1, 3).returncode == 0
    assert reread(2, 3) == "refused: this node's name and address cannot change while the program runs\n"
    assert reread() == f"refused: {peers} is empty\n"
    assert reread(1, 3, 3) == f"refused: two peers have the name {name(3)}\n"
    assert mesh.ping(1, 3).returncode == 0
    one.terminate()
    one.communicate(timeout=10)


def eventually(is_so: object, seconds: float = 20.0) -> bool:
    assert callable(is_so)
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.sealed
def test_it_ends_when_its_device_is_deleted() -> None:
    mesh = Mesh(1)
    mesh.start()
    with mesh.nodes[1].entered():
        ip("link del vethwe-bridge")
    assert "vethwe-pcap" in mesh.running[1].communicate(timeout=10)[1]
    assert mesh.running[1].returncode == 1


@pytest.mark.sealed
def test_it_continues_after_its_device_was_down() -> None:
    mesh = Mesh(2)
    mesh.start()
    with mesh.nodes[1].entered():
        ip("link set vethwe-pcap down", "link set vethwe-pcap up")
    # The other end of the pair may see only after a second that this one is up again.
    assert eventually(lambda: mesh.ping(1, 2, "-W", "1").returncode == 0)


@pytest.mark.sealed
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "usage: "),
        (["nothing", "6783", f"{name(1)}=192.168.56.1"], "capturing on nothing: "),
        (["vethwe-pcap", "0", f"{name(1)}=192.168.56.1"], "'0' is not a port"),
        (["vethwe-pcap", "6783", "node1=192.168.56.1"], "'node1=192.168.56.1' is not NAME=ADDRESS"),
        (["vethwe-pcap", "6783", f"{name(1)}=fd00::1"], "'fd00::1' is not an IPv4 address"),
        (["vethwe-pcap", "6783", f"{name(1)}=192.168.56.9"], "receiving at 192.168.56.9 port 6783: "),
        (["vethwe-pcap", "6783", f"{name(1)}=192.168.56.1", f"{name(1)}=192.168.56.2"], "two peers have the name"),
        (["vethwe-pcap", "6783", f"{name(1)}=192.168.56.1", f"{name(2)}=10.9.9.9"], "no route to 10.9.9.9: "),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_reason(arguments: list[str], problem: str) -> None:
    program = Mesh(1).run(1, *arguments)
    said = program.communicate(timeout=10)[1]
    assert said.startswith("sleeve: ")
    assert problem in said
    assert program.returncode in (1, 2)


@pytest.mark.sealed
def test_a_password_without_pynacl_is_an_error() -> None:
    mesh = Mesh(1)
    with mesh.nodes[1].entered():
        done = subprocess.run(
            [sys.executable, "-I", "-S", sleeve.__file__, "vethwe-pcap", "6783", f"{name(1)}=192.168.56.1"],
            env=os.environ | {"WEAVE_PASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            timeout=10,
        )
    assert done.returncode == 1
    assert "PyNaCl" in done.stderr


def boxes() -> tuple[Box, Box]:
    key = bytes(range(32))
    return Box(key, outbound=True), Box(key, outbound=False)


@given(st.binary(min_size=1, max_size=200), st.booleans())
def test_a_box_is_opened_by_the_other_end_once(frames: bytes, whole: bool) -> None:
    one, other = boxes()
    sealed = one.sealed(frames, whole)
    assert other.opened(sealed) == frames
    assert other.opened(sealed) == b""


def test_no_two_boxes_of_a_connection_share_a_nonce() -> None:
    one, other = boxes()
    assert len({box.sealed(b"x", whole) for box in (one, other) for whole in (False, True) for _ in range(3)}) == 12


def test_an_end_does_not_open_its_own_boxes() -> None:
    one, _ = boxes()
    assert one.opened(one.sealed(b"mine", True)) == b""


@given(st.binary(max_size=60))
def test_invalid_data_is_not_opened(data: bytes) -> None:
    assert boxes()[0].opened(data) == b""


@given(st.lists(st.integers(min_value=0, max_value=5 * sleeve.WINDOW), max_size=60))
def test_no_number_is_new_twice(numbers: list[int]) -> None:
    replays = Replays()
    taken = [number for number in numbers if replays.is_new(number)]
    assert len(taken) == len(set(taken))


@given(st.permutations(range(30)), st.integers(min_value=0, max_value=4 * sleeve.WINDOW))
def test_numbers_may_come_in_any_order(order: list[int], start: int) -> None:
    replays = Replays()
    assert all(replays.is_new(start + number) for number in order)


def test_a_number_that_is_too_old_is_not_new() -> None:
    replays = Replays()
    assert replays.is_new(10 * sleeve.WINDOW)
    assert not replays.is_new(8 * sleeve.WINDOW + 1)
    assert replays.is_new(9 * sleeve.WINDOW + 1)


def test_the_error_about_a_large_packet_has_its_target_as_the_source() -> None:
    packet_ = dpkt.ip.IP(src=b"\x0a\x20\x00\x02", dst=b"\x0a\x20\x01\x02", p=17, data=dpkt.udp.UDP(data=b"x" * 1400))
    packet_.len = len(packet_)
    sent = frame(b"\x02pod02", b"\x02pod01", bytes(packet_), kind=0x0800)
    answer = dpkt.ethernet.Ethernet(fragmentation_needed(sent, 1338))
    assert (answer.src, answer.dst) == (b"\x02pod02", b"\x02pod01")
    assert (answer.ip.src, answer.ip.dst) == (packet_.dst, packet_.src)
    assert (answer.ip.icmp.type, answer.ip.icmp.code) == (3, 4)
    assert answer.ip.icmp.data.mtu == 1338
    assert sleeve.checksum(bytes(answer.ip)[:20]) == sleeve.checksum(bytes(answer.ip)[20:]) == 0


def test_a_peer_is_a_name_and_an_address() -> None:
    assert peer_of("02:00:00:00:00:01=192.168.56.1") == (raw(1), "192.168.56.1")
    with pytest.raises(BadArgument):
        peer_of("02:00:00:00:00=192.168.56.1")
