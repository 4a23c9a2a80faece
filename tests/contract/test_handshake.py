"""The handshake: accepted, refused, and what a handler knows of it."""

import pytest

from tests.contract.peers import Place, Refused


async def status_of(place: Place, path: str, **options: object) -> int:
    with pytest.raises(Refused) as refused:
        async with place.connect(path, **options):
            pass
    return refused.value.status


async def test_the_handlers_get_the_transport_that_is_meant(place):
    async with place.connect("/connection/lane") as peer:
        assert await peer.receive() == place.lane


async def test_accept_with_a_subprotocol_and_headers(place):
    async with place.connect("/connection/accept", subprotocols=["v1", "v2"]) as peer:
        assert (peer.subprotocol, peer.headers["x-extra"]) == ("v2", "1")
        assert await peer.receive_json() == ["v1", "v2"]
    async with place.connect("/connection/accept") as peer:
        assert peer.subprotocol is None


async def test_mistakes_before_and_in_accept_send_nothing(place):
    async with place.connect("/connection/accept-wrongly", subprotocols=["v1"]) as peer:
        assert await peer.receive_json() == [
            *("RuntimeError", "RuntimeError", "ValueError", "ValueError", "ValueError", False),
            *(None, True, "RuntimeError"),
        ]


async def test_deny_with_a_response(place):
    with pytest.raises(Refused) as refused:
        async with place.connect("/connection/deny"):
            pass
    assert refused.value.status == 429
    assert refused.value.headers["retry-after"] == "7"
    assert refused.value.body == b"slow down"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/connection/return-at-once", 403),
        ("/connection/close-at-once", 403),
        ("/connection/fail-at-once", 500),
        ("/no/such/route", 404),
        ("/connectionx/echo", 404),
        ("/connection/facts/w/not-a-number/1.5/x", 404),
    ],
)
async def test_refusals(place, path, status):
    assert await status_of(place, path) == status


async def test_a_page_of_another_site_is_refused(place):
    for path in ("/connection/echo", "/middleware/own-pages"):
        assert await status_of(place, path, headers={"origin": "https://evil.example"}) == 403


async def test_reject_tells_the_client_why(place):
    async with place.connect("/connection/reject") as peer:
        assert await peer.closed() == (4001, "who are you?")


async def test_what_a_handler_knows(place):
    path = "/connection/facts/w%C3%B6rd/7/1.5/a/b?q=1&q=2"
    async with place.connect(path, headers={"x-name": "ada", "cookie": "c=1"}) as peer:
        assert await peer.receive_json() == {
            "number": 7,
            "params": {"word": "wörd", "ratio": 1.5, "rest": "a/b"},
            "path_params": {"word": "wörd", "number": 7, "ratio": 1.5, "rest": "a/b"},
            "same": True,
            "query": ["2", ["1", "2"]],
            "header": "ada",
            "cookie": "1",
            "user": None,
            "client": "127.0.0.1",
            "state": "CONNECTED",
        }


async def test_http(place):
    async with place.http() as http:
        answer = await http.get("/")
        assert (answer.status_code, answer.text) == (200, "hello")
        assert (await http.head("/")).status_code == 200
        answer = await http.post("/items/7?q=x", json=[1])
        assert (answer.status_code, answer.json()) == (201, {"number": 7, "body": [1], "q": "x"})
        for path, status in (("/items/7", 405), ("/nothing", 404), ("/items/seven", 404), ("/fail", 500)):
            answer = await http.get(path)
            assert answer.status_code == status
            assert "secret" not in answer.text
            assert isinstance(answer.json(), dict)
