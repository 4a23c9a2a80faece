"""`nexios-trio settings`: each setting, its value, and where that comes from."""

import os
from collections.abc import Sequence

import click

from ..config.settings import Settings
from .command import Command
from .human import show_table
from .loading import load, settings_of
from .options import given_names, read_settings
from .setting_sources import DEFAULT, find_sources

__all__ = ["settings", "show_settings"]


@click.command(cls=Command, short_help="Each setting, its value, and where that comes from.")
@click.argument("application", metavar="[MODULE:APP]", required=False)
@click.option("-s", "--set", "given", multiple=True, metavar="NAME=VALUE", help="As `run` is given it.")
@click.option("--changed", is_flag=True, help="Only those that are not at their default.")
def settings(application: str | None, given: Sequence[str], changed: bool) -> None:
    """Show each setting: its value, its default, and where the value comes from: the default, a variable of the
    environment, the application's own code, or the command line (--set).

    Without an application, the environment's alone.
    """
    found = read_settings(given)
    if application is not None:
        found = settings_of(load(application))
    show_settings(found, given, only_changed=changed)


def show_settings(settings: Settings, given: Sequence[str], *, only_changed: bool = False) -> None:
    """Print the table.

    Args:
        given: NAME=VALUE, of the command line.
    """
    found = find_sources(settings, given_names(given), os.environ)
    rows = [row for row in found if not only_changed or row.source != DEFAULT]
    if not rows:
        click.echo("All settings are at their defaults.")
        return
    show_table(
        ("SETTING", "VALUE", "DEFAULT", "FROM"),
        [(row.name, row.value, row.default, row.source) for row in rows],
        [row.meaning for row in rows],
    )
