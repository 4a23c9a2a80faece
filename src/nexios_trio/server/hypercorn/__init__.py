"""HTTP, served by hypercorn: what depends on its internals above a socket."""
