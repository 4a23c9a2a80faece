"""Loggers, what is done to each record, and how it is written.

`guard` escapes what peers have chosen and counts floods; `formatters` writes records on one line, with the fields that
they carry as attributes (`extra=`), `FIELDS` and an application's own. Payloads and query strings are never logged.
"""

from .escaping import printable
from .formatters import JsonFormatter, TextFormatter
from .guard import FIELDS, LOGGERS, Guard, guard_loggers

__all__ = ["FIELDS", "LOGGERS", "Guard", "JsonFormatter", "TextFormatter", "guard_loggers", "printable"]
