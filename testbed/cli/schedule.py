"""testbed schedule"""

import sys
from pathlib import Path

import click

from testbed.cli.settled import settled_cluster


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
    cluster = settled_cluster(topology, files, seed)
    state = cluster.state
    if text := printed(state, found(state, wanted, where), output or "", with_namespace=all_namespaces):
        click.echo(text)
    else:
        click.echo(f"No resources found{'' if all_namespaces else f' in {namespace} namespace'}.", err=True)
    waiting = pending(state)
    for line in (*cluster.remarks, *waiting):
        click.echo(line, err=True)
    sys.exit(1 if waiting else 0)
