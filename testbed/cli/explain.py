"""testbed explain"""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testbed.cli.errors import WrongInput
from testbed.cli.settled import settled_cluster

if TYPE_CHECKING:
    from testbed.kubernetes.policies.members import Members

PROTOCOLS = ("tcp", "udp", "sctp", "icmp")
_WITH_PORT = re.compile(r"(\[(?P<six>.+)\]|(?P<name>[^:]*))(:(?P<port>\d+))?")


@click.command(
    epilog="Example: testbed explain client db-0:5432 --topology topologies/two-nodes.yaml "
    "-f examples/manifests/shop.yaml"
)
@click.argument("source", metavar="A")
@click.argument("target", metavar="B[:PORT]")
@click.option("--topology", required=True, type=click.Path(path_type=Path), help="The nodes, and their pods.")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="A manifest, or a folder of manifests; - reads standard input. May be repeated.",
)
@click.option("--protocol", type=click.Choice(PROTOCOLS), default="tcp", show_default=True, help="The protocol.")
@click.option("-6", "family", flag_value=6, type=int, default=4, help="IPv6 instead of IPv4.")
@click.option("--seed", default=0, show_default=True, help="Generated names of pods depend on it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(
    source: str,
    target: str,
    topology: Path,
    files: tuple[Path, ...],
    protocol: str,
    family: int,
    seed: int,
    as_json: bool,
) -> None:
    """Tell whether network policies allow A to connect to B, and which of their rules decide.

    A and B are pods (NAMESPACE/NAME, or NAME in the namespace default), nodes, or IP addresses. Builds nothing. Ends
    with exit code 1 if the connection is denied.
    """
    from testbed.kubernetes.policies import allowed, resolve
    from testbed.kubernetes.policies.locating import locate_in

    cluster = settled_cluster(topology, files, seed)
    policies = resolve(cluster.state)
    host, port = _with_port(target, protocol)
    one, other = _place(policies.members, source), _place(policies.members, host)
    verdict = allowed(policies, one, other, port, protocol.upper(), family)
    why = verdict.why(locate_in(cluster.manifests))
    if as_json:
        facts = {"from": one, "to": other, "port": port, "protocol": protocol.upper(), "family": family}
        click.echo(json.dumps(facts | {"allowed": verdict.is_allowed, "why": list(why)}, indent=2))
    else:
        what = f"{protocol.upper()} {port}" if port else protocol.upper()
        click.echo(f"{one} -> {other} {what}: {'allowed' if verdict.is_allowed else 'denied'}")
        for line in why:
            click.echo(f"  {line}")
    for line in (*cluster.remarks, *policies.remarks):
        click.echo(line, err=True)
    sys.exit(0 if verdict.is_allowed else 1)


def _with_port(target: str, protocol: str) -> tuple[str, int]:
    """The place and the port of `B:PORT`, `[fd00::1]:PORT`, or of an ICMP target."""
    match = _WITH_PORT.fullmatch(target)
    if protocol == "icmp":
        return (target if match is None else match["six"] or match["name"]), 0
    if match is None or match["port"] is None:
        plain = target.strip("[]")
        example = f"[{plain}]:80" if ":" in plain else f"{plain}:80"
        raise WrongInput(f"B is '{target}', which names no port; write B:PORT, such as {example}")
    if not 1 <= int(match["port"]) <= 65535:
        raise WrongInput(f"B is '{target}'; a port must be 1 to 65535")
    return match["six"] or match["name"], int(match["port"])


def _place(members: "Members", name: str) -> str:
    """The full name of a pod, a node or an address."""
    from testbed.spec.nearest import nearest

    for full in (name, f"default/{name}"):
        try:
            members.place(full)
        except KeyError:
            continue
        return full
    known = [*(pod.name for pod in members.pods), *("/".join(key) for key in members.hosts), *members.nodes]
    near = nearest(name, tuple(one.removeprefix("default/") for one in known))
    hint = f"did you mean '{near}'?" if near else "`testbed schedule TOPOLOGY -f MANIFESTS -A` lists the pods"
    raise WrongInput(f"'{name}' is no pod, node or address; {hint}")
