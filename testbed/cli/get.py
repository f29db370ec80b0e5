"""testbed get"""

from typing import Any

import click

from testbed.cli.aligning import Aligned
from testbed.cli.labs import lab_errors, lab_option, the_lab
from testbed.cli.objects import ALL_NAMESPACES, NAMESPACE, SELECTOR
from testbed.lab.living import LivingLab


@click.command(epilog="Example: testbed get pods -o wide")
@lab_option
@click.argument("words", nargs=-1, required=True, metavar="KIND [NAME...] | KIND/NAME...")
@NAMESPACE
@ALL_NAMESPACES
@SELECTOR
@click.option("-o", "--output", type=click.Choice(["wide", "yaml", "json", "name"]), help="Another form of output.")
@click.option("-w", "--watch", is_flag=True, help="Go on, and print objects again when they change, until Ctrl-C.")
@click.option("--no-headers", is_flag=True, help="Without the names of columns.")
@click.option("--show-labels", is_flag=True, help="With a column of labels.")
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
    show_labels: bool,
    ignore_missing: bool,
) -> None:
    """Print Kubernetes objects of a lab, as kubectl does: pods, deployments, nodes, all, or any other kind."""
    lab = the_lab(name)
    options = {"namespace": namespace, "all_namespaces": all_namespaces, "selector": selector, "output": output}
    options["show_labels"] = show_labels
    answer = _asked(lab, words, ignore_missing, options)
    aligned = Aligned() if output in (None, "wide") else None
    if answer["text"]:
        click.echo(aligned.text(answer["text"], not no_headers) if aligned else answer["text"])
    elif not ignore_missing and not watch:
        where = "" if all_namespaces else f" in {namespace} namespace"
        click.echo(f"No resources found{where}.", err=True)
    while watch:
        answer = _asked(lab, words, True, {**options, "since": answer["version"]})
        if answer["text"]:
            click.echo(aligned.text(answer["text"], not no_headers) if aligned else answer["text"])


def _asked(lab: LivingLab, words: tuple[str, ...], ignore_missing: bool, options: dict[str, Any]) -> dict[str, Any]:
    with lab_errors():
        return lab.objects(words, ignore_missing=ignore_missing, **options)
