"""One WebSocket connection from its request to its end, and what all of them share."""
