"""Commands that have verbs: the program itself, `cni`, `pod` and others."""

import click

from testbed.spec.nearest import unknown


class VerbGroup(click.Group):
    """Names the nearest verb in place of an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verbs = tuple(self.list_commands(ctx))
        if args and args[0] not in verbs and not args[0].startswith("-"):
            ctx.fail(unknown("verb", args[0], verbs))
        return super().resolve_command(ctx, args)
