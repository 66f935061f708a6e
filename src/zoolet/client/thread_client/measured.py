"""The engine of a `Client` with metrics. Without metrics, no client imports this module.

Invariant: no method of the metrics is called while this thread has the lock of the client. So what
happens with the lock is kept in `_Pending`, and reported after the lock is free. Imports the
client's engine, its metrics and protocol.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

from zoolet.client.connecting.options import ClientOptions
from zoolet.client.connecting.server_order import ServerOrder
from zoolet.client.metrics import CANCELLED, ClientMetrics, outcome_of, report, reports_of
from zoolet.client.protocol.calls import ENDED, Call
from zoolet.client.protocol.replies import name_of
from zoolet.client.protocol.session import ClientSession, Outcome
from zoolet.client.protocol.states import OnState
from zoolet.client.session_log import SessionLog
from zoolet.client.thread_client.engine import Engine
from zoolet.client.thread_client.followers import Followers
from zoolet.client.thread_client.transport import Transport

T = TypeVar("T")


class _Running:
    """A call with a future that has not ended."""

    def __init__(self, began: object, request: str) -> None:
        self.began = began
        self.request = request
        self.start_s = time.monotonic()


class _Pending:
    """What is not reported yet.

    Attributes:
        running: the calls with futures that have not ended.
    """

    def __init__(self, metrics: ClientMetrics, log: SessionLog) -> None:
        self.metrics = metrics
        self.log = log
        self.running: dict[Call[object], _Running] = {}
        self._reports: deque[Callable[[], object]] = deque()

    def add(self, method: Callable[..., object], *arguments: object) -> None:
        """Keep a report."""
        self._reports.append(partial(report, self.log, method, *arguments))

    def end(self, call: Call[object], outcome: str) -> None:
        """Keep the report of the end of a call with a future, if it is not kept yet."""
        running = self.running.pop(call, None)
        if running is not None:
            duration_s = time.monotonic() - running.start_s
            self.add(self.metrics.call_ended, running.began, running.request, duration_s, outcome)

    def note(self, outcome: Outcome, address: object) -> None:
        """Keep the report of an outcome of the session."""
        if isinstance(outcome, Call):
            self.end(outcome, outcome_of(outcome.error))
            return
        for method, arguments in reports_of(self.metrics, outcome, address):
            self.add(method, *arguments)

    def report(self) -> None:
        """Report what is kept. The caller does not hold the lock."""
        while self._reports:
            try:
                next_report = self._reports.popleft()
            except IndexError:  # another thread reports too
                return
            next_report()


class MeasuredEngine(Engine):
    """An engine that reports what it does."""

    def __init__(
        self,
        session: ClientSession,
        order: ServerOrder,
        options: ClientOptions,
        metrics: ClientMetrics,
    ) -> None:
        self._pending = _Pending(metrics, SessionLog(session))
        super().__init__(session, order, options)

    def run(self, call: Call[T], timeout_s: float | None) -> T:
        """Send a call, wait for its end, and return its result or raise its error."""
        pending = self._pending
        log, metrics, request = self.log, pending.metrics, name_of(call.op_code)
        began = report(log, metrics.call_began, request, call.path)
        start_s = time.monotonic()
        outcome = outcome_of(None)
        try:
            return super().run(call, timeout_s)
        except BaseException as error:
            outcome = outcome_of(error)
            raise
        finally:
            duration_s = time.monotonic() - start_s
            report(log, metrics.call_ended, began, request, duration_s, outcome)
            pending.report()

    def submit(self, call: Call[T], timeout_s: float | None) -> None:
        """Send a call soon."""
        pending, key = self._pending, cast("Call[object]", call)
        request = name_of(call.op_code)
        began = report(self.log, pending.metrics.call_began, request, call.path)
        pending.running[key] = _Running(began, request)
        try:
            super().submit(call, timeout_s)
        except BaseException as error:
            pending.end(key, outcome_of(error))
            raise
        finally:
            if call.phase == ENDED:
                pending.end(key, outcome_of(call.error))
            pending.report()

    def wait(self, call: Call[object], timeout_s: float | None) -> None:
        """Wait for the end of a submitted call."""
        try:
            super().wait(call, timeout_s)
        finally:
            if call.phase == ENDED:
                self._pending.end(call, outcome_of(call.error))
            self._pending.report()

    def cancel(self, call: Call[object]) -> bool:
        """Forget a call; return whether it was not sent."""
        is_unsent = super().cancel(call)
        self._pending.end(call, CANCELLED)
        self._pending.report()
        return is_unsent

    def read_once(self, transport: Transport, limit_s: float) -> None:
        """Read what comes within ``limit_s``, and send what waits."""
        try:
            super().read_once(transport, limit_s)
        finally:
            self._pending.report()

    def new_followers(self, on_state: OnState) -> Followers:
        """Return followers that note each outcome."""
        return _MeasuredFollowers(self, self._pending, on_state)

    def measured(self, transport: Transport) -> Transport:
        """Return a connection that counts its bytes."""
        return _MeasuredTransport(transport, self._pending)


class _MeasuredFollowers(Followers):
    """Followers that note each outcome of the session."""

    def __init__(self, engine: MeasuredEngine, pending: _Pending, on_state: OnState) -> None:
        super().__init__(engine.lock, on_state, engine.log)
        self._engine = engine
        self._pending = pending

    def note(self, outcomes: list[Outcome]) -> None:
        """Note outcomes, and pass them on or keep them."""
        for outcome in outcomes:
            self._pending.note(outcome, self._engine.address)
        super().note(outcomes)

    def pass_on(self) -> None:
        """Report, and pass the kept outcomes on."""
        self._pending.report()
        super().pass_on()


class _MeasuredTransport(Transport):
    """A connection that counts its bytes."""

    def __init__(self, transport: Transport, pending: _Pending) -> None:
        self._transport = transport
        self._pending = pending

    def send(self, data: bytes) -> int:
        """Send as much as possible without waiting."""
        sent_bytes = self._transport.send(data)
        if sent_bytes:
            self._pending.add(self._pending.metrics.bytes_sent, sent_bytes)
        return sent_bytes

    def receive(self, limit_s: float, *, is_writing: bool) -> bytes | None:
        """Return bytes, b"" at the end, or None."""
        data = self._transport.receive(limit_s, is_writing=is_writing)
        if data:
            self._pending.add(self._pending.metrics.bytes_received, len(data))
        return data

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._transport.fileno()

    def peer(self) -> str:
        """Return the IP address of the server."""
        return self._transport.peer()

    def has_buffered(self) -> bool:
        """Return whether bytes can be read without reading the descriptor."""
        return self._transport.has_buffered()

    def abort(self) -> None:
        """End the connection."""
        self.is_aborted = True
        self._transport.abort()

    def close(self) -> None:
        """End the connection and free its descriptor."""
        self.is_aborted = True
        self._transport.close()
