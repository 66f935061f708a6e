"""What a client reports, as metrics and spans of OpenTelemetry.

Names and units follow OpenTelemetry's semantic conventions, which have none for ZooKeeper: so the
names begin with ``zookeeper``. Imports ``client/metrics``, ``model`` and OpenTelemetry's API.
"""

from typing import Final

from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider, get_tracer

from zoolet.client.metrics import SUCCEEDED, ClientMetrics
from zoolet.client.protocol.states import SessionState
from zoolet.model.codes import EventType

_NAME: Final = "zoolet.client"
REQUEST: Final = "zookeeper.request"
PATH: Final = "zookeeper.path"
ERROR_TYPE: Final = "error.type"
ADDRESS: Final = "server.address"


class OpenTelemetryMetrics(ClientMetrics):
    """Metrics and spans of clients: ``ClientOptions(metrics=OpenTelemetryMetrics())``.

    Each call has a span ``zookeeper REQUEST`` of the kind CLIENT, whose parent is the span that is
    current where the program makes the call. It has the attributes ``zookeeper.request`` and
    ``zookeeper.path``, and ``error.type`` if the call did not succeed: the name of the class of the
    error, or ``cancelled``.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        *,
        shows_paths: bool = True,
    ) -> None:
        """Use these providers; the default is the global ones.

        ``shows_paths`` says whether spans have the path: paths can contain names of customers.
        """
        meter = get_meter(_NAME, meter_provider=meter_provider)
        self._tracer = get_tracer(_NAME, tracer_provider=tracer_provider)
        self._shows_paths = shows_paths
        self._durations = meter.create_histogram(
            "zookeeper.client.call.duration", "s", "Duration of a call, from its start to its end."
        )
        self._outstanding = meter.create_up_down_counter(
            "zookeeper.client.call.outstanding", "{call}", "Calls that have not ended."
        )
        self._sent = meter.create_counter("zookeeper.client.bytes.sent", "By", "Bytes sent.")
        self._received = meter.create_counter(
            "zookeeper.client.bytes.received", "By", "Bytes received."
        )
        self._connections = meter.create_counter(
            "zookeeper.client.connections", "{connection}", "Connections that serve a session."
        )
        self._changes = meter.create_counter(
            "zookeeper.client.state.changes", "{change}", "Changes of the state of a session."
        )
        self._events = meter.create_counter(
            "zookeeper.client.events", "{event}", "Events for watches."
        )
        self._resyncs = meter.create_counter(
            "zookeeper.client.resyncs", "{resync}", "Watches that may have missed events."
        )

    def call_began(self, request: str, path: str) -> Span:
        """Begin a span, and count the call as outstanding."""
        attributes = {REQUEST: request}
        self._outstanding.add(1, attributes)
        if path and self._shows_paths:
            attributes = {**attributes, PATH: path}
        return self._tracer.start_span(
            f"zookeeper {request}", kind=SpanKind.CLIENT, attributes=attributes
        )

    def call_ended(self, began: object, request: str, duration_s: float, outcome: str) -> None:
        """End the span, and record the duration of the call."""
        attributes = {REQUEST: request}
        self._outstanding.add(-1, attributes)
        if outcome != SUCCEEDED:
            attributes = {**attributes, ERROR_TYPE: outcome}
        self._durations.record(duration_s, attributes)
        if isinstance(began, Span):
            if outcome != SUCCEEDED:
                began.set_attribute(ERROR_TYPE, outcome)
                began.set_status(StatusCode.ERROR, outcome)
            began.end()

    def bytes_sent(self, count: int) -> None:
        """Count bytes."""
        self._sent.add(count)

    def bytes_received(self, count: int) -> None:
        """Count bytes."""
        self._received.add(count)

    def connected(self, address: str) -> None:
        """Count a connection."""
        self._connections.add(1, {ADDRESS: address})

    def state_changed(self, state: SessionState) -> None:
        """Count a change of the state."""
        self._changes.add(1, {"zookeeper.state": state.value})

    def event_received(self, event_type: EventType) -> None:
        """Count an event."""
        self._events.add(1, {"zookeeper.event": event_type.name})

    def resynced(self) -> None:
        """Count a watch that may have missed events."""
        self._resyncs.add(1)
