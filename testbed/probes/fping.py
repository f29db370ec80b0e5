"""fping: ICMP echo at a fixed rate. The target's kernel answers, so no program runs there.

A time runs from just before the request is sent until the kernel's timestamp of the answer, so it does not include the
wake-up of a program. Requests are sent at a fixed schedule, but a request that is sent late is timed from when it was
sent: unlike irtt's, these times do not include delays of the sender.

At its end, fping lists the time of each request to a microsecond, from a millisecond on to three significant digits. A
path within one machine takes some ten microseconds, so this is too coarse to distinguish designs. Therefore fping also
prints reports to the nanosecond while it runs, in the format of the monitoring program netdata: one per interval, with
the fastest and slowest answer in it. If a report is of one answer, which is nearly always the case, it gives that
answer's time to the nanosecond. If fping was delayed and caught up, a report is of several answers, and their times
stay as listed.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from testbed.probes.percentiles import percentiles
from testbed.probes.probe import Distribution, Ends, Measurement, ProbeError, Value
from testbed.spec.probes import FpingProbe

Times = npt.NDArray[np.float64]

NAME = "fping"
TIMEOUT_S = 1.0
"""An answer that takes longer is lost. fping's default is one interval."""
# Reports go to a file, because a reader of a pipe would wake up ten times per request. fping's exit code is 1 if there
# was no answer, which is a measurement too.
_TO_FILE = '"$@" >"$0"; test $? -le 1'
_REPORTED = re.compile(rb"SET (rcv|min) = (\d+)")


@dataclass(frozen=True)
class Fping:
    spec: FpingProbe

    together = True
    tools = (NAME,)

    @property
    def seconds(self) -> float:
        return self.spec.duration.total_seconds()

    def measure(self, ends: Ends) -> Measurement:
        """RTT percentiles in microseconds, and `loss` in percent; only the loss if there was no answer."""
        reports = ends.scratch / "fping.txt"
        interval = self.spec.interval / timedelta(seconds=1)
        # -i limits the rate over all targets; there is only one.
        schedule = ["-i", "0", "-p", f"{interval * 1e3:g}", "-C", str(round(self.seconds / interval))]
        options = ["-b", str(self.spec.message), "-t", f"{TIMEOUT_S * 1e3:.0f}", "-N", "-Q", f"{interval:g}"]
        command = [NAME, *schedule, *options, str(ends.address)]
        client = ends.start(ends.source, ["sh", "-c", _TO_FILE, str(reports), *command])
        ends.finish(client, NAME, self.seconds + TIMEOUT_S)
        ends.raw["fping.txt"] = reports.read_bytes()
        listed = every_answer(ends.raw[NAME].decode())
        loss = Value("loss", "%", 100 * float(np.isnan(listed).mean()))
        rtts = refined(listed[~np.isnan(listed)], reported(ends.raw["fping.txt"]))
        if not len(rtts):
            return Measurement((loss,))
        return Measurement((*percentiles("icmp_rtt", "us", rtts), loss), (Distribution("icmp_rtt", "us", rtts),))


def every_answer(text: str) -> Times:
    """The times in fping's list, in microseconds, in the order of the requests; NaN without answer.

    Raises ProbeError if there is no list.
    """
    _, _, times = text.strip().rpartition(" : ")
    try:
        answers = [np.nan if time == "-" else float(time) * 1e3 for time in times.split()]
    except ValueError:
        answers = []
    if not answers:
        last = text.strip().splitlines()[-1:] or ["no output"]
        raise ProbeError(f"fping listed no times: {last[0][:200]}")
    return np.array(answers, dtype=np.float64)


def reported(text: bytes) -> Iterator[tuple[int, float]]:
    """For each report with answers: their number, and the fastest one's time in microseconds."""
    received = 0
    for match in _REPORTED.finditer(text):
        if match[1] == b"rcv":
            received = int(match[2])
        else:
            yield received, int(match[2]) / 1e3


def refined(listed: Times, reports: Iterable[tuple[int, float]]) -> Times:
    """The times as listed, but to the nanosecond if a report is of that answer only.

    Reports are in the order of answers, the list in the order of requests. If answers are reordered the two do not
    agree, and the time stays as listed.
    """
    times = listed.copy()
    at = 0
    for received, exact in reports:
        # Tolerance: half a microsecond, or half of the third digit.
        if received == 1 and at < len(times) and abs(exact - listed[at]) <= max(0.501, listed[at] * 0.00501):
            times[at] = exact
        at += received
    return times
