"""The one form of permessage-deflate that we take (RFC 7692): no context in either direction, the full window."""

from collections.abc import Sequence

from websockets.headers import parse_extension

# What is answered to an offer that is taken
_ANSWER = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"

# Parameters of an offer, and their values. Of server_max_window_bits we do what 15 says and no other; who asks for it
# has to be told (section 7.1.2.1).
_WINDOW_BITS = "server_max_window_bits"
_VALUES: dict[str, tuple[str | None, ...]] = {
    "server_no_context_takeover": (None,),
    "client_no_context_takeover": (None,),
    "client_max_window_bits": (None, "8", "9", "10", "11", "12", "13", "14", "15"),
    _WINDOW_BITS: ("15",),
}


def answer_offers(values: Sequence[str]) -> bytes | None:
    """Take the first offer in these `Sec-WebSocket-Extensions` headers that can be taken.

    Returns: the value of that header for the answer; None for no compression.
    Raises: websockets.exceptions.InvalidHeaderFormat.
    """
    for value in values:
        for name, parameters in parse_extension(value):
            if name == "permessage-deflate" and _is_in_order(parameters):
                asks_for_window = any(parameter == _WINDOW_BITS for parameter, _ in parameters)
                return _ANSWER + b"; server_max_window_bits=15" if asks_for_window else _ANSWER
    return None


def _is_in_order(parameters: Sequence[tuple[str, str | None]]) -> bool:
    """Section 7.1: what is unknown, doubled or has a wrong value declines the offer."""
    names = [name for name, _ in parameters]
    return len(set(names)) == len(names) and all(value in _VALUES.get(str(name), ()) for name, value in parameters)
