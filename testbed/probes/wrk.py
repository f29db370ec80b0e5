"""wrk and curl: new TCP connections per second to nginx, and the time to connect.

Each request has `Connection: close`, and nginx does not keep connections alive, so each request uses a new connection.
The server closes it and keeps TIME_WAIT, so that the source does not run out of ports.

wrk starts its clock when a connection is ready for the request (`socket_writeable` in its wrk.c), so its latencies do
not include connecting. Therefore curl then opens one connection at a time.

Each end has its own CPUs, because a rate is measured. This does not affect the time to connect: the target's kernel
answers a SYN on the CPU of the sender, and no process wakes up for it.
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
"""curl connects for as long as wrk, but at most this long: this gives tens of thousands of values."""
FIRST_CONNECTIONS = 10
"""Number of connections in the first run of curl, to estimate its rate."""
PATIENCE_S = 10
"""Time-out of a connection of curl."""
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
"""All paths are in our own folder: no files of the host's nginx are read or written."""


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
        """New connections per second, and percentiles of the time of TCP's handshake in microseconds.

        Raises ProbeError if any connection of wrk or curl failed.
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
        """Connect until the time is over, in several runs of curl: a run has a fixed number of connections."""
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
    """Start nginx at the target; its error log is kept with the probe's output."""
    folder = ends.scratch / SERVER
    folder.mkdir()
    configuration, log = folder / "nginx.conf", folder / "nginx-error.log"
    configuration.write_text(CONFIGURATION.format(folder=folder, log=log, address=_at(ends.address)))
    log.touch()
    ends.files[log.name] = log
    ends.serve([SERVER, "-p", str(folder), "-c", str(configuration), "-e", str(log)], PORT)


def connection_rate(output: str) -> tuple[float, int]:
    """Connections per second and their number, from wrk's output. Raises ProbeError if any failed.

    wrk's `timeout` is not a failure: it counts answers that arrived after more than two seconds.
    """
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+)", output)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    if errors and any(map(int, errors.groups())):
        failed = "connecting {}, reading {}, writing {}".format(*errors.groups())
        raise ProbeError(f"wrk's connections failed: {failed}")
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
    """Microseconds from name lookup to connection, of each connection except the first.

    curl prints the end of name lookup (`time_namelookup`) and of the handshake (`time_connect`), both from the
    transfer's start. Between them are the calls of socket(), connect() and poll() and curl's own work: about 40 us more
    than from SYN to SYN-ACK. The first connection of a run includes curl's initialization, which takes milliseconds.
    """
    try:
        found = np.array([[float(number) for number in line.split()] for line in output.splitlines()])
        known, connected = found[1:].T
    except ValueError as error:
        raise ProbeError(f"curl's times cannot be read: {error}") from error
    if len(found) != count or not (connected > known).all():
        raise ProbeError(f"curl's times: expected {count} connections, found {len(found)}")
    # Rounded to curl's resolution: whole microseconds.
    return np.asarray(np.rint((connected - known) * 1e6), dtype=np.float64)


def _curl(address: Address, count: int) -> list[str]:
    """A curl command that connects `count` times in turn, prints the times, and ends at the first failure."""
    quiet = ["--disable", "--silent", "--show-error", "--output", "/dev/null"]
    strict = ["--fail", "--fail-early", "--max-time", str(PATIENCE_S), "--noproxy", "*"]
    times = ["--write-out", r"%{time_namelookup} %{time_connect}\n"]
    return [CLIENT, *quiet, *strict, *times, "--header", "Connection: close", f"http://{_at(address)}/[1-{count}]"]


def _at(address: Address) -> str:
    """An address with the port, in the format of URLs and nginx."""
    return f"[{address}]:{PORT}" if isinstance(address, ipaddress.IPv6Address) else f"{address}:{PORT}"
