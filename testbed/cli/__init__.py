"""The command line: one verb a file, each parses its arguments, calls one room, and prints.

Exit codes: 0 done, 1 a check says no, 2 the input is wrong, 3 this machine lacks something, 130 interrupted.
"""

import atexit
import gc
import sys

COLLECT_AFTER = 100_000
"""New objects before the first search for garbage: what a verb loads stays until it ends, so searching is wasted."""


def main() -> None:
    """The program `testbed`."""
    gc.set_threshold(COLLECT_AFTER)
    atexit.register(gc.freeze)  # Or Python would search once more when it ends.
    if sys.argv[1:2] == ["exec"]:
        from testbed.cli.quick import try_exec

        try_exec(sys.argv[2:])
    from testbed.cli.verbs import run_verb

    run_verb()
