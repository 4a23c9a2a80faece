"""What publishes for examples.orders: a plain program, such as a Django view, a Celery task or a cron job.

$ export NEXIOS_API_KEY=...    # the same as there
$ python -m examples.orders_shop 7 paid
"""

import os
import sys

from nexios_trio.publisher import Publisher, PublishError

publisher = Publisher(
    os.environ.get("NEXIOS_API_URL", "http://127.0.0.1:8000/api"),
    api_key=os.environ["NEXIOS_API_KEY"],
    deadline=10,
)


def announce(order: int, state: str) -> bool:
    """Tell the watchers. A task that dies and runs again tells them once: the key says that it is the same."""
    try:
        publisher.publish("orders", {"order": order, "state": state}, key=f"order-{order}-{state}")
    except PublishError as error:
        print(f"not announced: {error}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(0 if announce(int(sys.argv[1]), sys.argv[2]) else 1)
