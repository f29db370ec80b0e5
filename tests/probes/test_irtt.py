"""Parsing of irtt's report, and the probe compared with the kernel's timestamps, drops and queues, and with stalls."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from testbed.designs import DESIGNS
from testbed.lab.lab import Lab
from testbed.probes import PROBES
from testbed.probes.irtt import Irtt, Turn, parse, timer
from testbed.probes.probe import Measurement, ProbeError
from testbed.spec.probes import IrttProbe
from testbed.spec.topology import Topology

MS = 1_000_000
START = 5 * MS


def probe(**options: object) -> Irtt:
    return Irtt(IrttProbe.model_validate({"tool": "irtt", "duration": "1s", **options}))


def values(measurement: Measurement) -> dict[str, float]:
    return {value.metric: value.value for value in measurement.values}


def turn(*packets: tuple[float, float], due: int) -> Turn:
    """Packets by times of sending and answer, in ms after the start; the interval is 2 ms."""
    sent, received = np.array(packets).T * MS + START
    return Turn(START, 2 * MS, due, sent, received)


def test_without_delay_the_time_is_the_round_trip() -> None:
    assert turn((0, 0.1), (2, 2.3), (4, 4.2), due=3).since_due() == pytest.approx([100, 300, 200])


def test_packets_due_during_a_delay_of_the_sender_include_the_wait() -> None:
    # Packets are due at 0, 2, 4, 6, 8 and 10 ms; the sender sleeps from 1 to 8.5 ms.
    delayed = turn((0, 0.1), (8.5, 8.6), (10, 10.1), due=6)
    assert delayed.since_due() == pytest.approx([100, 6600, 4600, 2600, 600, 100])
    assert delayed.variations() == pytest.approx([0, 0], abs=1e-6)


def test_a_packet_skipped_after_a_late_one_has_no_time() -> None:
    # Sent 1.5 ms late, more than half of the interval: irtt sends none at 4 ms.
    assert turn((0, 0.1), (3.5, 3.6), (6, 6.1), due=4).since_due() == pytest.approx([100, 1600, 100])


def test_packets_without_answer_have_no_time() -> None:
    lost = turn((0, 0.1), (6.5, float("nan")), (8, 8.2), due=5)
    assert lost.since_due() == pytest.approx([100, 200])
    assert (lost.answered, len(lost.sent)) == (2, 3)


def test_no_packet_is_due_after_the_end() -> None:
    assert turn((0, 0.1), (9.5, 9.6), due=3).since_due() == pytest.approx([100, 7600, 5600])


def report(**more: object) -> bytes:
    sent = {"wall": 1795254400_000_002_264, "monotonic": 1_577_632}
    packets = [
        {"seqno": 0, "timestamps": {"client": {"receive": {"wall": 3, "monotonic": 1_677_632}, "send": sent}}},
        {"seqno": 1, "timestamps": {"client": {"receive": {}, "send": {"wall": 4, "monotonic": 3_577_632}}}},
    ]
    return json.dumps({"stats": {"start_time": "2026-11-21T09:46:40Z"}, "round_trips": packets} | more).encode()


@pytest.mark.parametrize("began", ["2026-11-21T09:46:40Z", "2026-11-21T10:46:40.000000000+01:00"])
def test_a_report_is_read(began: str) -> None:
    read = parse(report(stats={"start_time": began}), 2 * MS, 2)
    assert read.start == 1_577_632 - 2_264
    assert read.sent.tolist() == [1_577_632, 3_577_632]
    assert read.received[0] == 1_677_632
    assert np.isnan(read.received[1])


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (b"", "no JSON"),
        (b"[OpenTimeout] no reply", "no JSON"),
        (b"{}", "round_trips"),
        (report(round_trips=[]), "IndexError"),
        (report(stats={"start_time": "today"}), "today is not a time"),
        (report(send_err={"Op": "write", "Err": {"Syscall": "write", "Err": 111}}), "Connection refused"),
        (report(receive_err={"Code": -2055, "Detail": [1500]}), "choose a smaller message"),
        (report(receive_err={}), "irtt failed"),
    ],
)
def test_an_invalid_or_failed_report_is_an_error(output: bytes, reason: str) -> None:
    with pytest.raises(ProbeError, match=reason):
        parse(output, 2 * MS, 2)


def test_the_timer_waits_busily_as_little_as_possible() -> None:
    options = {ms: timer(timedelta(milliseconds=ms)) for ms in (1, 2, 10, 1000)}
    assert options == {
        1: "--timer=busy",
        2: "--timer=hybrid:0.5000",
        10: "--timer=hybrid:0.7500",
        1000: "--timer=hybrid:0.9975",
    }


@pytest.mark.sealed
@pytest.mark.parametrize("interval", ["1ms", "2ms", "10ms"])
@pytest.mark.exclusive
def test_a_real_run_agrees_with_the_programs_own_summary(interval: str, lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    measurement, raw = measured(lab, probe(interval=interval))
    found, own = values(measurement), json.loads(raw["irtt.json"])
    assert found["loss"] == own["stats"]["packet_loss_percent"] == 0
    assert found["jitter"] == pytest.approx(own["stats"]["ipdv_round_trip"]["mean"] / 1e3, rel=1e-3)
    (distribution,) = measurement.distributions
    own_rtts = np.array([packet["delay"]["rtt"] for packet in own["round_trips"]]) / 1e3
    # Each packet's time runs from the last due time before it was sent; none was sent early.
    first = own["round_trips"][0]["timestamps"]["client"]["send"]
    _, fraction = own["stats"]["start_time"].rstrip("Z").split(".")
    early = (first["wall"] - int(fraction.ljust(9, "0"))) % 10**9
    sent = [packet["timestamps"]["client"]["send"]["monotonic"] for packet in own["round_trips"]]
    every = own["config"]["params"]["interval"]
    late = np.array([(moment - first["monotonic"] + early) % every for moment in sent]) / 1e3
    assert set(np.round(own_rtts + late, 3)) <= set(np.round(distribution.values, 3))
    assert np.median(late) < 0.1 * every / 1e3
    assert set(found) <= set(PROBES["irtt"].metrics)
    assert found["open_rtt_p50"] <= found["open_rtt_p90"] <= found["open_rtt_p99"]


@pytest.mark.sealed
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.exclusive
def test_times_enclose_the_kernels_timestamps_of_the_same_packets(
    family: int,
    two_nodes: Topology,
    ipv6_only: Topology,
    measured,  # type: ignore[no-untyped-def]
    by_hand,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    lab = Lab(DESIGNS["l3-host-routes"].plan(two_nodes if family == 4 else ipv6_only))
    with by_hand.tapped(lab, tmp_path, "udp port 2112") as seen:
        measurement, raw = measured(lab, probe())
    # After the UDP header: 4 bytes of magic and flags, 8 of the connection's token, 4 of the packet's number.
    out, back = dict[int, float](), dict[int, float]()
    for moment, body in seen.packets:
        if body[4:6] != (8 + 64).to_bytes(2, "big"):
            continue  # Packets that open or close the connection are shorter.
        there = out if body[2:4] == (2112).to_bytes(2, "big") else back
        there[int.from_bytes(body[20:24], "little")] = moment
    packets = {packet["seqno"]: packet for packet in json.loads(raw["irtt.json"])["round_trips"]}
    assert out.keys() == back.keys() == packets.keys()
    for number, packet in packets.items():
        stamps = packet["timestamps"]["client"]
        moments = [stamps["send"]["wall"] / 1e9, out[number], back[number], stamps["receive"]["wall"] / 1e9]
        assert moments == sorted(moments)
    on_the_wire = np.array([back[number] - out[number] for number in sorted(out)]) * 1e6
    (distribution,) = measurement.distributions
    assert np.sort(distribution.values)[: len(on_the_wire)].min() > on_the_wire.min()


CLIENT = "-o - 10.244.1.2:2112"
SERVER = "-l 0"
STREAM = "--port 7500"
"""The ends of the command lines of irtt's client, its server and the load's server."""


@contextmanager
def meanwhile(act: Callable[[int], None], mark: str, after: float) -> Iterator[None]:
    """Call `act` with the pid of the process whose command line ends with `mark`, `after` seconds after it appeared."""

    def wait_and_act() -> None:
        while not (found := [path for path in Path("/proc").glob("[0-9]*") if command(path).endswith(mark)]):
            time.sleep(0.01)
        time.sleep(after)
        act(int(found[0].name))

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def stopped(mark: str, after: float, seconds: float) -> AbstractContextManager[None]:
    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    return meanwhile(stop, mark, after)


def killed(mark: str, after: float) -> AbstractContextManager[None]:
    return meanwhile(lambda pid: os.kill(pid, signal.SIGKILL), mark, after)


def command(process: Path) -> str:
    """The command line of a program, after taskset and env have executed it."""
    try:
        line = (process / "cmdline").read_bytes().decode().replace("\0", " ").strip()
    except OSError:
        return ""
    return line if line.startswith(("irtt ", "iperf3 --server")) else ""


@pytest.mark.sealed
@pytest.mark.parametrize("end", [CLIENT, SERVER])
@pytest.mark.exclusive
def test_packets_due_during_a_stall_include_the_wait(end: str, lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    with stopped(end, after=0.5, seconds=0.2):
        measurement, raw = measured(lab, probe(duration="2s"))
    (distribution,) = measurement.distributions
    # 100 of 1000 packets were due during the stop, half of them in its first half; irtt may have skipped a few.
    assert np.count_nonzero(distribution.values > 100_000) >= 40
    assert np.count_nonzero(distribution.values > 20_000) >= 75
    assert values(measurement)["open_rtt_p99"] > 150_000
    assert values(measurement)["open_rtt_p50"] < 20_000
    assert values(measurement)["loss"] == 0
    if end == CLIENT:  # irtt's own times do not include it.
        own = [packet["delay"]["rtt"] / 1e3 for packet in json.loads(raw["irtt.json"])["round_trips"]]
        assert np.percentile(own, 99) < 100_000


@pytest.mark.sealed
def test_loss_matches_the_kernels_drops(lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    by_hand.drop(lab, "web-2", "udp dport 2112 udp length 72 numgen inc mod 10 0")
    measurement, raw = measured(lab, probe())
    rules = by_hand.run(lab, "web-2", "nft", "list", "ruleset")
    dropped = int(rules.split("counter packets ")[1].split()[0])
    sent = len(json.loads(raw["irtt.json"])["round_trips"])
    assert values(measurement)["loss"] == pytest.approx(100 * dropped / sent)
    assert values(measurement)["loss"] == pytest.approx(10, abs=0.5)


@pytest.mark.sealed
def test_a_target_that_never_answers_is_an_error(lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    by_hand.drop(lab, "web-2", "udp dport 2112")
    with pytest.raises(ProbeError, match="no reply from server"):
        measured(lab, probe())


@pytest.mark.sealed
def test_if_all_packets_are_lost_only_loss_is_reported(lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    by_hand.drop(lab, "web-2", "udp dport 2112 udp length 72")
    measurement, _ = measured(lab, probe())
    assert values(measurement) == {"loss": 100.0}
    assert measurement.distributions == ()


@pytest.mark.sealed
def test_a_server_that_dies_is_an_error(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ProbeError, match="Connection refused"), killed(SERVER, after=0.5):
        measured(lab, probe())


@pytest.mark.sealed
def test_a_load_that_ends_early_is_an_error(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ProbeError, match="the load ended before the measurement did"), killed(STREAM, after=1.5):
        measured(lab, probe(load=1))


@pytest.mark.sealed
def test_packets_to_a_hanging_server_are_lost(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    with stopped(SERVER, after=0.5, seconds=2.5):
        measurement, _ = measured(lab, probe())
    assert 30 < values(measurement)["loss"] < 70


@pytest.mark.sealed
def test_a_message_that_irtt_cannot_receive_is_an_error(lab: Lab, measured) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ProbeError, match="MTU of 1500 bytes; choose a smaller message"):
        measured(lab, probe(message="2000B"))


@pytest.mark.sealed
@pytest.mark.exclusive
def test_many_packets_are_sent_in_turns(lab: Lab, measured, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("testbed.probes.irtt.TURN", 150)
    measurement, raw = measured(lab, probe())
    turns = [json.loads(raw[name]) for name in ("irtt.json", "irtt-2.json", "irtt-3.json", "irtt-4.json")]
    assert [turn["config"]["params"]["duration"] for turn in turns] == [250 * MS] * 4  # 125 packets each
    assert len(measurement.distributions[0].values) >= sum(len(turn["round_trips"]) for turn in turns)


@pytest.mark.sealed
@pytest.mark.exclusive
def test_a_load_shows_the_queue_that_it_fills(lab: Lab, measured, by_hand) -> None:  # type: ignore[no-untyped-def]
    by_hand.shape(lab, "rate", "100mbit", "burst", "32kbit", "latency", "50ms")
    alone, _ = measured(lab, probe(interval="10ms"))
    loaded, _ = measured(lab, probe(interval="10ms", load=2, duration="3s"))
    assert values(alone)["open_rtt_p50"] < 5_000
    assert 30_000 < values(loaded)["loaded_rtt_p50"] < 60_000
    assert loaded.distributions[0].metric == "loaded_rtt"
    assert set(values(loaded)) <= set(PROBES["irtt"].metrics)
    # 1448 of 1514 bytes on the shaped device are payload; a busy machine sends less.
    assert 0.5 < values(loaded)["loaded_throughput"] / (0.1 * 1448 / 1514) < 1.06


def test_with_a_load_the_ends_have_separate_cpus_and_it_takes_longer() -> None:
    alone, loaded = probe(duration="10min", interval="1ms"), probe(load=1)
    assert (alone.together, alone.tools, alone.seconds) == (True, ("irtt",), 600)
    assert (loaded.together, loaded.tools, loaded.seconds) == (False, ("irtt", "iperf3"), 4)
