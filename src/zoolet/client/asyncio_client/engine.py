"""The engine of an `AsyncClient`: its connections, its calls and its timers.

One task opens one connection after another; everything else runs in callbacks of the event loop.
Invariants: each future of a call is done after its time limit at the latest; after `end`, no task
and no timer is left. Outcomes of the session are passed on in their order. Imports the client's
protocol, ``model`` and asyncio.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar, cast

from zoolet.client.asyncio_client.link import Link
from zoolet.client.connecting.options import ClientOptions
from zoolet.client.connecting.server_order import ServerOrder
from zoolet.client.errors import AuthFailedError, ClientClosedError
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.replies import name_of
from zoolet.client.protocol.session import ClientSession, Outcome
from zoolet.client.protocol.states import SessionState
from zoolet.client.protocol.watches import Notice, Watcher
from zoolet.model.addresses import Address

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")
OnState = Callable[[SessionState], None]

log = logging.getLogger("zoolet.client")

_NEVER: Final = float("inf")
_FINAL: Final = frozenset({SessionState.AUTH_FAILED, SessionState.CLOSED})


class Engine:
    """The connection of one client, its session, and the futures of its calls.

    Attributes:
        session: the session.
        order: the servers.
        listeners: functions of the program that are called with each new state.
        failures: the reason of the last failure of each server.
        address: the address of the last connection; None before the first one.
    """

    def __init__(self, session: ClientSession, order: ServerOrder, options: ClientOptions) -> None:
        self.session = session
        self.order = order
        self.listeners: list[OnState] = []
        self.failures: dict[Address, str] = {}
        self.address: Address | None = None
        self._options = options
        self._call_timeout_s = options.call_timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._link_ended: asyncio.Future[None] | None = None
        self._is_flush_due = False
        self._next_deadline_s = _NEVER
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._grant_timer: asyncio.TimerHandle | None = None
        self._state_waiters: set[asyncio.Future[None]] = set()

    @property
    def is_started(self) -> bool:
        """Whether `start` was called."""
        return self._task is not None

    def start(self) -> None:
        """Begin to connect, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._stay_connected())

    async def wait_for_session(self) -> None:
        """Wait until a server serves the session; the caller limits the time.

        Raises:
            AuthFailedError: the server refused a login.
            ClientClosedError: the client was closed meanwhile.
        """
        loop = self._running_loop()
        while not self.session.is_served:
            if self.session.state in _FINAL:
                is_refused = self.session.state is SessionState.AUTH_FAILED
                raise AuthFailedError if is_refused else ClientClosedError
            changed: asyncio.Future[None] = loop.create_future()
            self._state_waiters.add(changed)
            try:
                await changed
            finally:
                self._state_waiters.discard(changed)

    def run(self, call: Call[T], timeout_s: float | None) -> asyncio.Future[T]:
        """Start a call; return the future of its result."""
        loop = self._running_loop()
        waiter: asyncio.Future[T] = loop.create_future()
        call.waiter = waiter
        limit_s = self._call_timeout_s if timeout_s is None else timeout_s
        if limit_s:
            call.deadline_s = deadline_s = loop.time() + limit_s
            if deadline_s < self._next_deadline_s:
                self._watch_deadlines(deadline_s)
        session = self.session
        if not session.start(cast("Call[object]", call)):
            waiter.set_exception(call.error or ClientClosedError(name_of(call.op_code), call.path))
        elif session.is_served:
            if not self._is_flush_due:
                self._flush_soon()
        else:
            # The call waits for a connection. If the program does not wait for it any more, it must
            # not be sent.
            waiter.add_done_callback(lambda _: session.drop(cast("Call[object]", call)))
        return waiter

    def log_in(self, call: Call[None], scheme: str, credential: bytes) -> asyncio.Future[None]:
        """Log in now and on each later connection; the future ends with the reply."""
        waiter: asyncio.Future[None] = self._running_loop().create_future()
        call.waiter = waiter
        if self.session.login(cast("Call[object]", call), scheme, credential):
            self._flush_soon()
        else:
            waiter.set_exception(call.error or ClientClosedError("add_auth"))
        return waiter

    async def close(self, call: Call[None], timeout_s: float) -> None:
        """End the session; wait for the server's reply at most for ``timeout_s``."""
        ended: asyncio.Future[None] = self._running_loop().create_future()
        call.waiter = ended
        self.deliver(self.session.close(cast("Call[object]", call)))
        if not ended.done() and self._link is not None and self.session.is_served:
            self._link.flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await ended

    async def end(self) -> None:
        """End the task, the timers and the connection; the session must be closed before."""
        for timer in (self._deadline_timer, self._tick_timer, self._grant_timer):
            if timer is not None:
                timer.cancel()
        self._deadline_timer = self._tick_timer = self._grant_timer = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if self.session.state is not SessionState.CLOSED:
            self.deliver(self.session.disconnected())

    @property
    def renews_session(self) -> bool:
        """Whether the client asks for another session after its session has expired."""
        return self._options.renews_session

    def discard(self, watcher: Watcher) -> bool:
        """Forget a watcher; return whether it was the last one of its kind on its path."""
        return self.session.watches.discard(watcher)

    def abandon(self, watcher: Watcher) -> None:
        """Remove a watcher that the program does not want any more, and the server's watch."""
        self.session.abandon(watcher)
        self._flush_soon()

    def drop_connection(self, reason: str) -> None:
        """Close the connection; the client opens another one."""
        if self._link is not None:
            self._link.abort(reason)

    def deliver(self, outcomes: list[Outcome]) -> None:
        """Pass outcomes of the session to the program, in their order."""
        for outcome in outcomes:
            if isinstance(outcome, Call):
                waiter = cast("asyncio.Future[object]", outcome.waiter)
                if waiter.done():  # the program does not wait any more
                    if outcome.watcher is not None and outcome.error is None:
                        self.session.abandon(outcome.watcher)
                elif outcome.error is None:
                    waiter.set_result(outcome.result)
                else:
                    waiter.set_exception(outcome.error)
            elif isinstance(outcome, Notice):
                self._call_program(outcome.watcher.notify, outcome.what)
            else:
                self._note_state(outcome)

    def connection_ended(self, link: Link, reason: str) -> None:
        """Note the end of a connection: outstanding calls fail."""
        if link is not self._link:
            return
        if self.address is not None:
            self.failures[self.address] = reason
        for timer in (self._tick_timer, self._grant_timer):
            if timer is not None:
                timer.cancel()
        self.deliver(self.session.disconnected())
        if self._link_ended is not None and not self._link_ended.done():
            self._link_ended.set_result(None)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise ClientClosedError("", "", "the client is not started: await client.start()")
        return self._loop

    def _flush_soon(self) -> None:
        if self._link is not None and not self._is_flush_due:
            self._is_flush_due = True
            self._running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._link is not None:
            self._link.flush()

    def _note_state(self, state: SessionState) -> None:
        log.info("session 0x%x: %s", self.session.session.id & (1 << 64) - 1, state.value)
        if self.session.is_served:
            self.order.succeeded()
            self.failures.clear()
            self._tick()
        for waiter in self._state_waiters:
            if not waiter.done():
                waiter.set_result(None)
        for listener in tuple(self.listeners):
            self._call_program(listener, state)

    def _call_program(self, function: Callable[[T], None], argument: T) -> None:
        try:
            function(argument)
        except Exception:
            log.exception("a function of the program failed: %r", function)

    async def _stay_connected(self) -> None:
        """Open one connection after another, until the session has ended for good."""
        while self.session.state not in _FINAL:
            if self.session.state is SessionState.EXPIRED:
                if not self._options.renews_session:
                    return
                self.deliver(self.session.renew())
            was_served = await self._serve(self.order.next())
            if not was_served and (pause_s := self.order.pause_s()):
                await asyncio.sleep(pause_s)

    async def _serve(self, address: Address) -> bool:
        """Connect to a server, wait for the end of the connection; return whether it served."""
        loop = self._running_loop()
        link = Link(self, loop)
        limit_s = self._options.connect_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                context = self._tls_context()
                name = address.host if context else None
                await loop.create_connection(
                    lambda: link, address.host, address.port, ssl=context, server_hostname=name
                )
        except TimeoutError:
            self.failures[address] = f"no connection within {limit_s:g} s"
            return False
        except OSError as error:
            self.failures[address] = error.strerror or str(error)
            return False
        ended: asyncio.Future[None] = loop.create_future()
        self._link, self._link_ended, self.address = link, ended, address
        self._grant_timer = loop.call_later(limit_s, self._check_grant, link, limit_s)
        link.begin()
        try:
            await ended
        finally:
            link.abort("the client is closed")
            self._link = self._link_ended = None
        return link.was_served

    def _check_grant(self, link: Link, limit_s: float) -> None:
        if not link.was_served:
            link.abort(f"no session within {limit_s:g} s")

    def _tls_context(self) -> "ssl.SSLContext | None":
        if self._options.tls is None:
            return None
        from zoolet.client.connecting.tls import context_of  # noqa: PLC0415 -- slow import

        return context_of(self._options.tls)

    def _tick(self) -> None:
        """Send a ping if the connection is idle; end it if the server is silent for too long."""
        link = self._link
        if link is None or not self.session.is_served:
            return
        loop = self._running_loop()
        now_s, timeout_s = loop.time(), self.session.timeout_ms / 1000
        if now_s - link.heard_s > timeout_s * 2 / 3:
            link.abort(f"the server was silent for {now_s - link.heard_s:.1f} s")
            return
        if now_s - min(link.sent_s, link.heard_s) >= timeout_s / 3:
            self.session.ping()
            link.flush()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._tick_timer = loop.call_later(timeout_s / 6, self._tick)

    def _watch_deadlines(self, deadline_s: float) -> None:
        """Call `_end_overdue` at the earliest deadline."""
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._next_deadline_s = deadline_s
        self._deadline_timer = self._running_loop().call_at(deadline_s, self._end_overdue)

    def _end_overdue(self) -> None:
        session = self.session
        overdue = session.overdue(self._running_loop().time())
        for call in overdue:
            session.expire(call)
        self.deliver(list(overdue))
        self._deadline_timer = None
        self._next_deadline_s = _NEVER
        if deadline_s := session.next_deadline_s():
            self._watch_deadlines(deadline_s)
