"""The label `worker`."""

import multiprocessing

import pytest

from nexios_trio.observability import workers


def test_a_process_of_its_own_and_a_worker_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_number", [])
    assert workers.worker_name() == "0"
    workers.be_worker(3)
    assert workers.worker_name() == "3"


def test_workers_of_others_have_the_names_of_their_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_number", [])
    monkeypatch.setattr(multiprocessing, "parent_process", object)
    assert workers.worker_name() == multiprocessing.current_process().name
