"""The meter: its counts, and its program on this machine, where the counter counts cycles."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.counting.meter import MODES, Counted, MeterFailed, Mode, build, counted

ROUND_TRIP = Mode("tcp_64_instructions", "tcp", 64, 4)


@pytest.fixture(scope="module")
def meter() -> Iterator[Path]:
    """The program, while its server runs."""
    program = build()
    with subprocess.Popen([program, "serve"], stdout=subprocess.PIPE) as server:
        assert server.stdout
        assert server.stdout.readline() == b"ready\n"
        yield program
        server.kill()


def test_the_programs_own_instructions_are_subtracted() -> None:
    assert counted("1025 25 400\n1025 25 400\n1035 25 400\n2025 25 400\n", ROUND_TRIP) == Counted(1005, 1000, 50, 25)


def test_an_interrupt_in_the_program_itself_changes_no_count() -> None:
    assert counted("1025 25 0\n1025 9000 0\n1025 25 0\n", ROUND_TRIP) == Counted(1000, 1000, 0, 25)


def test_one_way_is_until_the_request_arrives() -> None:
    one_way = Mode("packet_instructions", "udp", 64, 2, one_way=True)
    assert counted("1025 25 400\n1025 25 410\n", one_way) == Counted(405, 400, 50, 0)


def test_counts_with_several_likely_values_are_averaged() -> None:
    bulk = Mode("bulk_instructions", "bulk", 64, 4, average=True)
    assert counted("100 0 0\n100 0 0\n100 0 0\n104 0 0\n", bulk).typical == 101


def test_no_lines_are_no_counts() -> None:
    with pytest.raises(MeterFailed, match="printed no counts"):
        counted("", ROUND_TRIP)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.metric)
@pytest.mark.root
def test_the_program_counts_every_mode(meter: Path, mode: Mode, address: str) -> None:
    command = [str(meter), "ask", address, mode.mode, str(mode.size), "5"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    found = counted(output, mode)
    assert len(output.splitlines()) == 5
    assert 0 < found.minimum <= found.typical * 1.0001
    assert 0 <= found.own < found.typical


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["127.0.0.1", "tcp", "64"], "usage: meter serve | meter ask ADDRESS MODE SIZE COUNT [FILE]"),
        (["127.0.0.1", "walk", "64", "1"], "walk: Invalid argument"),
        (["127.0.0.1", "tcp", "64", "1", "/nowhere/file"], "/nowhere/file: No such file or directory"),
    ],
)
def test_wrong_words_are_refused(meter: Path, words: list[str], error: str) -> None:
    done = subprocess.run([meter, "ask", *words], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr.strip()) == (1, error)
