"""Signals for a server that does not look yet, or no longer."""

import signal

__all__ = ["ignore", "keep", "raise_again"]

_kept: list[int] = []


def keep(number: signal.Signals) -> None:
    """Note this signal in place of what it does, while the server has no handler of its own.

    One that comes behind the server's end is an old one, and does nothing.
    """
    signal.signal(number, lambda number, frame: _kept.append(number))


def raise_again() -> None:
    """Raise the signals that came before. Called once the server has a handler."""
    kept, _kept[:] = list(_kept), []
    for number in kept:
        signal.raise_signal(number)


def ignore(number: signal.Signals) -> None:
    """Let this signal do nothing: the server has ended, and the process is about to.

    On its way out the interpreter gives every signal with a handler back its default, which is to kill; not so one that
    is ignored.
    """
    signal.signal(number, signal.SIG_IGN)
