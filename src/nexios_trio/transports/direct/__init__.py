"""The socket itself: no task, no protocol stack and no copy between a message and the kernel.

One object for each peer, in five storeys: `DirectSocket` has the socket and its state (`states`), `Writer` and
`ClosingWriter` what goes out, `Reader` what comes in, and `DirectTransport` the rest of what a transport is (over TLS,
`TlsTransport`). They are storeys and not parts, because a message's way through them is counted in attribute look-ups.
"""

from .tls import TlsTransport
from .transport import DirectTransport

__all__ = ["DirectTransport", "TlsTransport"]
