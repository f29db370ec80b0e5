"""testbed get"""

from typing import Any

import click

from testbed.cli.errors import WrongInput
from testbed.cli.labs import lab_errors, lab_option, the_lab
from testbed.cli.objects import ALL_NAMESPACES, NAMESPACE, SELECTOR
from testbed.lab.living import CommandRefused, LivingLab


@click.command(epilog="Example: testbed get pods -o wide")
@lab_option
@click.argument("words", nargs=-1, required=True, metavar="KIND [NAME...] | KIND/NAME...")
@NAMESPACE
@ALL_NAMESPACES
@SELECTOR
@click.option("-o", "--output", type=click.Choice(["wide", "yaml", "json", "name"]), help="Another form of output.")
@click.option("-w", "--watch", is_flag=True, help="Go on, and print objects again when they change, until Ctrl-C.")
@click.option("--no-headers", is_flag=True, help="Without the names of columns.")
@click.option("--ignore-not-found", "ignore_missing", is_flag=True, help="A missing object is no mistake.")
def get(
    name: str | None,
    words: tuple[str, ...],
    namespace: str,
    all_namespaces: bool,
    selector: str,
    output: str | None,
    watch: bool,
    no_headers: bool,
    ignore_missing: bool,
) -> None:
    """Print Kubernetes objects of a lab, as kubectl does: pods, deployments, nodes, all, or any other kind."""
    lab = the_lab(name)
    options = {"namespace": namespace, "all_namespaces": all_namespaces, "selector": selector, "output": output}
    answer = _asked(lab, words, ignore_missing, options)
    if answer["text"]:
        _print(answer["text"], without_head=no_headers and output in (None, "wide"))
    elif not ignore_missing:
        where = "" if all_namespaces else f" in {namespace} namespace"
        click.echo(f"No resources found{where}.", err=True)
    while watch:
        answer = _asked(lab, words, True, {**options, "since": answer["version"]})
        if answer["text"]:
            _print(answer["text"], without_head=output in (None, "wide"))


def _asked(lab: LivingLab, words: tuple[str, ...], ignore_missing: bool, options: dict[str, Any]) -> dict[str, Any]:
    try:
        with lab_errors():
            return lab.objects(words, ignore_missing=ignore_missing, **options)
    except CommandRefused as error:
        raise WrongInput(str(error)) from None


def _print(text: str, without_head: bool) -> None:
    """Prints a table, or another form; several tables are separated by empty lines."""
    if not without_head:
        click.echo(text)
        return
    for table in text.split("\n\n"):
        click.echo("".join(f"{line}\n" for line in table.splitlines()[1:]), nl=False)
