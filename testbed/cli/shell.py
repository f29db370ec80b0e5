"""testbed shell"""

import sys

import click

from testbed.cli.exec import become
from testbed.cli.labs import NAMESPACE_OF_POD, complete_place, lab_errors, lab_option, the_lab
from testbed.lab.entering import BASHRC


@click.command(epilog="Example: testbed shell web-1")
@lab_option
@NAMESPACE_OF_POD
@click.argument("target", required=False, shell_complete=complete_place)
def shell(name: str | None, namespace: str, target: str | None) -> None:
    """Open a shell in a pod or on a node; without TARGET, Mininet's, where `web-1 ping web-2` works."""
    if target is not None:
        become(name, target, ["bash", "--rcfile", BASHRC, *(["-i"] if sys.stdin.isatty() else [])], namespace)
    lab = the_lab(name)
    with lab_errors():
        from testbed.lab.mininet_shell import converse

        plan = lab.plan
        with lab.entrance() as enter:
            lab.inside(lambda _: converse(plan, enter))
