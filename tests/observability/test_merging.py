"""The metrics of several workers as one text."""

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from nexios_trio.observability.merging import count_workers, merge_metrics
from nexios_trio.observability.metrics import Labelled


def of_worker(number: int, *more: str) -> str:
    registry = CollectorRegistry()
    for name in ("moves", *more):
        Counter(name, "Moves in\nall games.", ["game"], registry=registry).labels("tea # HELP me").inc(number)
    return generate_latest(Labelled(registry, str(number))).decode()


def test_each_family_is_there_once_with_everybodys_samples() -> None:
    merged = merge_metrics([of_worker(1), of_worker(2, "jumps"), of_worker(3)])
    families = {family.name: family for family in text_string_to_metric_families(merged)}
    assert merged.count("# TYPE moves_total counter") == merged.count("# HELP moves_total") == 1
    assert {
        name: {(sample.labels["worker"], sample.value) for sample in family.samples if sample.name.endswith("_total")}
        for name, family in families.items()
        if not name.endswith("_created")
    } == {"moves": {("1", 1.0), ("2", 2.0), ("3", 3.0)}, "jumps": {("2", 2.0)}}
    assert families["moves"].samples[0].labels["game"] == "tea # HELP me"


def test_nothing_of_nobody() -> None:
    assert merge_metrics([]) == ""


def test_how_many_there_are() -> None:
    families = text_string_to_metric_families(merge_metrics([of_worker(1), count_workers(1, 2)]))
    values = {family.name: family.samples[0].value for family in families}
    assert (values["nexios_workers"], values["nexios_workers_answered"]) == (2, 1)
