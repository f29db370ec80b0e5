"""irtt: open-loop latency. Packets leave at a fixed rate, whether answers come or not.

A packet's time runs from when it was *due*, not from when the program got round to sending it. Otherwise whatever holds
up the sender hides the very waits that it causes, which is known as coordinated omission (G. Tene, "How NOT to measure
latency", 2013).

The schedule is irtt's own: packet k is due k intervals after the start of the test, which irtt records. Its client
never sends early. Held up, it sends one packet late, and for all that were due meanwhile; that packet's answer is the
answer to each of them, so each has a time of its own: from when it was due until that answer. irtt also leaves out one
packet after each that left more than half an interval late. At such a due time nothing was waiting, so it has no time.

irtt's timers were tried on the machine that this was written on (Linux 6.18, 2 CPUs, both ends on one of them, packets
every 2 ms; how late they left in us, median and 99th percentile):

    comp (irtt's default)    some 540, and every fifth packet early
    hybrid (95 % asleep)     199 and 464
    hybrid:0.5               0.4 and 4.3
    busy                     0.3 and 15.7

Go's runtime sleeps in whole milliseconds, so the first two cannot keep the time. `hybrid` is told to wake early enough,
and only then to wait busily; at intervals near a millisecond no sleep is short enough, and it is `busy` all the time.
That takes a second thread to receive with, on one CPU too (GOMAXPROCS): without it an answer waits 10 ms in the median
for Go's scheduler. The kernel lets the thread that wakes go first, so the busy one is not in the way: the median RTT
was 43 to 60 us with any of them, and least with the busy ones. But most of the CPU time is irtt's own waiting and says
nothing of the path, so no count of requests is given for it to be divided by.
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
"""So long the load runs before the first packet, for its queues to fill."""
TAIL_S = 2.0
"""So long it goes on beyond the packets of a turn, which is longer than irtt waits for the last answers."""
WAIT_S = 1.0
"""An answer that comes so long after the last packet is still counted."""
TURN = 50_000
"""irtt keeps 3 KB a packet in memory until it ends, so more packets than this are sent in turns, one run each."""
SLEEPS = timedelta(milliseconds=1.5)
"""At shorter intervals there is no time to sleep."""
EARLY = timedelta(milliseconds=2.5)
"""So long before a packet is due the timer stops sleeping, unless that were more than half of the interval."""
SHORT_REPLY = -2055
"""irtt's code for an answer that did not fit into its buffer, which is as large as its device's MTU."""

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Turn:
    """One run of irtt's client; times in nanoseconds since it was started."""

    start: int
    """When the first packet was due."""
    interval: int
    due: int
    """How many packets were due."""
    sent: Times
    received: Times
    """When each packet sent was answered; NaN: never."""

    @property
    def answered(self) -> int:
        return int(np.count_nonzero(~np.isnan(self.received)))

    def since_due(self) -> Times:
        """From when each packet was due until its answer, in microseconds, for all that got one."""
        lateness = self.sent - self.start
        last = (lateness // self.interval).astype(np.int64)
        left_out = lateness % self.interval >= self.interval / 2
        first = np.concatenate(([0], last[:-1] + 1 + left_out[:-1]))
        first, last = np.minimum(first, last), np.minimum(last, self.due - 1)
        carried = np.maximum(last - first + 1, 0)  # How many due packets each packet sent stands for.
        nth = np.arange(carried.sum()) - np.repeat(np.cumsum(carried) - carried, carried)
        due_at = self.start + (np.repeat(first, carried) + nth) * self.interval
        waits = (np.repeat(self.received, carried) - due_at) / 1e3
        return np.asarray(waits[~np.isnan(waits)], dtype=np.float64)

    def variations(self) -> Times:
        """Differences between consecutive round trips from the actual sending, in microseconds, without their sign."""
        differences = np.abs(np.diff(self.received - self.sent)) / 1e3
        return np.asarray(differences[~np.isnan(differences)], dtype=np.float64)


@dataclass(frozen=True)
class Irtt:
    spec: IrttProbe

    @property
    def together(self) -> bool:
        """With a load each end has its own half of the CPUs, as the streams must have: on one CPU they would wait for
        each other and never fill the path's queues.

        So the RTT under load is to be compared between designs, not with the one without load. Where the path is faster
        than the streams' CPUs, it is these that packets wait for, a few milliseconds: the scheduler's slices.
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
        """How many packets are due in each turn."""
        packets = math.ceil(self.spec.duration / self.spec.interval)
        turns = math.ceil(packets / TURN)
        return tuple(packets * (n + 1) // turns - packets * n // turns for n in range(turns))

    def measure(self, ends: Ends) -> Measurement:
        """RTT percentiles from when packets were due and `jitter` in microseconds, `loss` in percent of those sent.

        Jitter is the mean difference between consecutive round trips (RFC 3393), which are taken from the actual
        sending here, so that it is none of irtt's own. With a load also what its streams received in all, in Gbit/s.
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
        # Times at the server are not asked for: they would double the output.
        output = ["--tstamp=none", "--stats=none", "-Q", "-o", "-"]
        command = ["env", "GOMAXPROCS=2", NAME, "client", timer(self.spec.interval), *options, *bounds, *output]
        client = ends.start(ends.source, [*command, address])
        name = f"{NAME}.json" if number == 1 else f"{NAME}-{number}.json"
        return parse(ends.finish(client, name, interval * packets / 1e6 + WAIT_S), interval * 1000, packets)


def timer(interval: timedelta) -> str:
    """The option that makes the client keep this interval with as little busy waiting as that takes."""
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
    """When packets were due, sent and answered, from the client's JSON; the interval in nanoseconds."""
    try:
        report = json.loads(output, object_hook=_compact)
    except ValueError as error:
        raise ProbeError(f"irtt printed no JSON: {error}") from error
    for trouble in ("send_err", "receive_err"):
        if trouble in report:
            raise ProbeError(f"irtt broke off: {_reason(report[trouble])}")
    try:
        packets, began = report["round_trips"], _nanoseconds(report["stats"]["start_time"])
        wall, first = packets[0][0]
    except (KeyError, IndexError, ValueError) as error:
        raise ProbeError(f"irtt's report cannot be understood: {error!r}") from error
    # irtt tells its start by the wall clock, and when it sent by both clocks; all else is by the monotonic one.
    return Turn(
        start=first - (wall - began),
        interval=interval,
        due=due,
        sent=np.array([sent for (_, sent), _ in packets], dtype=np.float64),
        received=np.array([received for _, received in packets], dtype=np.float64),
    )


def _compact(item: dict[str, Any]) -> object:
    """Leaves of a packet's record, a kilobyte of text, when it was sent by both clocks and when answered by one."""
    if "seqno" not in item:
        return item
    sent, received = item["timestamps"]["client"]["send"], item["timestamps"]["client"]["receive"]
    return (sent["wall"], sent["monotonic"]), received.get("monotonic", math.nan)


def _nanoseconds(text: str) -> int:
    """Since 1970, of a time as Go writes it: up to nine digits of a second, more than datetime can hold."""
    parts = re.fullmatch(r"([^.]*?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if not parts:
        raise ValueError(f"{text} is no time")
    second, fraction, zone = parts.groups(default="")
    return int(datetime.fromisoformat(second + zone).timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


def _reason(trouble: dict[str, Any]) -> str:
    """What irtt's record of an error says."""
    if trouble.get("Code") == SHORT_REPLY:
        (size,) = trouble["Detail"]
        return f"it takes no answer larger than its device's MTU of {size} bytes; choose a smaller message"
    number = trouble.get("Err", {}).get("Err")
    return os.strerror(number) if isinstance(number, int) else json.dumps(trouble)
