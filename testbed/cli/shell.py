"""testbed shell"""

import sys

import click

from testbed.cli.exec import become
from testbed.cli.labs import complete_place, lab_errors, lab_option, the_lab
from testbed.lab.entering import BASHRC


@click.command(epilog="Example: testbed shell web-1")
@lab_option
@click.argument("target", required=False, shell_complete=complete_place)
def shell(name: str | None, target: str | None) -> None:
    """Open a shell in a pod or on a node; without TARGET, Mininet's, where `web-1 ping web-2` works."""
    if target is not None:
        become(name, target, ["bash", "--rcfile", BASHRC, *(["-i"] if sys.stdin.isatty() else [])])
    lab = the_lab(name)
    with lab_errors():
        from testbed.lab.mininet_shell import converse

        plan = lab.plan
        with lab.entrance() as enter:
            lab.inside(lambda _: converse(plan, enter))
