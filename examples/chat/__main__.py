"""`python -m examples.chat [--host HOST] [--port PORT]` serves the chat until Ctrl-C."""

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from signal import SIGINT, SIGTERM

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from examples.chat.app import app


def main() -> None:
    parser = ArgumentParser("python -m examples.chat", formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on")
    options = parser.parse_args()

    address = f"http://{options.host}:{options.port}"
    print(f"""
  The chat is at {address}

  Try:
    - open it in two browser tabs, with two names, and talk to yourself
    - reload one of them: what was said is still there
    - stop this server with Ctrl-C and start it again: the tabs come back by themselves
    - curl {address}/api/chat/rooms
""")
    config = Config()
    config.bind = [f"{options.host}:{options.port}"]
    trio.run(run, config)


async def run(config: Config) -> None:
    await serve(app, config, shutdown_trigger=stop_signal)  # type: ignore[arg-type]  # its narrower ASGI


async def stop_signal() -> None:
    with trio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        async for _ in signals:
            return


if __name__ == "__main__":
    main()
