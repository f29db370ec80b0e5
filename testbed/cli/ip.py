"""testbed ip"""

import click

from testbed.cli.exec import _REST, become
from testbed.cli.labs import NAMESPACE_OF_POD, complete_place, lab_option


@click.command(context_settings=_REST, epilog="Example: testbed ip web-1 -brief address")
@lab_option
@NAMESPACE_OF_POD
@click.argument("target", shell_complete=complete_place)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF IP] OBJECT COMMAND...")
def ip(name: str | None, namespace: str, target: str, arguments: tuple[str, ...]) -> None:
    """Run ip(8) in a pod or on a node: `testbed exec TARGET -- ip ...`."""
    become(name, target, ["ip", *(["-color=auto"] if not arguments else []), *(arguments or ["address"])], namespace)
