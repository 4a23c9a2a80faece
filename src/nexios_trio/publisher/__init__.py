"""Publishing from outside: for Django, Celery, cron, and any program that is not the application itself.

with Publisher("https://example.com/api", api_key=os.environ["NEXIOS_API_KEY"]) as publisher:
    publisher.publish("orders", {"number": 7}, key="order-7-paid")
"""

from ..core.present_user import PresentConnection, PresentUser
from ..exceptions import PublishError
from .blocking import Publisher
from .messages import GroupMessage, PublishReceipt
from .on_trio import TrioPublisher

__all__ = [
    "GroupMessage",
    "PresentConnection",
    "PresentUser",
    "PublishError",
    "PublishReceipt",
    "Publisher",
    "TrioPublisher",
]
