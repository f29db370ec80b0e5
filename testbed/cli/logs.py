"""testbed logs"""

import sys
import time
from typing import Any

import click

from testbed.cli.labs import NAMESPACE_OF_POD, complete_place, lab_errors, lab_option, the_lab
from testbed.cli.objects import SELECTOR
from testbed.lab.living import LivingLab

PERIOD_S = 0.2
"""Between two looks at containers whose output is followed."""
TAIL_OF_MANY = 10
"""Lines of each container of a selector, like kubectl."""


@click.command(epilog="Example: testbed logs deploy/web -c web -f")
@lab_option
@NAMESPACE_OF_POD
@click.argument("target", required=False, metavar="POD | KIND/NAME", shell_complete=complete_place)
@click.option("-c", "--container", default="", metavar="NAME", help="The container; otherwise the pod's first.")
@click.option("--all-containers", is_flag=True, help="All containers of the pod.")
@SELECTOR
@click.option("-p", "--previous", is_flag=True, help="Output of the run before the last restart.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the containers have ended, or Ctrl-C.")
@click.option("--tail", type=int, default=-1, metavar="N", help="The last N lines; -1: all that is kept.")
@click.option("--prefix", is_flag=True, help="Begin each line with pod and container.")
def logs(
    name: str | None,
    namespace: str,
    target: str | None,
    container: str,
    all_containers: bool,
    selector: str,
    previous: bool,
    follow: bool,
    tail: int,
    prefix: bool,
) -> None:
    """Print the output of a container that runs a program of this machine.

    The last 256 KiB of a run are kept, and the run before it. Stand-ins for images have no output.
    """
    if bool(target) == bool(selector):
        raise click.UsageError("name a pod, or select pods with -l: testbed logs POD")
    if container and all_containers:
        raise click.UsageError("-c and --all-containers exclude each other")
    chosen = {"container": container, "all_containers": all_containers, "previous": previous}
    lab = the_lab(name)
    answer = _asked(lab, "output", name=target, namespace=namespace, selector=selector, **chosen)
    for remark in answer["remarks"]:
        click.echo(remark, err=True)
    tail = TAIL_OF_MANY if selector and tail < 0 and not follow else tail
    for log in answer["logs"]:
        _print(log, prefix, tail)
    if not answer["logs"]:
        raise SystemExit(1)
    logs = answer["logs"]
    while follow and (logs := [log for log in logs if log["open"]]):
        time.sleep(PERIOD_S)
        sources = [[log["uid"], log["container"], log["run"], log["after"]] for log in logs]
        logs = _asked(lab, "more", sources=sources)["logs"]
        for log in logs:
            _print(log, prefix)


def _asked(lab: LivingLab, about: str, **arguments: Any) -> dict[str, Any]:
    with lab_errors():
        return lab.containers(about, **arguments)


def _print(log: dict[str, Any], prefix: bool, tail: int = -1) -> None:
    lines = log["text"].splitlines(keepends=True)
    lines = lines[max(0, len(lines) - tail) :] if tail >= 0 else lines
    begin = f"[pod/{log['pod']}/{log['container']}] " if prefix else ""
    # Exactly what the container wrote, which need not be text.
    sys.stdout.buffer.write("".join(f"{begin}{line}" for line in lines).encode(errors="surrogateescape"))
    sys.stdout.flush()
