"""Weave Net's tunnel in user space, which it calls sleeve, written anew in Python.

    [WEAVE_PASSWORD=...] python -I -S sleeve.py DEVICE PORT NAME=LOCAL [NAME=ADDRESS ...]
    [WEAVE_PASSWORD=...] python -I -S sleeve.py DEVICE PORT @FILE

On each node one end of a veth pair is a port of the pods' bridge, and this program has the other, DEVICE: it takes up
what the bridge sends there, and puts there what has come from other nodes. A node is a peer, whose NAME has the form of
a MAC address. Peers send each other UDP datagrams, from PORT to PORT:

    sender's name (6 bytes), then frames: capturing peer (6), destination peer (6), length (2), Ethernet frame

As many frames as are there and fit share a datagram. A frame for a MAC address behind a peer that is known goes to that
peer; one for everybody, or for somebody unknown, to all of them. Whose frames come from a peer is behind it, which is
remembered for ten to twenty minutes. What has come from a peer is never sent on to another, so nothing goes in circles.

An IPv4 packet that must not be fragmented travels in a datagram that must not be either; if it is too large for the
path, its sender is told (ICMP, fragmentation needed), and how large the next may be. Any other frame travels in a
datagram that the nodes' kernels may cut.

With a password in the environment the frames of a datagram are encrypted (NaCl's secretbox). Then each two peers have a
TCP connection, from the lower name to the higher one's PORT, over which they tell each other a public key that is made
for this connection; the key for frames is the SHA-256 of what both make of the two (Diffie-Hellman) and the password:

    sender's name (6 bytes), number of the datagram (8), then one box: tag (16) and the frames

The number is a part of the nonce, and counts once: a datagram that comes again is dropped, as is one that nobody with
the key has made.

Modelled on weaveworks/weave, router/sleeve.go and crypto.go; the datagrams are the same. Not the same as there:

- That one is Go, on several threads.
- The peers are those of the command line or a file and all are linked with each other; nothing is relayed by a third
  one. So the TCP connection carries two keys and no gossip, and without a password there is none.
- The path's MTU is what the kernel knows of it. There it is tried with frames of that size, of which the other end
  tells that they came; and whether fragments arrive is tried too, instead of being taken for granted.
- No heartbeats: a peer that is gone is not noticed, and is sent to all the same.

Prints `ready` once frames would be carried, with a password as soon as all peers have a key in common. Ends on SIGTERM.

On SIGHUP it reads FILE again, which has this node and its peers between white space, and prints `ready` as soon as
frames would be carried to all of them. Peers that stay keep their key, and lose no frame. It prints `refused: ` and why
if the file is not as it should be, and the peers stay as they were; also if there is no key in time with new ones.
"""

import _signal  # type: ignore[import-not-found]  # What signal is made of.
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
"""Frames or datagrams taken from one side before the other gets its turn."""
AGE_S = 600
"""For so long at least it is remembered behind whom a MAC address is, and for twice as long at most."""
LOOK_S = 1.0
"""How often it is looked after what is not urgent: lost frames, peers to connect to, age."""
RETRY_S = 0.05
"""Between two attempts to connect to a peer before the first frame is carried."""
PATIENCE_S = 30.0
"""How long peers may take until they have a key in common."""
LARGEST = 65535
UDP_HEADERS = 28
ETHERNET_HEADER = 14
NAME_SIZE = 6
FRAME_HEADER = NAME_SIZE + NAME_SIZE + 2
NUMBER_SIZE, TAG_SIZE, KEY_SIZE = 8, 16, 32
HELLO_SIZE = NAME_SIZE + KEY_SIZE
WINDOW = 1 << 14
"""So many of the latest datagrams are known by their number, and none before twice as many."""
DO_NOT_FRAGMENT = 1 << 63
"""In a datagram's number."""
SPANNING_TREE = bytes.fromhex("0180c2000000")
"""What bridges tell each other is not for other nodes."""
IPV4 = b"\x08\x00"

_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT, _IP_PMTUDISC_DO, _IP_MTU = 10, 0, 2, 14
_SO_NO_CHECK, _SO_RCVBUFFORCE = 11, 33
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING, _ETH_P_ALL = 263, 6, 23, 3
_RECEIVE_BYTES = 8 << 20
_NAME_SIZE = 16


class BadArgument(Exception):
    """The command line is not as it should be."""


class Failure(Exception):
    """The tunnel cannot begin, or cannot go on."""


class Replays:
    """Which datagrams have come already, by number."""

    def __init__(self) -> None:
        self._window = 0
        self._seen, self._before = bytearray(WINDOW), bytearray(WINDOW)

    def is_new(self, number: int) -> bool:
        """Whether none of that number has come before; one that is too old to tell counts as known."""
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
    """Encrypts for a peer and decrypts what comes from it. `outbound` is whether we have connected to it."""

    def __init__(self, key: bytes, outbound: bool) -> None:
        from nacl.bindings import crypto_secretbox, crypto_secretbox_open
        from nacl.exceptions import CryptoError

        self._key, self._seal, self._open = key, crypto_secretbox, crypto_secretbox_open
        self._problems = CryptoError, ValueError
        # The two ends of a connection must never use a nonce both.
        polarity = b"\x80" + bytes(15), bytes(16)
        self._own, self._other = polarity if outbound else polarity[::-1]
        self._sent = [0, 0]
        self._received = Replays(), Replays()

    def sealed(self, frames: bytes, whole: bool) -> bytes:
        """The number and the box; `whole` if the datagram must not be fragmented, which has numbers of its own."""
        number = struct.pack("!Q", self._sent[whole] | (DO_NOT_FRAGMENT if whole else 0))
        self._sent[whole] += 1
        return number + self._seal(frames, self._own + number, self._key)

    def opened(self, data: bytes) -> bytes:
        """The frames; empty if nobody with the key has sent this, or if it has come before."""
        number = data[:NUMBER_SIZE]
        try:
            frames: bytes = self._open(data[NUMBER_SIZE:], self._other + number, self._key)
        except self._problems:
            return b""
        (sequence,) = struct.unpack("!Q", number)
        received = self._received[sequence >= DO_NOT_FRAGMENT]
        return frames if received.is_new(sequence & ~DO_NOT_FRAGMENT) else b""


class Peer:
    """Another node, and the datagrams for it that are not yet sent: one that may be fragmented, and one that must not.

    A datagram has room for the sender's name in front; what is encrypted is only what follows.
    """

    __slots__ = ("_buffers", "_encrypts", "_head", "_size", "address", "box", "limit", "name")

    def __init__(self, own: bytes, name: bytes, address: tuple[str, int], limit: int, encrypts: bool) -> None:
        self.name, self.address = name, address
        self.limit = limit
        """Of what follows the UDP header, in bytes, where it must not be fragmented."""
        self.box: Box | None = None
        self._encrypts = encrypts
        self._head = own + name
        self._buffers = bytearray(own.ljust(LARGEST, b"\0")), bytearray(own.ljust(LARGEST, b"\0"))
        self._size = [NAME_SIZE, NAME_SIZE]

    @property
    def is_ready(self) -> bool:
        """Whether frames can be carried: not before there is a key, if there is to be one."""
        return self.box is not None or not self._encrypts

    def room(self, whole: bool) -> int:
        """For names, lengths and frames, behind the sender's name, in bytes."""
        largest = self.limit if whole else LARGEST - UDP_HEADERS
        return largest - NAME_SIZE - (NUMBER_SIZE + TAG_SIZE if self._encrypts else 0)

    def has_room(self, size: int, whole: bool) -> bool:
        """Whether a frame of that size still fits the datagram. None grows to need fragments, though a frame may."""
        return self._size[whole] - NAME_SIZE + FRAME_HEADER + size <= self.room(True)

    def is_waiting(self, whole: bool) -> bool:
        """Whether there is a frame to be sent."""
        return self._size[whole] > NAME_SIZE

    def append(self, frame: memoryview, size: int, whole: bool) -> None:
        buffer, at = self._buffers[whole], self._size[whole]
        end = at + FRAME_HEADER + size
        buffer[at : at + 12] = self._head
        buffer[at + 12], buffer[at + 13] = size >> 8, size & 0xFF
        buffer[at + FRAME_HEADER : end] = frame[:size]
        self._size[whole] = end

    def taken(self, whole: bool) -> bytes | memoryview:
        """The datagram; the next one is begun."""
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
    """The frame that tells an IPv4 packet's sender how large it may be (RFC 792, RFC 1191), as if from its target."""
    packet = frame[ETHERNET_HEADER:]
    quoted = packet[: (packet[0] & 0xF) * 4 + 8]
    message = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quoted
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 64, 1, 0) + packet[16:20] + packet[12:16]
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return frame[6:12] + frame[:6] + IPV4 + header + message


class Macs:
    """Behind which peer a MAC address is, None for this node's own side."""

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
    """The device, the peers, and the frames that go from one to the other."""

    def __init__(
        self, device: str, port: int, own: tuple[bytes, str], peers: list[tuple[bytes, str]], encrypts: bool
    ) -> None:
        self.own, self._local = own
        self._port, self._encrypts = port, encrypts
        self._name, self._device = device, captured(device)
        # Both take in what comes for the port: which of them gets it is the kernel's choice.
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
        """Has these peers from now on; returns those that are no more. One that stays is the same as before."""
        if own != (self.own, self._local):
            raise BadArgument("its own name and address cannot change while it runs")
        before = {(peer.name, peer.address[0]): peer for peer in self._all}
        self.peers = {name: before.get((name, address)) or self._peer(name, address) for name, address in peers}
        self._all = tuple(self.peers.values())
        gone = [peer for peer in before.values() if peer not in self._all]
        self._macs.forget(gone)
        return gone

    def begin(self, events: "Events") -> None:
        """Frames are carried from now on, whenever there are any."""
        events.watch(self._device, self._from_device)
        for sock in self._sockets:
            events.watch(sock, partial(self._from_network, sock))

    def _from_device(self) -> None:
        """Sends what the bridge has for other nodes."""
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
                break  # It is down, and may come up again.
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
        """Puts the frame in the buffer into the peer's datagram, and sends that first if it is full."""
        if not peer.is_ready:
            tell(f"there is no key for {peer.address[0]}, frames for it are dropped")
            return
        if not peer.has_room(size, whole) and peer.is_waiting(whole):
            self._flush(peer, whole)
        if FRAME_HEADER + size <= peer.room(whole):
            peer.append(self._view, size, whole)
        elif not whole:
            tell(f"a frame of {size} bytes fits no datagram")
        elif is_flooded:
            tell(f"a frame of {size} bytes for all peers is too large for the path to {peer.address[0]}")
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
                # The path has become narrower. Whoever sends the next frame of this size is told.
                with contextlib.suppress(Failure):
                    peer.limit = path_mtu(self._local, peer.address[0]) - UDP_HEADERS
            else:
                tell(f"sending to {peer.address[0]}: {problem.strerror}")

    def _from_network(self, sock: socket) -> None:
        """Hands what has come from other nodes to the bridge."""
        view, receive, peers = self._view, sock.recv_into, self.peers
        for _ in range(BATCH):
            try:
                size = receive(self._buffer, 0, MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as problem:
                tell(f"receiving: {problem.strerror}")
                return
            peer = peers.get(bytes(view[:NAME_SIZE]))
            if peer is None:
                tell("a datagram came from somebody who is no peer")
            elif peer.box:
                if frames := peer.box.opened(bytes(view[NAME_SIZE:size])):
                    self._frames(peer, memoryview(frames))
                else:
                    tell("a datagram came that cannot be decrypted, or that has come before")
            elif peer.is_ready:
                self._frames(peer, view[NAME_SIZE:size])

    def _frames(self, peer: Peer, data: memoryview) -> None:
        """Injects a datagram's frames; what is left when one is cut short is dropped."""
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
            tell(f"writing to {self._name}: {problem.strerror}")

    def look(self) -> None:
        """Says so if frames came faster than they were taken up."""
        _, lost = struct.unpack("=II", self._device.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        if lost:
            tell("frames were lost, they came faster than they could be sent")

    def age(self) -> None:
        self._macs.age()


class Events:
    """What is to be done when a socket has something to be read."""

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
        """Does what is to be done, waiting that long for it at most."""
        for descriptor, _ in self._poll.poll(seconds * 1000):
            # One may have closed another one.
            if handler := self._handlers.get(descriptor):
                handler()


class Connection:
    """A TCP connection with a peer, which is not known before it has told its name if it has connected to us."""

    def __init__(self, sock: socket, peer: Peer | None, keys: tuple[bytes, bytes]) -> None:
        self.sock, self.peer = sock, peer
        self.is_connected = False
        self._public, self.private = keys
        self._heard = b""

    def greet(self, own: bytes) -> None:
        """Tells our name and key; raises OSError if there is no connection."""
        if problem := self.sock.getsockopt(SOL_SOCKET, SO_ERROR):
            raise OSError(problem, os.strerror(problem))
        self.is_connected = True
        self.sock.send(own + self._public)

    def heard(self) -> bytes:
        """The other's name and key, as soon as they are all there; raises OSError at the connection's end."""
        data = self.sock.recv(HELLO_SIZE)
        if not data:
            raise OSError(ECONNRESET, "the connection has ended")
        self._heard += data
        return self._heard if len(self._heard) == HELLO_SIZE else b""


class Control:
    """The connections over which peers come to have a key in common."""

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
        """Begins what connections there should be from here: to peers whose name is higher."""
        begun = [one.peer for one in self._open]
        for peer in self._tunnel.peers.values():
            if self._tunnel.own < peer.name and peer not in begun:
                sock = socket(AF_INET, SOCK_STREAM)
                sock.setblocking(False)
                sock.bind((self._local, 0))
                sock.connect_ex(peer.address)  # Whether it comes to something is seen when it is served.
                self._watch(Connection(sock, peer, self._new_keys()), until_connected=True)

    def _accept(self) -> None:
        try:
            descriptor, _ = self._listener._accept()  # type: ignore[attr-defined]  # What socket.accept is made of.
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
            elif hello := one.heard():
                self._agree(one, hello[:NAME_SIZE], hello[NAME_SIZE:])
        except BlockingIOError:
            pass
        except OSError:
            self._close(one)

    def _agree(self, one: Connection, name: bytes, public: bytes) -> None:
        """Both ends make the same key of their own private and the other's public one."""
        from hashlib import sha256  # Which takes as long to load as half of the rest.

        peer, outbound = self._tunnel.peers.get(name), one.peer is not None
        if peer is None or (peer is not one.peer if outbound else name > self._tunnel.own):
            tell("a connection came from somebody who is no peer")
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
        """What two have agreed on ends with their connection."""
        self._open.remove(one)
        self._events.forget(one.sock)
        one.sock.close()
        if one.peer:
            one.peer.box = None


class Source:
    """Where this node's name and address and those of its peers are from: words, or `@FILE` with words."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self.is_changed = False
        """Whether they are to be read again."""

    def read(self) -> tuple[tuple[bytes, str], list[tuple[bytes, str]]]:
        """This node, and the peers."""
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
            raise BadArgument(f"there are two peers of the name {twice[0]}")
        return own, peers

    @property
    def _is_file(self) -> bool:
        return len(self._words) == 1 and self._words[0].startswith("@")

    def heed(self, events: Events) -> None:
        """Has SIGHUP tell that a file has changed, instead of ending this program."""
        if not self._is_file:
            return
        here, there = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        pipe = io.FileIO(here)

        def hear() -> None:
            pipe.read(LARGEST)
            self.is_changed = True

        events.watch(pipe, hear)
        _signal.set_wakeup_fd(there)
        _signal.signal(_signal.SIGHUP, lambda *_: None)


class Service:
    """A tunnel that is kept going, and told of other peers."""

    def __init__(self, tunnel: Tunnel, events: Events, control: Control | None, source: Source) -> None:
        self._tunnel, self._events, self._control, self._source = tunnel, events, control, source
        self._waiting = True
        """Whether somebody waits for it to be ready."""
        self._since = time.monotonic()

    def run(self) -> None:
        """Carries frames until Failure is raised; says when all peers can be sent to, first of all and later on."""
        self._source.heed(self._events)
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
                problem = f"there is no key in common with {', '.join(missing)}"
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
        """Those that keep somebody waiting."""
        return [peer.address[0] for peer in self._tunnel.peers.values() if not peer.is_ready] if self._waiting else []

    def _change(self, now: float) -> None:
        """Has other peers."""
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
    """Prints a line, for whoever waits for it."""
    with contextlib.suppress(OSError):  # Nobody waits any more.
        os.write(1, f"{line}\n".encode())


_told: set[str] = set()


def tell(problem: str) -> None:
    """Says on stderr what went wrong, each problem once: a pipe that nobody reads must not fill up and stop us."""
    if problem not in _told:
        _told.add(problem)
        with contextlib.suppress(OSError):  # Nobody listens any more.
            os.write(2, f"sleeve: {problem}\n".encode())


def captured(device: str) -> socket:
    """A packet socket for all frames that come to a device, with room for a burst of them."""
    try:
        sock = socket(AF_PACKET, SOCK_RAW, 0)  # Nothing is taken up before it is bound to the device.
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        make_room(sock)
        sock.bind((device, _ETH_P_ALL))
    except OSError as problem:
        raise Failure(f"capturing on {device}: {problem.strerror}") from None
    return sock


def bound(address: str, port: int, whole: bool) -> socket:
    """A UDP socket at the node's address, whose datagrams are sent whole or not at all, if they must be `whole`.

    Those have no checksum: in Weave it is left out where datagrams are made by hand.
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
    """Who is not root of the whole machine has as much room as it allows."""
    try:
        sock.setsockopt(SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
    except PermissionError:
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, _RECEIVE_BYTES)


def path_mtu(local: str, address: str) -> int:
    """What the kernel knows of the path to an address, in bytes of an IP packet."""
    sock = socket(AF_INET, SOCK_DGRAM)
    try:
        sock.bind((local, 0))
        sock.connect((address, 9))
        return sock.getsockopt(IPPROTO_IP, _IP_MTU)
    except OSError as problem:
        raise Failure(f"there is no way to {address}: {problem.strerror}") from None
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
    """What a command line asks for, ready to run."""
    if len(arguments) < 3:
        raise BadArgument(USAGE)
    device, port, source = device_of(arguments[0]), port_of(arguments[1]), Source(arguments[2:])
    own, peers = source.read()
    events = Events()
    tunnel = Tunnel(device, port, own, peers, encrypts=bool(password))
    control = Control(tunnel, events, own[1], port, password) if password else None
    return Service(tunnel, events, control, source)


def main(arguments: list[str]) -> int:
    """Runs the tunnel until a signal ends it, or something goes wrong: exit code 2 for the command line, 1 for else."""
    try:
        begun(arguments, os.fsencode(os.environ.get("WEAVE_PASSWORD", ""))).run()
    except BadArgument as problem:
        tell(str(problem))
        return 2
    except (Failure, OSError) as problem:
        tell(str(problem))
        return 1
    except ImportError:
        tell("a password needs the package PyNaCl, and Python started without -S")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
