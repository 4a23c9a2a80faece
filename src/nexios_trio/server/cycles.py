"""Objects of other people that refer to themselves."""

__all__ = ["break_cycles"]


def break_cycles(of: object) -> None:
    """Empty an object that is no longer used and that refers to itself, as hypercorn's and trio's connections do.

    Such a cycle, of some 20 KiB with all it holds, is found by a full collection only, and a server that tunes the
    collector has one in many thousand connections. The object cannot be used afterwards.
    """
    vars(of).clear()
