"""Capture packets at several devices of a lab, in order of time, each with the name of its device.

Each place has one packet socket with a kernel filter. Their frames become one stream: either pcapng
(https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html) with an interface for each device, so that Wireshark
shows a packet with and without its tunnel, or lines of tcpdump.
"""

import errno
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import IO, NamedTuple, Protocol

import dpkt
from dpkt import pcapng

from testbed.kernel.links import LinkState, links
from testbed.kernel.refusal import Namespaces
from testbed.observe.filters import LINKTYPES, SNAPLEN, VXLAN, TunnelHeaders, program
from testbed.observe.taps import STAMPS_S, WITH_ETHERNET, Frame, dropped, frames, tap

_NANOSECONDS = b"\x09"
_FILTER_IS_TEXT = b"\x00"
_ROUND_MS = 100
_MOST_AT_ONCE = 10_000
"""Frames read from one place before the next place is read."""
_BEGIN_OF_PACKET = re.compile(rb"\d\d:\d\d:\d\d\.")


class UnknownDevice(LookupError):
    """The place has no device of that name; `devices` are those that it has."""

    def __init__(self, place: str, device: str, devices: Sequence[str]) -> None:
        super().__init__(place, device, devices)
        self.place, self.device, self.devices = place, device, tuple(devices)


@dataclass(frozen=True, order=True)
class Target:
    """A device of a place, or all of them."""

    place: str
    device: str = ""

    @classmethod
    def of(cls, text: str) -> "Target":
        """Parse `PLACE` or `PLACE:DEVICE`, such as `web-1` or `node1:flannel.1`."""
        place, _, device = text.partition(":")
        return cls(place, device)

    def __str__(self) -> str:
        return f"{self.place}:{self.device}" if self.device else self.place


class Caught(NamedTuple):
    """A frame and where it was captured."""

    target: Target
    frame: Frame


@dataclass(frozen=True)
class Captured:
    """The result of a capture."""

    packets: int
    dropped: int
    """Frames that the kernel dropped because the socket's buffer was full."""


class Sink(Protocol):
    """A destination of captured packets."""

    def begin(self, watched: dict[Target, LinkState], expression: str) -> None:
        """Called before the first packet, with the devices and the filter."""

    def take(self, caught: Sequence[Caught]) -> None:
        """Write packets. Raises BrokenPipeError if the reader has gone."""

    def end(self) -> None:
        """Called after the last packet."""

    def close(self) -> None:
        """Called after the end, by the process that made the sink."""

    def fileno(self) -> int:
        """The descriptor on which `poll` reports that the reader has gone."""


def capture(
    namespaces: Namespaces,
    targets: Sequence[Target],
    expression: str,
    sink: Sink,
    count: int | None = None,
    seconds: float | None = None,
    begun: Callable[[], object] = lambda: None,
    tunnels: Sequence[TunnelHeaders] = (VXLAN,),
) -> Captured:
    """Capture packets at the targets into a sink, until `count` packets, `seconds`, SIGINT, SIGTERM, or no reader.

    The filter takes packets that match, and those that carry such a packet in one of these tunnels. `begun` is called
    as soon as no packet is missed. Raises BadFilter, UnknownDevice, and OSError if the sink fails.
    """
    watched = devices(namespaces, targets)
    places = dict.fromkeys(device.place for device in watched)
    with ExitStack() as stack:
        # One tap for all devices of a place: it keeps their order, while some frames have equal times.
        taps = {}
        for place in places:
            # With too many devices, the frames of others come too, and are dropped below.
            own = [device for target, device in watched.items() if target.place == place]
            taps[place] = stack.enter_context(tap(namespaces[place], program(own, expression, tunnels)))
        stopped = stack.enter_context(_Stopped())
        deadline = time.monotonic() + seconds if seconds is not None else None

        def is_over() -> bool:
            return bool(stopped) or (deadline is not None and time.monotonic() >= deadline)

        time.sleep(STAMPS_S)
        begun()
        taken = 0
        with suppress(BrokenPipeError, ConnectionResetError), _begun(sink, watched, expression):
            for batch in _rounds(taps, sink, is_over):
                wanted = [caught for caught in batch if caught.target in watched]
                wanted = wanted if count is None else wanted[: count - taken]
                sink.take(wanted)
                taken += len(wanted)
                if taken == count:
                    break
        return Captured(taken, sum(map(dropped, taps.values())))


@contextmanager
def _begun(sink: Sink, watched: dict[Target, LinkState], expression: str) -> Iterator[None]:
    sink.begin(watched, expression)
    try:
        yield
    finally:
        sink.end()


class _Stopped:
    """True after SIGINT or SIGTERM.

    Further signals are then ignored, also later: one Ctrl-C arrives several times, from the terminal and from each
    process that forwards it, and the last one must not interrupt what follows the capture.
    """

    def __init__(self) -> None:
        self._asked = False

    def __enter__(self) -> "_Stopped":
        def ask(*_: object) -> None:
            self._asked = True

        self._before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        if not self._asked:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self._asked


def devices(namespaces: Namespaces, targets: Sequence[Target]) -> dict[Target, LinkState]:
    """The devices of the targets, each once. Raises UnknownDevice."""
    found: dict[Target, LinkState] = {}
    for target in targets:
        with namespaces[target.place].entered():
            here = {link.name: link for link in links()}
        if target.device and target.device not in here:
            raise UnknownDevice(target.place, target.device, tuple(here))
        wanted = [target.device] if target.device else list(here)
        found |= {Target(target.place, device): here[device] for device in wanted}
    return found


def _is_ethernet(device: LinkState) -> bool:
    return device.hardware in WITH_ETHERNET


def _rounds(taps: dict[str, socket.socket], sink: Sink, is_over: Callable[[], bool]) -> Iterator[list[Caught]]:
    """Frames of all taps in order of time, in batches; the last batch is what was recorded until `is_over`."""
    poll = select.poll()
    for sock in taps.values():
        poll.register(sock, select.POLLIN)
    poll.register(sink, 0)
    early: list[Caught] = []
    while True:
        over = is_over()
        if sink.fileno() in dict(poll.poll(0 if over else _ROUND_MS)):
            return  # The reader has gone.
        # Taps are read one after another: hold newer frames back until the next round has read all taps.
        now = time.time_ns()
        for place, sock in taps.items():
            early += (Caught(Target(place, frame.device), frame) for frame in islice(frames(sock), _MOST_AT_ONCE))
        early.sort(key=lambda caught: caught.frame.time)
        if over:
            yield early
            return
        ripe = [caught for caught in early if caught.frame.time <= now]
        early = early[len(ripe) :]
        if ripe:
            yield ripe


class PcapngFile:
    """A sink that writes pcapng."""

    def __init__(self, file: IO[bytes], comment: str) -> None:
        self._file, self._comment = file, comment
        self._numbers: dict[Target, int] = {}

    def fileno(self) -> int:
        return self._file.fileno()

    def begin(self, watched: dict[Target, LinkState], expression: str) -> None:
        self._numbers = {target: number for number, target in enumerate(watched)}
        section = pcapng.SectionHeaderBlockLE(
            opts=[
                _option(pcapng.PCAPNG_OPT_COMMENT, self._comment.encode()),
                _option(pcapng.PCAPNG_OPT_SHB_OS, f"{os.uname().sysname} {os.uname().release}".encode()),
                _option(pcapng.PCAPNG_OPT_SHB_USERAPPL, b"testbed"),
                _option(pcapng.PCAPNG_OPT_ENDOFOPT),
            ]
        )
        interfaces = (_interface(target, _is_ethernet(device), expression) for target, device in watched.items())
        self._write(b"".join(map(bytes, (section, *interfaces))))

    def take(self, caught: Sequence[Caught]) -> None:
        self._write(b"".join(_packet(self._numbers[target], frame) for target, frame in caught))

    def end(self) -> None:
        """Do nothing: pcapng has no trailer."""

    def close(self) -> None:
        """Do nothing: the caller closes the file."""

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()


class Lines:
    """A sink that prints lines of tcpdump, each prefixed with the packet's place and device.

    One tcpdump reads all packets. It is started here and not where packets are captured: as root of a user namespace it
    fails to drop its privileges. Only the process that made the sink closes it, after its forks have ended.
    """

    def __init__(self, out: IO[bytes], encode: Callable[[str], bytes] = str.encode) -> None:
        self._out, self._encode = out, encode
        self._unwritten: OSError | None = None
        self._places: deque[bytes] = deque()
        self._width = 0
        # Not a pipe: a socket can be shut down although other processes have copies of it.
        self._packets, its_end = socket.socketpair()
        with its_end:
            self._tcpdump = subprocess.Popen(
                ["tcpdump", "-l", "-n", "-r", "-"],
                stdin=its_end.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C must not end it before the capture does.
            )

    def fileno(self) -> int:
        return self._out.fileno()

    def begin(self, watched: dict[Target, LinkState], expression: str) -> None:
        self._width = max(len(str(target)) for target in watched)
        self._file = self._packets.makefile("wb")
        self._writer = dpkt.pcap.Writer(self._file, snaplen=SNAPLEN)
        self._file.flush()
        self._printer = threading.Thread(target=self._print, daemon=True)
        self._printer.start()

    def take(self, caught: Sequence[Caught]) -> None:
        """Raises OSError if earlier lines could not be written."""
        self._refuse_unwritten()
        for target, frame in caught:
            arrow = "→" if frame.out else "←"
            self._places.append(self._encode(f"{target!s:{self._width}} {arrow} "))
            # Bare IP packets get an Ethernet header, since the file has one link type.
            header = b"" if frame.has_ethernet else bytes(12) + frame.protocol.to_bytes(2, "big")
            self._writer.writepkt_time(header + frame.data, Fraction(frame.time // 1000, 10**6))
        self._file.flush()

    def end(self) -> None:
        self._finish()
        self._printer.join()
        self._refuse_unwritten()

    def _refuse_unwritten(self) -> None:
        if self._unwritten is not None:
            raise self._unwritten

    def _finish(self) -> None:
        with suppress(OSError):
            self._packets.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Raises OSError with tcpdump's error message if it failed."""
        self._finish()
        assert self._tcpdump.stdout is not None
        assert self._tcpdump.stderr is not None
        self._packets.close()
        self._tcpdump.stdout.close()  # Ends tcpdump if its output was not read.
        with self._tcpdump.stderr as errors:
            words = errors.read()
        if self._tcpdump.wait() not in (0, -signal.SIGPIPE):
            raise OSError(errno.EIO, words.decode(errors="replace").strip())

    def _print(self) -> None:
        assert self._tcpdump.stdout is not None
        with self._tcpdump.stdout as lines:
            try:
                for line in lines:
                    # An encapsulated packet has its own line, without a time.
                    where = self._places.popleft() if _BEGIN_OF_PACKET.match(line) else b" " * (self._width + 3)
                    self._out.write(where + line)
                    self._out.flush()
            except BrokenPipeError:
                pass  # The reader has enough.
            except OSError as error:
                self._unwritten = error


def _interface(target: Target, ethernet: bool, expression: str) -> dpkt.Packet:
    options = [
        _option(pcapng.PCAPNG_OPT_IF_NAME, str(target).encode()),
        _option(pcapng.PCAPNG_OPT_IF_TSRESOL, _NANOSECONDS),
        _option(pcapng.PCAPNG_OPT_ENDOFOPT),
    ]
    if expression:
        options.insert(1, _option(pcapng.PCAPNG_OPT_IF_FILTER, _FILTER_IS_TEXT + expression.encode()))
    return pcapng.InterfaceDescriptionBlockLE(linktype=LINKTYPES[ethernet][1], snaplen=SNAPLEN, opts=options)


def _option(code: int, data: bytes = b"") -> dpkt.Packet:
    return pcapng.PcapngOptionLE(code=code, data=data)


def _packet(number: int, frame: Frame) -> bytes:
    high, low = divmod(frame.time, 1 << 32)
    return bytes(pcapng.EnhancedPacketBlockLE(iface_id=number, ts_high=high, ts_low=low, pkt_data=frame.data))
