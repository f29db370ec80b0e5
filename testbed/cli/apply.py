"""testbed apply"""

from pathlib import Path

import click

from testbed.cli.labs import lab_option
from testbed.cli.log import LOG
from testbed.cli.objects import FILES, NAMESPACE, carry_out


@click.command(epilog="Example: testbed apply -f examples/manifests/shop.yaml")
@lab_option
@FILES
@NAMESPACE
@LOG
def apply(name: str | None, files: tuple[Path, ...], namespace: str, log: Path | None) -> None:
    """Apply Kubernetes manifests to a lab that is up: what is new is made, what differs is changed.

    Returns when the lab has followed: controllers have run, pods are attached, containers have started. Probes and
    waiting times go on. If a manifest has a mistake, nothing is changed.
    """
    if not files:
        raise click.UsageError("name the manifests: -f FILE")
    _, done = carry_out(name, "apply", log, files, namespace=namespace)
    click.echo(f"applied in {done['seconds'] * 1000:.0f} ms", err=True)
