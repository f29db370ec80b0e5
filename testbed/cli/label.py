"""testbed label"""

import click

from testbed.cli.labs import lab_option
from testbed.cli.objects import NAMESPACE, SELECTOR, carry_out, changes_of


@click.command(epilog="Example: testbed label pod web-1 tier=front")
@lab_option
@click.argument("words", nargs=-1, required=True, metavar="KIND NAME... | KIND/NAME... KEY=VALUE... KEY-...")
@NAMESPACE
@SELECTOR
@click.option("--all", "every", is_flag=True, help="All objects of the kind.")
@click.option("--overwrite", is_flag=True, help="Replace values that are there.")
def label(
    name: str | None, words: tuple[str, ...], namespace: str, selector: str, every: bool, overwrite: bool
) -> None:
    """Set labels of Kubernetes objects of a lab: KEY=VALUE; KEY- removes one."""
    objects, changes = changes_of(words)
    carry_out(
        name,
        "mark",
        what="label",
        words=objects,
        changes=changes,
        overwrite=overwrite,
        namespace=namespace,
        selector=selector,
        every=every,
    )
