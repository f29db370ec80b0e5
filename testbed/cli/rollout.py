"""testbed rollout"""

import time
from typing import Any

import click

from testbed.cli.groups import VerbGroup
from testbed.cli.labs import lab_option
from testbed.cli.objects import NAMESPACE, carry_out

POLL_S = 0.2
MOST_S = 3600.0
_WORDS = click.argument("words", nargs=-1, required=True, metavar="KIND NAME... | KIND/NAME...")


@click.group(cls=VerbGroup, epilog="Example: testbed rollout restart deployment/web")
def rollout() -> None:
    """Control the updates of Deployments, and of other workloads of a lab."""


@rollout.command(epilog="Example: testbed rollout restart deployment/web")
@lab_option
@_WORDS
@NAMESPACE
def restart(name: str | None, words: tuple[str, ...], namespace: str) -> None:
    """Replace all pods of a workload, as an update does."""
    _roll(name, "restart", words, namespace)


@rollout.command(epilog="Example: testbed rollout undo deployment/web")
@lab_option
@_WORDS
@NAMESPACE
@click.option("--to-revision", type=click.IntRange(min=0), default=0, help="The revision.  [default: the one before]")
def undo(name: str | None, words: tuple[str, ...], namespace: str, to_revision: int) -> None:
    """Go back to an earlier template of a Deployment."""
    _roll(name, "undo", words, namespace, to_revision=to_revision)


@rollout.command(epilog="Example: testbed rollout pause deployment/web")
@lab_option
@_WORDS
@NAMESPACE
def pause(name: str | None, words: tuple[str, ...], namespace: str) -> None:
    """Start no update of a Deployment until it is resumed."""
    _roll(name, "pause", words, namespace)


@rollout.command(epilog="Example: testbed rollout resume deployment/web")
@lab_option
@_WORDS
@NAMESPACE
def resume(name: str | None, words: tuple[str, ...], namespace: str) -> None:
    """Go on with the updates of a Deployment."""
    _roll(name, "resume", words, namespace)


@rollout.command(epilog="Example: testbed rollout history deployment/web")
@lab_option
@_WORDS
@NAMESPACE
def history(name: str | None, words: tuple[str, ...], namespace: str) -> None:
    """List the revisions of a Deployment."""
    _roll(name, "history", words, namespace)


@rollout.command(epilog="Example: testbed rollout status deployment/web --timeout 30")
@lab_option
@_WORDS
@NAMESPACE
@click.option("--timeout", type=click.FloatRange(0, MOST_S), default=120.0, show_default=True, help="Seconds to wait.")
def status(name: str | None, words: tuple[str, ...], namespace: str, timeout: float) -> None:
    """Wait until the update of a Deployment is complete; exit code 1 if it is not."""
    end, said = time.monotonic() + timeout, ""
    while True:
        _, done = carry_out(name, "rollout", action="status", words=words, namespace=namespace, quiet=True)
        if (text := "\n".join(done["lines"])) != said:
            click.echo(text)
            said = text
        if not done["blocked"]:
            return
        if time.monotonic() >= end:
            click.echo(f"testbed: not complete after {timeout:g} s", err=True)
            raise SystemExit(1)
        time.sleep(POLL_S)


def _roll(name: str | None, action: str, words: tuple[str, ...], namespace: str, **options: Any) -> None:
    carry_out(name, "rollout", action=action, words=words, namespace=namespace, **options)
