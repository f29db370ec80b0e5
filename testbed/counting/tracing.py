"""The kernel's function graph tracer: every function that a packet's path calls, with its instructions."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_OPTIONS = {
    "funcgraph-proc": 1,  # The stack of each task is its own.
    "funcgraph-tail": 1,
    "funcgraph-cpu": 0,
    "funcgraph-overhead": 0,
    "funcgraph-irqs": 1,
    "sleep-time": 0,  # A function is not charged for other tasks while it waits.
}
BUFFER_KIB = 16384


@dataclass
class Trace:
    """The output of the tracer, complete when tracing has ended."""

    text: str = ""


def mount_tracefs(folder: Path) -> None:
    """Mount the tracer's files. Capsules made later keep this mount, with a /sys of their own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tracefs", "tracefs", str(folder)], check=True)


@contextmanager
def functions(folder: Path) -> Iterator[Trace]:
    """Prepare tracing; it begins when `tracing_on` has a 1."""
    trace = Trace()
    (folder / "tracing_on").write_text("0")
    (folder / "buffer_size_kb").write_text(str(BUFFER_KIB))
    (folder / "current_tracer").write_text("function_graph")
    for option, value in _OPTIONS.items():
        (folder / "options" / option).write_text(str(value))
    yield trace
    (folder / "tracing_on").write_text("0")
    trace.text = (folder / "trace").read_text()
    (folder / "current_tracer").write_text("nop")
