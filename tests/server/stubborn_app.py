"""Handlers that do not want to stop."""

import time
from pathlib import Path

import trio

from nexios_trio import NexiosApp, WebSocketConsumer

FOR_EVER = 1000  # seconds

app = NexiosApp()


@app.ws_route("/shielded")
async def shielded(ws):
    await ws.accept()
    with trio.CancelScope(shield=True):
        await wait_inside()


async def wait_inside():
    await trio.sleep_forever()  # where it stands


@app.ws_route("/catching")
async def catching(ws):
    await ws.accept()
    while True:
        try:
            with trio.CancelScope(shield=True):
                await wait_inside()
        except trio.Cancelled:
            pass


@app.ws_route("/blocking")
async def blocking(ws):
    await ws.accept()
    await ws.receive()
    time.sleep(FOR_EVER)  # noqa: ASYNC251  # what it stands in


class Reading(WebSocketConsumer):
    def on_receive(self, ws, data):
        Path(data).read_text()  # until somebody writes
        ws.send_nowait("done")


app.add_ws_route("/synchronous", Reading)


@app.get("/shielded")
async def request(req, res):
    with trio.CancelScope(shield=True):
        await wait_inside()


@app.get("/threaded")
async def threaded(req, res):
    await trio.to_thread.run_sync(time.sleep, FOR_EVER)


@app.ws_route("/reading/{where}")
async def reading(ws, where):
    await ws.accept()
    async for name in ws.iter_text():
        if where == "here":
            Path(name).read_text()  # noqa: ASYNC240  # until somebody writes
        else:
            Path(name).read_bytes()  # noqa: ASYNC240
        await ws.send_text("done")
