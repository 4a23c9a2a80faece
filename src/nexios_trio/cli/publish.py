"""`nexios-trio publish`: a message to a group, from a shell."""

import os
import sys
from typing import Any, Final

import click

from ..core.json import decode_json
from ..engines.redis.address import REDIS_SCHEMES
from ..exceptions import InvalidJson
from ..publisher import Publisher, PublishError
from .command import Command

__all__ = ["publish"]

KEY_VARIABLE: Final = "NEXIOS_API_KEY"
URL_VARIABLE: Final = "NEXIOS_API_URL"
ENGINE_VARIABLE: Final = "NEXIOS_ENGINE"
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
@click.option(
    "--engine", metavar="URL", help=f"Of the application's engine, as redis://host, with --name.  [{ENGINE_VARIABLE}]"
)
@click.option("--name", metavar="NAME", help="The application's, past whose mount_api it goes: by its engine.")
@click.option("--json", "is_json", is_flag=True, help="The payload is JSON; else it is sent as text.")
@click.option("--key", metavar="NAME", help="Of this message: a second one within five minutes is not sent.")
@click.option("--save-history", is_flag=True, help="Keep it, for show_history.")
@click.option("--unix-socket", metavar="PATH", help="Of the server, in place of the url's host.")
@click.option("--deadline", type=float, default=20.0, show_default=True, help="Seconds, with all retries.")
def publish(group: str, payload: str, **options: Any) -> None:
    """Send PAYLOAD to the members of GROUP, through the application's mount_api, or by the server of its engine.

    A PAYLOAD of - is standard input.
    """
    where = _where(options["url"], options["engine"], options["name"])
    content = _read(payload, options["is_json"])
    try:
        publisher = Publisher(**where, deadline=options["deadline"], unix_socket=options["unix_socket"])
        with publisher:
            receipt = publisher.publish(group, content, key=options["key"], save_history=options["save_history"])
    except (ValueError, ModuleNotFoundError) as error:
        raise click.UsageError(str(error)) from None
    except PublishError as error:
        click.echo(f"Error: {error}", err=True)
        if options["key"] is None and error.maybe_published:
            click.echo(f"To try again without sending it twice: --key {error.key}", err=True)
        sys.exit(_status(error))
    place = "" if receipt.position is None else f" at {receipt.position}"
    click.echo(f"published to {group}{place}{'' if receipt.is_watched else ', where nobody is'}")


def _where(url: str | None, engine: str | None, name: str | None) -> dict[str, Any]:
    """Return what a publisher is told of where it publishes. Raises: click.UsageError."""
    if name is not None or engine is not None:
        engine = engine or os.environ.get(ENGINE_VARIABLE)
        if not engine or not name:
            raise click.UsageError(
                f"past mount_api it goes with both: --engine or {ENGINE_VARIABLE}, and --name, the application's"
            )
        return {"url": engine, "name": name}
    if url is None:
        raise click.UsageError(
            f"say where: --url or {URL_VARIABLE}, the address of mount_api (https://example.com/api); or --engine and"
            " --name, of the application"
        )
    if url.partition(":")[0] in REDIS_SCHEMES:
        raise click.UsageError("--url is that of an engine: say it as --engine, with the application's --name")
    api_key = os.environ.get(KEY_VARIABLE)
    if not api_key:
        raise click.UsageError(f"{KEY_VARIABLE} is not set: it has the key that mount_api was given")
    return {"url": url, "api_key": api_key}


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
