"""Filters in tcpdump's language (pcap-filter(7)) as programs for the kernel, which also look into tunnels.

tcpdump compiles a filter for packets that begin at byte 0. The same program with all its offsets raised reads a packet
inside another: behind Ethernet (14), IPv4 (20), UDP (8) and VXLAN (8) the inner frame begins at byte 50. So a program
here is a list of alternatives: the packet itself, then what each kind of tunnel carries, if its headers are there. The
first that matches takes the frame.

Encrypted tunnels cannot be looked into. Where a filter asks for a packet's length, it is that of the whole frame.
"""

import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from testbed.kernel.links import LinkState
from testbed.observe.frames import planned_ports
from testbed.observe.taps import WITH_ETHERNET
from testbed.plan.objects import IpTunnel, Plan, Route
from testbed.plan.objects.encapsulation import Segments
from testbed.plan.objects.ip_tunnel import TunnelKind

SNAPLEN = 262_144
LINKTYPES = {True: ("EN10MB", 1), False: ("RAW", 101)}
"""Link types of devices with and without Ethernet headers: tcpdump's name and the number in files."""
_INSTRUCTION = struct.Struct("=HBBI")
_WORD, _HALF, _BYTE, _AND = 0x20, 0x28, 0x30, 0x54
"""Load 4, 2 or 1 bytes of the packet; keep some bits of them."""
_LOAD, _JUMP, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x05, 0x15, 0x06
_CLASS, _MODE = 0x07, 0xE0
_READS = {0: (0x20, 0x40), 1: (0xA0,)}
"""Modes that read the packet, by class: loads from an offset, from one in the index register, of a header's length."""
_SPECIAL = 0xFFF00000
"""Offsets from here on are not in the packet (SKF_AD_OFF and SKF_LL_OFF)."""
_IFINDEX, _HATYPE = 0xFFFFF000 + 8, 0xFFFFF000 + 28
_MOST_JUMPS = 200
"""A jump skips at most 255 instructions."""
_MOST_STEPS = 1900
"""Of one of the two programs of a tap: the kernel takes 4,096 instructions (BPF_MAXINSNS)."""
_ETHERNET_SIZE = 14


class BadFilter(Exception):
    """tcpdump's error message for an invalid filter."""


class Instruction(NamedTuple):
    """Struct sock_filter of linux/filter.h. A jump skips `yes` or `no` instructions."""

    code: int
    yes: int
    no: int
    operand: int


Program = tuple[Instruction, ...]


class Check(NamedTuple):
    """A condition on the bytes of a header: those at `offset`, with `mask`, have this value."""

    load: int
    offset: int
    value: int
    mask: int = 0xFFFFFFFF


class TunnelHeaders(NamedTuple):
    """The headers of a tunnel behind the outer IP header."""

    protocol: int
    """Of the outer IP header."""
    size: int
    """In bytes, up to the inner packet."""
    has_ethernet: bool
    """Whether the inner packet is a frame."""
    checks: tuple[Check, ...] = ()
    """From the outer IP header's end."""
    families: tuple[int, ...] = (4, 6)
    """Of the outer IP header."""


def _to_port(port: int) -> Check:
    return Check(_HALF, 2, port)


VXLAN = TunnelHeaders(17, 16, True, (Check(_WORD, 8, 0x08000000),))
"""On any port, recognized by its header (RFC 7348), as in `frames`."""
_BY_KIND = {
    TunnelKind.IPIP: (TunnelHeaders(4, 0, False, families=(4,)),),
    TunnelKind.IP6TNL: tuple(TunnelHeaders(inner, 0, False, families=(6,)) for inner in (4, 41)),
    TunnelKind.GRE: tuple(TunnelHeaders(47, 4, False, (Check(_WORD, 0, inner),), (4,)) for inner in (0x0800, 0x86DD)),
    TunnelKind.IP6GRE: tuple(
        TunnelHeaders(47, 4, False, (Check(_WORD, 0, inner),), (6,)) for inner in (0x0800, 0x86DD)
    ),
}
"""GRE without its optional fields."""
_SEGMENTS = tuple(
    TunnelHeaders(43, 8 * (words + 1), False, (Check(_HALF, 0, inner << 8 | words),), (6,))
    for words in (2, 4)
    for inner in (4, 41)
)
"""SRv6 with one or two segments (RFC 8754)."""


def tunnels_of(plan: Plan) -> tuple[TunnelHeaders, ...]:
    """Those of a plan's tunnels, and VXLAN."""
    by_port = {
        "Geneve": lambda port: TunnelHeaders(17, 16, True, (_to_port(port), Check(_BYTE, 8, 0, 0x3F))),
        "UDP": lambda port: TunnelHeaders(17, 8, False, (_to_port(port),)),
        "sleeve": lambda port: TunnelHeaders(17, 28, True, (_to_port(port),)),
    }
    found = [VXLAN, *(by_port[kind](port) for port, kind in planned_ports(plan).items() if kind in by_port)]
    kinds = {link.kind for space in plan.spaces for link in space.links if isinstance(link, IpTunnel)}
    found += [each for kind in sorted(kinds) for each in _BY_KIND[kind]]
    if any(isinstance(route.encap, Segments) for space in plan.spaces for route in space.of(Route)):
        found += _SEGMENTS
    return tuple(dict.fromkeys(found))


@cache
def compiled(expression: str, ethernet: bool = True) -> Program:
    """Compile a filter for packets with or without an Ethernet header; an empty one takes everything.

    Raises BadFilter.
    """
    if not expression.strip():
        return (Instruction(_RETURN, 0, 0, SNAPLEN),)
    linktype, _ = LINKTYPES[ethernet]
    command = ["tcpdump", "-y", linktype, "-s", str(SNAPLEN), "-ddd", "--", expression]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadFilter(done.stderr.strip().splitlines()[-1].removeprefix("tcpdump: "))
    return tuple(Instruction(*map(int, line.split())) for line in done.stdout.splitlines()[1:])


def shifted(program: Program, size: int) -> Program:
    """The program for packets that begin `size` bytes later."""
    return tuple(
        step._replace(operand=step.operand + size)
        if step.code & _MODE in _READS.get(step.code & _CLASS, ()) and step.operand < _SPECIAL
        else step
        for step in program
    )


def looking_inside(expression: str, ethernet: bool, tunnels: Iterable[TunnelHeaders]) -> Program:
    """The program for a filter, on a device with or without Ethernet headers.

    Raises BadFilter, also if it is too long.
    """
    bodies = {True: compiled(expression), False: _nothing()}
    # Filters of Ethernet, such as `arp`, match no bare IP packet.
    with suppress(BadFilter):
        bodies[False] = compiled(expression, ethernet=False)
    if not expression.strip():
        return bodies[ethernet]
    begin = _ETHERNET_SIZE if ethernet else 0
    whole = _alternative((), bodies[ethernet])
    for tunnel in tunnels:
        for size, checks in _outer_headers(tunnel):
            inside = begin + size + tunnel.size
            of_tunnel = (check._replace(offset=check.offset + size) for check in tunnel.checks)
            wanted = [check._replace(offset=check.offset + begin) for check in (*checks, *of_tunnel)]
            whole += _alternative(wanted, shifted(bodies[tunnel.has_ethernet], inside))
    if len(whole) > _MOST_STEPS:
        raise BadFilter("too long for the kernel")
    return (*whole, *_nothing())


def _nothing() -> Program:
    return (Instruction(_RETURN, 0, 0, 0),)


def _outer_headers(tunnel: TunnelHeaders) -> Iterator[tuple[int, tuple[Check, ...]]]:
    """The size of an IPv4 and of an IPv6 header in front of the tunnel's, and their checks."""
    if 4 in tunnel.families:
        first_fragment = Check(_HALF, 6, 0, 0x1FFF)
        yield 20, (Check(_BYTE, 0, 0x45), Check(_BYTE, 9, tunnel.protocol), first_fragment)
    if 6 in tunnel.families:
        yield 40, (Check(_BYTE, 0, 0x60, 0xF0), Check(_BYTE, 6, tunnel.protocol))


def _alternative(checks: Iterable[Check], body: Program) -> Program:
    """Return with the body's result if all checks hold and it is not zero; otherwise go on behind."""
    steps: list[Instruction | None] = []
    for check in checks:
        steps.append(Instruction(check.load, 0, 0, check.offset))
        if check.mask != Check._field_defaults["mask"]:
            steps.append(Instruction(_AND, 0, 0, check.mask))
        # None: to the end, which may be too far for a conditional jump.
        steps += [Instruction(_JUMP_IF_EQUAL, 1, 0, check.value), None]
    steps += [None if (step.code, step.operand) == (_RETURN, 0) else step for step in body]
    return tuple(step or Instruction(_JUMP, 0, 0, len(steps) - number - 1) for number, step in enumerate(steps))


def program(devices: Sequence[LinkState], expression: str, tunnels: Sequence[TunnelHeaders]) -> bytes:
    """The filter program of a place's tap: frames of these devices that match, or carry what matches, in a tunnel.

    With too many devices, it takes the frames of all devices of the place.
    """
    bare, framed = (looking_inside(expression, kind, tunnels) for kind in (False, True))
    steps: list[Instruction] = []
    if len(devices) < _MOST_JUMPS:
        steps += [Instruction(_LOAD, 0, 0, _IFINDEX)]
        steps += [
            Instruction(_JUMP_IF_EQUAL, len(devices) - number, 0, device.index) for number, device in enumerate(devices)
        ]
        steps += [Instruction(_RETURN, 0, 0, 0)]
    steps += [Instruction(_LOAD, 0, 0, _HATYPE)]
    steps += [
        Instruction(_JUMP_IF_EQUAL, len(WITH_ETHERNET) - number, 0, kind) for number, kind in enumerate(WITH_ETHERNET)
    ]
    steps += [Instruction(_JUMP, 0, 0, len(framed))]
    return b"".join(_INSTRUCTION.pack(*step) for step in (*steps, *framed, *bare))
