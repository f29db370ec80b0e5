"""Weave Net's user-space tunnel, sleeve, reimplemented in Python.

    [WEAVE_PASSWORD=...] python -I -S sleeve.py DEVICE PORT NAME=LOCAL [NAME=ADDRESS ...]
    [WEAVE_PASSWORD=...] python -I -S sleeve.py DEVICE PORT @FILE

On each node one end of a veth pair is a port of the pods' bridge. This program captures frames on the other end,
DEVICE, and injects there the frames from other nodes. Each node is a peer, whose NAME has the form of a MAC address.
Peers send each other UDP datagrams, from PORT to PORT:

    sender's name (6 bytes), then frames: capturing peer (6), destination peer (6), length (2), Ethernet frame

Frames that are ready together share a datagram if they fit. A frame for a known MAC address goes to its peer;
broadcast, multicast and unknown ones go to all peers. A peer's source MAC addresses are learned and kept for ten to
twenty minutes. Frames from a peer are never forwarded to another peer, so there are no loops.

An IPv4 packet with Don't Fragment is sent in a datagram with Don't Fragment; if it is too large for the path, its
sender gets ICMP 'fragmentation needed' with the MTU. Other frames are sent in datagrams that the nodes' kernels may
fragment.

With a password in the environment, frames are encrypted (NaCl's secretbox). Then each two peers have a TCP connection,
from the lower name to the higher one's PORT, over which they exchange public keys made for this connection. The key for
frames is the SHA-256 of the Diffie-Hellman result and the password:

    sender's name (6 bytes), number of the datagram (8), then one box: tag (16) and the frames

The number is part of the nonce and valid once: replayed datagrams, and those without the right key, are dropped.

Modelled on weaveworks/weave, router/sleeve.go and crypto.go; the datagrams are the same. Differences:

- The original is Go, with several threads.
- The peers come from the command line or a file and are fully meshed; no peer relays. So the TCP connection carries two
  keys and no gossip, and without a password there is none.
- The path MTU is the kernel's. The original probes it with frames of that size, which the peer acknowledges, and also
  probes whether fragments arrive.
- No heartbeats: a dead peer is not noticed and still sent to.

Prints `ready` once frames are carried; with a password, once all peers have a common key. Ends on SIGTERM.

On SIGHUP it reads FILE again (this node and its peers, separated by white space), and prints `ready` once frames are
carried to all of them. Peers that stay keep their key and lose no frame. If the file is invalid it prints `refused: `
and the reason, and keeps its peers; it also prints that if new peers have no key in time.
"""

import _signal  # type: ignore[import-not-found]  # The core of signal.
import contextlib
import io
import os
import select
import struct
import sys
import time
from _socket import (
    AF_INET,
    AF_PACKET,
    IPPROTO_IP,
    MSG_DONTWAIT,
    SO_ERROR,
    SO_RCVBUF,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
    SOL_SOCKET,
    if_nameindex,
    inet_pton,
    socket,
)
from collections.abc import Callable
from errno import ECONNRESET, EMSGSIZE, ENETDOWN
from functools import partial

USAGE = "usage: sleeve.py DEVICE PORT NAME=LOCAL [NAME=ADDRESS ...] | @FILE"

BATCH = 32
"""Frames or datagrams read from one side before the other is read."""
AGE_S = 600
"""Least time for which a learned MAC address is kept; the most is twice that."""
LOOK_S = 1.0
"""Interval of tasks that are not urgent: lost frames, connections, aging."""
RETRY_S = 0.05
"""Interval of connection attempts before the first frame is carried."""
PATIENCE_S = 30.0
"""Time limit for a common key with all peers."""
LARGEST = 65535
UDP_HEADERS = 28
ETHERNET_HEADER = 14
NAME_SIZE = 6
FRAME_HEADER = NAME_SIZE + NAME_SIZE + 2
NUMBER_SIZE, TAG_SIZE, KEY_SIZE = 8, 16, 32
HELLO_SIZE = NAME_SIZE + KEY_SIZE
WINDOW = 1 << 14
"""Least number of latest datagrams that are remembered; the most is twice that."""
DO_NOT_FRAGMENT = 1 << 63
"""Flag in a datagram's number."""
SPANNING_TREE = bytes.fromhex("0180c2000000")
"""Bridge control frames, which are not carried to other nodes."""
IPV4 = b"\x08\x00"

_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT, _IP_PMTUDISC_DO, _IP_MTU = 10, 0, 2, 14
_SO_NO_CHECK, _SO_RCVBUFFORCE = 11, 33
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING, _ETH_P_ALL = 263, 6, 23, 3
_RECEIVE_BYTES = 8 << 20
_NAME_SIZE = 16


class BadArgument(Exception):
    """The command line or the file is invalid."""


class Failure(Exception):
    """The tunnel cannot start or cannot continue."""


class Replays:
    """The numbers of received datagrams."""

    def __init__(self) -> None:
        self._window = 0
        self._seen, self._before = bytearray(WINDOW), bytearray(WINDOW)

    def is_new(self, number: int) -> bool:
        """Record a number; False if it was received before or is too old."""
        window, place = divmod(number, WINDOW)
        if window > self._window:
            self._before = self._seen if window == self._window + 1 else bytearray(WINDOW)
            self._seen, self._window = bytearray(WINDOW), window
        elif window < self._window - 1:
            return False
        seen = self._seen if window == self._window else self._before
        if seen[place]:
            return False
        seen[place] = 1
        return True


class Box:
    """Encrypts for a peer and decrypts from it. `outbound`: this end opened the connection."""

    def __init__(self, key: bytes, outbound: bool) -> None:
        from nacl.bindings import crypto_secretbox, crypto_secretbox_open
        from nacl.exceptions import CryptoError

        self._key, self._seal, self._open = key, crypto_secretbox, crypto_secretbox_open
        self._problems = CryptoError, ValueError
        # The two ends of a connection must never use the same nonce.
        polarity = b"\x80" + bytes(15), bytes(16)
        self._own, self._other = polarity if outbound else polarity[::-1]
        self._sent = [0, 0]
        self._received = Replays(), Replays()

    def sealed(self, frames: bytes, whole: bool) -> bytes:
        """The number and the box. `whole`: Don't Fragment is set; such datagrams have a separate sequence."""
        number = struct.pack("!Q", self._sent[whole] | (DO_NOT_FRAGMENT if whole else 0))
        self._sent[whole] += 1
        return number + self._seal(frames, self._own + number, self._key)

    def opened(self, data: bytes) -> bytes:
        """The frames; empty if the key is wrong or the datagram was received before."""
        number = data[:NUMBER_SIZE]
        try:
            frames: bytes = self._open(data[NUMBER_SIZE:], self._other + number, self._key)
        except self._problems:
            return b""
        (sequence,) = struct.unpack("!Q", number)
        received = self._received[sequence >= DO_NOT_FRAGMENT]
        return frames if received.is_new(sequence & ~DO_NOT_FRAGMENT) else b""


class Peer:
    """Another node, and two unsent datagrams for it: one with Don't Fragment and one without.

    A datagram starts with the sender's name; only the rest is encrypted.
    """

    __slots__ = ("_buffers", "_encrypts", "_head", "_size", "address", "box", "limit", "name")

    def __init__(self, own: bytes, name: bytes, address: tuple[str, int], limit: int, encrypts: bool) -> None:
        self.name, self.address = name, address
        self.limit = limit
        """Largest UDP payload that is not fragmented, in bytes."""
        self.box: Box | None = None
        self._encrypts = encrypts
        self._head = own + name
        self._buffers = bytearray(own.ljust(LARGEST, b"\0")), bytearray(own.ljust(LARGEST, b"\0"))
        self._size = [NAME_SIZE, NAME_SIZE]

    @property
    def is_ready(self) -> bool:
        """Whether frames can be carried; with encryption not before there is a key."""
        return self.box is not None or not self._encrypts

    def room(self, whole: bool) -> int:
        """Bytes for frames and their headers, after the sender's name."""
        largest = self.limit if whole else LARGEST - UDP_HEADERS
        return largest - NAME_SIZE - (NUMBER_SIZE + TAG_SIZE if self._encrypts else 0)

    def has_room(self, size: int, whole: bool) -> bool:
        """Whether a frame of that size still fits. Only a datagram with a single frame may need fragmentation."""
        return self._size[whole] - NAME_SIZE + FRAME_HEADER + size <= self.room(True)

    def is_waiting(self, whole: bool) -> bool:
        """Whether there is an unsent frame."""
        return self._size[whole] > NAME_SIZE

    def append(self, frame: memoryview, size: int, whole: bool) -> None:
        buffer, at = self._buffers[whole], self._size[whole]
        end = at + FRAME_HEADER + size
        buffer[at : at + 12] = self._head
        buffer[at + 12], buffer[at + 13] = size >> 8, size & 0xFF
        buffer[at + FRAME_HEADER : end] = frame[:size]
        self._size[whole] = end

    def taken(self, whole: bool) -> bytes | memoryview:
        """Return the datagram and start the next one."""
        buffer, size = self._buffers[whole], self._size[whole]
        self._size[whole] = NAME_SIZE
        if self.box is None:
            return memoryview(buffer)[:size]
        return bytes(buffer[:NAME_SIZE]) + self.box.sealed(bytes(memoryview(buffer)[NAME_SIZE:size]), whole)


def checksum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    even = octets + bytes(len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def fragmentation_needed(frame: bytes, mtu: int) -> bytes:
    """The ICMP error with the MTU for an IPv4 packet's sender (RFC 792, RFC 1191), with its target as the source."""
    packet = frame[ETHERNET_HEADER:]
    quoted = packet[: (packet[0] & 0xF) * 4 + 8]
    message = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quoted
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 64, 1, 0) + packet[16:20] + packet[12:16]
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return frame[6:12] + frame[:6] + IPV4 + header + message


class Macs:
    """The peer by MAC address; None for this node."""

    def __init__(self) -> None:
        self._young: dict[bytes, Peer | None] = {}
        self._old: dict[bytes, Peer | None] = {}

    def learn(self, mac: bytes, peer: Peer | None) -> None:
        self._young[mac] = peer

    def lookup(self, mac: bytes, otherwise: "Peer | str | None") -> "Peer | str | None":
        found = self._young.get(mac, otherwise)
        return self._old.get(mac, otherwise) if found is otherwise else found

    def age(self) -> None:
        self._young, self._old = {}, self._young

    def forget(self, peers: list[Peer]) -> None:
        for known in (self._young, self._old):
            for mac in [mac for mac, peer in known.items() if peer in peers]:
                del known[mac]


UNKNOWN = "unknown"


class Tunnel:
    """Carries frames between the device and the peers."""

    def __init__(
        self, device: str, port: int, own: tuple[bytes, str], peers: list[tuple[bytes, str]], encrypts: bool
    ) -> None:
        self.own, self._local = own
        self._port, self._encrypts = port, encrypts
        self._name, self._device = device, captured(device)
        # Both receive: the kernel chooses the socket for a datagram.
        self._sockets = bound(self._local, port, whole=False), bound(self._local, port, whole=True)
        self.peers = {name: self._peer(name, address) for name, address in peers}
        self._all = tuple(self.peers.values())
        self._macs = Macs()
        self._buffer = bytearray(LARGEST)
        self._view = memoryview(self._buffer)

    def _peer(self, name: bytes, address: str) -> Peer:
        limit = path_mtu(self._local, address) - UDP_HEADERS
        return Peer(self.own, name, (address, self._port), limit, self._encrypts)

    def change(self, own: tuple[bytes, str], peers: list[tuple[bytes, str]]) -> list[Peer]:
        """Replace the peers, keeping equal ones; return those that were removed."""
        if own != (self.own, self._local):
            raise BadArgument("this node's name and address cannot change while the program runs")
        before = {(peer.name, peer.address[0]): peer for peer in self._all}
        self.peers = {name: before.get((name, address)) or self._peer(name, address) for name, address in peers}
        self._all = tuple(self.peers.values())
        gone = [peer for peer in before.values() if peer not in self._all]
        self._macs.forget(gone)
        return gone

    def begin(self, events: "Events") -> None:
        """Start carrying frames."""
        events.watch(self._device, self._from_device)
        for sock in self._sockets:
            events.watch(sock, partial(self._from_network, sock))

    def _from_device(self) -> None:
        """Send frames from the bridge to other nodes."""
        view, receive, learn, lookup = self._view, self._device.recv_into, self._macs.learn, self._macs.lookup
        buffer = self._buffer
        touched: set[Peer] = set()
        for _ in range(BATCH):
            try:
                size = receive(buffer, 0, MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as problem:
                if problem.errno != ENETDOWN or self._name not in (name for _, name in if_nameindex()):
                    raise Failure(f"reading {self._name}: {problem.strerror}") from None
                break  # The device is down and may come up again.
            if size < ETHERNET_HEADER:
                continue
            head = bytes(view[:ETHERNET_HEADER])
            target = head[:6]
            learn(head[6:12], None)
            found = lookup(target, UNKNOWN)
            if found is None or target == SPANNING_TREE:
                continue
            whole = head[12:] == IPV4 and size > 20 and bool(buffer[20] & 0x40)
            if found is UNKNOWN:
                for peer in self._all:
                    self._forward(peer, size, whole, is_flooded=True)
                touched.update(self._all)
            else:
                assert isinstance(found, Peer)
                self._forward(found, size, whole, is_flooded=False)
                touched.add(found)
        for peer in touched:
            self._flush(peer, False)
            self._flush(peer, True)

    def _forward(self, peer: Peer, size: int, whole: bool, is_flooded: bool) -> None:
        """Append the frame in the buffer to the peer's datagram; send that first if it is full."""
        if not peer.is_ready:
            report(f"no key for {peer.address[0]}: its frames are dropped")
            return
        if not peer.has_room(size, whole) and peer.is_waiting(whole):
            self._flush(peer, whole)
        if FRAME_HEADER + size <= peer.room(whole):
            peer.append(self._view, size, whole)
        elif not whole:
            report(f"frame of {size} bytes is too large for a datagram")
        elif is_flooded:
            report(f"flooded frame of {size} bytes is too large for the path to {peer.address[0]}")
        else:
            mtu = peer.room(True) - FRAME_HEADER - ETHERNET_HEADER
            self._inject(fragmentation_needed(bytes(self._view[:size]), mtu))

    def _flush(self, peer: Peer, whole: bool) -> None:
        if not peer.is_waiting(whole):
            return
        datagram = peer.taken(whole)
        try:
            self._sockets[whole].sendto(datagram, peer.address)
        except OSError as problem:
            if problem.errno == EMSGSIZE:
                # The path MTU has shrunk; the sender of the next such frame gets an ICMP error.
                with contextlib.suppress(Failure):
                    peer.limit = path_mtu(self._local, peer.address[0]) - UDP_HEADERS
            else:
                report(f"sending to {peer.address[0]}: {problem.strerror}")

    def _from_network(self, sock: socket) -> None:
        """Inject frames from other nodes into the bridge."""
        view, receive, peers = self._view, sock.recv_into, self.peers
        for _ in range(BATCH):
            try:
                size = receive(self._buffer, 0, MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as problem:
                report(f"receiving: {problem.strerror}")
                return
            peer = peers.get(bytes(view[:NAME_SIZE]))
            if peer is None:
                report("dropped a datagram: its sender is not a peer")
            elif peer.box:
                if frames := peer.box.opened(bytes(view[NAME_SIZE:size])):
                    self._frames(peer, memoryview(frames))
                else:
                    report("dropped a datagram: wrong key, or a replay")
            elif peer.is_ready:
                self._frames(peer, view[NAME_SIZE:size])

    def _frames(self, peer: Peer, data: memoryview) -> None:
        """Inject a datagram's frames; drop a truncated rest."""
        names, at, learn = peer.name + self.own, 0, self._macs.learn
        while len(data) - at >= FRAME_HEADER:
            begin = at + FRAME_HEADER
            at = begin + (data[begin - 2] << 8 | data[begin - 1])
            if at > len(data):
                break
            frame = data[begin:at]
            if data[begin - FRAME_HEADER : begin - 2] == names and len(frame) >= ETHERNET_HEADER:
                learn(bytes(frame[6:12]), peer)
                self._inject(frame)

    def _inject(self, frame: bytes | memoryview) -> None:
        try:
            self._device.send(frame)
        except OSError as problem:
            report(f"writing to {self._name}: {problem.strerror}")

    def look(self) -> None:
        """Report frames that the capture socket dropped."""
        _, lost = struct.unpack("=II", self._device.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        if lost:
            report("frames lost: they arrived faster than they could be sent")

    def age(self) -> None:
        self._macs.age()


class Events:
    """Handlers of readable sockets."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def watch(self, sock: socket | io.FileIO, handler: Callable[[], None], until_connected: bool = False) -> None:
        self._handlers[sock.fileno()] = handler
        self._poll.register(sock, select.POLLOUT if until_connected else select.POLLIN)

    def forget(self, sock: socket) -> None:
        self._poll.unregister(sock)
        del self._handlers[sock.fileno()]

    def serve(self, seconds: float) -> None:
        """Call the handlers of ready sockets; wait at most that long."""
        for descriptor, _ in self._poll.poll(seconds * 1000):
            # An earlier handler may have closed this socket.
            if handler := self._handlers.get(descriptor):
                handler()


class Connection:
    """A TCP connection with a peer. Of an accepted one the peer is unknown until it has sent its name."""

    def __init__(self, sock: socket, peer: Peer | None, keys: tuple[bytes, bytes]) -> None:
        self.sock, self.peer = sock, peer
        self.is_connected = False
        self._public, self.private = keys
        self._received = b""

    def greet(self, own: bytes) -> None:
        """Send this node's name and key. Raises OSError if the connection failed."""
        if problem := self.sock.getsockopt(SOL_SOCKET, SO_ERROR):
            raise OSError(problem, os.strerror(problem))
        self.is_connected = True
        self.sock.send(own + self._public)

    def hello(self) -> bytes:
        """The peer's name and key; empty until they are complete. Raises OSError if the connection has ended."""
        data = self.sock.recv(HELLO_SIZE)
        if not data:
            raise OSError(ECONNRESET, "the connection has ended")
        self._received += data
        return self._received if len(self._received) == HELLO_SIZE else b""


class Control:
    """The connections over which peers agree on keys."""

    def __init__(self, tunnel: Tunnel, events: Events, local: str, port: int, password: bytes) -> None:
        from nacl.bindings import crypto_box_beforenm, crypto_box_keypair

        self._new_keys, self._agreed = crypto_box_keypair, crypto_box_beforenm
        self._tunnel, self._events, self._local, self._password = tunnel, events, local, password
        self._open: list[Connection] = []
        self._listener = socket(AF_INET, SOCK_STREAM)
        self._listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        self._listener.setblocking(False)
        try:
            self._listener.bind((local, port))
        except OSError as problem:
            raise Failure(f"listening at {local} port {port}: {problem.strerror}") from None
        self._listener.listen(128)
        events.watch(self._listener, self._accept)

    def connect(self) -> None:
        """Start missing connections to the peers with higher names."""
        begun = [one.peer for one in self._open]
        for peer in self._tunnel.peers.values():
            if self._tunnel.own < peer.name and peer not in begun:
                sock = socket(AF_INET, SOCK_STREAM)
                sock.setblocking(False)
                sock.bind((self._local, 0))
                sock.connect_ex(peer.address)  # A failure shows in `_serve`.
                self._watch(Connection(sock, peer, self._new_keys()), until_connected=True)

    def _accept(self) -> None:
        try:
            descriptor, _ = self._listener._accept()  # type: ignore[attr-defined]  # The core of socket.accept.
        except BlockingIOError:
            return
        sock = socket(fileno=descriptor)
        sock.setblocking(False)
        one = Connection(sock, None, self._new_keys())
        one.greet(self._tunnel.own)
        self._watch(one)

    def _watch(self, one: Connection, until_connected: bool = False) -> None:
        self._open.append(one)
        self._events.watch(one.sock, partial(self._serve, one), until_connected)

    def _serve(self, one: Connection) -> None:
        try:
            if not one.is_connected:
                one.greet(self._tunnel.own)
                self._events.watch(one.sock, partial(self._serve, one))
            elif hello := one.hello():
                self._agree(one, hello[:NAME_SIZE], hello[NAME_SIZE:])
        except BlockingIOError:
            pass
        except OSError:
            self._close(one)

    def _agree(self, one: Connection, name: bytes, public: bytes) -> None:
        """Derive the common key from this end's private and the peer's public key."""
        from hashlib import sha256  # Slow to load: half as long as all else.

        peer, outbound = self._tunnel.peers.get(name), one.peer is not None
        if peer is None or (peer is not one.peer if outbound else name > self._tunnel.own):
            report("closed a connection: its other end is not a peer")
            self._close(one)
            return
        for earlier in [other for other in self._open if other.peer is peer and other is not one]:
            self._close(earlier)
        one.peer = peer
        peer.box = Box(sha256(self._agreed(public, one.private) + self._password).digest(), outbound)

    def forget(self, peers: list[Peer]) -> None:
        for one in [one for one in self._open if one.peer in peers]:
            self._close(one)

    def _close(self, one: Connection) -> None:
        """Close a connection; its key is no longer valid."""
        self._open.remove(one)
        self._events.forget(one.sock)
        one.sock.close()
        if one.peer:
            one.peer.box = None


class Source:
    """Where the names and addresses of this node and its peers come from: words, or `@FILE` with words."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self.is_changed = False
        """Whether the file must be read again."""

    def read(self) -> tuple[tuple[bytes, str], list[tuple[bytes, str]]]:
        """This node and its peers."""
        words = self._words
        if self._is_file:
            path = words[0][1:]
            try:
                with open(path) as file:  # noqa: PTH123 - pathlib takes as long to load as half of the rest
                    words = file.read().split()
            except (OSError, ValueError) as problem:
                raise BadArgument(f"{path} cannot be read: {problem}") from None
            if not words:
                raise BadArgument(f"{path} is empty")
        own, *peers = map(peer_of, words)
        names = [name for name, _ in (own, *peers)]
        if twice := [name.hex(":") for name in names if names.count(name) > 1]:
            raise BadArgument(f"two peers have the name {twice[0]}")
        return own, peers

    @property
    def _is_file(self) -> bool:
        return len(self._words) == 1 and self._words[0].startswith("@")

    def watch(self, events: Events) -> None:
        """Treat SIGHUP as a change of the file; it no longer ends this program."""
        if not self._is_file:
            return
        here, there = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        pipe = io.FileIO(here)

        def note() -> None:
            pipe.read(LARGEST)
            self.is_changed = True

        events.watch(pipe, note)
        _signal.set_wakeup_fd(there)
        _signal.signal(_signal.SIGHUP, lambda *_: None)


class Service:
    """A running tunnel whose peers may change."""

    def __init__(self, tunnel: Tunnel, events: Events, control: Control | None, source: Source) -> None:
        self._tunnel, self._events, self._control, self._source = tunnel, events, control, source
        self._waiting = True
        """Whether `ready` or `refused` must still be printed."""
        self._since = time.monotonic()

    def run(self) -> None:
        """Carry frames until Failure is raised; print `ready` when all peers can be reached, also after a change."""
        self._source.watch(self._events)
        looked = aged = self._since
        has_begun = False
        while True:
            missing = self._missing()
            if self._waiting and not missing:
                if not has_begun:
                    self._tunnel.begin(self._events)
                has_begun, self._waiting = True, False
                say("ready")
            self._events.serve(RETRY_S if self._waiting else LOOK_S)
            now = time.monotonic()
            if self._source.is_changed and has_begun:
                self._change(now)
            elif missing and now - self._since > PATIENCE_S:
                problem = f"no common key with {', '.join(missing)}"
                if not has_begun:
                    raise Failure(problem)
                self._waiting = False
                say(f"refused: {problem}")
            if self._control and (self._waiting or now - looked >= LOOK_S):
                self._control.connect()
            if now - looked >= LOOK_S:
                looked = now
                self._tunnel.look()
            if now - aged >= AGE_S:
                aged = now
                self._tunnel.age()

    def _missing(self) -> list[str]:
        """The addresses of peers without a key, while `ready` is not printed."""
        return [peer.address[0] for peer in self._tunnel.peers.values() if not peer.is_ready] if self._waiting else []

    def _change(self, now: float) -> None:
        """Read the file and replace the peers."""
        self._source.is_changed = False
        try:
            gone = self._tunnel.change(*self._source.read())
        except (BadArgument, Failure) as problem:
            say(f"refused: {problem}")
            return
        if self._control:
            self._control.forget(gone)
        self._waiting, self._since = True, now


def say(line: str) -> None:
    """Print a line for the waiting parent."""
    with contextlib.suppress(OSError):  # The reader has gone.
        os.write(1, f"{line}\n".encode())


_reported: set[str] = set()


def report(problem: str) -> None:
    """Print a problem on stderr, each once: a full pipe that is not read would block the program."""
    if problem not in _reported:
        _reported.add(problem)
        with contextlib.suppress(OSError):  # The reader has gone.
            os.write(2, f"sleeve: {problem}\n".encode())


def captured(device: str) -> socket:
    """A packet socket for all frames that a device receives, with a large buffer."""
    try:
        sock = socket(AF_PACKET, SOCK_RAW, 0)  # Protocol 0: captures nothing before it is bound to the device.
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        make_room(sock)
        sock.bind((device, _ETH_P_ALL))
    except OSError as problem:
        raise Failure(f"capturing on {device}: {problem.strerror}") from None
    return sock


def bound(address: str, port: int, whole: bool) -> socket:
    """A UDP socket at the node's address; with `whole` it sets Don't Fragment.

    Such datagrams have no UDP checksum, as in Weave, which builds them itself.
    """
    try:
        sock = socket(AF_INET, SOCK_DGRAM)
        sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
        sock.setsockopt(IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO if whole else _IP_PMTUDISC_DONT)
        sock.setsockopt(SOL_SOCKET, _SO_NO_CHECK, whole)
        make_room(sock)
        sock.bind((address, port))
    except OSError as problem:
        raise Failure(f"receiving at {address} port {port}: {problem.strerror}") from None
    return sock


def make_room(sock: socket) -> None:
    """Enlarge the receive buffer; without root on the host, up to the machine's limit."""
    try:
        sock.setsockopt(SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
    except PermissionError:
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, _RECEIVE_BYTES)


def path_mtu(local: str, address: str) -> int:
    """The kernel's path MTU to an address, in bytes."""
    sock = socket(AF_INET, SOCK_DGRAM)
    try:
        sock.bind((local, 0))
        sock.connect((address, 9))
        return sock.getsockopt(IPPROTO_IP, _IP_MTU)
    except OSError as problem:
        raise Failure(f"no route to {address}: {problem.strerror}") from None
    finally:
        sock.close()


def device_of(text: str) -> str:
    """A device's name."""
    if not 0 < len(os.fsencode(text)) < _NAME_SIZE or any(c == "/" or c.isspace() for c in text):
        raise BadArgument(f"{text!r} is not the name of a device")
    return text


def port_of(text: str) -> int:
    """A port."""
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 16):
        raise BadArgument(f"{text!r} is not a port")
    return int(text)


def peer_of(text: str) -> tuple[bytes, str]:
    """A peer's name and the address of its node."""
    name, _, address = text.partition("=")
    try:
        octets = bytes.fromhex(name.replace(":", ""))
    except ValueError:
        octets = b""
    if len(octets) != NAME_SIZE:
        raise BadArgument(f"{text!r} is not NAME=ADDRESS, with a name such as 02:00:00:00:00:01")
    try:
        inet_pton(AF_INET, address)
    except OSError:
        raise BadArgument(f"{address!r} is not an IPv4 address") from None
    return octets, address


def begun(arguments: list[str], password: bytes) -> Service:
    """The service of a command line, ready to run."""
    if len(arguments) < 3:
        raise BadArgument(USAGE)
    device, port, source = device_of(arguments[0]), port_of(arguments[1]), Source(arguments[2:])
    own, peers = source.read()
    events = Events()
    tunnel = Tunnel(device, port, own, peers, encrypts=bool(password))
    control = Control(tunnel, events, own[1], port, password) if password else None
    return Service(tunnel, events, control, source)


def main(arguments: list[str]) -> int:
    """Run the tunnel until a signal or a failure ends it: exit code 2 for a wrong command line, else 1."""
    try:
        begun(arguments, os.fsencode(os.environ.get("WEAVE_PASSWORD", ""))).run()
    except BadArgument as problem:
        report(str(problem))
        return 2
    except (Failure, OSError) as problem:
        report(str(problem))
        return 1
    except ImportError:
        report("a password requires the package PyNaCl, and Python without -S")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
