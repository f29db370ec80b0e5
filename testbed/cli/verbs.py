"""The verbs, each in a file of its name."""

import importlib
import sys

import click

from testbed import __version__
from testbed.cli.errors import printed_errors
from testbed.cli.groups import VerbGroup

VERBS = (
    *("run", "count", "validate", "plan", "schedule", "designs", "probes", "doctor"),
    *("report", "compare", "results", "schema", "import"),
    *("up", "down", "list", "exec", "shell", "ip", "check", "inspect", "trace", "capture", "explain", "graph"),
    *("apply", "get", "delete", "scale", "rollout", "label", "annotate", "logs"),
    *("pod", "node", "link", "cni"),
)


class _Verbs(VerbGroup):
    """Imports the file of a verb only when it is used, which keeps other verbs fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"testbed.cli.{cmd_name}")
        # Functions of verbs that are names in Python, such as `exec`, end with an underscore.
        command = getattr(module, f"{cmd_name}_", None) or getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="testbed")
def testbed() -> None:
    """Build Kubernetes pod networks on this machine's own kernel, measure them, and report how they differ.

    \b
    Begin with:
      testbed run scenarios/quick.yaml
    """


def run_verb() -> None:
    """Runs the verb on the command line, and exits."""
    with printed_errors():
        try:
            sys.exit(testbed.main(prog_name="testbed", standalone_mode=False))
        finally:
            sys.stdout.flush()  # Here, where a failure is reported.
