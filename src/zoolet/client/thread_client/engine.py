"""The engine of a `Client`: which thread reads, who sends, and the background thread.

A thread that waits for a call sends its request and reads until its reply comes. At most one thread
reads at a time: the others wait for it, and it passes the reading on when its own call has ended.
A background thread connects, sends pings, and reads while no other thread does.

Invariants: a waiting thread is woken when its call has ended, or when it shall read. The rules of
the lock are in `connection.py`; `followers.py` passes on the outcomes of the session. This module
imports the client's protocol and ``model``; it does not import asyncio.
"""

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Final, TypeVar, cast

from zoolet.client.connecting.options import WAITS_FOR_TICKET, ClientOptions, try_limit_s
from zoolet.client.connecting.server_order import ServerOrder
from zoolet.client.errors import ClientClosedError
from zoolet.client.protocol.calls import ENDED, Call
from zoolet.client.protocol.replies import name_of
from zoolet.client.protocol.session import ClientSession
from zoolet.client.protocol.states import SessionState
from zoolet.client.thread_client.connection import Connection
from zoolet.client.thread_client.polling import POLLIN, POLLOUT, new_poll
from zoolet.client.thread_client.transport import TICK_S, Transport, connect
from zoolet.model.addresses import Address
from zoolet.model.codes import OpCode

if TYPE_CHECKING:
    from zoolet.client.thread_client.polling import Poll

T = TypeVar("T")

_QUIET_MS: Final = 1.0
_LONGEST_QUIET_MS: Final = 8.0
"""The background thread begins to read when no other thread has waited for this time. It doubles
while others wait: the events after a few calls come soon, and many calls are seldom disturbed."""

_SEND_AT_CALLS: Final = 64
"""Calls with futures are sent at the latest when this number of calls waits to be sent."""

_NEVER_S: Final = 1e18
_CHECK_S: Final = 0.5
"""The longest time between two checks of time limits."""

_STOP_S: Final = 5.0
"""The longest wait for the end of the background thread."""

_FINAL: Final = frozenset({SessionState.AUTH_FAILED, SessionState.CLOSED})


class Engine(Connection):
    """The threads that use one client."""

    def __init__(self, session: ClientSession, order: ServerOrder, options: ClientOptions) -> None:
        super().__init__(session, order, options)
        self._call_timeout_s = options.call_timeout_s
        self._waits = 0
        self._next_check_s = 0.0
        self._worker: threading.Thread | None = None
        self._aborted: Transport | None = None
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether the engine has stopped."""
        return self._is_over

    def start(self) -> None:
        """Start the background thread, which connects.

        Raises:
            RuntimeError: the engine was started already.
        """
        self.check_process()
        with self.lock:
            if self.pid:
                raise RuntimeError("the client was started already")
            ends = socket.socketpair()
            for end in ends:
                end.setblocking(False)
            self.wake_reads, self.wake_writes = ends
            self.pid = os.getpid()
            self._worker = threading.Thread(target=self._work_on, name="zoolet-client", daemon=True)
            self._worker.start()

    def stop(self) -> None:
        """End the connection and the background thread."""
        with self.lock:
            self._is_over = True
            if self.transport is not None:
                self.transport.abort()
            self.nudge()
        if self._worker is not None and self._worker is not threading.current_thread():
            # It looks at _is_over often, except while it resolves a host name.
            self._worker.join(_STOP_S)
        self.followers.stop(_STOP_S)

    def run(self, call: Call[T], timeout_s: float | None) -> T:
        """Send a call, wait for its end, and return its result or raise its error."""
        if self._begin(call, timeout_s, sends=True):
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
        self.check_process()
        with self.lock:
            if self.followers.has_ended(call):
                return
            self._check_usable()
            self.send()
        self._await(call, timeout_s)
        with self.lock:
            is_over = self.followers.has_ended(call)
        if not is_over:
            raise TimeoutError(f"{name_of(call.op_code)} {call.path}: no result in {timeout_s:g} s")

    def cancel(self, call: Call[object]) -> bool:
        """Forget a call; return whether it was not sent."""
        self.check_process()
        with self.lock:
            is_unsent = self.session.drop(call)
            self.followers.wake(call)
            return is_unsent

    def log_in(
        self, call: Call[None], scheme: str, credential: bytes, timeout_s: float | None
    ) -> None:
        """Log in, and wait for the reply."""
        self._check_usable()
        with self.lock:
            self.session.login(cast("Call[object]", call), scheme, credential)
            limit_s = self._call_timeout_s if timeout_s is None else timeout_s
            call.deadline_s = time.monotonic() + (limit_s or _NEVER_S)
            self.send()
        self._await(cast("Call[object]", call), None)
        if call.error is not None:
            raise call.error

    def close_session(self, call: Call[None], timeout_s: float) -> None:
        """End the session: wait for the server's reply, at most for ``timeout_s``."""
        self._check_usable()
        with self.lock:
            call.deadline_s = time.monotonic() + timeout_s
            self.followers.note(self.session.close(cast("Call[object]", call)))
            self.send()
            is_closed = self.session.state is SessionState.CLOSED
        self.followers.pass_on()
        if not is_closed:
            self._await(cast("Call[object]", call), None)

    def wait_for_state(self, states: frozenset[SessionState], timeout_s: float) -> bool:
        """Wait until the session has one of the states, or the engine has stopped.

        Returns whether this happened in time.
        """
        with self.state_changed:
            return self.state_changed.wait_for(
                lambda: self._is_over or self.session.state in states, timeout_s
            )

    def _check_usable(self) -> None:
        self.check_process()
        if self.pid == 0:
            raise ClientClosedError("", "", "the client is not started: call client.start()")
        if self.followers.program_runs_in == threading.get_ident():
            raise RuntimeError("a function for watches or states must not wait for the client")

    def _begin(self, call: Call[T], timeout_s: float | None, *, sends: bool) -> bool:
        """Start a call; return False if it has failed already."""
        if self.pid != os.getpid() or (sends and self.followers.program_runs_in):
            self._check_usable()
        limit_s = self._call_timeout_s if timeout_s is None else timeout_s
        if limit_s:
            call.deadline_s = time.monotonic() + limit_s
        with self.lock:
            if not self.session.start(cast("Call[object]", call)):
                return False
            if sends:
                self.send()
                return True
            self.unsent_calls += 1
            if self.unsent_calls >= _SEND_AT_CALLS:
                self.send()
            if not self.is_work_due:
                self.nudge()
        return True

    def _await(self, call: Call[object], timeout_s: float | None) -> None:
        """Read until a call has ended, or wait for the thread that reads."""
        end_s = call.deadline_s or _NEVER_S
        if timeout_s is not None:
            end_s = min(end_s, time.monotonic() + timeout_s)
        this_thread = threading.get_ident()
        is_late = False
        try:
            while True:
                with self.lock:
                    if self.reader == this_thread:
                        self._end_reading()
                    if call.phase >= ENDED and self.followers.has_ended(call):
                        return
                    if is_late:
                        self.expire(call)
                        return
                    self._waits += 1
                    transport = self.transport if self._may_read(call) else None
                    if transport is not None:
                        self.reader = this_thread
                if transport is not None:
                    self._read_until(transport, call, end_s)
                else:
                    self._follow(call, end_s)
                is_late = time.monotonic() >= end_s
        finally:
            if self.followers.waiters or self.reader == this_thread:
                self._stop_reading(this_thread)

    def _stop_reading(self, this_thread: int) -> None:
        with self.lock:
            if self.reader == this_thread:
                self._end_reading()
            self._pass_reading_on()

    def _end_reading(self) -> None:
        """Note that this thread does not read any more. The caller holds the lock."""
        self.reader = 0
        if self._aborted is not None:
            self._aborted.close()
            self._aborted = None

    def _may_read(self, call: Call[object]) -> bool:
        return not self.reader and call.phase < ENDED and self.transport is not None

    def _follow(self, call: Call[object], end_s: float) -> None:
        """Wait until the call has ended, or until this thread shall read."""
        waiter = None
        try:
            with self.lock:
                if self.followers.has_ended(call) or self._may_read(call):
                    return
                waiter = self.followers.join(call)
            left_s = min(end_s - time.monotonic(), threading.TIMEOUT_MAX)
            waiter.acquire(timeout=max(0.0, left_s))
        finally:
            if waiter is not None:
                with self.lock:
                    self.followers.leave(call, waiter)

    def _pass_reading_on(self) -> None:
        """If no thread reads, wake one, which then reads. The caller holds the lock."""
        if not self.reader and self.transport is not None:
            self.followers.wake_first()

    def _read_until(self, transport: Transport, call: Call[object], end_s: float) -> None:
        """Read until a call has ended; this thread is the reader."""
        while self.transport is transport and call.phase < ENDED:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return
            self.read_once(transport, min(left_s, TICK_S))

    # The background thread.

    def _work_on(self) -> None:
        """Connect, keep the session alive, and read while no other thread does."""
        self.followers.background = threading.get_ident()
        poll = self._new_poll()
        quiet_ms = _QUIET_MS
        try:
            while self._goes_on():
                transport = self.transport
                if transport is None:
                    self._connect(poll)
                    continue
                waits = self._waits
                poll.poll(quiet_ms)
                self._do_work()
                with self.lock:
                    reads = not self.reader and waits == self._waits
                    if reads:
                        self.reader = threading.get_ident()
                quiet_ms = _QUIET_MS if reads else min(2 * quiet_ms, _LONGEST_QUIET_MS)
                if reads:
                    self._read_in_background(transport, waits)
        except Exception:
            self.log.exception("the client's background thread has failed")
        finally:
            self._end()

    def _new_poll(self) -> "Poll":
        """Return a poll object that ends its wait when the thread is nudged."""
        poll = new_poll()
        if self.wake_reads is not None:
            poll.register(self.wake_reads, POLLIN)
        return poll

    def _goes_on(self) -> bool:
        return not self._is_over and self.session.state not in _FINAL

    def _read_in_background(self, transport: Transport, waits: int) -> None:
        """Read until another thread waits for a reply."""
        poll = self._new_poll()
        try:
            while waits == self._waits and self.transport is transport and not self._is_over:
                wanted = POLLIN | (POLLOUT if self.unsent else 0)
                poll.register(transport.fileno(), wanted)
                if transport.has_buffered() or poll.poll(self._time_to_check_s() * 1000):
                    self.read_once(transport, 0.0)
                self._do_work()
        finally:
            self._stop_reading(threading.get_ident())

    def _time_to_check_s(self) -> float:
        return min(_CHECK_S, self.session.timeout_ms / 6000)

    def _do_work(self) -> None:
        """Send what waits; check time limits and the liveness of the server."""
        if self.is_work_due:
            with self.lock:
                self.is_work_due = False
                if self.wake_reads is not None:
                    with contextlib.suppress(BlockingIOError):
                        self.wake_reads.recv(4096)
                self.send()
        now_s = time.monotonic()
        if now_s < self._next_check_s:
            return
        self._next_check_s = now_s + self._time_to_check_s()
        self.followers.report_slow(now_s)
        if self.kerberos is not None:
            self.kerberos.look()
        with self.lock:
            overdue = self.session.overdue(now_s)
            for call in overdue:
                self.session.expire(call)
            self.followers.note(list(overdue))
            limit_s = self.session.timeout_ms / 1000
            silent_s = now_s - self.heard_s
            if silent_s > (limit_s * 2 / 3 if self.session.is_served else self._try_limit_s()):
                self.drop_connection(f"the server was silent for {silent_s:.1f} s")
            elif now_s - min(self.sent_s, self.heard_s) >= limit_s / 3:
                self.session.ping()
                self.send()
        self.followers.pass_on()

    def _try_limit_s(self) -> float:
        """Return the time limit of one try to connect."""
        count = len(self.order.servers.addresses)
        return try_limit_s(self.options, self.session.timeout_ms, count)

    def _connect(self, poll: "Poll") -> None:
        """Try the next server; pause before, if a round of tries has failed."""
        with self.lock:
            if self.session.state is SessionState.EXPIRED:
                if not self.options.renews_session:
                    self._is_over = True
                    return
                if self.session.session.id:  # the server works: it knows that the session ended
                    self.has_failed = False
                self.followers.note(self.session.renew())
        self.followers.pass_on()
        if self.has_failed:
            self._pause(poll)
        with self.lock:
            if not self._goes_on():
                return
            address = self.order.next()
            limit_s = self._try_limit_s()
        self.has_failed = True  # until a connection was of use
        try:
            transport = connect(
                address.host, address.port, limit_s, self.tls_context(), self._check_goes_on
            )
        except TimeoutError:
            self.failures[address] = f"no connection within {limit_s:g} s"
        except (OSError, ValueError) as error:
            self.failures[address] = getattr(error, "strerror", None) or str(error)
        else:
            if self._has_ticket(transport, address, limit_s):
                self._use(transport, address)

    def _has_ticket(self, transport: Transport, address: Address, limit_s: float) -> bool:
        """Get the ticket of Kerberos for a server; if there is none, close the connection."""
        kerberos = self.kerberos
        if kerberos is None:
            return True
        from zoolet.client.thread_client.tickets import prepare_login  # noqa: PLC0415 -- rare

        is_ready = False
        self.failures[address] = WAITS_FOR_TICKET
        try:
            ip = transport.peer()
            prepare_login(kerberos, address.host, ip, limit_s, self._check_goes_on)
            is_ready = True
        except (OSError, ValueError) as error:
            self.failures[address] = getattr(error, "strerror", None) or str(error)
        finally:
            if not is_ready:
                transport.close()
        return is_ready

    def _pause(self, poll: "Poll") -> None:
        end_s = time.monotonic() + self.order.pause_s()
        while self._goes_on() and self.has_failed and (left_s := end_s - time.monotonic()) > 0:
            poll.poll(min(left_s, self._time_to_check_s()) * 1000)
            self._do_work()

    def _check_goes_on(self) -> None:
        self._do_work()
        if not self._goes_on():
            raise ConnectionAbortedError("the client is closed")

    def _use(self, transport: Transport, address: Address) -> None:
        transport = self.measured(transport)
        with self.lock:
            if not self._goes_on() or address not in self.order.servers.addresses:
                transport.close()
                return
            self.address = address
            self.drop_reason = ""
            self.transport = transport
            self.opened_s = self.heard_s = time.monotonic()
            self.session.connected()
            self.send()
            self.reader = threading.get_ident()
            waits = self._waits
        self._read_in_background(transport, waits)

    def _end(self) -> None:
        """Close the connection; no call goes on."""
        with self.lock:
            self._is_over = True
            transport, self.transport = self.transport, None
            if transport is not None:
                transport.abort()
                if self.reader:
                    self._aborted = transport
                else:
                    transport.close()
                self.followers.note(self.session.disconnected())
            if not self.session.has_ended:
                nothing: Call[object] = Call(OpCode.CLOSE_SESSION.value, 0, "", b"")
                self.followers.note(self.session.close(nothing))
            self.followers.wake_all()
            self.state_changed.notify_all()
            for end in (self.wake_reads, self.wake_writes):
                if end is not None:
                    end.close()
            self.wake_reads = self.wake_writes = None
        self.followers.pass_on()
