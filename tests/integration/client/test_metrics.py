"""What clients report of their work, on a real server with faults."""

import asyncio
import random
import threading
from collections import Counter
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.support.async_clients import outcome
from tests.support.both_clients import OPTIONS, both, clients_of, in_thread, run, until
from zoolet.client import (
    AsyncClient,
    Client,
    ClientMetrics,
    ClientOptions,
    Event,
    EventType,
    NoNodeError,
    Resynced,
    SessionState,
)
from zoolet.client.opentelemetry import OpenTelemetryMetrics
from zoolet.testing import EmbeddedServer, OpCode


class Recorded(ClientMetrics):
    """Everything that a client reports.

    Attributes:
        open: the calls that have not ended.
        ended: the calls that ended: request, path and outcome.
        had_lock: whether a method was called by a thread with the lock of the client.
    """

    def __init__(self) -> None:
        self.open: dict[object, tuple[str, str]] = {}
        self.ended: list[tuple[str, str, str]] = []
        self.sent = self.received = self.resyncs = 0
        self.addresses: list[str] = []
        self.states: list[SessionState] = []
        self.events: list[EventType] = []
        self.had_lock = False
        self.client: Any = None

    def look(self) -> None:
        client = self.client
        if isinstance(client, Client):
            lock = client._engine.lock
            self.had_lock = self.had_lock or lock._is_owned()  # type: ignore[attr-defined]

    def call_began(self, request: str, path: str) -> object:
        self.look()
        key = object()
        self.open[key] = (request, path)
        return key

    def call_ended(self, began: object, request: str, duration_s: float, outcome: str) -> None:
        self.look()
        assert duration_s >= 0
        noted, path = self.open.pop(began)
        assert noted == request
        self.ended.append((request, path, outcome))

    def bytes_sent(self, count: int) -> None:
        self.look()
        self.sent += count

    def bytes_received(self, count: int) -> None:
        self.look()
        self.received += count

    def connected(self, address: str) -> None:
        self.look()
        self.addresses.append(address)

    def state_changed(self, state: SessionState) -> None:
        self.look()
        self.states.append(state)

    def event_received(self, event_type: EventType) -> None:
        self.look()
        self.events.append(event_type)

    def resynced(self) -> None:
        self.look()
        self.resyncs += 1


def with_metrics(metrics: ClientMetrics) -> ClientOptions:
    return OPTIONS._replace(metrics=metrics)


@both
def test_calls_bytes_states_and_events_are_reported(kind: str) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                metrics = Recorded()
                client = await make(server.hosts, with_metrics(metrics))
                assert metrics.states == [SessionState.CONNECTED]
                assert metrics.addresses == [server.hosts]
                await client.create("/a")
                async with client.watch("/a") as changes:
                    await client.set("/a", b"1")
                    assert isinstance(await changes.next(), Event)
                    with pytest.raises(NoNodeError):
                        await client.get("/missing")
                    server.faults.cut(client.session_id.id)
                    assert isinstance(await changes.next(), Resynced)
                    assert (await client.get("/a")).data == b"1"
                wanted = [
                    ("create", "/a", "ok"),
                    ("watch", "/a", "ok"),
                    ("set", "/a", "ok"),
                    ("get", "/missing", "NoNodeError"),
                    ("get", "/a", "ok"),
                ]
                await until(lambda: len(metrics.ended) == len(wanted), "all calls are reported")
                assert metrics.ended == wanted
                assert not metrics.open
                assert (metrics.events, metrics.resyncs) == ([EventType.NODE_DATA_CHANGED], 1)
                assert len(metrics.addresses) == 2
                assert metrics.sent > 100
                assert metrics.received > 100
                await client.close()
                connected, suspended = SessionState.CONNECTED, SessionState.SUSPENDED
                assert metrics.states == [connected, suspended, connected, SessionState.CLOSED]

    run(scenario())


class Failing(ClientMetrics):
    """Fails in each method."""

    def __getattribute__(self, name: str) -> Any:
        def fail(*_: object) -> None:
            raise LookupError(name)

        return fail


@both
def test_failing_metrics_are_logged_and_have_no_other_effect(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts, with_metrics(Failing()))
                await client.create("/a")
                async with client.watch("/a") as changes:
                    await client.set("/a", b"1")
                    assert isinstance(await changes.next(), Event)
                    server.faults.cut(client.session_id.id)
                    assert isinstance(await changes.next(), Resynced)
                await client.close()
        failed = {str(one.exc_info[1]) for one in caplog.records if one.exc_info}
        assert failed == {name for name in vars(ClientMetrics) if not name.startswith("_")}

    run(scenario())


def test_without_metrics_nothing_of_them_is_used() -> None:
    for client in (Client(), AsyncClient()):
        assert type(client._engine).__name__ == "Engine"


@both
@pytest.mark.parametrize("seed", range(4))
def test_random_calls_end_once_with_their_outcome(kind: str, seed: int) -> None:
    chance = random.Random(seed)

    async def scenario() -> None:
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                metrics, seen = Recorded(), Counter[tuple[str, str]]()
                client = await make(server.hosts, with_metrics(metrics))
                metrics.client = getattr(client, "inner", client)
                await client.create("/a")
                seen["create", "ok"] += 1
                server.faults.on(OpCode.GET_DATA, times=None, chance=0.05, seed=seed).drop_reply()
                server.faults.on(OpCode.SET_DATA, times=None, chance=0.02, seed=seed).expire()

                def note(request: str, result: object) -> None:
                    name = type(result).__name__ if isinstance(result, Exception) else "ok"
                    seen[request, name] += 1

                async def call() -> None:
                    for _ in range(30):
                        request = chance.choice(["get", "set", "exists"])
                        arguments = ("/a", b"") if request == "set" else ("/a",)
                        if chance.random() < 0.5:
                            note(request, await outcome(getattr(client, request)(*arguments)))
                            continue
                        future = getattr(client.futures, request)(*arguments)
                        if chance.random() < 0.2 and (future.cancel() or kind == "threads"):
                            seen[request, "cancelled"] += 1
                        elif kind == "threads":
                            note(request, await outcome(in_thread(future.result)))
                        else:
                            note(request, await outcome(future))

                await asyncio.gather(*[call() for _ in range(4)])
                await client.close()
                await until(lambda: not metrics.open, "all calls are reported")
                ended = Counter((request, how) for request, _, how in metrics.ended)
                if kind == "asyncio":
                    assert ended == seen
                else:  # a future that was cancelled may have had its result
                    assert ended.total() == seen.total()
                    assert Counter(one for one, _ in ended.elements()) == Counter(
                        one for one, _ in seen.elements()
                    )
                assert not metrics.had_lock
                assert metrics.states[-1] is SessionState.CLOSED

    run(scenario())


class Telemetry:
    """OpenTelemetry's SDK, with exporters into memory."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter_provider = MeterProvider([self._reader])

    def metrics(self, *, shows_paths: bool = True) -> OpenTelemetryMetrics:
        return OpenTelemetryMetrics(
            self.meter_provider, self.tracer_provider, shows_paths=shows_paths
        )

    def points(self) -> dict[str, dict[tuple[Any, ...], Any]]:
        """Return the points of each metric, by the values of their attributes."""
        data = self._reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: {
                tuple((point.attributes or {}).values()): getattr(point, "count", None)
                or getattr(point, "value", 0)
                for point in metric.data.data_points
            }
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


@both
def test_opentelemetry_gets_metrics_and_spans(kind: str) -> None:
    async def scenario() -> None:
        telemetry = Telemetry()
        with EmbeddedServer() as server:
            async with clients_of(kind) as make:
                client = await make(server.hosts, with_metrics(telemetry.metrics()))
                await client.create("/a")
                async with client.watch("/a") as changes:
                    await client.set("/a", b"1")
                    await changes.next()
                    server.faults.cut(client.session_id.id)
                    await changes.next()
                with pytest.raises(NoNodeError):
                    await client.get("/missing")
                await until(lambda: len(telemetry.spans()) == 4, "the spans")
                await client.close()
        points = telemetry.points()
        prefix = "zookeeper.client."
        assert points[f"{prefix}call.duration"] == {
            ("create",): 1,
            ("watch",): 1,
            ("set",): 1,
            ("get", "NoNodeError"): 1,
        }
        assert set(points[f"{prefix}call.outstanding"].values()) == {0}
        assert points[f"{prefix}bytes.sent"][()] > 100
        assert points[f"{prefix}bytes.received"][()] > 100
        assert points[f"{prefix}connections"] == {(server.hosts,): 2}
        assert points[f"{prefix}state.changes"] == {
            ("connected",): 2,
            ("suspended",): 1,
            ("closed",): 1,
        }
        assert points[f"{prefix}events"] == {("NODE_DATA_CHANGED",): 1}
        assert points[f"{prefix}resyncs"] == {(): 1}
        *good, failed = telemetry.spans()
        assert [span.name for span in good] == [
            "zookeeper create",
            "zookeeper watch",
            "zookeeper set",
        ]
        for span in good:
            assert span.kind is SpanKind.CLIENT
            assert (span.attributes or {})["zookeeper.path"] == "/a"
            assert span.status.status_code is StatusCode.UNSET
        assert failed.status.status_code is StatusCode.ERROR
        assert (failed.attributes or {})["error.type"] == "NoNodeError"

    run(scenario())


def test_a_span_belongs_to_the_span_of_the_program() -> None:
    telemetry = Telemetry()
    tracer = telemetry.tracer_provider.get_tracer("program")
    metrics = telemetry.metrics(shows_paths=False)
    with EmbeddedServer() as server, Client(server.hosts, with_metrics(metrics)) as client:

        def work() -> None:
            with tracer.start_as_current_span("work"):
                client.exists("/")
                client.futures.exists("/").result()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    spans = telemetry.spans()
    works = {span.context.span_id for span in spans if span.name == "work" and span.context}
    calls = [span for span in spans if span.name == "zookeeper exists"]
    assert len(calls) == 4
    assert {call.parent.span_id for call in calls if call.parent} == works
    assert not any("zookeeper.path" in (call.attributes or {}) for call in calls)
