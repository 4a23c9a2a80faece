"""RFC 6455 without I/O: frames, compression, the handshake. Pure."""
