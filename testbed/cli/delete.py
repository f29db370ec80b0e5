"""testbed delete"""

from pathlib import Path

import click

from testbed.cli.labs import lab_option
from testbed.cli.log import LOG
from testbed.cli.objects import ALL_NAMESPACES, FILES, NAMESPACE, SELECTOR, carry_out

MOST_S = 3600.0


class _KubectlSwitches(click.Command):
    """Takes `--wait=false` and the like too, as kubectl does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        switches = {f"--{one}=true": f"--{one}" for one in ("wait", "all", "now", "force", "ignore-not-found")}
        switches["--wait=false"] = "--no-wait"
        return super().parse_args(ctx, [switches.get(word, word) for word in args])


@click.command(cls=_KubectlSwitches, epilog="Example: testbed delete pod web-1")
@lab_option
@click.argument("words", nargs=-1, metavar="[KIND [NAME...] | KIND/NAME...]")
@FILES
@NAMESPACE
@ALL_NAMESPACES
@SELECTOR
@click.option("--all", "every", is_flag=True, help="All objects of the kind.")
@click.option("--grace-period", "grace", type=click.IntRange(min=-1), default=-1, help="Seconds for pods to end.")
@click.option("--now", is_flag=True, help="Like --grace-period 1.")
@click.option("--force", is_flag=True, help="End pods at once.")
@click.option(
    "--cascade",
    type=click.Choice(["background", "foreground", "orphan"]),
    default="background",
    show_default=True,
    help="What becomes of the objects that it made.",
)
@click.option("--ignore-not-found", "ignore_missing", is_flag=True, help="A missing object is no mistake.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until the objects are gone.")
@click.option("--timeout", type=click.FloatRange(0, MOST_S), default=120.0, show_default=True, help="Seconds to wait.")
@LOG
def delete(
    name: str | None,
    words: tuple[str, ...],
    files: tuple[Path, ...],
    namespace: str,
    all_namespaces: bool,
    selector: str,
    every: bool,
    grace: int,
    now: bool,
    force: bool,
    cascade: str,
    ignore_missing: bool,
    wait: bool,
    timeout: float,
    log: Path | None,
) -> None:
    """Delete Kubernetes objects of a lab: by kind and name, by label, or those of manifests.

    A pod of a Deployment is replaced by a new one, with a new name and a new address.
    """
    if now and grace >= 0:
        raise click.UsageError("--now and --grace-period exclude each other")
    seconds = 0 if force and grace < 0 else 1 if now else grace
    _, done = carry_out(
        name,
        "delete",
        log,
        files,
        words=words,
        namespace=namespace,
        all_namespaces=all_namespaces,
        selector=selector,
        every=every,
        grace=seconds if seconds >= 0 else None,
        cascade=cascade,
        ignore_missing=ignore_missing,
        await_s=timeout if wait else 0.0,
    )
    if not done["lines"] and not ignore_missing:
        click.echo("No resources found", err=True)
    if done.get("left"):
        click.echo(f"testbed: not all of them are gone after {timeout:g} s", err=True)
        raise SystemExit(1)
