"""testbed up"""

import re
import sys
from pathlib import Path

import click

from testbed.cli.choosing import HELP, chosen_for
from testbed.cli.errors import WrongInput
from testbed.cli.log import LOG, need_log, write_log
from testbed.cli.manifests import skipped_lines
from testbed.cli.objects import FILES, NAMESPACE
from testbed.lab.living import CannotBeBuilt, ChangeFailed, LivingLab, NameTaken, facts_of
from testbed.spec.agents import OWN, POLICIES, PROXIES, WrongEngine

_NAME = re.compile(r"[A-Za-z0-9][-_.A-Za-z0-9]{0,62}")


@click.command(epilog="Example: testbed up topologies/two-nodes.yaml --design vxlan")
@click.argument("topology", type=click.Path(path_type=Path))
@click.option("--design", required=True, metavar="DESIGN", help=HELP)
@click.option("--name", metavar="LAB", help="Name of the lab.  [default: TOPOLOGY-DESIGN, by their names]")
@click.option("--offload", type=click.Choice(["on", "off"]), default="on", show_default=True, help="TSO, GSO and GRO.")
@FILES
@NAMESPACE
@click.option(
    "--host-images",
    is_flag=True,
    help="Let containers of the image `host` and of well-known tool images, such as busybox, run their command from "
    "this machine's files.",
)
@click.option(
    "--proxy",
    type=click.Choice(PROXIES),
    default=OWN,
    show_default=True,
    help="The service proxy: the design's (kube-proxy in mode iptables, except for Cilium), another one, or none.",
)
@click.option(
    "--policies",
    type=click.Choice(POLICIES),
    default=OWN,
    show_default=True,
    help="What enforces NetworkPolicies: the design's own engine, if it has one, another one, or none.",
)
@LOG
def up(
    topology: Path,
    design: str,
    name: str | None,
    offload: str,
    files: tuple[Path, ...],
    namespace: str,
    host_images: bool,
    proxy: str,
    policies: str,
    log: Path | None,
) -> None:
    """Bring a lab up. It runs until `testbed down`, even after this terminal is closed.

    With -f, or `manifests` in the topology, it begins with the pods of Kubernetes manifests.
    """
    from testbed.experiment.needs import need_for_lab
    from testbed.lab.beginning import begun_with
    from testbed.spec.design import JOINED

    wanted, loaded = chosen_for(topology, design)
    name = name or f"{loaded.value.name}-{wanted.name.replace(JOINED, '-')}"
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"'{name}' is not a valid lab name: use letters, digits, '-', '_' and '.', at most 63")
    need_for_lab(wanted, loaded.value)
    if log and not wanted.plugins:
        raise click.UsageError(f"--log: the design {wanted.name} calls no CNI plugin")
    need_log(log)
    try:
        begun = begun_with(
            loaded, wanted, files, offload=offload == "on", namespace=namespace, proxy=proxy, policies=policies
        )
    except WrongEngine as error:
        raise click.UsageError(f"--policies: {error}") from None
    facts = facts_of(begun.loaded, wanted.spec, host_images or loaded.value.host_images, begun.agents)
    try:
        lab = LivingLab.bring_up(begun.plan, name, facts, state=begun.state)
        waiting = lab.command("apply")["pending"] if begun.state is not None else ()  # Waits for the first containers.
    except NameTaken:
        raise WrongInput(
            f"lab '{name}' is up already; choose another --name, or end that lab with `testbed down {name}`"
        ) from None
    except CannotBeBuilt as error:
        click.echo(f"testbed: {name} could not be built: {error}", err=True)
        write_log(log, error.log)
        sys.exit(1)
    except ChangeFailed as error:
        click.echo(f"testbed: {error}\nto list what is missing: testbed inspect", err=True)
        sys.exit(1)
    write_log(log, lab.log)
    for line in (*begun.remarks, *skipped_lines(begun.skipped), *waiting):
        click.echo(line, err=True)
    size = f"{_count(lab.facts['nodes'], 'node')}, {_count(lab.facts['pods'], 'pod')}"
    click.echo(f"{name} is up: {wanted.name}, {size}, in {_time(lab.facts['seconds'])}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
