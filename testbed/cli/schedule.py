"""testbed schedule"""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testbed.cli.manifests import left_out_lines

if TYPE_CHECKING:
    from testbed.kubernetes.state import ClusterState


@click.command(epilog="Example: testbed schedule topologies/two-nodes.yaml -f examples/manifests/shop.yaml -o wide")
@click.argument("topology", type=click.Path(path_type=Path))
@click.argument("kind", default="pods")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="A manifest, or a folder of manifests; - reads standard input. May be repeated.",
)
@click.option("-n", "--namespace", default="default", show_default=True, help="Show objects of this namespace.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Show objects of all namespaces.")
@click.option("-l", "--selector", default="", metavar="SELECTOR", help="Show objects with these labels: app=web,tier.")
@click.option("-o", "--output", type=click.Choice(["wide", "yaml", "json", "name"]), help="Another form of output.")
@click.option("--seed", default=0, show_default=True, help="Generated names depend on it.")
def schedule(
    topology: Path,
    kind: str,
    files: tuple[Path, ...],
    namespace: str,
    all_namespaces: bool,
    selector: str,
    output: str | None,
    seed: int,
) -> None:
    """Show which pods Kubernetes manifests make, and on which node of a topology each would run.

    KIND is pods, or any other kind, such as deployments, nodes or all. Builds nothing. Ends with exit code 1 if a pod
    would stay Pending, and says why.
    """
    from testbed.kubernetes.printing import printed
    from testbed.kubernetes.references import found, references, scope
    from testbed.kubernetes.refused import Refused
    from testbed.kubernetes.verbs import pending

    try:
        wanted, where = references([kind]), scope(namespace, all_namespaces, selector)
    except Refused as error:
        raise click.UsageError(str(error)) from None
    state, remarks = _settled(topology, files, seed)
    if text := printed(state, found(state, wanted, where), output or "", with_namespace=all_namespaces):
        click.echo(text)
    else:
        click.echo(f"No resources found{'' if all_namespaces else f' in {namespace} namespace'}.", err=True)
    waiting = pending(state)
    for line in (*remarks, *waiting):
        click.echo(line, err=True)
    sys.exit(1 if waiting else 0)


def _settled(topology: Path, files: tuple[Path, ...], seed: int) -> "tuple[ClusterState, list[str]]":
    """The cluster once all updates are done, and lines about what was left out."""
    from testbed.kubernetes.applying import apply
    from testbed.kubernetes.reading import read_manifests
    from testbed.kubernetes.workloads import settled
    from testbed.lab.manifests import texts_of
    from testbed.plan.addressing import layout
    from testbed.plan.cluster import cluster_of
    from testbed.spec.load import load_topology

    loaded = load_topology(topology)
    given = texts_of(files)
    manifests = read_manifests(given.texts)
    cluster = cluster_of(layout(loaded.value), seed, time.time())
    return settled(apply(cluster, manifests).state), list(left_out_lines(manifests, given.skipped))
