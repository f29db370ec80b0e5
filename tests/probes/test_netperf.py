"""Parsing of netperf's output, and the probe compared with sockperf and with the kernel's counters."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.probes.netperf import Netperf, throughput, transactions
from testbed.probes.placement import placement
from testbed.probes.probe import Ends, Measurement, ProbeError
from testbed.probes.sockperf import Sockperf
from testbed.spec.probes import NetperfProbe, SockperfProbe
from testbed.spec.topology import Topology

installed = pytest.mark.skipif(
    not (shutil.which("netperf") and shutil.which("netserver")), reason="netperf is not on PATH (Debian: non-free)"
)

TCP_RR = """THROUGHPUT=13494.37
THROUGHPUT_UNITS=Trans/s
ELAPSED_TIME=2.00
PROTOCOL=TCP
DIRECTION=Send|Recv
REQUEST_SIZE=1
RESPONSE_SIZE=1
LOCAL_SEND_SIZE=0
MIN_LATENCY=26
MEAN_LATENCY=74.03
P50_LATENCY=70
P90_LATENCY=92
P99_LATENCY=114
MAX_LATENCY=4184
LOCAL_TRANSPORT_RETRANS=0
REMOTE_TRANSPORT_RETRANS=0
TRANSPORT_MSS=1448
"""
TCP_STREAM = """THROUGHPUT=16443.81
THROUGHPUT_UNITS=10^6bits/s
ELAPSED_TIME=2.00
PROTOCOL=TCP
DIRECTION=Send
"""


def test_transactions_are_read() -> None:
    measurement = transactions(TCP_RR)
    assert by_name(measurement) == {"transactions": 13494.37}
    assert measurement.requests == 26989
    # netperf's own percentiles cannot be pooled over rounds.
    assert measurement.distributions == ()


def test_throughput_is_read() -> None:
    measurement = throughput(TCP_STREAM)
    assert by_name(measurement) == {"throughput": pytest.approx(16.44381)}
    assert measurement.carried_gbit == pytest.approx(32.88762)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "expected Trans/s, found none"),
        (TCP_STREAM, r"expected Trans/s, found 10\^6bits/s"),
        (TCP_RR.replace("MEAN_LATENCY", "X"), "lacks a number: 'MEAN_LATENCY'"),
        (TCP_RR.replace("13494.37", "none"), "lacks a number"),
        (TCP_RR.replace("13494.37", "0.00"), "no transaction"),
        (TCP_RR.replace("13494.37", "700.00"), "netperf stalled"),
    ],
)
def test_output_without_a_rate_is_an_error(output: str, reason: str) -> None:
    with pytest.raises(ProbeError, match=reason):
        transactions(output)


def test_only_transactions_share_a_cpu() -> None:
    assert [probe(test=test).together for test in ("tcp_rr", "udp_rr", "tcp_crr", "tcp_stream")] == [True] * 3 + [False]


def probe(**asked: object) -> Netperf:
    return Netperf(NetperfProbe.model_validate({"tool": "netperf", "duration": "1s"} | asked, strict=False))


def by_name(measurement: Measurement) -> dict[str, float]:
    return {value.metric: value.value for value in measurement.values}


@installed
@pytest.mark.sealed
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.exclusive
def test_transactions_agree_roughly_with_sockperfs_round_trips(protocol: str, lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    """Compares medians: a rate also includes times in which other programs had the CPU."""
    measurement, raw = measured(lab, probe(test=f"{protocol}_rr", message="64B"))
    printed = dict(line.split("=") for line in raw["netperf"].decode().split())
    assert by_name(measurement)["transactions"] == pytest.approx(1e6 / float(printed["MEAN_LATENCY"]), rel=0.1)
    other, _ = measured(lab, Sockperf(SockperfProbe(tool="sockperf", protocol=protocol, duration="1s")))  # type: ignore[arg-type]
    assert float(printed["P50_LATENCY"]) == pytest.approx(float(np.median(other.distributions[0].values)), rel=0.5)


@installed
@pytest.mark.sealed
@pytest.mark.exclusive
def test_each_udp_transaction_is_a_datagram_at_the_target(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    measurement, _ = measured(lab, probe(test="udp_rr"))
    # netperf prints its rate and its time with two decimals.
    assert measurement.requests == pytest.approx(counters(lab, "Udp")["InDatagrams"], rel=0.01)


@installed
@pytest.mark.sealed
@pytest.mark.exclusive
def test_each_crr_transaction_is_a_connection_at_the_target(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    measurement, _ = measured(lab, probe(test="tcp_crr"))
    assert measurement.requests == pytest.approx(counters(lab, "Tcp")["PassiveOpens"], rel=0.01)


@installed
@pytest.mark.sealed
@pytest.mark.exclusive
def test_a_stream_agrees_with_the_bytes_that_the_kernel_counted(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    before = received_bytes(lab)
    measurement, _ = measured(lab, probe(test="tcp_stream"))
    counted = (received_bytes(lab) - before) * 8 / 1e9
    assert measurement.carried_gbit == pytest.approx(counted, rel=0.10)
    assert by_name(measurement)["throughput"] == pytest.approx(counted, rel=0.10)


@installed
@pytest.mark.sealed
def test_ipv6_is_measured(ipv6_only: Topology, measured) -> None:  # type: ignore[no-untyped-def]
    with Lab(DESIGNS["vxlan"].plan(ipv6_only)) as lab:
        measurement, _ = measured(lab, probe())
        assert by_name(measurement)["transactions"] > 0


@installed
@pytest.mark.sealed
def test_a_lost_datagram_is_an_error_and_not_a_low_rate(lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    by_hand.drop(lab, "web-2", "meta l4proto udp numgen inc mod 1000 == 500")
    with pytest.raises(ProbeError, match="netperf stalled"):
        measured(lab, probe(test="udp_rr"))


@installed
@pytest.mark.sealed
@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGKILL, "netperf failed"), (signal.SIGSTOP, "netperf did not end within 2 s")]
)
def test_a_server_that_dies_or_hangs_is_reported_and_no_program_remains(
    number: int, reason: str, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.probes.probe.END_PATIENCE_S", 0.5)
    with Ends(lab, "client", "web-2", tmp_path, placement(together=True)) as ends:
        timer = threading.Timer(0.5, lambda: os.killpg(ends._running[0].pid, number))
        timer.start()
        with pytest.raises(ProbeError, match=reason):
            probe().measure(ends)
    assert nothing_runs()


@installed
@pytest.mark.sealed
def test_no_program_or_file_remains_after_a_test(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    before = set(Path("/tmp").glob("netserver*"))
    measured(lab, probe())
    assert nothing_runs()
    assert set(Path("/tmp").glob("netserver*")) == before


def nothing_runs() -> bool:
    """Whether none of the probe's programs remains in the capsule within 5 s: a killed child takes time to end."""
    for _ in range(100):
        names = {file.read_text().strip() for file in Path("/proc").glob("[0-9]*/comm") if file.exists()}
        if not names & {"netperf", "netserver"}:
            return True
        time.sleep(0.05)
    return False


def counters(lab: Lab, protocol: str) -> dict[str, int]:
    """The kernel's counters at the target since the namespace was created."""
    with lab.namespaces["web-2"].entered():
        text = Path("/proc/thread-self/net/snmp").read_text()
    names, values = (line.split()[1:] for line in text.splitlines() if line.startswith(f"{protocol}:"))
    return dict(zip(names, map(int, values), strict=True))


def received_bytes(lab: Lab) -> int:
    with lab.namespaces["web-2"].entered():
        for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
            if line.strip().startswith("eth0:"):
                return int(line.split()[1])
    raise AssertionError("no eth0")
