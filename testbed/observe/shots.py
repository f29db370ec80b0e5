"""One packet with a unique mark, sent over ICMP, UDP or TCP, and how to recognize it and its answer."""

import errno
import secrets
import select
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal, Self

import dpkt

from testbed.kernel.namespace import Namespace
from testbed.observe.taps import Sighting
from testbed.spec.types import Address

Protocol = Literal["icmp", "udp", "tcp"]
PATIENCE_S = 1.5
"""Time limit for an answer; ARP retries after a second."""
_LINGER_S = 0.02
_ECHO, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_REDIRECT = {4: 5, 6: 137}
_ANSWER = b"answer"
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3
"""Never fragment, and ignore a learned path MTU."""
_IPPROTO = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}


class Shot:
    """One packet to send, and its sockets."""

    def __init__(
        self,
        address: Address,
        port: int,
        size: int,
        source: Namespace,
        target: Namespace,
        own: Address | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """With `own`, the packet has this source address; otherwise the kernel chooses."""
        self.address, self.port, self.source, self.target = str(address), port, source, target
        self.own, self.patience_s = own, patience_s
        self.is_answered = False
        """Whether the socket that sent the packet received an answer from the address that was asked."""
        self.is_refused = False
        """Whether a TCP connection was reset, or refused by an ICMP error."""
        self.version = address.version
        self.family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        self.mark = secrets.token_bytes(16)
        self.size = size
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()

    def open(self, where: Namespace, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        with where.entered():
            sock = socket.socket(self.family, kind, protocol)
        self._sockets.append(sock)
        sock.setblocking(False)
        if self.version == 4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PROBE)
        return sock

    def sender(self, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        """A socket at the source. Raises OSError if the source address is missing there."""
        sock = self.open(self.source, kind, protocol)
        if self.own:
            sock.bind((str(self.own), 0))
        return sock

    def padded(self, headers: int) -> bytes:
        """The mark, padded so that the packet with these headers and IP's has its size."""
        wanted = self.size - headers - (20 if self.version == 4 else 40)
        return self.mark + bytes(max(wanted - len(self.mark), 0))

    def unsent(self, error: OSError) -> str:
        """Why the source could not send."""
        if error.errno == errno.EMSGSIZE:
            return f"packet of {self.size} bytes exceeds the MTU of the outgoing device"
        return f"cannot send: {error.strerror or error}"

    def fire(self) -> str:
        """Send, and wait for an answer or the time limit. Return why the packet could not be sent; empty if it was."""
        raise NotImplementedError

    def marked(self, seen: Iterable[Sighting]) -> list[Sighting]:
        """The sightings of the packet, its answer, and errors about either."""
        return [sighting for sighting in seen if self.mark in sighting.frame]

    def is_back(self, sighting: Sighting) -> bool:
        """Whether the sighting is of the answer or of an error."""
        raise NotImplementedError


def _until(deadline: float, sockets: Sequence[socket.socket], act: Callable[[socket.socket], bool]) -> None:
    """Call `act` for each readable socket, until it returns True or the deadline passes."""
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select(sockets, [], [], left)
        if any(act(sock) for sock in ready):
            time.sleep(_LINGER_S)  # Until the taps have all frames.
            return


class _Icmp(Shot):
    def fire(self) -> str:
        # A random identifier: NAT and its rules take each shot for a new connection.
        echo = dpkt.icmp.ICMP.Echo(id=secrets.randbits(16), seq=1, data=self.padded(8))
        kind = dpkt.icmp.ICMP if self.version == 4 else dpkt.icmp6.ICMP6
        message = kind(type=_ECHO[self.version], data=echo)
        try:
            sock = self.sender(socket.SOCK_RAW, _IPPROTO[self.version])
            sock.sendto(bytes(message), (self.address, 0))
        except OSError as error:
            return self.unsent(error)

        def ends(sock: socket.socket) -> bool:
            data, (peer, *_) = sock.recvfrom(65_536)
            if self.mark not in data:
                return False
            # An IPv4 raw socket receives the IP header too, which may have options.
            kind = data[4 * (data[0] & 0x0F) if self.version == 4 else 0]
            self.is_answered = kind == _REPLY[self.version] and peer == self.address
            return self.is_answered or kind not in (_ECHO[self.version], _REPLY[self.version], _REDIRECT[self.version])

        _until(time.monotonic() + self.patience_s, [sock], ends)
        return ""

    def is_back(self, sighting: Sighting) -> bool:
        return sighting.packet.icmp != _ECHO[self.version]


class _Udp(Shot):
    def fire(self) -> str:
        answerer = self.open(self.target, socket.SOCK_DGRAM)
        with suppress(OSError):  # The port may be in use; its owner may answer.
            answerer.bind((self.address, self.port))
        try:
            sender = self.sender(socket.SOCK_DGRAM)
            sender.connect((self.address, self.port))
            sender.send(self.padded(8))
        except OSError as error:
            return self.unsent(error)

        def act(sock: socket.socket) -> bool:
            try:
                data, peer = sock.recvfrom(65_536)
                if sock is answerer and data.startswith(self.mark):
                    sock.sendto(self.mark + _ANSWER, peer)
            except OSError:  # An ICMP error came instead of an answer, or the answer could not be sent.
                return True
            self.is_answered = sock is sender
            return self.is_answered

        _until(time.monotonic() + self.patience_s, [answerer, sender], act)
        return ""

    def is_back(self, sighting: Sighting) -> bool:
        return bool(sighting.packet.error) or self.mark + _ANSWER in sighting.frame


class _Tcp(Shot):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._number: int | None = None
        self._own_port = 0

    def fire(self) -> str:
        listener = self.open(self.target, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # The port may be in use.
            listener.bind((self.address, self.port))
            listener.listen(1)
        try:
            sender = self.sender(socket.SOCK_STREAM)
            sender.connect((self.address, self.port))
        except BlockingIOError:
            pass
        except OSError as error:
            return self.unsent(error)
        self._own_port = sender.getsockname()[1]
        _, done, _ = select.select([], [sender], [], self.patience_s)
        if done:
            number = sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.is_answered, self.is_refused = not number, number == errno.ECONNREFUSED
            time.sleep(_LINGER_S)
        return ""

    def marked(self, seen: Iterable[Sighting]) -> list[Sighting]:
        everything = list(seen)
        # NAT may have changed a port before the first device saw the packet.
        syns = [
            (s.packet.ports != (self._own_port, self.port), s.time, s.packet.tcp[0])
            for s in everything
            if s.packet.ports and s.packet.tcp and self._is_syn(s.packet.ports, s.packet.tcp)
        ]
        if not syns:
            return []
        *_, number = min(syns)
        self._number = number
        return [sighting for sighting in everything if self._is_mine(sighting, number)]

    def _is_syn(self, ports: tuple[int, int], numbers: tuple[int, int]) -> bool:
        return numbers[1] == 0 and (ports[0] == self._own_port or ports[1] == self.port)

    def _is_mine(self, sighting: Sighting, number: int) -> bool:
        """Whether it is the SYN, its acknowledgement or reset, or an error that quotes it."""
        packet = sighting.packet
        if packet.tcp is None:
            return bool(packet.error) and number.to_bytes(4, "big") in sighting.frame
        is_own = packet.ports == (self._own_port, self.port)
        return packet.tcp[0] == number or (packet.tcp[1] == (number + 1) % 2**32 and not is_own)

    def is_back(self, sighting: Sighting) -> bool:
        return sighting.packet.tcp is None or sighting.packet.tcp[0] != self._number


SHOTS: dict[Protocol, type[Shot]] = {"icmp": _Icmp, "udp": _Udp, "tcp": _Tcp}
