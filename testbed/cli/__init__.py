"""The command line: one verb a file, each parses its arguments, calls one room, and prints.

Exit codes: 0 done, 1 a check says no, 2 the input is wrong, 3 this machine lacks something, 130 interrupted.
"""

import sys


def main() -> None:
    """The program `testbed`."""
    if sys.argv[1:2] == ["exec"]:
        from testbed.cli.quick import try_exec

        try_exec(sys.argv[2:])
    from testbed.cli.verbs import run_verb

    run_verb()
