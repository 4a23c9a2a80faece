"""Metrics in prometheus's text format, for whoever scrapes. The extra `metrics` is needed to import this."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import trio
from prometheus_client import REGISTRY, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from ..connections.runtime import Runtime
from ..engines.base import EngineState
from .census import Census, take_census
from .durations import Durations
from .sampling import Samples
from .workers import is_one_of_several, worker_name

__all__ = ["Metrics"]

PREFIX: Final = "nexios_"


class Metrics:
    """One application's numbers, and those of a registry beside them.

    Args:
        registry: the program's own metrics; None for the library's one for the whole process.
    """

    def __init__(self, runtime: Runtime, registry: CollectorRegistry | None) -> None:
        self._runtime = runtime
        self._registry = REGISTRY if registry is None else registry
        self._samples = Samples()
        self._samples.begin(runtime)

    async def render(self) -> bytes:
        """Return all of them as text. Checkpoint: always.

        The registry's collectors run in a thread, as they do everywhere else: some of them read files.
        """
        census = await take_census(self._runtime)
        ours = generate_latest(Families(census, self._samples, worker_name()))
        registry = Labelled(self._registry, worker_name()) if is_one_of_several() else self._registry
        theirs = await trio.to_thread.run_sync(generate_latest, registry)
        return ours + theirs


class Labelled(Collector):
    """The metrics of a registry with the label `worker`, so that they differ from those of other workers."""

    def __init__(self, registry: Collector, worker: str) -> None:
        self._registry = registry
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            labelled = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            for sample in metric.samples:
                labelled.samples.append(sample._replace(labels={"worker": self._worker, **sample.labels}))
            yield labelled


class Families(Collector):
    """A census as the library wants it."""

    def __init__(self, census: Census, samples: Samples, worker: str) -> None:
        self._census = census
        self._samples = samples
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """Make the metric families. Of this one moment: the numbers have been read."""
        yield from self._connections()
        yield from self._groups()
        yield from self._outboxes()
        yield self._histogram(
            "publish_to_wire_seconds",
            "From group_send, here or on another node, to the last member's socket or send queue. One message in 64.",
            self._samples.publish_to_wire,
        )
        yield self._histogram(
            "handler_seconds",
            "From when a handler is given a message to when it asks for the next one. On one connection in 16.",
            self._samples.handler,
        )

    def _connections(self) -> Iterator[Metric]:
        census = self._census
        lanes = {*census.connections, *census.accepted}  # one that had connections goes down to 0, and does not vanish
        open_now = {(lane, "websocket"): census.connections[lane] for lane in sorted(lanes)}
        if census.server is not None:
            open_now["asgi", "http"] = census.server.http
        yield self._gauge(
            "connections", "WebSockets that are open, and connections for HTTP.", ("lane", "protocol"), open_now
        )
        yield self._gauge("handshakes", "WebSocket handshakes that are not answered yet.", (), census.handshakes)
        yield self._counter("accepted", "WebSocket handshakes that were accepted.", ("lane",), census.accepted)
        refused = {(cause, str(status or "")): count for (cause, status), count in census.refused.items()}
        text = "WebSocket handshakes that were not accepted, by cause and HTTP status; without one the client has left."
        yield self._counter("refused", text, ("cause", "status"), refused)
        yield self._counter(
            "ended", "WebSockets that were accepted and have ended, by the cause.", ("cause",), census.ended
        )
        if census.server is not None:
            server = census.server
            text = "Sockets that the server has accepted and not closed, of every kind."
            yield self._gauge("server_connections", text, (), server.connections)
            yield self._gauge(
                "server_connections_limit",
                "Sockets that the server may have at a time; it refuses more.",
                (),
                server.most,
            )
            text = "Connections that were refused before any application has seen them."
            yield self._counter("server_refused", text, ("cause",), server.refused)
            text = "Sockets of server_connections whose first request has not come yet."
            yield self._gauge("server_connections_without_request", text, (), server.without_request)

    def _groups(self) -> Iterator[Metric]:
        census = self._census
        yield self._gauge("groups", "Groups that have members in this process.", (), census.groups)
        yield self._gauge(
            "members", "Memberships in this process: a channel in two groups counts twice.", (), census.members
        )
        yield self._gauge("channels", "Channels in this process, in groups or not.", (), census.channels)
        if census.presences:
            text = "Memberships in this process that are present, by the pattern of keep_presence."
            yield self._gauge("presences", text, ("pattern",), census.presences)
            text = "Times that the others took this process for dead, with somebody present: its lease was over."
            yield self._counter("presence_leases_lost", text, (), census.lost_leases)
        text = "Messages that group_send and post gave to the engine in this process."
        yield self._counter("published", text, (), census.published)
        text = "Group messages written to members in this process, or queued for them; once for each member."
        yield self._counter("delivered", text, (), census.delivered)
        counts = census.undelivered
        reasons = {name: getattr(counts, name) for name in ("dropped_latest", "dropped_oldest", "lost", "replaced")}
        text = "Messages, of groups and others, that peers were to get and did not."
        yield self._counter("undelivered", text, ("reason",), reasons)
        text = "Messages for which an overflow policy, or its key, raised: they were queued without."
        yield self._counter("policy_errors", text, (), counts.policy_errors)
        states = {state.value: int(census.engine is state) for state in EngineState}
        yield self._gauge("engine_state", "1 for the state that the engine is in.", ("state",), states)

    def _outboxes(self) -> Iterator[Metric]:
        census = self._census
        yield self._gauge(
            "outbox_peers", "Peers for which messages wait in their send queues.", (), census.waiting_peers
        )
        yield self._gauge(
            "outbox_messages", "Messages that wait in the send queues of all peers.", (), census.waiting_messages
        )
        yield self._gauge(
            "outbox_bytes", "Bytes of the messages that wait in the send queues of all peers.", (), census.waiting_bytes
        )
        text = "The longest time for which a peer has taken nothing of what waits for it; 0 if nothing waits."
        yield self._gauge("outbox_age_seconds", text, (), census.longest_wait)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...], values: Any) -> Metric:
        return self._family(GaugeMetricFamily, name, text, labels, values)

    def _counter(self, name: str, text: str, labels: tuple[str, ...], values: Any) -> Metric:
        return self._family(CounterMetricFamily, name, text, labels, values)

    def _family(self, kind: Callable[..., Any], name: str, text: str, labels: tuple[str, ...], values: Any) -> Metric:
        """Make a family of one value, or of one for each combination of labels."""
        family: Any = kind(PREFIX + name, text, labels=("worker", *labels))
        rows: Mapping[Any, float] = values if labels else {(): values}
        for key, value in rows.items():
            family.add_metric((self._worker, *((key,) if isinstance(key, str) else key)), value)
        made: Metric = family
        return made

    def _histogram(self, name: str, text: str, durations: Durations) -> Metric:
        family = HistogramMetricFamily(PREFIX + name, text, labels=("worker",))
        total, buckets = 0, []
        for bound, count in zip((*map(str, durations.bounds), "+Inf"), durations.counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric((self._worker,), buckets, durations.seconds)
        return family
