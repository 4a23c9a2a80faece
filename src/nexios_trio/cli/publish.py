"""`nexios-trio publish`: a message to a group, from a shell."""

import os
import sys
from typing import Any, Final

import click

from ..core.json import decode_json
from ..exceptions import InvalidJson
from ..publisher import Publisher, PublishError
from .command import Command

__all__ = ["publish"]

KEY_VARIABLE: Final = "NEXIOS_API_KEY"
URL_VARIABLE: Final = "NEXIOS_API_URL"
NOT_PUBLISHED: Final = 1
REFUSED: Final = 2  # as for a mistake on the command line
MAYBE_PUBLISHED: Final = 4
MAX_DEPTH: Final = 128  # levels of JSON


@click.command(
    cls=Command,
    short_help="Send a message to a group of a running application.",
    epilog=f"The key of mount_api is read from {KEY_VARIABLE}. Exit status: 0 published, 1 not published, 2 refused or"
    " a mistake on the command line, 4 perhaps published: run it again with the same --key.",
)
@click.argument("group")
@click.argument("payload")
@click.option("--url", envvar=URL_VARIABLE, metavar="URL", help=f"Of mount_api.  [{URL_VARIABLE}]")
@click.option("--json", "is_json", is_flag=True, help="The payload is JSON; else it is sent as text.")
@click.option("--key", metavar="NAME", help="Of this message: a second one within five minutes is not sent.")
@click.option("--save-history", is_flag=True, help="Keep it, for show_history.")
@click.option("--unix-socket", metavar="PATH", help="Of the server, in place of the url's host.")
@click.option("--deadline", type=float, default=20.0, show_default=True, help="Seconds, with all retries.")
def publish(group: str, payload: str, **options: Any) -> None:
    """Send PAYLOAD to the members of GROUP, through the application's mount_api. A PAYLOAD of - is standard input."""
    if options["url"] is None:
        raise click.UsageError(
            f"say where: --url or {URL_VARIABLE}, the address of mount_api (https://example.com/api)"
        )
    api_key = os.environ.get(KEY_VARIABLE)
    if not api_key:
        raise click.UsageError(f"{KEY_VARIABLE} is not set: it has the key that mount_api was given")
    content = _read(payload, options["is_json"])
    try:
        publisher = Publisher(
            options["url"], api_key=api_key, deadline=options["deadline"], unix_socket=options["unix_socket"]
        )
        with publisher:
            receipt = publisher.publish(group, content, key=options["key"], save_history=options["save_history"])
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except PublishError as error:
        click.echo(f"Error: {error}", err=True)
        if options["key"] is None and error.maybe_published:
            click.echo(f"To try again without sending it twice: --key {error.key}", err=True)
        sys.exit(_status(error))
    where = "" if receipt.position is None else f" at {receipt.position}"
    click.echo(f"published to {group}{where}{'' if receipt.is_watched else ', where nobody is'}")


def _read(payload: str, is_json: bool) -> Any:
    """Return what is to be sent. Raises: click.UsageError."""
    try:
        text = sys.stdin.buffer.read().decode() if payload == "-" else payload
    except UnicodeDecodeError:
        raise click.UsageError("what comes on standard input is no text in UTF-8") from None
    if not is_json:
        return text
    try:
        return decode_json(text, MAX_DEPTH)
    except InvalidJson as error:
        raise click.UsageError(f"the payload is not JSON: {error.msg}") from None


def _status(error: PublishError) -> int:
    if error.maybe_published:
        return MAYBE_PUBLISHED
    return REFUSED if error.status is not None and error.status < 500 else NOT_PUBLISHED
