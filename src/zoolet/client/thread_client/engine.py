"""The engine of a `Client`: which thread reads, who sends, and the background thread.

A thread that waits for a call sends its request and reads until its reply comes. At most one thread
reads at a time: the others wait for it, and it passes the reading on when its own call has ended.
A background thread connects, sends pings, and reads while no other thread does.

Invariants: `_lock` protects the session, the sending of bytes, and who reads. A thread that reads
does not hold the lock while it waits for bytes. The outcomes of the session are passed on in their
order, under the lock. A waiting thread is woken when its call has ended, or when it shall read.
This module imports the client's protocol and ``model``; it does not import asyncio.
"""

import contextlib
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar, cast

from zoolet.client.connecting.options import ClientOptions
from zoolet.client.connecting.server_order import ServerOrder
from zoolet.client.errors import (
    ClientClosedError,
    ForkedClientError,
    ProtocolError,
)
from zoolet.client.protocol.calls import ENDED, Call
from zoolet.client.protocol.replies import name_of
from zoolet.client.protocol.session import ClientSession, Outcome
from zoolet.client.protocol.states import SessionState
from zoolet.client.protocol.watches import Notice, Watcher
from zoolet.client.thread_client.transport import TICK_S, Transport, connect
from zoolet.model.addresses import Address

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")
OnState = Callable[[SessionState], None]

log = logging.getLogger("zoolet.client")

_QUIET_S: Final = 0.005
"""The background thread begins to read when no other thread has waited for this time."""

_SEND_AT_CALLS: Final = 64
"""Calls with futures are sent at the latest when this number of calls waits to be sent."""

_NEVER_S: Final = 1e18
_CHECK_S: Final = 0.5
"""The longest time between two checks of time limits."""

_FINAL: Final = frozenset({SessionState.AUTH_FAILED, SessionState.CLOSED})


class Engine:
    """The connection of one client, its session, and the threads that use it.

    Attributes:
        session: the session; only a thread with the lock may use it.
        order: the servers.
        listeners: functions of the program that are called with each new state.
        failures: the reason of the last failure of each server.
        address: the address of the last connection.
    """

    def __init__(self, session: ClientSession, order: ServerOrder, options: ClientOptions) -> None:
        self.session = session
        self.order = order
        self.listeners: list[OnState] = []
        self.failures: dict[Address, str] = {}
        self.address: Address | None = None
        self._options = options
        self._call_timeout_s = options.call_timeout_s
        self._lock = threading.RLock()
        self._state_changed = threading.Condition(self._lock)
        self._wake_reads, self._wake_writes = -1, -1
        self._is_work_due = False
        self._transport: Transport | None = None
        self._unsent = b""
        self._unsent_calls = 0
        self._reader = 0
        self._program_runs_in = 0
        self._followers: deque[threading.Lock] = deque()
        self._waits = 0
        self._heard_s = self._sent_s = self._next_check_s = 0.0
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether the engine has stopped."""
        return self._is_over

    def start(self) -> None:
        """Start the background thread, which connects."""
        self._pid = os.getpid()
        self._wake_reads, self._wake_writes = os.pipe()
        for end in (self._wake_reads, self._wake_writes):
            os.set_blocking(end, False)
        self._thread = threading.Thread(target=self._work_on, name="zoolet-client", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the connection and the background thread."""
        with self._lock:
            self._is_over = True
            if self._transport is not None:
                self._transport.close()
        self._nudge()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            os.close(self._wake_reads)
            os.close(self._wake_writes)

    def run(self, call: Call[T], timeout_s: float | None) -> T:
        """Send a call, wait for its end, and return its result or raise its error."""
        self._begin(call, timeout_s, sends=True)
        if call.phase != ENDED:
            self._await(cast("Call[object]", call), None)
        if call.error is not None:
            raise call.error
        return cast("T", call.result)

    def submit(self, call: Call[T], timeout_s: float | None) -> None:
        """Send a call soon: together with others, or by the background thread."""
        self._begin(call, timeout_s, sends=False)

    def wait(self, call: Call[object], timeout_s: float | None) -> None:
        """Wait for the end of a submitted call.

        Raises:
            TimeoutError: the call has not ended within ``timeout_s``.
        """
        with self._lock:
            self._send()
        if call.phase != ENDED:
            self._await(call, timeout_s)
        if call.phase != ENDED:
            raise TimeoutError(f"{name_of(call.op_code)} {call.path}: no result in {timeout_s:g} s")

    def cancel(self, call: Call[object]) -> bool:
        """Forget a call; return whether it was not sent."""
        with self._lock:
            return self.session.drop(call)

    def log_in(
        self, call: Call[None], scheme: str, credential: bytes, timeout_s: float | None
    ) -> None:
        """Log in, and wait for the reply."""
        self._check_usable()
        with self._lock:
            self.session.login(cast("Call[object]", call), scheme, credential)
            limit_s = self._call_timeout_s if timeout_s is None else timeout_s
            call.deadline_s = time.monotonic() + (limit_s or _NEVER_S)
            self._send()
        if call.phase != ENDED:
            self._await(cast("Call[object]", call), None)
        if call.error is not None:
            raise call.error

    def close_session(self, call: Call[None], timeout_s: float) -> None:
        """End the session: wait for the server's reply, at most for ``timeout_s``."""
        self._check_usable()
        with self._lock:
            call.deadline_s = time.monotonic() + timeout_s
            self._pass_on(self.session.close(cast("Call[object]", call)))
            self._send()
        if call.phase != ENDED:
            self._await(cast("Call[object]", call), None)

    def wait_for_state(self, states: frozenset[SessionState], timeout_s: float) -> bool:
        """Wait until the session has one of the states; return whether it has in time."""
        with self._state_changed:
            return self._state_changed.wait_for(lambda: self.session.state in states, timeout_s)

    @property
    def renews_session(self) -> bool:
        """Whether the client asks for another session after its session has expired."""
        return self._options.renews_session

    def discard(self, watcher: Watcher) -> bool:
        """Forget a watcher; return whether it was the last one of its kind on its path."""
        with self._lock:
            return self.session.watches.discard(watcher)

    def drop_connection(self, reason: str) -> None:
        """Close the connection; the background thread opens another one."""
        with self._lock:
            if self._transport is not None and self.address is not None:
                self.failures[self.address] = reason
                self._transport.close()

    def _check_usable(self) -> None:
        if self._pid != os.getpid():
            if self._pid == 0:
                raise ClientClosedError("", "", "the client is not started: call client.start()")
            raise ForkedClientError
        if self._program_runs_in == threading.get_ident():
            raise RuntimeError("a function for watches or states must not wait for the client")

    def _begin(self, call: Call[T], timeout_s: float | None, *, sends: bool) -> None:
        if self._pid != os.getpid() or (sends and self._program_runs_in):
            self._check_usable()
        limit_s = self._call_timeout_s if timeout_s is None else timeout_s
        if limit_s:
            call.deadline_s = time.monotonic() + limit_s
        with self._lock:
            if not self.session.start(cast("Call[object]", call)):
                return
            if sends:
                self._send()
                return
            self._unsent_calls += 1
            if self._unsent_calls >= _SEND_AT_CALLS:
                self._send()
        if not self._is_work_due:
            self._nudge()

    def _nudge(self) -> None:
        """Wake the background thread, which then sends what waits."""
        self._is_work_due = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writes, b"\0")

    def _send(self) -> None:
        """Send what the session has to send. The caller holds the lock."""
        self._unsent_calls = 0
        transport = self._transport
        if transport is None:
            return
        data = self.session.data_to_send()
        if self._unsent:
            data = self._unsent + data
        if not data:
            return
        try:
            sent_bytes = transport.send(data)
        except OSError:
            sent_bytes = len(data)  # the reader gets the error too, and ends the connection
        self._unsent = data[sent_bytes:] if sent_bytes < len(data) else b""
        self._sent_s = time.monotonic()

    def _await(self, call: Call[object], timeout_s: float | None) -> None:
        """Read until a call has ended, or wait for the thread that reads."""
        end_s = call.deadline_s or _NEVER_S
        if timeout_s is not None:
            end_s = min(end_s, time.monotonic() + timeout_s)
        try:
            while call.phase < ENDED:
                with self._lock:
                    self._waits += 1
                    reads = not self._reader and self._transport is not None
                    if reads:
                        self._reader = threading.get_ident()
                if reads:
                    self._read_until(call, end_s)
                else:
                    self._follow(call, end_s)
                if time.monotonic() >= end_s:
                    break
            if call.phase < ENDED and time.monotonic() >= (call.deadline_s or _NEVER_S):
                with self._lock:
                    self.session.expire(call)
        finally:
            if self._followers:
                self._pass_reading_on()

    def _follow(self, call: Call[object], end_s: float) -> None:
        """Wait until the call has ended, or until this thread shall read."""
        waiter = threading.Lock()
        waiter.acquire()
        with self._lock:
            if call.phase >= ENDED or (not self._reader and self._transport is not None):
                return
            call.waiter = waiter
            self._followers.append(waiter)
        try:
            left_s = min(end_s - time.monotonic(), threading.TIMEOUT_MAX)
            waiter.acquire(timeout=max(0.0, left_s))
        finally:
            with self._lock:
                call.waiter = None
                if waiter in self._followers:
                    self._followers.remove(waiter)

    def _pass_reading_on(self) -> None:
        """Wake a waiting thread, which then reads, if no thread reads."""
        with self._lock:
            if not self._reader and self._transport is not None and self._followers:
                self._followers.popleft().release()

    def _read_until(self, call: Call[object], end_s: float) -> None:
        """Read until a call has ended; this thread is the reader."""
        try:
            while call.phase < ENDED:
                transport, left_s = self._transport, end_s - time.monotonic()
                if transport is None or left_s <= 0:
                    return
                self._read_once(transport, min(left_s, TICK_S))
        finally:
            self._reader = 0

    def _read_once(self, transport: Transport, limit_s: float) -> None:
        """Read what comes within ``limit_s``, and send what waits."""
        reason = ""
        try:
            data = transport.receive(limit_s, is_writing=bool(self._unsent))
            if data == b"":
                reason = "the server closed the connection"
            else:
                with self._lock:
                    if data:
                        self._heard_s = time.monotonic()
                        self._pass_on(self.session.receive(data))
                    self._send()
        except (OSError, ProtocolError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        except BaseException:
            # An interrupt may have lost a part of the bytes.
            self._disconnect(transport, "the reading thread was interrupted")
            raise
        if reason:
            self._disconnect(transport, reason)

    def _disconnect(self, transport: Transport, reason: str) -> None:
        """End a connection: outstanding calls fail, and the background thread connects again."""
        with self._lock:
            if self._transport is not transport:
                return
            self._transport = None
            self._unsent = b""
            if self.address is not None:
                self.failures.setdefault(self.address, reason)
            transport.close()
            self._pass_on(self.session.disconnected())
            if not self.session.is_served:
                self._nudge()

    def _pass_on(self, outcomes: list[Outcome]) -> None:
        """Pass outcomes to the program, in their order. The caller holds the lock."""
        for outcome in outcomes:
            if isinstance(outcome, Call):
                if outcome.waiter is not None:
                    waiter = cast("threading.Lock", outcome.waiter)
                    if waiter in self._followers:  # it is not woken yet
                        self._followers.remove(waiter)
                        waiter.release()
            elif isinstance(outcome, Notice):
                self._call_program(outcome.watcher.notify, outcome.what)
            else:
                log.info("session 0x%x: %s", self.session.session.id & (1 << 64) - 1, outcome.value)
                self._state_changed.notify_all()
                for listener in tuple(self.listeners):
                    self._call_program(listener, outcome)

    def _call_program(self, function: Callable[[T], None], argument: T) -> None:
        self._program_runs_in = threading.get_ident()
        try:
            function(argument)
        except Exception:
            log.exception("a function of the program failed: %r", function)
        finally:
            self._program_runs_in = 0

    # The background thread.

    def _work_on(self) -> None:
        """Connect, keep the session alive, and read while no other thread does."""
        poll = select.poll()
        poll.register(self._wake_reads, select.POLLIN)
        try:
            while not self._is_over and self.session.state not in _FINAL:
                transport = self._transport
                if transport is None:
                    self._connect(poll)
                    continue
                waits = self._waits
                poll.poll(_QUIET_S * 1000)
                self._do_work()
                with self._lock:
                    reads = not self._reader and waits == self._waits
                    if reads:
                        self._reader = threading.get_ident()
                if reads:
                    self._read_in_background(transport, waits)
        except Exception:
            log.exception("the client's background thread has failed")
        finally:
            self._end()

    def _read_in_background(self, transport: Transport, waits: int) -> None:
        """Read until another thread waits for a reply."""
        poll = select.poll()
        poll.register(self._wake_reads, select.POLLIN)
        try:
            while waits == self._waits and self._transport is transport and not self._is_over:
                wanted = select.POLLIN | (select.POLLOUT if self._unsent else 0)
                poll.register(transport.fileno(), wanted)
                if transport.has_buffered() or poll.poll(self._time_to_check_s() * 1000):
                    self._read_once(transport, 0.0)
                self._do_work()
        finally:
            self._reader = 0
            self._pass_reading_on()

    def _time_to_check_s(self) -> float:
        return min(_CHECK_S, self.session.timeout_ms / 6000)

    def _do_work(self) -> None:
        """Send what waits; check time limits and the liveness of the server."""
        if self._is_work_due:
            self._is_work_due = False
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_reads, 4096)
            with self._lock:
                self._send()
        now_s = time.monotonic()
        if now_s < self._next_check_s:
            return
        self._next_check_s = now_s + self._time_to_check_s()
        silent_s = 0.0
        with self._lock:
            transport = self._transport
            overdue = self.session.overdue(now_s)
            for call in overdue:
                self.session.expire(call)
            self._pass_on(list(overdue))
            limit_s = self.session.timeout_ms / 1000
            if transport is not None and now_s - self._heard_s > limit_s * 2 / 3:
                silent_s = now_s - self._heard_s
            elif now_s - min(self._sent_s, self._heard_s) >= limit_s / 3:
                self.session.ping()
                self._send()
        if transport is not None and silent_s:
            self._disconnect(transport, f"the server was silent for {silent_s:.1f} s")

    def _connect(self, poll: select.poll) -> None:
        """Try the next server."""
        with self._lock:
            if self.session.state is SessionState.EXPIRED:
                if not self._options.renews_session:
                    self._is_over = True
                    return
                self._pass_on(self.session.renew())
            address = self.order.next()
        limit_s = self._options.connect_timeout_s
        try:
            transport = connect(address.host, address.port, limit_s, self._tls_context())
        except TimeoutError:
            self.failures[address] = f"no connection within {limit_s:g} s"
        except OSError as error:
            self.failures[address] = error.strerror or str(error)
        else:
            self._use(transport, address)
            return
        pause_s = self.order.pause_s()
        if pause_s:
            poll.poll(pause_s * 1000)
            self._do_work()

    def _use(self, transport: Transport, address: Address) -> None:
        with self._lock:
            if self._is_over:
                transport.close()
                return
            self.address = address
            self.failures.pop(address, None)
            self._transport = transport
            self._heard_s = time.monotonic()
            self.session.connected()
            self._send()
            self._reader = threading.get_ident()
        self._read_in_background(transport, self._waits)

    def _tls_context(self) -> "ssl.SSLContext | None":
        if self._options.tls is None:
            return None
        from zoolet.client.connecting.tls import context_of  # noqa: PLC0415 -- slow import

        return context_of(self._options.tls)

    def _end(self) -> None:
        """Close the connection; no call goes on."""
        with self._lock:
            self._is_over = True
            transport, self._transport = self._transport, None
            if transport is not None:
                transport.close()
                self._pass_on(self.session.disconnected())
            self._state_changed.notify_all()
