"""Which of several processes this one is: the label `worker` of metrics."""

import multiprocessing

__all__ = ["be_worker", "is_one_of_several", "worker_name"]

_number: list[int] = []


def be_worker(number: int) -> None:
    """Note that this process is one of several workers of the command, from 0 on."""
    _number[:] = [number]


def worker_name() -> str:
    """Return the number of this worker; "0" for a process of its own; under hypercorn's command, the process's name."""
    if _number:
        return str(_number[0])
    return "0" if multiprocessing.parent_process() is None else multiprocessing.current_process().name


def is_one_of_several() -> bool:
    """Tell whether other processes serve the same application."""
    return bool(_number) or multiprocessing.parent_process() is not None
