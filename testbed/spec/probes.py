"""The probes of a scenario: the measuring program, its parameters and its duration.

Each class is one program. All have a duration, which bounds their run time.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from testbed.spec.problems import Misfit, each
from testbed.spec.types import Rate, Size, Spec, durations, one_or_many

MAX_DURATION = timedelta(minutes=10)
MIN_DURATION = timedelta(seconds=1)
PROBE_DURATION = timedelta(seconds=1)
"""Noise differs from sample to sample far more than within a sample, so more rounds tell more than longer samples."""
FIXED_RATE_DURATION = timedelta(seconds=2)
"""Of probes that send at a fixed rate: with the default interval, a sample has 1,000 values."""
MIN_INTERVAL = timedelta(milliseconds=1)
MAX_INTERVAL = timedelta(seconds=1)


_SECONDS = durations("2s", "1min", least=MIN_DURATION, most=MAX_DURATION, step=timedelta(seconds=1))
"""Whole seconds, as the measuring programs require."""
_HOW_LONG = "how long to measure, in whole seconds, such as 2s or 1min"
ProbeDuration = Annotated[timedelta, *_SECONDS, Field(description=_HOW_LONG, json_schema_extra={"default": "1s"})]
FixedRateDuration = Annotated[timedelta, *_SECONDS, Field(description=_HOW_LONG, json_schema_extra={"default": "2s"})]
Interval = Annotated[timedelta, *durations("2ms", "20ms", least=MIN_INTERVAL, most=MAX_INTERVAL)]


class _Probe(Spec):
    def misfits(self) -> Iterator[Misfit]:
        """Values that do not fit together; locations are relative to the probe."""
        return iter(())


class SockperfProbe(_Probe):
    """Request-response latency: one message at a time, each answered before the next is sent."""

    tool: Literal["sockperf"]
    protocol: Literal["tcp", "udp"] = "tcp"
    message: Annotated[Size, Field(ge=14, le=65000)] = Field(
        default=64, description="size of a message, such as 64B", json_schema_extra={"default": "64B"}
    )
    duration: ProbeDuration = PROBE_DURATION


class Iperf3Probe(_Probe):
    """Bulk throughput of TCP streams, or of UDP at offered rates; each stream is a separate iperf3 process."""

    tool: Literal["iperf3"]
    protocol: Literal["tcp", "udp"] = "tcp"
    streams: int = Field(default=1, ge=1, le=64, description="number of parallel streams")
    direction: Literal["forward", "reverse", "both"] = Field(
        default="forward",
        description="TCP only: forward (source to target), reverse, or both at once",
    )
    message: Annotated[Size, Field(ge=16, le=65000)] | None = Field(
        default=None,
        description="size of each write (TCP) or of a datagram's payload (UDP), such as 64B; "
        "if absent 128KiB (TCP) or the largest that fits the pods' MTU (UDP)",
    )
    rates: Annotated[tuple[Rate, ...], *one_or_many({"type": "string"})] = Field(
        default=(),
        description="UDP only: offered rates, measured one after the other, such as [100Mbit, 1Gbit]; "
        "as fast as possible if absent",
    )
    duration: ProbeDuration = PROBE_DURATION

    def misfits(self) -> Iterator[Misfit]:
        """Keys that the protocol does not use."""
        yield from each(self._rates_misfits(), self._direction_misfits(), self._streams_misfits())

    def _rates_misfits(self) -> Iterator[Misfit]:
        if self.protocol == "tcp" and self.rates:
            message = "rates apply to UDP only; remove them, or write protocol: udp"
            yield Misfit(("rates",), message, at_key=True)

    def _direction_misfits(self) -> Iterator[Misfit]:
        if self.protocol == "udp" and self.direction != "forward":
            yield Misfit(("direction",), "UDP is sent from source to target only; write forward, or remove this key")

    def _streams_misfits(self) -> Iterator[Misfit]:
        if self.protocol == "udp" and self.streams != 1:
            yield Misfit(("streams",), "UDP uses one stream, which sends at the offered rate; write 1")


class IrttProbe(_Probe):
    """Open-loop latency: packets at a fixed rate, timed from their due time, independent of replies."""

    tool: Literal["irtt"]
    interval: Interval = Field(
        default=timedelta(milliseconds=2),
        description="time between packets, such as 2ms",
        json_schema_extra={"default": "2ms"},
    )
    message: Annotated[Size, Field(ge=64, le=65000)] = Field(
        default=64, description="size of a packet's payload, such as 64B", json_schema_extra={"default": "64B"}
    )
    load: int = Field(
        default=0,
        ge=0,
        le=64,
        description="number of iperf3 TCP streams that fill the path meanwhile, to measure latency under load",
    )
    duration: FixedRateDuration = FIXED_RATE_DURATION


class WrkProbe(_Probe):
    """New TCP connections to a web server: connections per second, and time per connection."""

    tool: Literal["wrk"]
    connections: int = Field(default=8, ge=1, le=512, description="number of parallel connections")
    duration: ProbeDuration = PROBE_DURATION


class FpingProbe(_Probe):
    """ICMP echo at a fixed rate."""

    tool: Literal["fping"]
    interval: Interval = Field(
        default=timedelta(milliseconds=2),
        description="time between echo requests, such as 2ms",
        json_schema_extra={"default": "2ms"},
    )
    message: Annotated[Size, Field(ge=12, le=65000)] = Field(
        default=56, description="size of an echo request's payload, such as 56B", json_schema_extra={"default": "56B"}
    )
    duration: FixedRateDuration = FIXED_RATE_DURATION


class NetperfProbe(_Probe):
    """A netperf test, if netperf is installed; in Debian it is in non-free."""

    tool: Literal["netperf"]
    test: Literal["tcp_rr", "udp_rr", "tcp_crr", "tcp_stream"] = Field(
        default="tcp_rr",
        description="request-response (rr), connect-request-response (crr), or bulk (stream)",
    )
    message: Annotated[Size, Field(ge=1, le=65000)] | None = Field(
        default=None,
        description="size of a request and its response (default 1B), or of each write (default 128KiB)",
    )
    duration: ProbeDuration = PROBE_DURATION


Probe = Annotated[
    SockperfProbe | Iperf3Probe | IrttProbe | WrkProbe | FpingProbe | NetperfProbe, Field(discriminator="tool")
]
