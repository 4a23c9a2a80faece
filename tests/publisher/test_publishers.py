"""Both publishers, against our server: over TCP, TLS and Unix sockets, what is accepted, and what is told of errors."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import trio

from nexios_trio.exceptions import InvalidName, LifecycleError, PayloadError
from nexios_trio.publisher import GroupMessage, Publisher, PublishError, TrioPublisher
from tests.publisher.support import API_KEY, KINDS, MakeEither, make_app, payloads, trusting
from tests.server.support import CERTIFICATES, config, running, tls_config

both = pytest.mark.parametrize("kind", KINDS)


@both
@pytest.mark.parametrize("way", ["tcp", "tls", "unix"])
async def test_what_is_published_is_there_in_order(
    kind: type[Any], way: str, tmp_path: Path, either: MakeEither
) -> None:
    app = make_app()
    socket_file = tmp_path / "sock"
    options: dict[str, Any] = {}
    if way == "tls":
        server_config = tls_config()
        options["ssl_context"] = trusting(str(CERTIFICATES / "certificate.pem"))
    else:
        server_config = config(**({"bind": [f"unix:{socket_file}"]} if way == "unix" else {}))
    async with running(app, server_config) as server:
        url = f"http{'s' if way == 'tls' else ''}://localhost:{80 if way == 'unix' else server.port}/api/"
        if way == "unix":
            options["unix_socket"] = str(socket_file)
        room = either(kind, url, **options)
        with room.publisher:
            first = await room.publish("room", {"text": "tea"})
            again = [await room.publish("room", b"\0\xff", key="once") for _ in range(2)]
            many = await room.publish_batch(GroupMessage("room", number) for number in range(450))
            transient = await room.publish("room", "typing", transient=True)
            assert await room.publish_batch([]) == []
        assert await payloads(app) == [{"text": "tea"}, b"\0\xff", *range(450)]
        assert [receipt.position.offset for receipt in [first, *again, *many]] == [1, 2, *range(2, 453)]
        assert not first.is_watched
        assert transient.position is None


@both
async def test_what_is_not_accepted_is_said_before_anything_is_sent(kind: type[Any], either: MakeEither) -> None:
    room = either(kind, "http://127.0.0.1:1/api")
    for error, call in [
        (InvalidName, room.publish("tea time", 1)),
        (PayloadError, room.publish("room", object())),
        (ValueError, room.publish("room", 1, key="")),
        (TypeError, room.publish("room", 1, key=7)),
    ]:
        with pytest.raises(error):
            await call
    with pytest.raises(PayloadError):
        await room.publish_batch([GroupMessage("room", 1), GroupMessage("room", float("nan"))])


@both
async def test_what_the_application_does_not_accept(
    kind: type[Any], caplog: pytest.LogCaptureFixture, either: MakeEither
) -> None:
    app = make_app(outbox_bytes=1000)
    async with running(app) as server:
        url = f"http://127.0.0.1:{server.port}/api"
        with pytest.raises(PublishError) as caught:
            await either(kind, url, "another-key-than-that").publish("room", 1, key="k")
        error = caught.value
        assert str(error) == f"{url}: 401: the key is not one of mount_api"
        assert (error.status, error.maybe_published, error.key) == (401, False, "k")
        assert API_KEY not in caplog.text
        assert "another-key" not in caplog.text
        with pytest.raises(PublishError, match="413: payload: a group message of 1502 bytes: outboxes hold 1000"):
            await either(kind, url).publish("room", "x" * 1500)
        with pytest.raises(PublishError, match=r"404: Not Found") as caught:
            await either(kind, url + "/elsewhere").publish("room", 1)
        assert not caught.value.maybe_published


@both
async def test_a_batch_says_what_is_published_before_the_one_that_is_not(kind: type[Any], either: MakeEither) -> None:
    app = make_app(outbox_bytes=1000)
    async with running(app) as server:
        messages = [GroupMessage("room", "x" * 1500 if number == 250 else number) for number in range(300)]
        with pytest.raises(
            PublishError, match=r"413: messages\[250\]\.payload: a group message of 1502 bytes"
        ) as caught:
            await either(kind, f"http://127.0.0.1:{server.port}/api").publish_batch(messages)
        assert len(caught.value.receipts) == len(await payloads(app)) == 250
        assert (caught.value.key, caught.value.maybe_published) == (None, False)
        assert pickle.loads(pickle.dumps(caught.value)).receipts == caught.value.receipts


@both
async def test_a_certificate_that_is_not_trusted_is_not_tried_again(kind: type[Any], either: MakeEither) -> None:
    async with running(make_app(), tls_config()) as server:
        with pytest.raises(PublishError, match="cannot connect: .*certificate") as caught:
            await either(kind, f"https://localhost:{server.port}/api").publish("room", 1)
        assert "attempts" not in str(caught.value)
        assert not caught.value.maybe_published


@both
async def test_after_close_nothing_is_published(kind: type[Any], either: MakeEither) -> None:
    room = either(kind, "http://127.0.0.1:1/api")
    room.publisher.close()
    room.publisher.close()
    with pytest.raises(LifecycleError, match=r"<(Trio)?Publisher http://127.0.0.1:1/api> is closed"):
        await room.publish("room", 1)


async def test_threads_and_tasks_share_one() -> None:
    app = make_app()
    async with running(app) as server:
        url = f"http://127.0.0.1:{server.port}/api"
        with Publisher(url, api_key=API_KEY) as publisher, TrioPublisher(url, api_key=API_KEY) as other:

            def from_a_thread(first: int) -> None:
                for number in range(first, first + 20):
                    publisher.publish("room", number)

            async def from_a_task(first: int) -> None:
                for number in range(first, first + 2):
                    await other.publish("room", number)

            async with trio.open_nursery() as nursery:
                for first in range(0, 120, 20):
                    nursery.start_soon(trio.to_thread.run_sync, from_a_thread, first)
                for first in range(120, 180, 2):
                    nursery.start_soon(from_a_task, first)
        assert sorted(await payloads(app)) == list(range(180))


@both
@pytest.mark.parametrize(
    ("url", "error", "text"),
    [
        ("redis://127.0.0.1", TypeError, "with the address of an engine, name= says whose groups"),
        ("127.0.0.1:8000/api", ValueError, "url begins with http://HOST or https://HOST"),
        ("ftp://127.0.0.1/api", ValueError, "url begins with http://HOST or https://HOST"),
        ("http:///api", ValueError, "url begins with http://HOST"),
        ("http://127.0.0.1:8000", ValueError, "url has to have the path that mount_api was given"),
        ("http://127.0.0.1:8000/", ValueError, "url has to have the path that mount_api was given"),
        ("http://127.0.0.1/a b", ValueError, "url has to have the path"),
        ("http://127.0.0.1/api?x=1", ValueError, "url has a query or a fragment"),
        ("http://ann:secret@127.0.0.1/api", ValueError, "url has a user or a password: the key of mount_api is given"),
        ("http://127.0.0.1:70000/api", ValueError, "url: Port out of range"),
        (b"http://127.0.0.1/api", TypeError, "url is a str, not bytes"),
    ],
    ids=range(11),
)
def test_an_address_that_is_none(kind: type[Any], url: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        kind(url, api_key=API_KEY)
    assert str(caught.value).startswith(text)
    assert "secret" not in str(caught.value)
    assert "mount_api" in str(caught.value)


@both
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"api_key": ""}, "api_key is empty"),
        ({"api_key": "two\r\nlines"}, "api_key is empty, or has characters that no header carries"),
        ({"api_key": None}, "api_key is the str that mount_api was given as key, not NoneType"),
        ({"deadline": 300}, "deadline is more than 0 and less than 300 seconds"),
        ({"deadline": 0}, "deadline is more than 0"),
        ({"attempt_timeout": -1}, "attempt_timeout is more than 0 seconds, not -1"),
        ({"attempt_timeout": "1"}, "attempt_timeout is more than 0 seconds, not '1'"),
    ],
    ids=range(7),
)
def test_options_that_are_none(kind: type[Any], options: dict[str, Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        kind("http://127.0.0.1/api", **({"api_key": API_KEY} | options))
    assert str(caught.value).startswith(text)
    assert "lines" not in str(caught.value).replace("line ends", "")


def test_the_key_is_not_shown() -> None:
    assert API_KEY not in repr(Publisher("http://127.0.0.1/api", api_key=API_KEY))


def test_ipv6_and_ports_as_the_server_sees_them() -> None:
    shown = [repr(Publisher(f"http://{host}/api/", api_key=API_KEY)) for host in ("[::1]:8000", "example.com")]
    assert shown == ["<Publisher http://[::1]:8000/api>", "<Publisher http://example.com/api>"]
