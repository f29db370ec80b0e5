"""The command line, one file per verb: each parses its arguments, calls one package, and prints.

Exit codes: 0 ok, 1 the checked thing failed, 2 wrong input, 3 the machine lacks something, 4 output cannot be written,
130 interrupted.
"""

import atexit
import gc
import sys

from testbed.kernel.search_path import add_sbin

COLLECT_AFTER = 100_000
"""New objects before the first garbage collection, which finds little: a verb keeps what it loads until it ends."""


def main() -> None:
    """The program `testbed`."""
    gc.set_threshold(COLLECT_AFTER)
    atexit.register(gc.freeze)  # Without this, Python collects once more at exit.
    add_sbin()
    if sys.argv[1:2] == ["exec"] and None not in (sys.stdin, sys.stdout, sys.stderr):
        from testbed.cli.quick import try_exec

        try_exec(sys.argv[2:])
    from testbed.cli.output import prepare

    prepare()
    from testbed.cli.verbs import run_verb

    run_verb()
