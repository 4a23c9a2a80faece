"""What an application counts of its connections, since it was made."""

import attrs

__all__ = ["ConnectionCounts"]


@attrs.define
class ConnectionCounts:
    """Handshakes by how they went, connections by how they ended."""

    accepted: dict[str, int] = attrs.field(factory=dict)  # by lane
    # Handshakes that were not accepted, also because the client has left, by cause and HTTP status.
    refused: dict[tuple[str, int | None], int] = attrs.field(factory=dict)
    ended: dict[str, int] = attrs.field(factory=dict)  # connections that had been accepted, by cause
