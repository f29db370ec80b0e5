"""irtt: open-loop latency. Packets are sent at a fixed rate, with or without answers.

A packet's time runs from when it was *due*, not from when it was sent. Otherwise a delay of the sender would hide the
waits that it causes, which is known as coordinated omission (G. Tene, "How NOT to measure latency", 2013).

The schedule is irtt's: packet k is due k intervals after the start of the test, which irtt records. Its client never
sends early. After a delay, it sends one packet for all that became due in the meantime; its answer counts for each of
them, so each has its own time: from when it was due until that answer. irtt also skips one packet after each packet
that was sent more than half an interval late. Nothing was waiting at such a due time, so it has no time.

Comparison of irtt's timers (Linux 6.18, 2 CPUs, both ends on one of them, packets every 2 ms; delay of sending in us,
median and 99th percentile):

    comp (irtt's default)    about 540, and every fifth packet early
    hybrid (95 % asleep)     199 and 464
    hybrid:0.5               0.4 and 4.3
    busy                     0.3 and 15.7

Go's runtime sleeps in whole milliseconds, so the first two are not accurate. Therefore `hybrid` is set to wake up early
and then to wait busily; for intervals near a millisecond no sleep is short enough, and `busy` is used. Busy waiting
requires a second thread for receiving, even on one CPU (GOMAXPROCS): without it an answer waits 10 ms in the median for
Go's scheduler. The kernel runs a waking thread first, so busy waiting does not delay answers: the median RTT was 43 to
60 us with all timers, and lowest with the busy ones. But most of the CPU time is irtt's waiting and does not depend on
the path, so this probe gives no number of requests, and no CPU time per request.
"""

import json
import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from testbed.probes import iperf3
from testbed.probes.load import Load
from testbed.probes.percentiles import percentiles
from testbed.probes.probe import Distribution, Ends, Measurement, ProbeError, Value
from testbed.spec.probes import IrttProbe

NAME = "irtt"
PORT = 2112
LEAD_S = 1.0
"""The load starts this long before the first packet, to fill the queues."""
TAIL_S = 2.0
"""The load continues this long after the packets of a turn; longer than irtt waits for the last answers."""
WAIT_S = 1.0
"""Time after the last packet in which answers still count."""
TURN = 50_000
"""Maximum number of packets per run of irtt, which uses 3 KB of memory per packet. More are sent in several turns."""
SLEEPS = timedelta(milliseconds=1.5)
"""Minimum interval for a timer that sleeps."""
EARLY = timedelta(milliseconds=2.5)
"""The timer stops sleeping this long before a packet is due, at most half of the interval."""
SHORT_REPLY = -2055
"""irtt's code for an answer that did not fit into its buffer, which has the size of its device's MTU."""

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Turn:
    """One run of irtt's client; times are in nanoseconds since its start."""

    start: int
    """When the first packet was due."""
    interval: int
    due: int
    """Number of packets due."""
    sent: Times
    received: Times
    """When each sent packet was answered; NaN without answer."""

    @property
    def answered(self) -> int:
        return int(np.count_nonzero(~np.isnan(self.received)))

    def since_due(self) -> Times:
        """Times from when each packet was due until its answer, in microseconds, of all answered ones."""
        lateness = self.sent - self.start
        last = (lateness // self.interval).astype(np.int64)
        skipped = lateness % self.interval >= self.interval / 2
        first = np.concatenate(([0], last[:-1] + 1 + skipped[:-1]))
        first, last = np.minimum(first, last), np.minimum(last, self.due - 1)
        carried = np.maximum(last - first + 1, 0)  # Number of due packets for each sent packet.
        nth = np.arange(carried.sum()) - np.repeat(np.cumsum(carried) - carried, carried)
        due_at = self.start + (np.repeat(first, carried) + nth) * self.interval
        waits = (np.repeat(self.received, carried) - due_at) / 1e3
        return np.asarray(waits[~np.isnan(waits)], dtype=np.float64)

    def variations(self) -> Times:
        """Absolute differences between consecutive round trips, from the actual sending, in microseconds."""
        differences = np.abs(np.diff(self.received - self.sent)) / 1e3
        return np.asarray(differences[~np.isnan(differences)], dtype=np.float64)


@dataclass(frozen=True)
class Irtt:
    spec: IrttProbe

    @property
    def together(self) -> bool:
        """False with a load: each end has half of the CPUs, because on one CPU the streams would wait for each other
        and never fill the path's queues.

        Therefore compare the RTT under load between designs, not with the RTT without load. If the path is faster than
        the streams' CPUs, packets wait for these CPUs, a few milliseconds: the scheduler's slices.
        """
        return self.spec.load == 0

    @property
    def tools(self) -> tuple[str, ...]:
        return (NAME, iperf3.NAME) if self.spec.load else (NAME,)

    @property
    def seconds(self) -> float:
        beyond = LEAD_S + TAIL_S * len(self._turns) if self.spec.load else 0
        return self.spec.duration.total_seconds() + beyond

    @property
    def _turns(self) -> tuple[int, ...]:
        """The number of packets due in each turn."""
        packets = math.ceil(self.spec.duration / self.spec.interval)
        turns = math.ceil(packets / TURN)
        return tuple(packets * (n + 1) // turns - packets * n // turns for n in range(turns))

    def measure(self, ends: Ends) -> Measurement:
        """RTT percentiles from when packets were due and `jitter` in microseconds, `loss` in percent of those sent.

        Jitter is the mean difference between consecutive round trips (RFC 3393), here from the actual sending, so that
        it excludes irtt's delays. With a load, also the total throughput of its streams in Gbit/s.
        """
        address = f"[{ends.address}]:{PORT}" if ends.address.version == 6 else f"{ends.address}:{PORT}"
        ends.serve([NAME, "server", "-b", address, "-i", "0", "-l", "0"], PORT, "udp")
        if not self.spec.load:
            return _measurement("open_rtt", self._all_turns(ends, address))
        load = Load.start(ends, self.spec.load, self.seconds)
        time.sleep(LEAD_S)
        turns = self._all_turns(ends, address)
        load.must_be_running()
        return _measurement("loaded_rtt", turns, Value("loaded_throughput", "Gbit/s", load.finish(ends)))

    def _all_turns(self, ends: Ends, address: str) -> list[Turn]:
        return [self._turn(ends, address, number, packets) for number, packets in enumerate(self._turns, 1)]

    def _turn(self, ends: Ends, address: str, number: int, packets: int) -> Turn:
        interval = self.spec.interval // timedelta(microseconds=1)
        options = ["-i", f"{interval}us", "-d", f"{interval * packets}us", "-l", str(self.spec.message)]
        bounds = ["--timeouts=1s,2s", f"--wait={WAIT_S:g}s"]
        # No timestamps of the server: they would double the output.
        output = ["--tstamp=none", "--stats=none", "-Q", "-o", "-"]
        command = ["env", "GOMAXPROCS=2", NAME, "client", timer(self.spec.interval), *options, *bounds, *output]
        client = ends.start(ends.source, [*command, address])
        name = f"{NAME}.json" if number == 1 else f"{NAME}-{number}.json"
        return parse(ends.finish(client, name, interval * packets / 1e6 + WAIT_S), interval * 1000, packets)


def timer(interval: timedelta) -> str:
    """The timer option that keeps this interval with as little busy waiting as possible."""
    if interval < SLEEPS:
        return "--timer=busy"
    return f"--timer=hybrid:{max(0.5, 1 - EARLY / interval):.4f}"


def _measurement(metric: str, turns: Sequence[Turn], *more: Value) -> Measurement:
    sent = sum(len(turn.sent) for turn in turns)
    answered = sum(turn.answered for turn in turns)
    loss = Value("loss", "%", 100 * (sent - answered) / sent)
    waits = np.concatenate([turn.since_due() for turn in turns])
    variations = np.concatenate([turn.variations() for turn in turns])
    jitter = [Value("jitter", "us", float(variations.mean()))] if len(variations) else []
    if not len(waits):
        return Measurement((loss, *more))
    return Measurement((*percentiles(metric, "us", waits), loss, *jitter, *more), (Distribution(metric, "us", waits),))


def parse(output: bytes, interval: int, due: int) -> Turn:
    """Parse the client's JSON; `interval` is in nanoseconds. Raises ProbeError if it is invalid or reports an error."""
    try:
        report = json.loads(output, object_hook=_compact)
    except ValueError as error:
        raise ProbeError(f"irtt printed no JSON: {error}") from error
    for trouble in ("send_err", "receive_err"):
        if trouble in report:
            raise ProbeError(f"irtt failed: {_reason(report[trouble])}")
    try:
        packets, began = report["round_trips"], _nanoseconds(report["stats"]["start_time"])
        wall, first = packets[0][0]
    except (KeyError, IndexError, ValueError) as error:
        raise ProbeError(f"irtt's report cannot be parsed: {error!r}") from error
    # irtt reports its start by the wall clock, times of sending by both clocks, and all others by the monotonic clock.
    return Turn(
        start=first - (wall - began),
        interval=interval,
        due=due,
        sent=np.array([sent for (_, sent), _ in packets], dtype=np.float64),
        received=np.array([received for _, received in packets], dtype=np.float64),
    )


def _compact(item: dict[str, Any]) -> object:
    """Reduce a packet's record, a kilobyte of text, to the times of sending by both clocks and of the answer by one."""
    if "seqno" not in item:
        return item
    sent, received = item["timestamps"]["client"]["send"], item["timestamps"]["client"]["receive"]
    return (sent["wall"], sent["monotonic"]), received.get("monotonic", math.nan)


def _nanoseconds(text: str) -> int:
    """Nanoseconds since 1970 of a time in Go's format: with up to nine decimals, more than datetime supports."""
    parts = re.fullmatch(r"([^.]*?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if not parts:
        raise ValueError(f"{text} is not a time")
    second, fraction, zone = parts.groups(default="")
    return int(datetime.fromisoformat(second + zone).timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


def _reason(trouble: dict[str, Any]) -> str:
    """The text of an error in irtt's report."""
    if trouble.get("Code") == SHORT_REPLY:
        (size,) = trouble["Detail"]
        return f"answers must not exceed the device's MTU of {size} bytes; choose a smaller message"
    number = trouble.get("Err", {}).get("Err")
    return os.strerror(number) if isinstance(number, int) else json.dumps(trouble)
