"""A verb that has verbs of its own."""

import click

from testbed.cli.errors import unknown


class VerbGroup(click.Group):
    """Says which verb was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            ctx.fail(unknown("verb", args[0], tuple(self.commands)))
        return super().resolve_command(ctx, args)
