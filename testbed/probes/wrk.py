"""wrk and curl: new TCP connections to a web server, nginx: how many a second, and how long connecting takes.

Every request asks for `Connection: close` and nginx has nothing else in mind: each is a connection of its own, closed
by the server, at which TIME_WAIT stays, so that the source does not run out of ports.

wrk starts its clock when a connection is ready for the request (`socket_writeable` in its wrk.c), so its latencies
leave connecting out. That is what curl is for, which afterwards opens one connection at a time.

Each end has CPUs of its own, since a rate is asked for. Connecting suffers nothing from that: the target's answer to a
SYN is the kernel's, given on the CPU of the sender, and no process is woken for it.
"""

import ipaddress
import re
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from testbed.probes.percentiles import percentiles
from testbed.probes.probe import Distribution, Ends, Measurement, ProbeError, Value
from testbed.spec.probes import WrkProbe
from testbed.spec.types import Address

NAME = "wrk"
SERVER = "nginx"
CLIENT = "curl"
PORT = 7480
MOST_CONNECTING_S = 20.0
"""curl connects for as long as wrk, but no longer than this: by then there are tens of thousands of values."""
FIRST_CONNECTIONS = 10
"""From so many curl's pace is learned."""
PATIENCE_S = 10
"""After which curl gives a connection up."""
CONFIGURATION = """\
daemon off;
worker_processes 1;
user root;
pid {folder}/nginx.pid;
error_log {log} warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_timeout 0;
    server {{
        listen {address} backlog=4096;
        location / {{ return 200 "ok\\n"; }}
    }}
}}
"""
"""All paths are in a folder of ours: nothing of the host's own nginx is read or written."""


@dataclass(frozen=True)
class Wrk:
    spec: WrkProbe

    together = False
    tools = (NAME, SERVER, CLIENT)

    @property
    def seconds(self) -> float:
        return self.spec.duration.total_seconds() + self._connecting_s

    @property
    def _connecting_s(self) -> float:
        return min(self.spec.duration.total_seconds(), MOST_CONNECTING_S)

    def measure(self, ends: Ends) -> Measurement:
        """New connections a second, and percentiles of the microseconds that TCP's handshake takes.

        ProbeError if any connection failed, whether of wrk's or of curl's.
        """
        serve(ends)
        rate, count = self._rate(ends)
        times = self._connecting(ends)
        return Measurement(
            (Value("connections", "1/s", rate), *percentiles("connect", "us", times)),
            (Distribution("connect", "us", times),),
            requests=count + len(times),
        )

    def _rate(self, ends: Ends) -> tuple[float, int]:
        seconds = self.spec.duration.total_seconds()
        load = ["--threads", "1", "--connections", str(self.spec.connections), "--duration", f"{seconds:.0f}s"]
        command = [NAME, *load, "--header", "Connection: close", "--latency", f"http://{_at(ends.address)}/"]
        return connection_rate(ends.finish(ends.start(ends.source, command), NAME, seconds).decode())

    def _connecting(self, ends: Ends) -> npt.NDArray[np.float64]:
        """Connects until the time is over, in a few runs of curl, as one run goes by number and not by time."""
        times: list[npt.NDArray[np.float64]] = []
        began = time.monotonic()
        done, count = 0, FIRST_CONNECTIONS
        while count >= FIRST_CONNECTIONS:
            name = f"{CLIENT}-{len(times) + 1}.txt"
            output = ends.finish(ends.start(ends.source, _curl(ends.address, count)), name, self._connecting_s)
            times.append(connecting_times(output.decode(), count))
            done += count
            spent = time.monotonic() - began
            count = int((self._connecting_s - spent) / (spent / done))
        return np.concatenate(times)


def serve(ends: Ends) -> None:
    """Starts nginx at the target; what it complains of is kept with the probe's output."""
    folder = ends.scratch / SERVER
    folder.mkdir()
    configuration, log = folder / "nginx.conf", folder / "nginx-error.log"
    configuration.write_text(CONFIGURATION.format(folder=folder, log=log, address=_at(ends.address)))
    log.touch()
    ends.files[log.name] = log
    ends.serve([SERVER, "-p", str(folder), "-c", str(configuration), "-e", str(log)], PORT)


def connection_rate(output: str) -> tuple[float, int]:
    """Connections a second and how many there were, from what wrk prints; ProbeError if any failed.

    Its `timeout` counts answers that took longer than two seconds, but came.
    """
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+)", output)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    if errors and any(map(int, errors.groups())):
        failed = "connecting {}, reading {}, writing {}".format(*errors.groups())
        raise ProbeError(f"connections of wrk's failed: {failed}")
    if refused:
        raise ProbeError(f"nginx answered {refused[1]} of wrk's requests with an error")
    count = re.search(r"(\d+) requests in ", output)
    per_second = re.search(r"Requests/sec: +([\d.]+)", output)
    if not count or not per_second:
        raise ProbeError("wrk printed no rate")
    if not int(count[1]):
        raise ProbeError("wrk completed no connection")
    return float(per_second[1]), int(count[1])


def connecting_times(output: str, count: int) -> npt.NDArray[np.float64]:
    """Microseconds from when curl knew the address until it was connected, of each connection but the first.

    Of each, curl tells when it knew the address (`time_namelookup`) and when it found the handshake done
    (`time_connect`), both from the transfer's start. In between are the calls of socket(), connect() and poll() and
    what curl does beside them: some 40 us more than from SYN to SYN-ACK. The first connection of a run also pays for
    what curl loads when first used, which takes milliseconds.
    """
    try:
        found = np.array([[float(number) for number in line.split()] for line in output.splitlines()])
        known, connected = found[1:].T
    except ValueError as error:
        raise ProbeError(f"curl's times cannot be read: {error}") from error
    if len(found) != count or not (connected > known).all():
        raise ProbeError(f"curl gave the times of {len(found)} connections instead of {count}")
    # Rounded to what curl wrote: whole microseconds.
    return np.asarray(np.rint((connected - known) * 1e6), dtype=np.float64)


def _curl(address: Address, count: int) -> list[str]:
    """Connects so often, one after the other, and prints the times of each; ends at the first that fails."""
    quiet = ["--disable", "--silent", "--show-error", "--output", "/dev/null"]
    strict = ["--fail", "--fail-early", "--max-time", str(PATIENCE_S), "--noproxy", "*"]
    told = ["--write-out", r"%{time_namelookup} %{time_connect}\n"]
    return [CLIENT, *quiet, *strict, *told, "--header", "Connection: close", f"http://{_at(address)}/[1-{count}]"]


def _at(address: Address) -> str:
    """An address with the port, as URLs and nginx write it."""
    return f"[{address}]:{PORT}" if isinstance(address, ipaddress.IPv6Address) else f"{address}:{PORT}"
