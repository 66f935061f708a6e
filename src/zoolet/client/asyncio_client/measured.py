"""The engine of an `AsyncClient` with metrics. Without metrics, no client imports this module.

Imports the client's engine, its metrics and protocol, and asyncio.
"""

import asyncio
from functools import partial
from typing import TypeVar, cast

from zoolet.client.asyncio_client.engine import Engine
from zoolet.client.asyncio_client.link import Link
from zoolet.client.connecting.options import ClientOptions
from zoolet.client.connecting.server_order import ServerOrder
from zoolet.client.metrics import CANCELLED, ClientMetrics, outcome_of, report, reports_of
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.replies import name_of
from zoolet.client.protocol.session import ClientSession, Outcome
from zoolet.client.session_log import SessionLog

T = TypeVar("T")


class MeasuredEngine(Engine):
    """An engine that reports what it does."""

    def __init__(
        self,
        session: ClientSession,
        order: ServerOrder,
        options: ClientOptions,
        metrics: ClientMetrics,
    ) -> None:
        super().__init__(session, order, options)
        self._metrics = metrics

    def run(self, call: Call[T], timeout_s: float | None) -> asyncio.Future[T]:
        """Start a call; return the future of its result."""
        future = super().run(call, timeout_s)
        start_s = asyncio.get_running_loop().time()
        request = name_of(call.op_code)
        began = report(self.log, self._metrics.call_began, request, call.path)
        future.add_done_callback(partial(self._end, began, cast("Call[object]", call), start_s))
        return future

    def deliver(self, outcomes: list[Outcome]) -> None:
        """Report events and states, then pass the outcomes to the program."""
        for outcome in outcomes:
            if not isinstance(outcome, Call):
                for method, arguments in reports_of(self._metrics, outcome, self.address):
                    report(self.log, method, *arguments)
        super().deliver(outcomes)

    def new_link(self, loop: asyncio.AbstractEventLoop) -> Link:
        """Return a connection that counts its bytes."""
        return _MeasuredLink(self, loop, self._metrics, self.log)

    def _end(
        self, began: object, call: Call[object], start_s: float, future: asyncio.Future[T]
    ) -> None:
        duration_s = asyncio.get_running_loop().time() - start_s
        # Not the exception of the future: asyncio logs an exception that nobody has asked for.
        outcome = CANCELLED if future.cancelled() else outcome_of(call.error)
        request = name_of(call.op_code)
        report(self.log, self._metrics.call_ended, began, request, duration_s, outcome)


class _MeasuredLink(Link):
    """A connection that reports its bytes."""

    def __init__(
        self,
        owner: Engine,
        loop: asyncio.AbstractEventLoop,
        metrics: ClientMetrics,
        log: SessionLog,
    ) -> None:
        super().__init__(owner, loop)
        self._metrics = metrics
        self._log = log

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, which counts what is written."""
        counting = _CountingTransport(
            cast("asyncio.Transport", transport), self._metrics, self._log
        )
        super().connection_made(counting)

    def data_received(self, data: bytes) -> None:
        """Count the bytes, and process them."""
        report(self._log, self._metrics.bytes_received, len(data))
        super().data_received(data)


class _CountingTransport(asyncio.Transport):
    """What a link uses of its transport."""

    def __init__(
        self, transport: asyncio.Transport, metrics: ClientMetrics, log: SessionLog
    ) -> None:
        super().__init__()
        self._transport = transport
        self._metrics = metrics
        self._log = log

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Count the bytes, and write them."""
        report(self._log, self._metrics.bytes_sent, len(data))
        self._transport.write(data)

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()
