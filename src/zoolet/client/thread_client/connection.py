"""The connection of a `Client` and its session: sending, reading, and the end of a connection.

Invariants: `lock` protects the session, the sending of bytes, the socket pair that wakes the
background thread, and who reads. No thread holds the lock while it waits, or while a function of
the program runs. Only the thread that reads closes a connection; others abort it. This module
imports the client's protocol and ``model``.
"""

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from zoolet.client.connecting.options import ClientOptions
from zoolet.client.connecting.server_order import ServerOrder
from zoolet.client.connecting.servers import Servers
from zoolet.client.errors import DeadlineError, ForkedClientError, ProtocolError
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.replies import name_of
from zoolet.client.protocol.session import ClientSession
from zoolet.client.protocol.states import SERVED, OnState, SessionState
from zoolet.client.protocol.watches import Watcher
from zoolet.client.session_log import SessionLog
from zoolet.client.thread_client.followers import Followers
from zoolet.client.thread_client.transport import Transport

if TYPE_CHECKING:
    import socket
    import ssl

    from zoolet.client.connecting.kerberos import KerberosLogin
    from zoolet.client.thread_client.read_write_search import ReadWriteSearch
    from zoolet.model.addresses import Address


class Connection:
    """One connection after another, for one session.

    Attributes:
        lock: the lock of the client.
        session: the session; only a thread with the lock may use it.
        order: the servers.
        failures: the reason of the last failure of each server.
        address: the address of the last connection.
        state_changed: notified after each change of the state.
        log: the log of the client.
        followers: the threads that wait for the thread that reads.
        listeners: functions of the client itself that are called with each new state.
        program_listeners: functions of the program that are called with each new state.
        transport: the connection; None if there is none.
        reader: the thread that reads; 0 if none does.
        drop_reason: why the client itself ends the connection; "" if it does not.
        unsent: bytes that the connection could not take yet.
        unsent_calls: the number of calls that were submitted since the last sending.
        heard_s, sent_s: the times of the last reading and sending.
        wake_reads, wake_writes: the ends of the socket pair that wakes the background thread; None
            if it does not run.
        is_work_due: whether a byte is in that socket pair.
        has_failed: whether a pause comes before the next try to connect.
        opened_s: the time at which the connection was opened.
        pid: the process that has started the client; 0 before that.
        kerberos: the login with Kerberos; None if there is none.
    """

    def __init__(self, session: ClientSession, order: ServerOrder, options: ClientOptions) -> None:
        self.lock = threading.RLock()
        self.session = session
        self.order = order
        self.failures: dict[Address, str] = {}
        self.address: Address | None = None
        self.state_changed = threading.Condition(self.lock)
        self.log = SessionLog(session)
        self.followers = self.new_followers(self._note_state)
        self.listeners = self.followers.listeners
        self.program_listeners = self.followers.program_listeners
        self.transport: Transport | None = None
        self.reader = 0
        self.drop_reason = ""
        self.unsent = b""
        self.unsent_calls = 0
        self.heard_s = self.sent_s = 0.0
        self.wake_reads: socket.socket | None = None
        self.wake_writes: socket.socket | None = None
        self.is_work_due = False
        self.has_failed = False
        self.opened_s = 0.0
        self.options = options
        self.pid = 0
        self.kerberos: KerberosLogin | None = None
        self._search: ReadWriteSearch | None = None

    def new_followers(self, on_state: OnState) -> Followers:
        """Return the object that passes outcomes on."""
        return Followers(self.lock, on_state, self.log)

    def measured(self, transport: Transport) -> Transport:
        """Return the connection, or an object that counts its bytes."""
        return transport

    @property
    def renews_session(self) -> bool:
        """Whether the client asks for another session after its session has expired."""
        return self.options.renews_session

    @property
    def silence_s(self) -> float:
        """Seconds since the last exchange with the server, while or just after it was connected."""
        return time.monotonic() - min(self.heard_s, self.sent_s)

    def discard(self, watcher: Watcher) -> bool:
        """Forget a watcher; return whether the server's watch has no watcher left.

        In a forked child it does nothing: a lost watch calls it, and the lock may be taken.
        """
        if self._is_forked():
            return False
        with self.lock:
            return self.session.discard(watcher)

    def abandon(self, watcher: Watcher) -> None:
        """Remove a watcher that the program does not want any more, and the server's watch.

        In a forked child it does nothing, like `discard`.
        """
        if self._is_forked():
            return
        with self.lock:
            self.session.abandon(watcher)
            self.nudge()

    def expire(self, call: Call[object]) -> None:
        """End a call if its own time limit is over. The caller holds the lock.

        If the call has ended, but functions for earlier outcomes still run, its result is not shown
        any more: the program would see a change before the function for the change has returned.
        """
        if not call.deadline_s or time.monotonic() < call.deadline_s:
            return
        self.session.expire(call)
        if call in self.followers.due:
            self.followers.due.remove(call)
            call.result, call.error = None, DeadlineError(name_of(call.op_code), call.path)
            if call.watcher is not None:
                self.session.abandon(call.watcher)
                self.nudge()

    def change_servers(self, servers: Servers) -> None:
        """Use other servers from now on; the chroot stays."""
        self.check_process()
        with self.lock:
            self.order.change(servers._replace(chroot=self.order.servers.chroot))
            self.has_failed = False
            if self.address not in servers.addresses:
                self.drop_connection("the program changed the servers")
            self.nudge()

    def check_process(self) -> None:
        """Raise ForkedClientError in a child of the process that has started the client."""
        if self._is_forked():
            raise ForkedClientError

    def _is_forked(self) -> bool:
        return self.pid not in (0, os.getpid())

    def nudge(self) -> None:
        """Wake the background thread, which then sends what waits. The caller holds the lock."""
        self.is_work_due = True
        if self.wake_writes is not None:
            with contextlib.suppress(BlockingIOError):
                self.wake_writes.send(b"\0")

    def send(self) -> None:
        """Send what the session has to send. The caller holds the lock."""
        self.unsent_calls = 0
        transport = self.transport
        if transport is None or transport.is_aborted:
            return
        data = self.session.data_to_send()
        if self.unsent:
            data = self.unsent + data
        if not data:
            return
        try:
            sent_bytes = transport.send(data)
        except OSError:
            sent_bytes = len(data)
            transport.abort()  # the reader ends the connection
        self.sent_s = time.monotonic()
        if sent_bytes == len(data):
            self.unsent = b""
            return
        if not self.unsent and self.reader == self.followers.background:
            self.nudge()  # it waits only for bytes to read
        self.unsent = data[sent_bytes:]

    def read_once(self, transport: Transport, limit_s: float) -> None:
        """Read what comes within ``limit_s``, and send what waits."""
        reason = ""
        try:
            data = transport.receive(limit_s, is_writing=bool(self.unsent))
            if data == b"":
                reason = "the server closed the connection"
            else:
                with self.lock:
                    if data and self.transport is transport:
                        self.heard_s = time.monotonic()
                        self.followers.note(self.session.receive(data))
                    self.send()
                if self.followers.due:
                    self.followers.pass_on()
                    if len(self.followers.due) > self.followers.max_due:
                        reason = "a function of the program blocks, and too many events wait for it"
        except (OSError, ProtocolError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        except BaseException:
            # An interrupt may have lost a part of the bytes.
            self.disconnect(transport, "the reading thread was interrupted")
            raise
        if reason:
            self.disconnect(transport, reason)

    def disconnect(self, transport: Transport, reason: str) -> None:
        """End a connection: outstanding calls fail. Only the thread that reads calls this."""
        with self.lock:
            if self.transport is transport:
                self.transport = None
                self.unsent = b""
                if self.address is not None:
                    self.failures[self.address] = self.drop_reason or reason
                if self.session.is_served and self._was_useful():
                    self.has_failed = False
                self.followers.note(self.session.disconnected())
                self.followers.wake_all()  # an interrupt may have lost outcomes
                self.nudge()
            transport.close()
        self.followers.pass_on()

    def drop_connection(self, reason: str) -> None:
        """Let the thread that reads end the connection. The caller holds the lock."""
        if self.transport is not None and not self.transport.is_aborted:
            self.drop_reason = reason
            self.transport.abort()

    def _note_state(self, state: SessionState) -> None:
        """Note that the state has changed. The caller holds the lock."""
        self.log.info("%s", state.value)
        if state in SERVED:
            self.failures.clear()
        if self.session.state is SessionState.EXPIRED:
            self.drop_connection("the session has expired")
        self._search_read_write()
        self.state_changed.notify_all()

    def tls_context(self) -> "ssl.SSLContext | None":
        """Return the TLS context for the files of the client; None without TLS.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file has no certificate or no key.
        """
        if self.options.tls is None:
            return None
        from zoolet.client.connecting.tls import context_of  # noqa: PLC0415 -- slow import

        return context_of(self.options.tls)

    def _search_read_write(self) -> None:
        """Search for a read-write server while a read-only server serves the session."""
        if self._search is not None:
            self._search.stop()
            self._search = None
        if self.session.state is SessionState.READ_ONLY and self.address is not None:
            from zoolet.client.connecting.read_write import Candidates  # noqa: PLC0415 -- rare
            from zoolet.client.thread_client.read_write_search import (  # noqa: PLC0415 -- rare
                ReadWriteSearch,
            )

            candidates = Candidates(self.order, self.address)
            limit_s = self.options.connect_timeout_s
            self._search = ReadWriteSearch(
                candidates, self.tls_context, limit_s, self._change_to_read_write
            )
            self._search.start()

    def _change_to_read_write(self, found: "Address") -> None:
        """Change from a read-only server to one that is read-write."""
        with self.lock:
            if self.session.state is SessionState.READ_ONLY:
                self.order.prefer(found)
                self.has_failed = False
                self.drop_connection(f"{found} is read-write")

    def _was_useful(self) -> bool:
        """Return whether the connection that ends was a success."""
        served_s = time.monotonic() - self.opened_s
        return self.order.was_useful(served_s, has_replied=self.session.has_replied)
