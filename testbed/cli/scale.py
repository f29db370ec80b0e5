"""testbed scale"""

from pathlib import Path

import click

from testbed.cli.labs import lab_option
from testbed.cli.log import LOG
from testbed.cli.objects import NAMESPACE, SELECTOR, carry_out


@click.command(epilog="Example: testbed scale deployment/web --replicas 5")
@lab_option
@click.argument("words", nargs=-1, required=True, metavar="KIND NAME... | KIND/NAME...")
@click.option("--replicas", type=click.IntRange(min=0), required=True, help="The number of pods.")
@click.option("--current-replicas", "current", type=click.IntRange(min=0), help="Only if it has so many now.")
@NAMESPACE
@SELECTOR
@LOG
def scale(
    name: str | None,
    words: tuple[str, ...],
    replicas: int,
    current: int | None,
    namespace: str,
    selector: str,
    log: Path | None,
) -> None:
    """Set the number of pods of a Deployment, a ReplicaSet or a StatefulSet of a lab."""
    carry_out(
        name, "scale", log, words=words, replicas=replicas, current=current, namespace=namespace, selector=selector
    )
