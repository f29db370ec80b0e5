"""The verbs: each is found by its name, in a file of that name."""

import importlib
import sys

import click

from testbed import __version__
from testbed.cli.errors import explained
from testbed.cli.groups import VerbGroup

VERBS = (
    *("run", "validate", "plan", "designs", "probes", "doctor", "report", "compare", "results", "schema", "import"),
    *("up", "down", "list", "exec", "shell", "ip", "check", "inspect", "trace", "capture", "graph"),
    *("pod", "node", "link", "cni"),
)


class _Verbs(VerbGroup):
    """Imports a verb's file only when it is asked for, so that no verb pays for the imports of another."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"testbed.cli.{cmd_name}")
        # Some verbs are words of Python's own, which their functions carry with an underscore.
        command = getattr(module, f"{cmd_name}_", None) or getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="testbed")
def testbed() -> None:
    """Builds Kubernetes pod networks on this machine's own kernel, measures them, and says how they differ.

    \b
    Begin with:
      sudo testbed run scenarios/quick.yaml
    """


def run_verb() -> None:
    """Does what the program's arguments say, and ends it."""
    with explained():
        sys.exit(testbed.main(prog_name="testbed", standalone_mode=False))
