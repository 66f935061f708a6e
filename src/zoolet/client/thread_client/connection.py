"""The connection of a `Client` and its session: sending, reading, and the end of a connection.

Invariants: `lock` protects the session, the sending of bytes, the socket pair that wakes the
background thread, and who reads. No thread holds the lock while it waits, or while a function of
the program runs. Only the thread that reads closes a connection; others abort it. This module
imports the client's protocol and ``model``.
"""

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from zoolet.client.connecting.server_order import ServerOrder
from zoolet.client.errors import ProtocolError
from zoolet.client.protocol.session import ClientSession
from zoolet.client.protocol.states import SERVED, SessionState
from zoolet.client.thread_client.followers import Followers
from zoolet.client.thread_client.transport import Transport
from zoolet.model.numbers import hex64

if TYPE_CHECKING:
    import socket

    from zoolet.model.addresses import Address

log = logging.getLogger("zoolet.client")


class Connection:
    """One connection after another, for one session.

    Attributes:
        lock: the lock of the client.
        session: the session; only a thread with the lock may use it.
        order: the servers.
        failures: the reason of the last failure of each server.
        address: the address of the last connection.
        state_changed: notified after each change of the state.
        followers: the threads that wait for the thread that reads.
        transport: the connection; None if there is none.
        reader: the thread that reads; 0 if none does.
        drop_reason: why the client itself ends the connection; "" if it does not.
        unsent: bytes that the connection could not take yet.
        unsent_calls: the number of calls that were submitted since the last sending.
        heard_s, sent_s: the times of the last reading and sending.
        wake_reads, wake_writes: the ends of the socket pair that wakes the background thread; None
            if it does not run.
        is_work_due: whether a byte is in that socket pair.
        has_failed: whether no server has replied since the last try to connect.
    """

    def __init__(self, session: ClientSession, order: ServerOrder) -> None:
        self.lock = threading.RLock()
        self.session = session
        self.order = order
        self.failures: dict[Address, str] = {}
        self.address: Address | None = None
        self.state_changed = threading.Condition(self.lock)
        self.followers = Followers(self.lock, self._note_state)
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
        log.info("session 0x%s: %s", hex64(self.session.session.id), state.value)
        has_refused = state is SessionState.EXPIRED and self.session.session.id != 0
        if state in SERVED or has_refused:  # the server works
            self.has_failed = False
            self.order.succeeded()
            self.failures.clear()
        self.state_changed.notify_all()
