"""fping: ICMP echo at a fixed rate. The target's kernel answers, so nothing runs there.

A time runs from just before the request is sent until the kernel gave the answer its timestamp, so no program's wake-up
is in it. Requests are sent by a schedule that never slips, but a request that leaves late is timed from when it left:
unlike irtt's, these times say nothing of what held up the sender.

fping lists the time of every request at the end, to a microsecond; from a millisecond on to three significant digits.
Since a whole way within one machine takes some ten microseconds, that is too coarse to tell designs apart. So it also
reports, as it goes, to the nanosecond, in the words of the monitoring program netdata: one report an interval, of the
fastest and slowest answer in it. Where a report is of one answer, which is nearly always, it gives that answer's time
to the nanosecond. Where fping was held up and caught up, a report is of several, and their times stay as listed.
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
"""An answer that takes longer is lost. Left to itself, fping would wait for one interval only."""
# Reports go to a file, since whoever read them from a pipe would be woken ten times a request. fping's exit code is 1
# where no answer came, which is a measurement too.
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
        """RTT percentiles in microseconds, and `loss` in percent; nothing but the loss if no answer came."""
        reports = ends.scratch / "fping.txt"
        interval = self.spec.interval / timedelta(seconds=1)
        # -i bounds the rate over all targets; there is one.
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
    """The times that fping lists at its end, in microseconds, in the order of the requests; NaN: no answer."""
    _, _, times = text.strip().rpartition(" : ")
    try:
        answers = [np.nan if time == "-" else float(time) * 1e3 for time in times.split()]
    except ValueError:
        answers = []
    if not answers:
        said = text.strip().splitlines()[-1:] or ["nothing"]
        raise ProbeError(f"fping listed no times; it said: {said[0][:200]}")
    return np.array(answers, dtype=np.float64)


def reported(text: bytes) -> Iterator[tuple[int, float]]:
    """Of each report that is of any answer: of how many, and the fastest one's time in microseconds."""
    received = 0
    for match in _REPORTED.finditer(text):
        if match[1] == b"rcv":
            received = int(match[2])
        else:
            yield received, int(match[2]) / 1e3


def refined(listed: Times, reports: Iterable[tuple[int, float]]) -> Times:
    """The times as listed, but to the nanosecond where a report is of that answer alone.

    Reports are in the order of the answers, the list in that of the requests. Where one overtook another the two do not
    agree, and the time stays as listed.
    """
    times = listed.copy()
    at = 0
    for received, exact in reports:
        # Half a microsecond, or half of the third digit.
        if received == 1 and at < len(times) and abs(exact - listed[at]) <= max(0.501, listed[at] * 0.00501):
            times[at] = exact
        at += received
    return times
