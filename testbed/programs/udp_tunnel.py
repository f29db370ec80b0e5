"""A user-space tunnel over UDP: Flannel's `udp` backend, reimplemented in Python.

    python -I -S udp_tunnel.py [--silent] DEVICE PORT LOCAL[,LOCAL6] PREFIX=NODE ...
    python -I -S udp_tunnel.py [--silent] DEVICE PORT LOCAL[,LOCAL6] @FILE

The kernel routes packets into a TUN device. The program reads each packet, looks its target up in a table of prefixes,
and sends it to the node found there as the payload of a UDP datagram, without any tunnel header. Packets from UDP are
written to the TUN. Every packet crosses into user space and back on both nodes, which is the cost of this design. Inner
and outer packets may be IPv4 or IPv6, in any combination for which LOCAL has an address.

Modelled on flannel-io/flannel, pkg/backend/udp/proxy_amd64.c. As in the original:

- The TTL is decremented at both ends of the tunnel, by the sending and the receiving program, and the IPv4 checksum is
  updated. The kernels of both nodes forward too, so the TTL of a packet from pod to pod drops by four.
- The UDP socket has the kernel's defaults: outer packets have Don't Fragment set if they fit the device, larger
  datagrams are fragmented. Sending blocks while the socket's buffer is full.
- Senders are not checked: any host that reaches the port can inject packets.

Differences:

- The original is C. This program spends a fifth to a quarter of its time in Python and the rest in the system calls,
  which both need; its figures are that much worse.
- The table comes as a whole, from the command line or a file; the most specific prefix wins, and IPv6 is carried. The
  original receives single routes and carries only IPv4.
- ICMP errors. The original answers "network unreachable" for a target in no prefix, but never to ICMP (so not to a
  ping), and does not answer for an exhausted TTL. It writes the answer to the TUN with the TUN's own address as its
  source, which Linux discards as a martian unless `accept_local` is set, so on most nodes no answer arrives. This
  program answers both as a router should (RFC 1812, RFC 4443), through a raw socket, so that the answers arrive. With
  `--silent` it answers nothing, like Flannel on most nodes.

Prints `ready` once packets are carried, and ends on SIGTERM. SIGKILL leaves nothing behind: a device that this program
made is deleted with it, an existing one stays.

On SIGHUP it reads FILE again (the entries of the table, separated by white space), and prints `ready` once all packets
use the new table; none is lost. If the file is invalid it prints `refused: ` and the reason, and keeps its table.

Each node runs one, so it must start quickly: `_socket`, the core of `socket`, halves the time, which `socket` spends on
making enumerations of its constants. Nothing of the testbed is imported.
"""

import _signal  # type: ignore[import-not-found]  # The core of signal, which makes enumerations too.
import fcntl
import io
import os
import select
import struct
import sys
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_PKTINFO,
    IPV6_V6ONLY,
    MSG_DONTWAIT,
    SOCK_DGRAM,
    SOCK_RAW,
    inet_ntop,
    inet_pton,
    socket,
)
from array import array
from collections.abc import Callable

USAGE = "usage: udp_tunnel.py [--silent] DEVICE PORT LOCAL[,LOCAL6] PREFIX=NODE ... | @FILE"

BATCH = 16
"""Packets read from one side before the other is read."""
CACHED = 4096
"""Most cached targets, so that an address scan does not fill the memory."""
LARGEST = 65535
"""Bytes of an IP packet (its length field has 16 bits)."""
SMALLEST = 20
"""Bytes of an IPv4 header."""

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x1, 0x1000
_SIOCGIFADDR, _SIOCETHTOOL, _ETHTOOL_GLINK = 0x8915, 0x8946, 0xA
_NAME_SIZE = 16
_IP_PKTINFO = 8
_SOL_RAW, _ICMP_FILTER = 255, 1

_FAMILY = {4: AF_INET, 16: AF_INET6}
"""By the number of bytes of an address."""

_PACKED_V6, _INDEX, _PREFIX_LENGTH, _SCOPE, _FLAGS, _NAME = range(6)
"""The columns of /proc/net/if_inet6."""
_SCOPE_GLOBAL = "00"

NO_ROUTE, EXHAUSTED = {4: (3, 0), 6: (1, 0)}, {4: (11, 0), 6: (3, 0)}
"""Type and code of the ICMP errors for a target in no prefix and for an exhausted TTL (RFC 792, RFC 4443)."""
_ICMP_V4_ERRORS = {3, 4, 5, 11, 12}
_ICMP_V6_INFORMATIONAL = 128
"""The first type that is not an error (RFC 4443 section 2.1)."""
_NEXT_FRAGMENT = 44
_IPV6_HEADER, _FRAGMENT_HEADER = 40, 8
_QUOTED = {4: 8, 6: 1280 - _IPV6_HEADER - 8 - _IPV6_HEADER}
"""Bytes after the IP header that an error quotes: 8 by RFC 792; for IPv6 as much as fits the smallest MTU."""


class BadArgument(Exception):
    """The command line or the file is invalid."""


class Failure(Exception):
    """The tunnel cannot start or cannot continue."""


class Peer:
    """A node at the other end: its address and port, and the socket of that family."""

    __slots__ = ("address", "socket")

    def __init__(self, sock: socket, host: str, port: int) -> None:
        self.socket = sock
        self.address = (host, port)


class Table:
    """The node by target address. The most specific prefix wins.

    For each family and prefix length, the longest first, a dict from the target's leading bits to the node. Results are
    cached by target.
    """

    def __init__(self) -> None:
        self._levels: dict[int, dict[int, dict[int, Peer]]] = {4: {}, 16: {}}
        self._found: dict[bytes, Peer | None] = {}

    def add(self, network: bytes, length: int, peer: Peer) -> bool:
        """Add a prefix; return whether it was new."""
        levels = self._levels[len(network)]
        level = levels.setdefault(length, {})
        self._levels[len(network)] = dict(sorted(levels.items(), reverse=True))
        self._found.clear()
        return level.setdefault(_leading(network, length), peer) is peer

    def lookup(self, target: bytes) -> Peer | None:
        """The node for a target of 4 or 16 bytes."""
        try:
            return self._found[target]
        except KeyError:
            pass
        if len(self._found) >= CACHED:
            self._found.clear()
        self._found[target] = peer = self._search(target)
        return peer

    def _search(self, target: bytes) -> Peer | None:
        for length, level in self._levels[len(target)].items():
            if (peer := level.get(_leading(target, length))) is not None:
                return peer
        return None


def _leading(address: bytes, length: int) -> int:
    return int.from_bytes(address, "big") >> (8 * len(address) - length)


def aged(packet: bytearray | memoryview) -> bool:
    """Decrement the TTL or hop limit in place; False, without a change, if it would reach zero.

    The header's sum drops by 0x100, so its complement, the checksum, rises by as much, with end-around carry (RFC
    1624). IPv6 has no header checksum.
    """
    if packet[0] >> 4 == 6:
        if packet[7] <= 1:
            return False
        packet[7] -= 1
        return True
    if packet[8] <= 1:
        return False
    packet[8] -= 1
    if packet[10] < 0xFE:  # No carry.
        packet[10] += 1
        return True
    check = (packet[10] << 8 | packet[11]) + 0x100
    if check >= 0xFFFF:
        check -= 0xFFFF
    packet[10], packet[11] = check >> 8, check & 0xFF
    return True


def checksum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    even = octets + bytes(len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def may_be_answered(packet: bytes) -> bool:
    """Whether an ICMP error about this packet may be sent (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4).

    Not about ICMP errors, fragments except the first, multicast or broadcast, or packets without a valid source.
    """
    version = packet[0] >> 4  # May be neither 4 nor 6 in an invalid packet.
    return _answerable_v4(packet) if version == 4 else version == 6 and _answerable_v6(packet)


def _answerable_v4(packet: bytes) -> bool:
    behind = (packet[0] & 0xF) * 4
    source, target, protocol = packet[12], packet[16], packet[9]
    if source in (0, 127) or source >= 224 or target >= 224 or struct.unpack_from("!H", packet, 6)[0] & 0x1FFF:
        return False
    return protocol != IPPROTO_ICMP or (len(packet) > behind and packet[behind] not in _ICMP_V4_ERRORS)


def _answerable_v6(packet: bytes) -> bool:
    if len(packet) < _IPV6_HEADER or packet[8] == 0xFF or packet[24] == 0xFF or not any(packet[8:24]):
        return False
    protocol, behind = packet[6], _IPV6_HEADER
    if protocol == _NEXT_FRAGMENT and len(packet) >= behind + _FRAGMENT_HEADER:
        if struct.unpack_from("!H", packet, behind + 2)[0] & 0xFFF8:
            return False
        protocol, behind = packet[behind], behind + _FRAGMENT_HEADER
    return protocol != IPPROTO_ICMPV6 or (len(packet) > behind and packet[behind] >= _ICMP_V6_INFORMATIONAL)


def icmp_error(packet: bytes, kind: int, code: int) -> bytes:
    """The ICMP error about a packet, which it quotes; for ICMPv6 the kernel fills in the checksum."""
    version = packet[0] >> 4
    header = (packet[0] & 0xF) * 4 if version == 4 else _IPV6_HEADER
    quoted = packet[: header + _QUOTED[version]]
    check = checksum(struct.pack("!BBHI", kind, code, 0, 0) + quoted) if version == 4 else 0
    return struct.pack("!BBHI", kind, code, check, 0) + quoted


class Complaints:
    """Sends ICMP errors about packets that are not carried, from the TUN device's address or else the node's."""

    def __init__(self, device: str, local: dict[int, bytes]) -> None:
        self._device = device
        self._local = local
        self._sockets: dict[int, socket] = {}

    def send(self, packet: bytes, error: dict[int, tuple[int, int]]) -> None:
        """Send an error about a packet, if one may be sent and there is a source address for it."""
        if not may_be_answered(packet):
            return
        version = packet[0] >> 4
        try:
            source = self._source(version)
            if source is None:
                return
            if version == 4:
                to = inet_ntop(AF_INET, packet[12:16])
                sender = (IPPROTO_IP, _IP_PKTINFO, bytes(4) + source + bytes(4))
            else:
                to = inet_ntop(AF_INET6, packet[8:24])
                sender = (IPPROTO_IPV6, IPV6_PKTINFO, source + bytes(4))
            self._socket(version).sendmsg([icmp_error(packet, *error[version])], [sender], MSG_DONTWAIT, (to, 0))
        except OSError as problem:
            report(f"cannot send an ICMP error: {problem.strerror}")

    def _socket(self, version: int) -> socket:
        """Made when first needed: there may be no IPv6. Its filter blocks all messages, since none is read."""
        if version not in self._sockets:
            if version == 4:
                made = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)
                made.setsockopt(_SOL_RAW, _ICMP_FILTER, b"\xff" * 4)
            else:
                made = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6)
                made.setsockopt(IPPROTO_ICMPV6, _ICMP_FILTER, b"\xff" * 32)
            self._sockets[version] = made
        return self._sockets[version]

    def _source(self, version: int) -> bytes | None:
        """Looked up each time: the device may be configured while this program runs."""
        if version == 4:
            return _device_address_v4(self._socket(4), self._device) or self._local.get(AF_INET)
        return _device_address_v6(self._device) or self._local.get(AF_INET6)


def _device_address_v4(sock: socket, device: str) -> bytes | None:
    try:
        answer = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, struct.pack("16s24x", os.fsencode(device)))
    except OSError:
        return None
    return answer[20:24]  # After the name, and family and port of a sockaddr_in.


def _device_address_v6(device: str) -> bytes | None:
    with open("/proc/net/if_inet6") as file:  # noqa: PTH123 - pathlib takes longer to load than all of this
        rows = [line.split() for line in file]
    for row in rows:
        if row[_NAME] == device and row[_SCOPE] == _SCOPE_GLOBAL:
            return bytes.fromhex(row[_PACKED_V6])
    return None


class Tunnel:
    """Carries packets between the TUN device and the UDP sockets."""

    def __init__(
        self,
        device: io.FileIO,
        sockets: list[socket],
        table: Table,
        complaints: Complaints | None,
        again: Callable[[], Table] | None = None,
    ) -> None:
        """`again` rereads the table on SIGHUP; without it, SIGHUP ends the program."""
        self._device = device
        self._table = table
        self._again = again
        self._complaints = complaints
        self._buffer = bytearray(LARGEST)
        self._view = memoryview(self._buffer)
        self._drains = {sock.fileno(): sock for sock in sockets}

    def run(self) -> None:
        """Carry packets until Failure is raised, as when the device is deleted; print `ready` at the start."""
        ready = select.poll()
        reload = hangups() if self._again else None
        for descriptor in (self._device.fileno(), *self._drains, *(() if reload is None else (reload,))):
            ready.register(descriptor, select.POLLIN)
        say("ready")
        while True:
            for descriptor, _ in ready.poll():
                if descriptor in self._drains:
                    self._from_network(self._drains[descriptor])
                elif descriptor == reload:
                    os.read(descriptor, LARGEST)
                    self._change()
                else:
                    self._from_device()

    def _change(self) -> None:
        """Read the table again and use it."""
        assert self._again
        try:
            self._table = self._again()
        except BadArgument as problem:
            say(f"refused: {problem}")
        else:
            say("ready")

    def _from_device(self) -> None:
        """Send packets that the kernel has routed into the device to their nodes."""
        buffer, view, read, lookup = self._buffer, self._view, self._device.readinto, self._table.lookup
        for _ in range(BATCH):
            try:
                size = read(buffer)
            except OSError as problem:
                raise Failure(f"reading the device: {problem.strerror}") from None
            if size is None:  # No packet, as always when the device is down.
                return
            if size < SMALLEST:
                continue
            peer = lookup(bytes(view[16:20] if buffer[0] >> 4 == 4 else view[24:40]))
            if peer is None:
                self._complain(size, NO_ROUTE)
            elif not aged(buffer):
                self._complain(size, EXHAUSTED)
            else:
                try:
                    peer.socket.sendto(view[:size], peer.address)
                except OSError as problem:
                    report(f"sending to {peer.address[0]}: {problem.strerror}")

    def _from_network(self, sock: socket) -> None:
        """Write packets from other nodes to the device."""
        buffer, view, receive, write = self._buffer, self._view, sock.recv_into, self._device.write
        for _ in range(BATCH):
            try:
                size = receive(buffer, 0, MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as problem:
                report(f"receiving: {problem.strerror}")
                return
            if size < SMALLEST:
                continue
            if not aged(buffer):
                self._complain(size, EXHAUSTED)
                continue
            try:
                write(view[:size])
            except OSError as problem:  # EIO: the device is down. EINVAL: no IP packet.
                report(f"writing to the device: {problem.strerror}")

    def _complain(self, size: int, error: dict[int, tuple[int, int]]) -> None:
        if self._complaints is not None:
            self._complaints.send(bytes(self._view[:size]), error)


def say(line: str) -> None:
    """Print a line for the waiting parent."""
    try:  # noqa: SIM105 - contextlib takes as long to load as all else
        os.write(1, f"{line}\n".encode())
    except OSError:
        pass  # The reader has gone.


def hangups() -> int:
    """A descriptor that becomes readable after SIGHUP, which no longer ends this program."""
    here, there = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    _signal.set_wakeup_fd(there)
    _signal.signal(_signal.SIGHUP, lambda *_: None)
    return here


_reported: set[str] = set()


def report(problem: str) -> None:
    """Print a problem on stderr, each once: a full pipe that is not read would block the program."""
    if problem not in _reported:
        _reported.add(problem)
        try:  # noqa: SIM105 - contextlib takes as long to load as all else
            os.write(2, f"udp_tunnel: {problem}\n".encode())
        except OSError:
            pass  # The reader has gone.


def attached(name: str) -> io.FileIO:
    """The TUN device of that name, made if there is none; reads do not block."""
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", os.fsencode(name), _IFF_TUN | _IFF_NO_PI))
        _use_carrier(name)
    except OSError as problem:
        raise Failure(f"attaching to {name}: {problem.strerror}") from None
    return io.FileIO(descriptor, "r+")


def _use_carrier(device: str) -> None:
    """Make the kernel notice the device's carrier at once.

    By itself it may take up to a second and drops packets to the device until then. Querying the carrier forces the
    update (linkwatch_sync_dev).
    """
    wanted = array("I", [_ETHTOOL_GLINK, 0])
    request = struct.pack("16sP16x", os.fsencode(device), wanted.buffer_info()[0])
    sock = socket(AF_INET, SOCK_DGRAM)
    try:
        fcntl.ioctl(sock.fileno(), _SIOCETHTOOL, request)
    finally:
        sock.close()


def bound(address: bytes, port: int) -> socket:
    """A UDP socket at one of the node's addresses."""
    family = _FAMILY[len(address)]
    try:
        sock = socket(family, SOCK_DGRAM)
        if family == AF_INET6:
            sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        sock.bind((inet_ntop(family, address), port))
    except OSError as problem:
        raise Failure(f"receiving at {inet_ntop(family, address)} port {port}: {problem.strerror}") from None
    return sock


def device_of(text: str) -> str:
    """A device name that the kernel accepts; not a pattern such as tun%d, which it would expand."""
    if (
        not 0 < len(os.fsencode(text)) < _NAME_SIZE
        or text in (".", "..")
        or any(c in "/:%" or c.isspace() for c in text)
    ):
        raise BadArgument(f"{text!r} is not the name of a device")
    return text


def port_of(text: str) -> int:
    """A UDP port."""
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 16):
        raise BadArgument(f"{text!r} is not a UDP port")
    return int(text)


def address_of(text: str) -> bytes:
    """An IP address of either family."""
    try:
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except OSError:
        raise BadArgument(f"{text!r} is not an IP address") from None


def local_of(text: str) -> dict[int, bytes]:
    """The node's addresses by family, at most one each."""
    found: dict[int, bytes] = {}
    for address in map(address_of, text.split(",")):
        if found.setdefault(_FAMILY[len(address)], address) is not address:
            raise BadArgument(f"{text!r} has two addresses of one family")
    return found


def prefix_of(text: str) -> tuple[bytes, int]:
    """A network and the length of its prefix."""
    address, slash, length = text.partition("/")
    network = address_of(address)
    bits = 8 * len(network)
    if not (slash and length.isascii() and length.isdecimal() and int(length) <= bits):
        raise BadArgument(f"{text!r} is not a prefix such as 10.244.1.0/24")
    if int.from_bytes(network, "big") & ((1 << bits - int(length)) - 1):
        raise BadArgument(f"{text!r} has host bits set")
    return network, int(length)


def entry_of(text: str) -> tuple[bytes, int, bytes]:
    """A prefix and the address of its node."""
    prefix, _, node = text.partition("=")
    if not node:
        raise BadArgument(f"{text!r} is not PREFIX=NODE")
    return *prefix_of(prefix), address_of(node)


def table_of(entries: list[tuple[bytes, int, bytes]], port: int, sockets: dict[int, socket]) -> Table:
    """The table of these entries; each node has the socket of its family."""
    table = Table()
    peers: dict[bytes, Peer] = {}
    for network, length, node in entries:
        family, host = _FAMILY[len(node)], inet_ntop(_FAMILY[len(node)], node)
        if family not in sockets:
            raise BadArgument(f"no local address of the family of node {host}")
        peer = peers.setdefault(node, Peer(sockets[family], host, port))
        if not table.add(network, length, peer):
            prefix = f"{inet_ntop(_FAMILY[len(network)], network)}/{length}"
            raise BadArgument(f"{prefix} cannot be on node {host}: it is already on another node")
    return table


def entries_of(words: list[str]) -> list[tuple[bytes, int, bytes]]:
    """The entries of a table; read from a file if the only word is `@FILE`."""
    if is_file(words):
        path = words[0][1:]
        try:
            with open(path) as file:  # noqa: PTH123 - pathlib takes longer to load than all of this
                words = file.read().split()
        except (OSError, ValueError) as problem:
            raise BadArgument(f"{path} cannot be read: {problem}") from None
    return [entry_of(word) for word in words]


def is_file(words: list[str]) -> bool:
    """Whether the table is in a file."""
    return len(words) == 1 and words[0].startswith("@")


def tunnel_of(arguments: list[str]) -> Tunnel:
    """The tunnel of a command line, ready to run."""
    silent = arguments[:1] == ["--silent"]
    if len(arguments := arguments[silent:]) < 3:
        raise BadArgument(USAGE)
    device, port, local = device_of(arguments[0]), port_of(arguments[1]), local_of(arguments[2])
    words = arguments[3:]
    entries = entries_of(words)
    sockets = {family: bound(address, port) for family, address in local.items()}
    table = table_of(entries, port, sockets)
    again = (lambda: table_of(entries_of(words), port, sockets)) if is_file(words) else None
    complaints = None if silent else Complaints(device, local)
    return Tunnel(attached(device), list(sockets.values()), table, complaints, again)


def main(arguments: list[str]) -> int:
    """Run the tunnel until a signal or a failure ends it: exit code 2 for a wrong command line, else 1."""
    code = 1
    try:
        tunnel_of(arguments).run()
    except BadArgument as problem:
        report(str(problem))
        code = 2
    except (Failure, OSError) as problem:
        report(str(problem))
    except KeyboardInterrupt:
        code = 130
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
