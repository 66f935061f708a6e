"""The engine of an `AsyncClient`: its connections, its calls and its timers.

One task opens one connection after another; everything else runs in callbacks of the event loop.
Invariants: each future of a call is done after its time limit at the latest; after `end`, no task
and no timer is left. Outcomes of the session are passed on in their order. Imports the client's
protocol, ``model`` and asyncio.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar, cast

from zoolet.client.asyncio_client.link import Link
from zoolet.client.asyncio_client.opening import OpenError, open_connection, prepare_login, resolve
from zoolet.client.asyncio_client.read_write_search import find_read_write
from zoolet.client.connecting.options import WAITS_FOR_TICKET, ClientOptions, try_limit_s
from zoolet.client.connecting.server_order import ServerOrder
from zoolet.client.connecting.servers import Servers
from zoolet.client.errors import AuthFailedError, ClientClosedError, SessionExpiredError
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.replies import name_of
from zoolet.client.protocol.session import ClientSession, Outcome
from zoolet.client.protocol.states import OnState, SessionState
from zoolet.client.protocol.watches import Notice, Watcher
from zoolet.client.session_log import SessionLog
from zoolet.model.addresses import Address
from zoolet.model.codes import OpCode

if TYPE_CHECKING:
    from zoolet.client.connecting.kerberos import KerberosLogin

T = TypeVar("T")

_NEVER: Final = float("inf")
_FINAL: Final = frozenset({SessionState.AUTH_FAILED, SessionState.CLOSED})


class Engine:
    """The connection of one client, its session, and the futures of its calls.

    Attributes:
        session: the session.
        order: the servers.
        log: the log of the client.
        listeners: functions of the client itself that are called with each new state.
        program_listeners: functions of the program that are called with each new state.
        failures: the reason of the last failure of each server.
        address: the address of the last connection; None before the first one.
        kerberos: the login with Kerberos; None if there is none.
    """

    def __init__(self, session: ClientSession, order: ServerOrder, options: ClientOptions) -> None:
        self.session = session
        self.order = order
        self.log = SessionLog(session)
        self.listeners: list[OnState] = []
        self.program_listeners: list[OnState] = []
        self.failures: dict[Address, str] = {}
        self.address: Address | None = None
        self.kerberos: KerberosLogin | None = None
        self._options = options
        self._call_timeout_s = options.call_timeout_s
        self._max_outstanding_bytes = options.max_outstanding_bytes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._search: asyncio.Task[None] | None = None
        self._may_retry = asyncio.Event()
        self._link: Link | None = None
        self._link_ended: asyncio.Future[None] | None = None
        self._is_flush_due = False
        self._next_deadline_s = _NEVER
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._grant_timer: asyncio.TimerHandle | None = None
        self._tick_due_s = 0.0
        self._state_waiters: set[asyncio.Future[None]] = set()

    @property
    def is_started(self) -> bool:
        """Whether `start` was called."""
        return self._task is not None

    def start(self) -> None:
        """Begin to connect, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._work())

    async def wait_for_session(self) -> None:
        """Wait until a server serves the session; the caller limits the time.

        Raises:
            AuthFailedError: the server refused a login.
            SessionExpiredError: the session has expired, and the client does not renew it.
            ClientClosedError: the client was closed meanwhile.
        """
        loop = self._running_loop()
        while not self.session.is_served:
            state = self.session.state
            if state is SessionState.AUTH_FAILED:
                raise AuthFailedError("", "", self.session.refusal)
            if state in _FINAL:
                raise ClientClosedError
            if state is SessionState.EXPIRED and not self._options.renews_session:
                raise SessionExpiredError
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
        session = self.session
        if not session.start(cast("Call[object]", call)):
            waiter.set_exception(call.error or ClientClosedError(name_of(call.op_code), call.path))
            return waiter
        self._limit(cast("Call[object]", call), timeout_s)
        if session.is_served and session.outstanding_bytes < self._max_outstanding_bytes:
            if not self._is_flush_due:
                self._flush_soon()
        else:
            self._drop_if_cancelled(cast("Call[object]", call))
        return waiter

    def log_in(
        self, call: Call[None], scheme: str, credential: bytes, timeout_s: float | None
    ) -> asyncio.Future[None]:
        """Log in now and on each later connection; the future ends with the reply."""
        waiter: asyncio.Future[None] = self._running_loop().create_future()
        call.waiter = waiter
        if not self.session.login(cast("Call[object]", call), scheme, credential):
            waiter.set_exception(call.error or ClientClosedError("add_auth"))
            return waiter
        self._limit(cast("Call[object]", call), timeout_s)
        self._flush_soon()
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
        """End the tasks, the timers, the connection and all calls."""
        tasks = [task for task in (self._task, self._search) if task is not None]
        self._task = self._search = None
        for task in tasks:
            task.cancel()
        # Before the first await, because this may be cancelled too.
        self.drop_connection("the client is closed")
        self._end_session()
        for timer in (self._deadline_timer, self._tick_timer, self._grant_timer):
            if timer is not None:
                timer.cancel()
        self._deadline_timer = self._tick_timer = self._grant_timer = None
        if tasks:
            await asyncio.wait(tasks)

    def _end_session(self) -> None:
        """End the session and all calls, without the server."""
        if self.session.state is not SessionState.CLOSED:
            self.deliver(self.session.disconnected())
        if self.session.state is not SessionState.CLOSED:
            call: Call[object] = Call(OpCode.CLOSE_SESSION.value, 0, "", b"")
            call.waiter = self._running_loop().create_future()
            self.deliver(self.session.close(call))

    @property
    def renews_session(self) -> bool:
        """Whether the client asks for another session after its session has expired."""
        return self._options.renews_session

    @property
    def silence_s(self) -> float:
        """Seconds since the last exchange with the server, while or just after it was connected."""
        link = self._link
        return 0.0 if link is None else self._running_loop().time() - min(link.heard_s, link.sent_s)

    def discard(self, watcher: Watcher) -> bool:
        """Forget a watcher; return whether the server's watch has no watcher left."""
        return self.session.discard(watcher)

    def abandon(self, watcher: Watcher) -> None:
        """Remove a watcher that the program does not want any more, and the server's watch."""
        self.session.abandon(watcher)
        self._flush_soon()

    def change_servers(self, servers: Servers) -> None:
        """Use other servers from now on; the chroot stays."""
        self.order.change(servers._replace(chroot=self.order.servers.chroot))
        if self.address not in servers.addresses:
            self.drop_connection("the program changed the servers")

    def drop_connection(self, reason: str) -> None:
        """Close the connection; the client opens another one at once."""
        self._drop_connection(reason, at_once=True)

    def reasons(self) -> list[str]:
        """Return for each server the reason why it does not serve the session."""
        listed = []
        for address in self.order.servers.addresses:
            is_open = address == self.address and self._link is not None
            now = "it accepted the connection, but did not reply" if is_open else "not tried yet"
            listed.append(f"{address}: {self.failures.get(address, now)}")
        return listed

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

    def new_link(self, loop: asyncio.AbstractEventLoop) -> Link:
        """Return the object for another connection."""
        return Link(self, loop)

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
        for call in self.session.open_calls():
            self._drop_if_cancelled(call)
        if self._link_ended is not None and not self._link_ended.done():
            self._link_ended.set_result(None)

    def _drop_connection(self, reason: str, *, at_once: bool) -> None:
        if at_once:
            self._may_retry.set()
        if self._link is not None:
            self._link.abort(reason)

    def _drop_if_cancelled(self, call: Call[object]) -> None:
        """Do not send a call that waits for a connection if its future is cancelled before."""
        session, waiter = self.session, cast("asyncio.Future[object]", call.waiter)
        waiter.add_done_callback(lambda _: session.drop(call))

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
        self.log.info("%s", state.value)
        if self.session.is_served:
            self.failures.clear()
            self._tick()
        if state is SessionState.EXPIRED and self._options.renews_session:
            # Before the programs of the failed calls go on: their next calls wait.
            self._running_loop().call_soon(self._renew)
        elif self.session.has_ended and self._link is not None:
            self._link.abort("the session has ended")
        self._search_read_write(state)
        for waiter in self._state_waiters:
            if not waiter.done():
                waiter.set_result(None)
        for listener in (*self.listeners, *self.program_listeners):
            self._call_program(listener, state)

    def _call_program(self, function: Callable[[T], None], argument: T) -> None:
        try:
            function(argument)
        except Exception:
            self.log.exception("a function of the program failed: %r", function)

    def _renew(self) -> None:
        """Ask for another session, after this one has expired."""
        if self.session.state is SessionState.EXPIRED:
            was_new = self.session.session.id == 0
            self.deliver(self.session.renew())
            self._drop_connection("the session has expired", at_once=not was_new)

    def _search_read_write(self, state: SessionState) -> None:
        """Search for a read-write server while a read-only server serves the session."""
        if self._search is not None:
            self._search.cancel()
            self._search = None
        if state is SessionState.READ_ONLY and self.address is not None:
            search = self._change_to_read_write(self.address)
            self._search = self._running_loop().create_task(search)

    async def _change_to_read_write(self, current: Address) -> None:
        limit_s = self._options.connect_timeout_s
        found = await find_read_write(self.order, current, self._options.tls, limit_s)
        self.order.prefer(found)
        self.drop_connection(f"{found} is read-write")

    async def _work(self) -> None:
        """Stay connected. If that fails, end the session, so that no call waits for ever."""
        try:
            await self._stay_connected()
        except Exception:
            self.log.exception("the client's task has failed")
            self._end_session()

    async def _stay_connected(self) -> None:
        """Open one connection after another, until the session has ended for good."""
        while self.session.state not in _FINAL:
            if self.session.state is SessionState.EXPIRED:
                if not self._options.renews_session:
                    return
                self._renew()
            self._may_retry.clear()
            was_useful = await self._serve(self.order.next())
            if was_useful or self._may_retry.is_set():
                continue
            if pause_s := self.order.pause_s():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._may_retry.wait()

    async def _serve(self, address: Address) -> bool:
        """Try the IP addresses of a server, until one was of use; return whether one was."""
        # All servers have their turn within the limit, also if the others do not reply.
        count = len(self.order.servers.addresses)
        limit_s = try_limit_s(self._options, self.session.timeout_ms, count)
        try:
            found = self.order.shuffled(await resolve(address, limit_s))
        except OpenError as error:
            self.failures[address] = str(error)
            return False
        for ip in found:
            if address not in self.order.servers.addresses:
                return False  # the program changed the servers
            if await self._serve_at(ip, address, limit_s / len(found)):
                return True
        return False

    async def _serve_at(self, ip: str, address: Address, limit_s: float) -> bool:
        """Connect, and wait for the end of the connection; return whether it was of use."""
        loop = self._running_loop()
        link = self.new_link(loop)
        try:
            if self.kerberos is not None:
                self.failures[address] = WAITS_FOR_TICKET
                await prepare_login(self.kerberos, address.host, ip, limit_s)
            await open_connection(lambda: link, ip, address, self._options.tls, limit_s)
        except OpenError as error:
            self.failures[address] = str(error)
            return False
        ended: asyncio.Future[None] = loop.create_future()
        self._link, self._link_ended, self.address = link, ended, address
        self._grant_timer = loop.call_later(limit_s, self._check_grant, link, limit_s)
        if address in self.order.servers.addresses:
            link.begin()
        else:
            link.abort("the program changed the servers")
        try:
            await ended
        finally:
            link.abort("the client is closed")
            self._link = self._link_ended = None
        served_s = loop.time() - link.began_s
        has_replied = self.session.has_replied
        return link.was_served and self.order.was_useful(served_s, has_replied=has_replied)

    def _check_grant(self, link: Link, limit_s: float) -> None:
        if not link.was_served:
            link.abort(f"no session within {limit_s:g} s")

    def _tick(self) -> None:
        """Send a ping if the connection is idle; end it if the server is silent for too long."""
        link = self._link
        if link is None or not self.session.is_served:
            return
        if self.kerberos is not None:
            self.kerberos.look()
        loop = self._running_loop()
        now_s, timeout_s = loop.time(), self.session.timeout_ms / 1000
        # If the program has blocked the loop, the server's bytes may still be unread.
        was_blocked = self._tick_timer is not None and now_s > self._tick_due_s + timeout_s / 6
        if now_s - link.heard_s > timeout_s * 2 / 3 and not was_blocked:
            link.abort(f"the server was silent for {now_s - link.heard_s:.1f} s")
            return
        if now_s - min(link.sent_s, link.heard_s) >= timeout_s / 3:
            self.session.ping()
            link.flush()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._tick_due_s = now_s + timeout_s / 6
        self._tick_timer = loop.call_at(self._tick_due_s, self._tick)

    def _limit(self, call: Call[object], timeout_s: float | None) -> None:
        """Set the deadline of a call, and watch for it."""
        limit_s = self._call_timeout_s if timeout_s is None else timeout_s
        if limit_s:
            call.deadline_s = self._running_loop().time() + limit_s
            if call.deadline_s < self._next_deadline_s:
                self._watch_deadlines(call.deadline_s)

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
