"""Who is ready at the poller and has to wait for all the others."""

__all__ = ["Waiting"]


class Waiting:
    """Descriptors that are ready, and for what: who is connected, and newcomers. First come, first served, and in turn:
    who keeps us busy does not wait for hundreds of newcomers, nor they for it.
    """

    def __init__(self) -> None:
        self._connected: dict[int, int] = {}
        self._newcomers: dict[int, int] = {}
        self._is_newcomer_next = False

    def __bool__(self) -> bool:
        return bool(self._connected or self._newcomers)

    def __contains__(self, fd: int) -> bool:
        return fd in self._connected or fd in self._newcomers

    def put(self, fd: int, events: int, *, newcomer: bool) -> None:
        queue = self._newcomers if newcomer else self._connected
        queue[fd] = events | queue.get(fd, 0)

    def get(self) -> tuple[int, int]:
        if (self._is_newcomer_next and self._newcomers) or not self._connected:
            queue = self._newcomers
        else:
            queue = self._connected
        self._is_newcomer_next = queue is self._connected
        fd = next(iter(queue))
        return fd, queue.pop(fd)

    def discard(self, fd: int) -> None:
        self._connected.pop(fd, None)
        self._newcomers.pop(fd, None)
