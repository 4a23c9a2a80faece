"""Where the value of each setting comes from."""

from collections.abc import Collection, Mapping
from typing import Final

import attrs

from ..config.settings import Settings
from .human import human

__all__ = ["COMMAND_LINE", "DEFAULT", "SourcedSetting", "find_sources"]

DEFAULT: Final = "default"
CODE: Final = "code"
COMMAND_LINE: Final = "command line"


@attrs.frozen
class SourcedSetting:
    """One setting for people. `source`: DEFAULT, CODE, COMMAND_LINE, or the name of an environment variable."""

    name: str
    value: str
    default: str
    source: str
    meaning: str


def find_sources(settings: Settings, given: Collection[str], environ: Mapping[str, str]) -> list[SourcedSetting]:
    """Find out for each setting, in the order of the class.

    Args:
        settings: those of the application, or of the environment alone.
        given: names of the settings that the command line has put into the environment.
    """
    asked, defaults = Settings.from_environ(environ), Settings()
    found = []
    for row in settings.describe():
        value, default = getattr(settings, row.name), getattr(defaults, row.name)
        if row.variable in environ and value == getattr(asked, row.name):
            source = COMMAND_LINE if row.name in given else row.variable
        else:
            source = DEFAULT if row.variable not in environ and value == default else CODE
        found.append(SourcedSetting(row.name, human(value, row.unit), human(default, row.unit), source, row.meaning))
    return found
