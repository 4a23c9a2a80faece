"""The tables of the page "Settings", made of `Settings.describe()`."""

import inspect
from typing import Any, Final

from nexios_trio.cli.human import human
from nexios_trio.config.settings import Settings, SettingsRow

SOURCE: Final = str(inspect.getsourcefile(Settings))

# The first setting of each group -> its title. The order is that of the class.
GROUPS: Final = {
    "max_message_size": "What a peer may send",
    "outbox_messages": "What may wait for a peer",
    "handshake_timeout": "How long things may take",
    "max_connections": "How many",
    "allowed_origins": "Whom to believe",
    "compression": "Switches",
}


def render() -> str:
    """The page's tables, as Markdown, and the entries of the index."""
    settings = Settings()
    rows = settings.describe()
    names = [row.name for row in rows if "_" in row.name]  # one word is a page of its own, or none
    lines = ["```{index} " + ", ".join(f"! {name}" for name in [*names, *(row.variable for row in rows)]), "```"]
    for row in rows:
        if row.name in GROUPS:
            lines += ["", f"### {GROUPS[row.name]}", "", "| Setting | Default | |", "|---|---|---|"]
        lines.append(f"| `{row.name}` | {_default(getattr(settings, row.name), row)} | {row.meaning} |")
    return "\n".join(lines)


def _default(value: Any, row: SettingsRow) -> str:
    """A value for people; a number with what it counts."""
    shown = human(value, row.unit)
    return f"{shown} {row.unit}" if shown.isdecimal() else shown
