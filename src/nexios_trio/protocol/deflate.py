"""The one form of permessage-deflate that we take (RFC 7692): no context in either direction, the full window."""

from collections.abc import Sequence

from websockets.headers import parse_extension

# In the response to an offer that was taken
RESPONSE = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"

# Parameters of an offer, and their values; server_max_window_bits is none that we could keep to.
_VALUES: dict[str, tuple[str | None, ...]] = {
    "server_no_context_takeover": (None,),
    "client_no_context_takeover": (None,),
    "client_max_window_bits": (None, "8", "9", "10", "11", "12", "13", "14", "15"),
}


def is_offered(values: Sequence[str]) -> bool:
    """Tell whether some offer in these `Sec-WebSocket-Extensions` headers can be taken.

    Raises: websockets.exceptions.InvalidHeaderFormat.
    """
    return any(
        name == "permessage-deflate" and _is_in_order(parameters)
        for value in values
        for name, parameters in parse_extension(value)
    )


def _is_in_order(parameters: Sequence[tuple[str, str | None]]) -> bool:
    """Section 7.1: what is unknown, doubled or has a wrong value declines the offer."""
    names = [name for name, _ in parameters]
    return len(set(names)) == len(names) and all(value in _VALUES.get(str(name), ()) for name, value in parameters)
