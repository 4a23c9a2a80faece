"""picows, written in C, on uvloop: a loop over the members."""

import json
import sys

import uvloop
from picows import WSListener, WSMsgType, ws_create_server

members = set()


class Listener(WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            self.received(transport, frame)

    def received(self, transport, frame):
        pass


class Echo(Listener):
    def received(self, transport, frame):
        transport.send(WSMsgType.TEXT, frame.get_payload_as_bytes())


class Sub(Listener):
    def on_ws_connected(self, transport):
        members.add(transport)

    def on_ws_disconnected(self, transport):
        members.discard(transport)


class Pub(Listener):
    def received(self, transport, frame):
        data = json.loads(frame.get_payload_as_utf8_text())
        text = json.dumps(data, separators=(",", ":")).encode()
        for member in members:
            member.send(WSMsgType.TEXT, text)


LISTENERS = {"/echo": Echo, "/sub": Sub, "/pub": Pub}


def listener_for(request):
    path = request.path
    return LISTENERS[path.decode() if isinstance(path, bytes) else path]()


async def main():
    server = await ws_create_server(listener_for, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
