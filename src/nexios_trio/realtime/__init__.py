"""Clients that reconnect, resume and call by themselves: they speak the Centrifuge client protocol."""
