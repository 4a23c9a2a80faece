"""How servers look to an ASGI application, in memory."""
