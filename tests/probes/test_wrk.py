"""Parsing of wrk's and curl's output, and the probe compared with the kernel's counters and with captured packets."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from testbed.designs import DESIGNS
from testbed.kernel.syscalls import mount
from testbed.lab.lab import Lab
from testbed.probes.placement import placement
from testbed.probes.probe import Ends, Measurement, ProbeError
from testbed.probes.wrk import Wrk, connecting_times, connection_rate
from testbed.spec.probes import WrkProbe
from testbed.spec.topology import Topology

PRINTED = """Running 2s test @ http://10.244.1.2:7480/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   196.88us  164.39us   3.83ms   91.08%
    Req/Sec    13.68k     1.26k   14.42k    85.71%
  9520 requests in 2.01s, 1.32MB read
Requests/sec:   4741.37
Transfer/sec:    671.38KB
"""
ERRORS = "  Socket errors: connect 0, read 9, write 1660, timeout 0\nRequests/sec"
SLOW = "  Socket errors: connect 0, read 0, write 0, timeout 3\nRequests/sec"
REFUSED = "  Non-2xx or 3xx responses: 12\nRequests/sec"


def test_the_rate_is_read() -> None:
    assert connection_rate(PRINTED) == (4741.37, 9520)


def test_a_late_answer_counts() -> None:
    assert connection_rate(PRINTED.replace("Requests/sec", SLOW)) == (4741.37, 9520)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (PRINTED.replace("Requests/sec", ERRORS), "connecting 0, reading 9, writing 1660"),
        (PRINTED.replace("Requests/sec", REFUSED), "12 of wrk's requests with an error"),
        (PRINTED.replace("9520 requests", "0 requests"), "completed no connection"),
        ("", "no rate"),
    ],
)
def test_failed_connections_are_an_error(output: str, reason: str) -> None:
    with pytest.raises(ProbeError, match=reason):
        connection_rate(output)


def test_connecting_begins_after_name_lookup() -> None:
    printed = "0.000017 0.005217\n0.000005 0.000059\n0.000004 0.000060\n"
    # The first connection of a run includes curl's initialization.
    assert connecting_times(printed, 3).tolist() == [54, 56]


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("0.000017 0.005217\n0.000005 0.000059\n", "expected 3 connections, found 2"),
        ("0.000017 0.005217\n0.000005 0.000059\n0.000005 0.000000\n", "expected 3 connections, found 3"),
        ("0.000017 0.005217\n0.000005\n0.000004 0.000060\n", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_missing_or_invalid_times_are_an_error(printed: str, reason: str) -> None:
    with pytest.raises(ProbeError, match=reason):
        connecting_times(printed, 3)


def test_curl_takes_as_long_as_wrk_within_bounds() -> None:
    assert probe(duration="2s").seconds == 4
    assert probe(duration="10min").seconds == 620


def probe(**asked: object) -> Wrk:
    return Wrk(WrkProbe.model_validate({"tool": "wrk", "duration": "1s"} | asked, strict=False))


def by_name(measurement: Measurement) -> dict[str, float]:
    return {value.metric: value.value for value in measurement.values}


@pytest.mark.sealed
@pytest.mark.parametrize("connections", [8, 512])
@pytest.mark.exclusive
def test_the_kernel_counts_the_same_number_of_connections(connections: int, lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    measurement, raw = measured(lab, probe(connections=connections))
    values = by_name(measurement)
    # Not counted: wrk's first connection, those it did not finish, and the first of each run of curl.
    opened = counters(lab, "web-2")["PassiveOpens"]
    uncounted = 1 + connections + len([name for name in raw if name.startswith("curl-")])
    assert opened - uncounted <= measurement.requests <= opened
    assert counters(lab, "client")["ActiveOpens"] == opened
    count, seconds = int(raw["wrk"].split(b" requests in ")[0].split()[-1]), float(raw["wrk"].split(b" in ")[1][:4])
    assert values["connections"] == pytest.approx(count / seconds, rel=0.01)


@pytest.mark.sealed
def test_the_time_to_connect_matches_the_handshake_on_the_wire(lab: Lab, tmp_path: Path, by_hand) -> None:  # type: ignore[no-untyped-def]
    """On a link so slow that curl's own time, about 40 us, is small in comparison."""
    by_hand.shape(lab, "rate", "1mbit", "burst", "1600", "limit", "20000")
    with (
        Ends(lab, "client", "web-2", tmp_path, placement(together=False)) as ends,
        by_hand.tapped(lab, tmp_path, "tcp[tcpflags] & tcp-syn != 0") as seen,
    ):
        measurement = probe().measure(ends)
        runs = [output.decode() for name, output in ends.raw.items() if name.startswith("curl-")]
    handshakes = handshakes_of(seen.packets)[-sum(len(run.splitlines()) for run in runs) :]
    of_runs = np.split(handshakes, np.cumsum([len(run.splitlines()) for run in runs])[:-1])
    on_wire = np.concatenate([times[1:] for times in of_runs])
    (connecting,) = measurement.distributions
    # The same connections in the same order; curl's times are slightly longer.
    assert len(connecting.values) == len(on_wire)
    assert (connecting.values >= on_wire - 1).all()
    assert np.min(connecting.values - on_wire) < 0.25 * np.median(on_wire), (
        "the minimum, because a busy machine adds delay"
    )
    assert by_name(measurement)["connect_p50"] == np.percentile(connecting.values, 50, method="inverted_cdf")


def handshakes_of(packets: list[tuple[float, bytes]]) -> np.ndarray:  # type: ignore[type-arg]
    """Microseconds from each SYN to its SYN-ACK, in the order of the SYNs."""
    asked: dict[bytes, tuple[int, float]] = {}
    times: dict[int, float] = {}
    for number, (at, segment) in enumerate(packets):
        if segment[13] & 0x10:
            when = asked.pop(segment[2:4], None)
            if when:
                times[when[0]] = (at - when[1]) * 1e6
        else:
            asked.setdefault(segment[0:2], (number, at))
    return np.array([times[number] for number in sorted(times)])


@pytest.mark.sealed
def test_ipv6_is_measured(ipv6_only: Topology, measured) -> None:  # type: ignore[no-untyped-def]
    with Lab(DESIGNS["vxlan"].plan(ipv6_only)) as lab:
        measurement, _ = measured(lab, probe())
        assert counters(lab, "web-2")["PassiveOpens"] >= measurement.requests > 0


@pytest.mark.sealed
def test_the_hosts_nginx_is_neither_required_nor_changed(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    """Its folders, if any, are hidden in this capsule by read-only ones."""
    read_only = 1  # MS_RDONLY
    for folder in ("/etc/nginx", "/var/log", "/var/lib", "/usr/share/nginx"):
        if Path(folder).exists():
            mount("tmpfs", folder, "tmpfs", read_only)
    measurement, _ = measured(lab, probe())
    assert by_name(measurement)["connections"] > 0


@pytest.mark.sealed
def test_a_closed_port_is_reported(lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    by_hand.run(lab, "web-2", "nft", "add table inet shut")
    by_hand.run(lab, "web-2", "nft", "add chain inet shut input { type filter hook input priority 0; }")
    by_hand.run(lab, "web-2", "nft", "add rule inet shut input tcp dport 7480 reject with tcp reset")
    with pytest.raises(ProbeError, match=r"unable to connect to .*:7480 Connection refused"):
        measured(lab, probe())
    assert nothing_runs()


@pytest.mark.sealed
def test_refused_connections_are_an_error(lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    by_hand.run(lab, "web-2", "nft", "add table inet shut")
    by_hand.run(lab, "web-2", "nft", "add chain inet shut input { type filter hook input priority 0; }")
    some = "tcp dport 7480 tcp flags syn numgen inc mod 100 == 50"
    by_hand.run(lab, "web-2", "nft", f"add rule inet shut input {some} reject with tcp reset")
    with pytest.raises(ProbeError, match="wrk's connections failed"):
        measured(lab, probe())


@pytest.mark.sealed
@pytest.mark.parametrize(("after", "reason"), [(0.6, "wrk's connections failed|unable to connect"), (3.2, "curl")])
def test_a_server_that_dies_is_reported(after: float, reason: str, lab: Lab, tmp_path: Path) -> None:
    with Ends(lab, "client", "web-2", tmp_path, placement(together=False)) as ends:
        timer = threading.Timer(after, lambda: os.killpg(ends._running[0].pid, signal.SIGKILL))
        timer.start()
        with pytest.raises(ProbeError, match=reason):
            probe(duration="2s").measure(ends)
        assert "nginx-error.log" in ends.files
    assert nothing_runs()


@pytest.mark.sealed
def test_a_server_that_hangs_is_reported_in_bounded_time(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.probes.probe.END_PATIENCE_S", 0.5)
    with Ends(lab, "client", "web-2", tmp_path, placement(together=False)) as ends:
        timer = threading.Timer(1.5, lambda: os.killpg(ends._running[0].pid, signal.SIGSTOP))
        timer.start()
        with pytest.raises(ProbeError, match=r"curl-.* did not end within"):
            probe().measure(ends)
    assert nothing_runs()


@pytest.mark.sealed
@pytest.mark.parametrize("missing", ["nginx", "wrk", "curl"])
def test_a_missing_program_is_named(missing: str, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, scratch = tmp_path / "bin", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    for name in {"taskset", "nginx", "wrk", "curl"} - {missing}:
        (folder / name).symlink_to(shutil.which(name) or "")
    with Ends(lab, "client", "web-2", scratch, placement(together=False)) as ends:
        assert ends.address  # The lab is up: Mininet needs programs too.
        monkeypatch.setenv("PATH", str(folder))
        with pytest.raises(ProbeError, match=f"{missing}: No such file"):
            probe().measure(ends)


def nothing_runs() -> bool:
    """Whether none of the probe's programs remains in the capsule within 5 s: a killed child takes time to end."""
    for _ in range(100):
        names = {file.read_text().strip() for file in Path("/proc").glob("[0-9]*/comm") if file.exists()}
        if not names & {"nginx", "wrk", "curl"}:
            return True
        time.sleep(0.05)
    return False


def counters(lab: Lab, place: str) -> dict[str, int]:
    """The kernel's TCP counters in a namespace since it was created."""
    with lab.namespaces[place].entered():
        text = Path("/proc/thread-self/net/snmp").read_text()
    names, values = (line.split()[1:] for line in text.splitlines() if line.startswith("Tcp:"))
    return dict(zip(names, map(int, values), strict=True))
