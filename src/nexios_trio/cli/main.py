"""The command `nexios-trio`, which is the parent of all commands.

Exit status: 0 when the server was stopped in order, 1 when the application failed while serving or stopping, or
workers could not start or kept ending, 2 for a mistake on the command line or in a setting, 3 when the application did
not start. `publish` has its own, which its --help names.
"""

import click

from .check import check
from .publish import publish
from .routes import routes
from .run import run
from .settings import settings

__all__ = ["main"]


class _Commands(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if ":" in args[0] and args[0] not in self.commands:
            ctx.fail(f"{args[0]!r} is an application, not a command: nexios-trio run {args[0]} serves it")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="nexios-trio")
def main() -> None:
    """The real-time layer for Trio."""


for command in (run, check, routes, settings, publish):
    main.add_command(command)
