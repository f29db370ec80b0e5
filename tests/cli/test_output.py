"""Output that cannot be written, characters that a terminal lacks, a PATH without sbin, a removed working folder."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from testbed.cli.errors import OUTPUT_FAILED, OutputFailed, WrongInput
from testbed.cli.output import write_file
from testbed.kernel.search_path import SBIN, add_sbin

ROOT = Path(__file__).parents[2]
TOPOLOGY = str(ROOT / "topologies/two-nodes.yaml")
PLAN = ("plan", TOPOLOGY, "--design", "vxlan")
QUIET_VERBS = (PLAN, ("designs",), ("designs", "--json"), ("list", "--json"), ("doctor", "--json"), ("--help",))
"""Verbs that write to standard output and need no lab."""
FULL = "testbed: standard output cannot be written: No space left on device\n"
CLOSED = "testbed: standard output cannot be written: it is closed\n"


def said(
    redirected: str, *words: str, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> tuple[int, bytes, str]:
    """Exit code, standard output and standard error of `testbed WORDS...` with a redirection of the shell."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-m", "testbed", *words],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        cwd=folder or ROOT,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


@pytest.mark.parametrize("words", QUIET_VERBS, ids=" ".join)
def test_output_that_cannot_be_written_has_its_exit_code_and_one_line(words: tuple[str, ...]) -> None:
    assert said(">/dev/full", *words) == (OUTPUT_FAILED, b"", FULL)
    assert said(">&-", *words) == (OUTPUT_FAILED, b"", CLOSED)


def test_errors_that_cannot_be_written_keep_their_exit_code() -> None:
    for redirected in ("2>/dev/full", "2>&-", "<&- >&- 2>&-"):
        assert said(redirected, "plan", "missing.yaml", "--design", "vxlan") == (2, b"", "")


def test_a_reader_that_closes_a_pipe_is_no_failure() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "testbed", *PLAN], stdout=pipe, stderr=subprocess.PIPE, cwd=ROOT, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("encoding", "line"),
    [("utf-8", "µs → ✓"), ("latin-1", "µs -> ok"), ("ascii", "us -> ok"), ("cp1252", "µs -> ok")],
)
def test_characters_that_an_encoding_lacks_become_near_ones(encoding: str, line: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from testbed.cli.output import prepare; import click, sys; prepare();"
            "click.echo('µs → ✓'); click.echo('µs → ✓', err=True); print('µs → ✓'); click.echo('\\udcff\\u4e2d')",
        ],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
        check=True,
    )
    first, second, last = done.stdout.splitlines()
    assert first.decode(encoding) == second.decode(encoding) == done.stderr.decode(encoding).strip() == line
    assert last == b"\xff" + ("\u4e2d".encode() if encoding == "utf-8" else b"?")


def test_files_are_utf_8_in_every_locale(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(Path(TOPOLOGY).read_text() + "# µ → ✓\n", encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert said("", "validate", str(file), environment=plain)[0] == 0
    picture = tmp_path / "t.dot"
    assert said("", "graph", str(file), "--design", "vxlan", "-o", str(picture), environment=plain)[0] == 0
    assert picture.read_text(encoding="utf-8").startswith("graph")


@pytest.mark.root
def test_checks_and_traces_are_printed_in_every_encoding() -> None:
    name = f"test-output-{os.getpid()}"
    assert said("", "up", TOPOLOGY, "--design", "vxlan", "--name", name)[0] == 0
    try:
        for encoding in ("latin-1", "ascii"):
            code, out, err = said(
                "", "trace", "--lab", name, "client", "web-2", environment={"PYTHONIOENCODING": encoding}
            )
            assert (code, err) == (0, "")
            assert "client -> web-2  icmp 10.244.0.2 -> 10.244.1.2" in out.decode(encoding)
        for words in (("check",), ("check", "--json"), ("trace", "client", "web-2"), ("inspect",)):
            assert said(">/dev/full", words[0], "--lab", name, *words[1:]) == (OUTPUT_FAILED, b"", FULL)
    finally:
        assert said("", "down", name)[0] == 0


@pytest.mark.root
def test_labs_work_in_a_removed_working_folder(tmp_path: Path) -> None:
    name = f"test-gone-{os.getpid()}"
    gone = tmp_path / "gone"
    gone.mkdir()
    script = """
        cd "$1"; rmdir "$1"; shift
        "$@" up "$0" --design vxlan --name $LAB && "$@" exec --lab $LAB client -- hostname &&
        "$@" exec --lab $LAB node1 -- hostname && "$@" inspect --lab $LAB && "$@" down $LAB"""
    done = subprocess.run(
        ["sh", "-c", script, TOPOLOGY, str(gone), sys.executable, "-m", "testbed"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "LAB": name},
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stdout.splitlines()[1:3]) == (0, ["client", "node1"])


def test_sbin_is_searched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/sbin")
    add_sbin()
    add_sbin()
    assert os.environ["PATH"] == "/usr/bin:/sbin:/usr/local/sbin:/usr/sbin"
    monkeypatch.delenv("PATH")
    add_sbin()
    assert os.environ["PATH"].endswith(":".join(SBIN))


@pytest.mark.root
def test_a_path_without_sbin_lacks_no_program_in_a_lab() -> None:
    name, path = f"test-sbin-{os.getpid()}", {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    assert said("", "up", TOPOLOGY, "--design", "vxlan", "--name", name, environment=path)[::2] == (0, "")
    try:
        assert said("", "exec", "--lab", name, "node1", "--", "bridge", "link", environment=path)[::2] == (0, "")
    finally:
        assert said("", "down", name)[0] == 0
    assert said("", "doctor", "--json", environment=path)[1] == said("", "doctor", "--json")[1]


def test_a_file_is_written_whole_and_what_was_done_is_said(tmp_path: Path) -> None:
    file, link = tmp_path / "a.svg", tmp_path / "link.svg"
    link.symlink_to("a.svg")
    assert write_file(file, b"one") == f"wrote {file}"
    file.chmod(0o640)
    assert write_file(link, b"two") == f"replaced {link}"
    assert link.is_symlink()
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"two", 0o640)
    assert write_file(Path("/dev/null"), b"x") == "wrote /dev/null"
    with pytest.raises(OutputFailed, match=r"^/dev/full cannot be written: No space left on device$"):
        write_file(Path("/dev/full"), b"x")
    with pytest.raises(WrongInput, match="No such file or directory"):
        write_file(tmp_path / "missing" / "a.svg", b"x")
    assert {path.name for path in tmp_path.iterdir()} == {"a.svg", "link.svg"}


@pytest.mark.root
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = 'mount -t tmpfs -o size=4k tmpfs "$0"; echo old > "$0/a.dot"; "$@" "$0/a.dot"; cat "$0/a.dot"'
    drawing = (sys.executable, "-m", "testbed", "graph", TOPOLOGY, "--design", "vxlan", "-o")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, str(small), *drawing],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.stdout == "old\n"
    assert "a.dot cannot be written: No space left on device" in done.stderr
