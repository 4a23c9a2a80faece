"""The ASGI application: routes, lifespan, and the runtime that its connections share."""

from .app import TRANSPORT_EXTENSION, NexiosApp, get_application

__all__ = ["TRANSPORT_EXTENSION", "NexiosApp", "get_application"]
