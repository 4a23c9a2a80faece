"""Applications for servers in processes of their own."""

import os
import signal

import trio

from nexios_trio import NexiosApp, Settings, open_channel
from nexios_trio.observability.workers import worker_name
from tests.server.support import make_app

app = make_app(settings=None)
obstinate = NexiosApp(settings=Settings(max_message_size=1000))
broken = NexiosApp()
fresh = NexiosApp()
observed = make_app(settings=None)
observed.mount_metrics(authorize=lambda request: True)
observed.mount_health()
inner = NexiosApp()
inner.mount_metrics(authorize=lambda request: True)
observed.mount("/inner", inner)
not_callable = 42


@app.get("/pid")
async def pid(req, res):
    return res.text(str(os.getpid()))


@app.ws_route("/process")
async def process(ws):
    await ws.accept()
    await ws.send_text(str(os.getpid()))
    async for text in ws.iter_text():
        await ws.send_text(text)


@app.ws_route("/room/{room}")
async def member(ws, room):
    await ws.accept()
    async with open_channel(ws, payload_type="text") as channel, channel.member(room):
        await ws.send_json([os.getpid(), str(channel.uuid)])
        async for text in ws.iter_text():
            await app.box.group_send(room, text)


@app.get("/size/{room}")
async def size(req, res, room):
    here, everywhere = [await app.box.group_size(room, scope=scope) for scope in ("node", "all")]
    return res.json([here, everywhere, app.box.engine.health(), app.box.name])


@app.get("/tell/{channel}")
async def tell(req, res, channel):
    return res.json(await app.box.send_to(channel, "hello, you"))


@app.get("/close")
async def close(req, res):
    await app.box.close_all_connections(4000, "enough", scope="all")
    return res.text("closed")


@app.get("/crash")
async def crash(req, res):
    async def fail():
        raise RuntimeError("the feed broke")

    app.start_soon(fail)
    return res.text("it will")


@app.get("/garble")
async def garble(req, res):
    app.box.engine._link._socket.put(bytes((0, 0, 0, 8)) + b"no frame at all")
    return res.json(os.getpid())


@app.ws_route("/who")
async def who(ws):
    await ws.accept()
    await ws.send_json([ws.client.host if ws.client else None, ws.url.scheme])
    async for text in ws.iter_text():
        await ws.send_text(text)


@app.get("/fork")
async def fork(req, res):
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    return res.text(str(child))


@app.get("/die")
async def die(req, res):
    os._exit(7)


@broken.on_startup
async def fail():
    raise RuntimeError("no database")


@fresh.get("/")
async def limit(req, res):
    return res.text(str(fresh.settings.max_message_size))


@fresh.ws_route("/echo")
async def echo(ws):
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(text)


async def sleepy(scope, receive, send):
    """Starts, and does not stop."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await trio.sleep_forever()


database = {"is up": True}
observed.add_readiness_check("database", lambda: database["is up"])


@observed.on_startup
def take_signals():
    signal.signal(signal.SIGUSR1, lambda number, frame: database.update({"is up": False}))


@observed.get("/worker")
async def worker(req, res):
    return res.json([worker_name(), os.getpid()])
