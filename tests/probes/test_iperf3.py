"""Parsing of iperf3's reports, and the probe compared with the kernel's counters."""

import json
import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.probes.iperf3 import Iperf3, Step, read_flow, read_step, report, segment_size
from testbed.probes.placement import placement
from testbed.probes.probe import Ends, Measurement, ProbeError
from testbed.spec.probes import Iperf3Probe
from testbed.spec.topology import Topology


def tcp_report(
    arrived: int = 0, seconds: float = 1.0, resent: int = 0, path_mtu: int | None = None, mss: int = 0
) -> dict:  # type: ignore[type-arg]
    """A process's report of a TCP stream."""
    return {
        "start": {"tcp_mss_default": mss},
        "intervals": [{"streams": [{"pmtu": path_mtu} if path_mtu else {}]}],
        "end": {"sum_sent": {"retransmits": resent}, "sum_received": {"bytes": arrived, "seconds": seconds}},
    }


def test_each_number_is_from_the_end_that_observes_it() -> None:
    client = tcp_report(arrived=1, resent=7, path_mtu=1500, mss=1448)
    server = tcp_report(arrived=1000, seconds=2, resent=99)
    forward = read_flow("forward", client, server, 4)
    assert (forward.arrived, forward.seconds, forward.resent, forward.mss) == (1000, 2, 7, 1448)
    client = tcp_report(arrived=1000, seconds=2, resent=7, mss=1448)
    server = tcp_report(arrived=1, resent=99, path_mtu=1500)
    reverse = read_flow("reverse", client, server, 4)
    assert (reverse.arrived, reverse.seconds, reverse.resent, reverse.mss) == (1000, 2, 99, 1448)


def test_a_smaller_path_mtu_reduces_the_mss() -> None:
    assert segment_size(tcp_report(mss=1448), tcp_report(path_mtu=1300), 4) == 1300 - 20 - 32
    assert segment_size(tcp_report(mss=1428), tcp_report(path_mtu=1300), 6) == 1300 - 40 - 32
    assert segment_size(tcp_report(mss=1398), tcp_report(path_mtu=1500), 4) == 1398
    with pytest.raises(ProbeError, match="lacks the MSS"):
        segment_size(tcp_report(mss=1398), tcp_report(), 4)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (b'{"error": "unable to connect to server: Connection refused"}', "Connection refused"),
        (b"Segmentation fault", "no JSON"),
        (b"", "no JSON"),
    ],
)
def test_a_failed_test_is_an_error(output: bytes, reason: str) -> None:
    with pytest.raises(ProbeError, match=reason):
        report(output)


def test_a_report_without_its_numbers_is_an_error() -> None:
    with pytest.raises(ProbeError, match="lacks 'sum_received'"):
        read_flow("forward", tcp_report(path_mtu=1500), {"end": {}}, 4)
    with pytest.raises(ProbeError, match="lacks 'start'"):
        read_step({}, {})
    empty = {"start": {"test_start": {"blksize": 64}}, "end": {"sum_sent": {"packets": 0}}}
    with pytest.raises(ProbeError, match="sent no datagram"):
        read_step(empty, {"end": {"sum_received": {"bytes": 0, "packets": 0, "seconds": 1.0}}})


@pytest.mark.parametrize(
    ("sent", "arrived", "highest", "loss"),
    [
        (1000, 1000, 1000, 0),
        (1000, 900, 1000, 10),
        (1000, 855, 950, 10),  # The last fifty may have been in transit when the test ended.
        (1000, 4, 4, 99.6),  # 996 cannot have been in transit.
        (1000, 0, 0, 100),
        (1000, 1010, 1000, 0),  # Some were duplicated.
    ],
)
def test_loss_excludes_datagrams_in_transit(sent: int, arrived: int, highest: int, loss: float) -> None:
    assert Step(1472, sent, arrived, highest, 1.0).loss == pytest.approx(loss)


def test_the_duration_is_per_rate() -> None:
    assert probe(duration="2s").seconds == 2
    assert probe(protocol="udp", rates=["1Mbit", "10Mbit", "1Gbit"], duration="2s").seconds == 6


def probe(**asked: object) -> Iperf3:
    return Iperf3(Iperf3Probe.model_validate({"tool": "iperf3", "duration": "1s"} | asked, strict=False))


def by_name(measurement: Measurement) -> dict[str, float]:
    return {value.metric: value.value for value in measurement.values}


@pytest.mark.sealed
@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.exclusive
def test_the_rate_agrees_with_the_bytes_that_the_kernel_counted(streams: int, lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    before = received_bytes(lab, "web-2")
    measurement, _ = measured(lab, probe(streams=streams))
    counted = (received_bytes(lab, "web-2") - before) * 8 / 1e9
    values = by_name(measurement)
    # The device also counts headers, and the last packets may arrive after the end of the second.
    assert values["throughput"] == pytest.approx(counted, rel=0.10)
    assert measurement.carried_gbit == pytest.approx(counted, rel=0.06)
    assert values["retransmits"] == retransmitted(lab, "client")
    assert "throughput_forward" not in values


@pytest.mark.sealed
@pytest.mark.exclusive
def test_many_streams_do_not_add_up_to_more_than_the_device_carried(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    """The last of many streams begins long after the first, so the sum of their own rates is too large."""
    before = received_bytes(lab, "web-2")
    growth = [(time.monotonic(), before)]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            counted = received_bytes(lab, "web-2")
            if counted > growth[-1][1] + 100_000:  # More than the opening and closing of the streams.
                growth.append((time.monotonic(), counted))

    watcher = threading.Thread(target=watch)
    watcher.start()
    measurement, raw = measured(lab, probe(streams=48))
    over.set()
    watcher.join()
    counted = (received_bytes(lab, "web-2") - before) * 8 / 1e9
    assert len([name for name in raw if name.endswith("-server.json")]) == 48
    assert measurement.carried_gbit == pytest.approx(counted, rel=0.06)
    assert by_name(measurement)["throughput"] <= counted / (growth[-1][0] - growth[1][0])


@pytest.mark.sealed
@pytest.mark.exclusive
def test_reverse_is_from_target_to_source(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    before = received_bytes(lab, "client")
    measurement, _ = measured(lab, probe(direction="reverse"))
    counted = (received_bytes(lab, "client") - before) * 8 / 1e9
    values = by_name(measurement)
    assert values["throughput"] == pytest.approx(counted, rel=0.10)
    assert values["retransmits"] == retransmitted(lab, "web-2")


@pytest.mark.sealed
@pytest.mark.exclusive
def test_both_directions_are_reported_separately_and_in_sum(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    places = {"forward": "web-2", "reverse": "client"}
    before = {place: received_bytes(lab, place) for place in places.values()}
    measurement, _ = measured(lab, probe(direction="both", streams=2))
    values = by_name(measurement)
    assert values["throughput"] == pytest.approx(values["throughput_forward"] + values["throughput_reverse"])
    for direction, place in places.items():
        counted = (received_bytes(lab, place) - before[place]) * 8 / 1e9
        # Includes the other direction's acknowledgements.
        assert values[f"throughput_{direction}"] == pytest.approx(counted, rel=0.15)


@pytest.mark.sealed
def test_a_write_has_the_requested_size(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    _, raw = measured(lab, probe(message="16KiB"))
    assert message_size(raw) == 16384


@pytest.mark.sealed
@pytest.mark.parametrize("design", ["l3-host-routes", "vxlan"])
def test_the_mss_matches_the_tcp_handshake(design: str, two_nodes: Topology, tmp_path: Path, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    with Lab(DESIGNS[design].plan(two_nodes)) as lab:
        with by_hand.tapped(lab, tmp_path, "tcp[tcpflags] & tcp-syn != 0") as seen:
            measurement, _ = measured(lab, probe())
        # The first option of a Linux SYN: kind 2, length 4, MSS. The MSS includes twelve bytes of timestamps.
        agreed = min(int.from_bytes(segment[22:24], "big") for _, segment in seen.packets if segment[20] == 2) - 12
        assert by_name(measurement)["mss"] == agreed == lab.plan.pod_mtu - 20 - 32


@pytest.mark.sealed
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_the_mss_follows_path_mtu_discovery(direction: str, lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    """A node with a route MTU of 1,300 bytes sends ICMP to the sender of a larger packet."""
    here, pods, via = ("node1", "10.244.1.0/24", "192.168.56.2")
    if direction == "reverse":
        here, pods, via = ("node2", "10.244.0.0/24", "192.168.56.1")
    by_hand.run(lab, here, "ip", "route", "change", pods, "via", via, "mtu", "1300")
    measurement, _ = measured(lab, probe(direction=direction))
    assert by_name(measurement)["mss"] == 1300 - 20 - 32


@pytest.mark.sealed
@pytest.mark.exclusive
def test_no_datagram_is_lost_below_the_capacity(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    measurement, raw = measured(lab, probe(protocol="udp", rates=["5Mbit", "20Mbit"], message="1000B"))
    values = by_name(measurement)
    assert set(values) == {"loss@5Mbit", "received@5Mbit", "loss@20Mbit", "received@20Mbit", "packets_per_s"}
    assert values["loss@5Mbit"] == values["loss@20Mbit"] == 0
    assert values["received@5Mbit"] == pytest.approx(0.005, rel=0.02)
    assert values["packets_per_s"] == pytest.approx(20e6 / 8000, rel=0.02)
    # Each of the two steps begins with one datagram.
    assert (
        udp_counters(lab)["InDatagrams"] - 2 == sum(map(arrived, servers(raw))) == measurement.carried_gbit * 1e9 / 8e3
    )


@pytest.mark.sealed
def test_a_known_loss_is_found(lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    by_hand.drop(lab, "web-2", "meta l4proto udp numgen inc mod 10 == 5")
    measurement, raw = measured(lab, probe(protocol="udp", rates=["20Mbit"], message="500B"))
    assert by_name(measurement)["loss@20Mbit"] == pytest.approx(10, abs=0.1)
    assert sum(map(arrived, servers(raw))) == udp_counters(lab)["InDatagrams"] - 1


@pytest.mark.sealed
def test_overflows_at_the_receiver_count_as_loss(lab: Lab, tmp_path: Path) -> None:
    """With both ends on one CPU, the receiver often waits for the CPU until its buffer is full."""
    with Ends(lab, "client", "web-2", tmp_path, placement(together=True)) as ends:
        measurement = probe(protocol="udp", message="64B").measure(ends)
        raw = ends.raw
    counters, values = udp_counters(lab), by_name(measurement)
    (server,) = servers(raw)
    assert set(values) == {"loss", "received", "packets_per_s"}
    assert 0 <= values["loss"] <= 100
    overflown = 100 * counters["RcvbufErrors"] / (counters["InDatagrams"] + counters["RcvbufErrors"])
    # Some thousand datagrams in the buffer at the end are neither received nor lost.
    assert values["loss"] == pytest.approx(overflown, abs=6)
    assert values["packets_per_s"] == pytest.approx(arrived(server) / server["seconds"])
    assert arrived(server) == pytest.approx(counters["InDatagrams"], rel=0.1)


@pytest.mark.sealed
def test_if_nothing_arrives_the_loss_is_100_percent(lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    """The short datagrams at the beginning of an iperf3 test are not dropped."""
    by_hand.drop(lab, "web-2", "udp length > 100")
    measurement, _ = measured(lab, probe(protocol="udp", rates=["10Mbit"]))
    assert by_name(measurement) == {"loss@10Mbit": 100, "received@10Mbit": 0, "packets_per_s": 0}
    assert udp_counters(lab)["InDatagrams"] == 1


@pytest.mark.sealed
@pytest.mark.parametrize(("design", "size"), [("l3-host-routes", 1472), ("vxlan", 1422)])
def test_a_datagram_fits_the_pod_mtu_exactly(design: str, size: int, two_nodes: Topology, measured) -> None:  # type: ignore[no-untyped-def]
    with Lab(DESIGNS[design].plan(two_nodes)) as lab:
        _, raw = measured(lab, probe(protocol="udp", rates=["10Mbit"]))
        assert message_size(raw) == size
        assert counters(lab, "client", "Ip")["FragCreates"] == 0
        measured(lab, probe(protocol="udp", rates=["10Mbit"], message=f"{size + 1}B"))
        assert counters(lab, "client", "Ip")["FragCreates"] > 0


@pytest.mark.sealed
def test_ipv6_is_measured(ipv6_only: Topology, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    with Lab(DESIGNS["vxlan"].plan(ipv6_only)) as lab:
        mtu = lab.plan.pod_mtu
        measurement, _ = measured(lab, probe(direction="both"))
        assert by_name(measurement)["mss"] == mtu - 40 - 32
        _, raw = measured(lab, probe(protocol="udp", rates=["10Mbit"]))
        assert message_size(raw) == mtu - 40 - 8
        assert "Ip6FragCreates 0" in " ".join(by_hand.run(lab, "client", "cat", "/proc/net/snmp6").split())


@pytest.mark.sealed
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_refused_connection_is_reported(protocol: str, lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    by_hand.run(lab, "web-2", "nft", "add table inet shut")
    by_hand.run(lab, "web-2", "nft", "add chain inet shut input { type filter hook input priority 0; }")
    by_hand.run(lab, "web-2", "nft", "add rule inet shut input tcp dport 7500 reject with tcp reset")
    with pytest.raises(ProbeError, match="Connection refused"):
        measured(lab, probe(protocol=protocol))
    assert nothing_runs()


@pytest.mark.sealed
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_server_that_dies_is_reported(protocol: str, lab: Lab, tmp_path: Path) -> None:
    with (
        pytest.raises(ProbeError, match=r"iperf3.*(closed|reset|refused|terminated|Broken pipe)"),
        struck(lab, tmp_path, signal.SIGKILL) as ends,
    ):
        probe(protocol=protocol, duration="2s").measure(ends)
    assert nothing_runs()


@pytest.mark.sealed
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_server_that_hangs_is_reported_in_bounded_time(
    protocol: str, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.probes.probe.END_PATIENCE_S", 0.5)
    with (
        pytest.raises(ProbeError, match=r"iperf3-7500.* did not end within 2 s"),
        struck(lab, tmp_path, signal.SIGSTOP) as ends,
    ):
        probe(protocol=protocol, duration="1s").measure(ends)
    assert nothing_runs()


@contextmanager
def struck(lab: Lab, folder: Path, number: int):  # type: ignore[no-untyped-def]
    """The two ends; sends a signal to the first program, the server, during the test."""
    with Ends(lab, "client", "web-2", folder, placement(together=False)) as ends:
        timer = threading.Timer(0.7, lambda: os.killpg(ends._running[0].pid, number))
        timer.start()
        yield ends
        timer.join()


def nothing_runs() -> bool:
    """Whether no iperf3 is left in the capsule."""
    return not [
        name for name in Path("/proc").glob("[0-9]*/comm") if name.exists() and name.read_text().startswith("iperf3")
    ]


def servers(raw: dict[str, bytes]) -> list[dict[str, float]]:
    """The sums in the receivers' reports."""
    return [json.loads(text)["end"]["sum_received"] for name, text in raw.items() if name.endswith("-server.json")]


def message_size(raw: dict[str, bytes]) -> int:
    # A warning may follow the report: datagrams are larger than the MSS, because they have no timestamps.
    client, _ = json.JSONDecoder().raw_decode(raw["iperf3-7500.json"].decode().strip())
    return int(client["start"]["test_start"]["blksize"])


def arrived(server: dict[str, float]) -> float:
    return server["packets"] - server["lost_packets"]


def counters(lab: Lab, place: str, protocol: str) -> dict[str, int]:
    """The kernel's counters in a namespace since it was created."""
    with lab.namespaces[place].entered():
        text = Path("/proc/thread-self/net/snmp").read_text()
    names, values = (line.split()[1:] for line in text.splitlines() if line.startswith(f"{protocol}:"))
    return dict(zip(names, map(int, values), strict=True))


def udp_counters(lab: Lab) -> dict[str, int]:
    return counters(lab, "web-2", "Udp")


def retransmitted(lab: Lab, place: str) -> int:
    return counters(lab, place, "Tcp")["RetransSegs"]


def received_bytes(lab: Lab, place: str) -> int:
    with lab.namespaces[place].entered():
        for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
            if line.strip().startswith("eth0:"):
                return int(line.split()[1])
    raise AssertionError("no eth0")
