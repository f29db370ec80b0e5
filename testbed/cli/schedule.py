"""testbed schedule"""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testbed.cli.manifests import left_out_lines, texts_of

if TYPE_CHECKING:
    from testbed.kubernetes.kinds import Kind
    from testbed.kubernetes.models.meta import LabelSelector
    from testbed.kubernetes.state import ClusterState

ALL = ("pods", "services", "daemonsets", "deployments", "replicasets", "statefulsets", "jobs")
"""What kubectl means by `all`."""


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

    wanted, labels = _kinds(kind), _selector(selector)
    state, remarks = _settled(topology, files, seed)
    shown = (
        one
        for each in wanted
        for one in state.of(each).values()
        if (all_namespaces or one.namespace in ("", namespace)) and labels.matches(one.labels)
    )
    if text := printed(state, shown, output or "", with_namespace=all_namespaces):
        click.echo(text)
    else:
        click.echo(f"No resources found{'' if all_namespaces else f' in {namespace} namespace'}.", err=True)
    pending = _pending(state)
    for line in (*remarks, *pending):
        click.echo(line, err=True)
    sys.exit(1 if pending else 0)


def _settled(topology: Path, files: tuple[Path, ...], seed: int) -> "tuple[ClusterState, list[str]]":
    """The cluster once all updates are done, and lines about what was left out."""
    from testbed.kubernetes.applying import apply
    from testbed.kubernetes.reading import read_manifests
    from testbed.kubernetes.workloads import settled
    from testbed.plan.addressing import layout
    from testbed.plan.cluster import cluster_of
    from testbed.spec.load import load_topology

    loaded = load_topology(topology)
    given = texts_of(files)
    manifests = read_manifests(given.texts)
    cluster = cluster_of(layout(loaded.value), seed, time.time())
    return settled(apply(cluster, manifests).state), list(left_out_lines(manifests, given.skipped))


def _pending(state: "ClusterState") -> list[str]:
    """A line for each group of pods that cannot run, for the same reason."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for pod in state.pods:
        if pod.reason or (pod.node and ("", pod.node) not in state.of("Node")):
            reason = pod.reason or f"node {pod.node} not found"
            owner = pod.metadata.owner.uid if pod.metadata.owner else pod.uid
            groups.setdefault((pod.namespace, owner, reason), []).append(pod.name)
    return [
        f"Pending: {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"
        f"{f' in {namespace}' if namespace != 'default' else ''}: {reason}"
        for (namespace, _, reason), names in groups.items()
    ]


def _kinds(text: str) -> "list[Kind]":
    """The kinds named on the command line."""
    from testbed.kubernetes.kinds import all_names, kind_named
    from testbed.spec.nearest import unknown

    found = []
    for name in ALL if text == "all" else text.split(","):
        kind = kind_named(name)
        if kind is None:
            raise click.UsageError(unknown("kind", name, all_names()))
        found.append(kind)
    return found


def _selector(text: str) -> "LabelSelector":
    from testbed.kubernetes.selectors import parse_selector

    try:
        return parse_selector(text)
    except ValueError as error:
        raise click.UsageError(f"--selector: {error}") from None
