"""A synchronous program that publishes a hundred messages, and dies at some of them: it knows nothing of trio.

$ python outside_script.py URL API_KEY FILE DIE_AFTER

FILE has what was answered, a line each. Messages that have a line are not published again; the program ends itself with
SIGKILL when it has published so many, before it writes the line of the last.
"""

import os
import signal
import sys
from pathlib import Path

from nexios_trio.publisher import Publisher

COUNT = 100


def main(url: str, api_key: str, path: str, die_after: int) -> None:
    file = Path(path)
    done = len(file.read_text().splitlines()) if file.exists() else 0
    with Publisher(url, api_key=api_key, deadline=60, attempt_timeout=2) as publisher, file.open("a") as answers:
        for number in range(done, COUNT):
            receipt = publisher.publish("room", {"order": number}, key=f"order-{number}")
            if number - done == die_after:
                os.kill(os.getpid(), signal.SIGKILL)
            answers.write(f"{receipt.position}\n")
            answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
