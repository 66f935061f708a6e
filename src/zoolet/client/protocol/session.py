"""A client's session over one connection after another: bytes in, outcomes out.

The layer above has the sockets, the clock and the waiting programs. It calls `connected` after it
has opened a connection, `receive` with the bytes of the server, `disconnected` after the end of the
connection, and sends what `data_to_send` returns. It passes on the outcomes in their order, so that
a watch event comes before the reply that shows its change.

Invariants: each call that was started ends exactly once, or is dropped by the program. No call is
sent twice. On each connection, the logins are sent first, then the watches, then the calls. No
server serves the session before an authentication with SASL has ended. The replies of the server
come in the order of the calls. `receive` raises only ProtocolError. After the session has ended, it
ignores the bytes of the server. This module has no clock, does no I/O, and is not thread-safe.
Source: ``ClientCnxn`` of Apache ZooKeeper.
"""

from collections import deque
from typing import Final, final

from zoolet.client.errors import (
    AuthFailedError,
    ConnectionLossError,
    DeadlineError,
    ProtocolError,
    ZooKeeperError,
)
from zoolet.client.protocol.calls import DROPPED, ENDED, SENT, WAITS, Call
from zoolet.client.protocol.ends import error_of_the_end, resyncs
from zoolet.client.protocol.frames import connect_frame, ping_frame, set_watches_frame
from zoolet.client.protocol.logins import Logins, NewExchange, SaslRefusedError
from zoolet.client.protocol.received import MAX_GRANT_BYTES, MAX_REPLY_BYTES, IncompleteFrame
from zoolet.client.protocol.replies import finish, name_of
from zoolet.client.protocol.requests import removal_of_watches
from zoolet.client.protocol.session_id import NO_SESSION, SessionId
from zoolet.client.protocol.states import ENDED as ENDED_STATES
from zoolet.client.protocol.states import NEXT_STATE, SERVED, SessionState, Stimulus
from zoolet.client.protocol.watches import DATA, Notice, Watcher, WatchTable
from zoolet.model.codes import OpCode, Xid
from zoolet.model.requests import Connect
from zoolet.model.results import Event
from zoolet.wire.frames import LENGTH_BYTES, REPLY_HEADER_BYTES, frame_end
from zoolet.wire.jute import MalformedError, Reader
from zoolet.wire.reply_bodies import read_event, read_granted, reply_header

_NOTIFICATION: Final = Xid.NOTIFICATION.value
_PING: Final = Xid.PING.value
_AUTH: Final = Xid.AUTH.value
_AUTH_OP: Final = OpCode.AUTH.value
_SET_WATCHES: Final = Xid.SET_WATCHES.value
_CLOSE: Final = OpCode.CLOSE_SESSION.value

MAX_OUTSTANDING_BYTES: Final = 4 << 20
"""The default limit of the bytes of requests that are sent and have no reply yet."""

Outcome = Call[object] | Notice | SessionState
"""An ended call, an event for a watcher, or the new state of the session."""


@final
class ClientSession:
    """The state of one client.

    Attributes:
        state: the state of the session.
        is_served: whether a server serves the session now.
        has_ended: whether each call fails at once: there is no session, and no other one follows.
        session: the id and the password of the session; id 0 if there is none yet.
        timeout_ms: the session timeout: the negotiated one, or the wanted one before that.
        last_zxid: the newest zxid that the client has seen.
        watches: the watches of the client.
        outstanding_bytes: the bytes of the requests that are sent and have no reply yet.
        has_replied: whether the server has replied to a call on the present or last connection.
        refusal: the reason why the server refused the authentication with SASL; "" if it did not.
    """

    def __init__(
        self,
        timeout_ms: int,
        *,
        resumed: SessionId = NO_SESSION,
        takes_read_only: bool = False,
        max_outstanding_bytes: int = MAX_OUTSTANDING_BYTES,
        chroot: str = "",
        renews: bool = False,
        new_exchange: NewExchange | None = None,
    ) -> None:
        """Begin without a connection.

        ``timeout_ms`` is the wanted session timeout in milliseconds. ``resumed`` is a session of
        another client, which this client continues. ``takes_read_only`` allows a read-only server.
        ``renews`` says that the layer above calls `renew` after the session has expired.
        ``new_exchange`` begins an authentication with SASL on each connection.
        """
        self.state = SessionState.CONNECTING
        self.is_served = self.has_ended = self._ignores_bytes = False
        self.session = resumed
        self.timeout_ms = timeout_ms
        self.last_zxid = self.outstanding_bytes = 0
        self.watches = WatchTable()
        self.has_replied = False
        self._renews = renews
        self._wanted_timeout_ms = timeout_ms
        self._takes_read_only = takes_read_only
        self._max_outstanding_bytes = max_outstanding_bytes
        self._chroot = chroot
        self._logins = Logins(new_exchange)
        self.refusal = ""
        self._awaits_grant = self._is_granted_read_only = self._is_closing = False
        self._is_durable = resumed.id != 0
        self._replied_zxid = self._set_watches_left = 0
        self._waiting: deque[Call[object]] = deque()
        self._sent: deque[Call[object]] = deque()
        self._undelivered: list[Outcome] = []
        self._out: list[bytes] = []
        self._received = IncompleteFrame(self._sent)

    @property
    def has_outstanding(self) -> bool:
        """Whether a call waits to be sent, or for its reply."""
        return self.open_calls() != []

    def start(self, call: Call[object]) -> bool:
        """Start a call, which is sent as soon as possible.

        Returns False if the session has ended; then the call has its error.
        """
        if self.has_ended:
            self._end(call, self._error_of_the_end(call))
            return False
        self._waiting.append(call)
        return True

    def login(self, call: Call[object], scheme: str, credential: bytes) -> bool:
        """Log in now and on each later connection; the call ends with the reply.

        The frame of the call is ignored. Returns False if the session has ended. Raises
        UnicodeEncodeError for a scheme that has no UTF-8.
        """
        if self.has_ended:
            self._end(call, self._error_of_the_end(call))
            return False
        frame = self._logins.add(call, scheme, credential)
        if self.is_served:
            self._out.append(frame)
        return True

    def drop(self, call: Call[object]) -> bool:
        """Forget a call for which the program does not wait any more.

        Returns whether the request was not sent, and so is certainly not applied.
        """
        was_waiting = call.phase == WAITS
        if call.phase != ENDED:
            call.phase = DROPPED
            call.frame = b""
        return was_waiting

    def discard(self, watcher: Watcher) -> bool:
        """Forget a watcher; return whether the server's watch of its kind has no watcher left.

        A call that is still open may set the same watch; then the server must keep it.
        """
        if not self.watches.discard(watcher):
            return False
        needed = [(other.path, other.kind) for other in self._open_watchers()]
        if is_needed := (watcher.path, watcher.kind) in needed:
            self.watches.leave(watcher.path)  # in case that this call fails
        return not is_needed

    def abandon(self, watcher: Watcher) -> None:
        """Remove a watcher that the program does not want any more, and the server's watch."""
        self.watches.discard(watcher)
        self.watches.leave(watcher.path)
        self._remove_left()

    def _remove_left(self) -> None:
        """Remove the server's watches that have no watcher and get none from an open call."""
        needed = {watcher.path for watcher in self._open_watchers()}
        for path in self.watches.take_left(needed) if self.is_served else []:
            call = removal_of_watches(path)
            self._out.append(call.frame)
            self._sent.append(call)

    def _open_watchers(self) -> list[Watcher]:
        """Return the watchers that open calls add to the watches."""
        return [call.watcher for call in self.open_calls() if call.watcher is not None]

    def expire(self, call: Call[object]) -> None:
        """End a call whose time limit is over; its reply is ignored."""
        if call.phase < ENDED:
            detail = "no server in time; the request was not sent" if call.phase == WAITS else ""
            self._end(call, DeadlineError(name_of(call.op_code), call.path, detail))

    def overdue(self, now_s: float) -> list[Call[object]]:
        """Return the calls whose deadline is not after ``now_s``."""
        return [call for call in self.open_calls() if 0.0 < call.deadline_s <= now_s]

    def next_deadline_s(self) -> float:
        """Return the earliest deadline of the calls that have not ended; 0.0 if there is none."""
        return min([call.deadline_s for call in self.open_calls() if call.deadline_s], default=0.0)

    def open_calls(self) -> list[Call[object]]:
        """Return the calls that have not ended, and forget the ended ones that were not sent."""
        # Without a connection nothing else forgets them.
        waiting = [call for call in self._waiting if call.phase < ENDED]
        if len(waiting) < len(self._waiting):
            self._waiting = deque(waiting)
        found = waiting + [call for call in self._sent if call.phase < ENDED]
        found += [call for call in self._logins.calls() if call.phase < ENDED]
        return found

    def close(self, call: Call[object]) -> list[Outcome]:
        """End the session; ``call`` is a closeSession request.

        If no server serves the session, the outcomes are those of the end. Otherwise the end comes
        with the reply, or with the end of the connection.
        """
        outcomes: list[Outcome] = []
        self._is_closing = True
        if self.is_served:
            self.start(call)
        else:
            self._change(Stimulus.CLOSED, outcomes)
            self._fail_all(outcomes)
            self._end_quietly(call, outcomes)
        return outcomes

    def renew(self) -> list[Outcome]:
        """Ask for another session on the next connection, after this one has expired."""
        self.session = NO_SESSION
        self._is_durable = False
        self.timeout_ms = self._wanted_timeout_ms
        outcomes: list[Outcome] = []
        self._change(Stimulus.RENEWED, outcomes)
        return outcomes

    def connected(self) -> None:
        """Note that a connection is open: the next bytes to send ask for the session."""
        self._awaits_grant = True
        self.has_replied = False
        # Only a server with a quorum makes sessions that other servers know.
        session = self.session if self._is_durable else NO_SESSION
        wanted = Connect(
            0,
            self.last_zxid,
            self._wanted_timeout_ms,
            session.id,
            session.password,
            self._takes_read_only,
            True,
        )
        self._out.append(connect_frame(wanted))

    def disconnected(self) -> list[Outcome]:
        """Note the end of the connection; the outcomes are the calls that end with it.

        The outcomes before invalid bytes, which `receive` could not return, come first.
        """
        outcomes, self._undelivered = self._undelivered, []
        self._awaits_grant = False
        self._logins.end()
        self._out.clear()
        self._received.clear()
        self._set_watches_left = 0
        self._change(Stimulus.CLOSED if self._is_closing else Stimulus.LOST, outcomes)
        while self._sent:
            call = self._sent.popleft()
            if call.op_code == _CLOSE:
                self._end_quietly(call, outcomes)
            else:
                lost = ConnectionLossError(name_of(call.op_code), call.path)
                self._end_with(call, lost, outcomes)
        self.outstanding_bytes = 0
        if self.has_ended:
            self._fail_all(outcomes)
        return outcomes

    def ping(self) -> None:
        """Send a ping, which keeps the session alive."""
        if self.is_served:
            self._out.append(ping_frame())

    def data_to_send(self) -> bytes:
        """Return the bytes to send now, and forget them; b"" if there are none."""
        out = self._out
        if self._waiting and self.is_served:
            waiting, sent = self._waiting, self._sent
            outstanding_bytes = self.outstanding_bytes
            while waiting and outstanding_bytes < self._max_outstanding_bytes:
                call = waiting.popleft()
                if call.phase == WAITS:
                    call.phase = SENT
                    outstanding_bytes += call.size_bytes
                    sent.append(call)
                    out.append(call.frame)
                    call.frame = b""
            self.outstanding_bytes = outstanding_bytes
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def receive(self, data: bytes) -> list[Outcome]:
        """Process bytes of the server.

        Raises:
            ProtocolError: the bytes are not those of a ZooKeeper server. The connection cannot be
                used any more: the layer above closes it, and calls `disconnected`, which returns
                the outcomes of the valid bytes before.
        """
        outcomes: list[Outcome] = []
        position = 0
        limit = MAX_GRANT_BYTES if self._awaits_grant else MAX_REPLY_BYTES
        try:
            data = self._received.join(data)
            while (end := frame_end(data, position, limit)) != -1:
                self._read_frame(data, position + LENGTH_BYTES, end, outcomes)
                position = end
                limit = MAX_REPLY_BYTES
            if position < len(data):
                self._received.keep(data[position:] if position else data)
        except ProtocolError:
            self._undelivered += outcomes
            raise
        except MalformedError as error:
            self._undelivered += outcomes
            raise ProtocolError("", "", f"the server sent an invalid reply: {error}") from error
        if self.watches.has_left:
            self._remove_left()
        return outcomes

    def _read_frame(self, data: bytes, start: int, end: int, outcomes: list[Outcome]) -> None:
        if self._ignores_bytes:
            return
        if self._awaits_grant:
            self._read_granted(Reader(data, start, end), outcomes)
            return
        xid, zxid, err = reply_header(data, start, end)
        if self._logins.exchange is not None:
            self._read_token(xid, err, Reader(data, start + REPLY_HEADER_BYTES, end), outcomes)
            return
        if xid == _NOTIFICATION:
            self._read_event(Reader(data, start + REPLY_HEADER_BYTES, end), zxid, outcomes)
        elif xid == _PING:
            pass
        elif xid == _AUTH:
            self._read_login(err, outcomes)
        elif xid == _SET_WATCHES:
            self._read_set_watches(err, outcomes)
        else:
            self._read_reply(xid, err, Reader(data, start + REPLY_HEADER_BYTES, end), outcomes)
            self._replied_zxid = max(self._replied_zxid, zxid)
        self.last_zxid = max(self.last_zxid, zxid)

    def _read_reply(self, xid: int, err: int, reader: Reader, outcomes: list[Outcome]) -> None:
        sent = self._sent
        if not sent:
            raise ProtocolError("", "", f"the server sent a reply to no request (xid {xid})")
        call = sent[0]
        if call.xid != xid:
            raise ProtocolError("", "", f"the server replied to xid {xid} instead of {call.xid}")
        if is_awaited := call.phase == SENT:
            finish(call, err, reader, self._chroot)  # if it raises, the call is still outstanding
        sent.popleft()
        self.has_replied = True
        self.outstanding_bytes -= call.size_bytes
        if call.removes is not None and err == 0:
            self.watches.remove(*call.removes)
        if is_awaited:
            watcher = call.watcher
            if watcher is not None and call.error is None:
                self.watches.add(watcher, exists=call.result is not None or watcher.kind != DATA)
            call.phase = ENDED
            outcomes.append(call)
        elif call.watcher is not None:
            self.abandon(call.watcher)
        if call.op_code == _CLOSE:
            self._change(Stimulus.CLOSED, outcomes)
            self._fail_all(outcomes)

    def _read_event(self, reader: Reader, zxid: int, outcomes: list[Outcome]) -> None:
        event = read_event(reader, zxid)
        if event is None:
            return
        path = event.path
        watchers = self.watches.triggered(event.type.value, path)
        if not watchers:
            return
        if self._chroot:
            event = Event(event.type, path[len(self._chroot) :] or "/", event.zxid)
        outcomes += [Notice(watcher, event) for watcher in watchers]

    def _read_granted(self, reader: Reader, outcomes: list[Outcome]) -> None:
        granted = read_granted(reader)
        self._awaits_grant = False
        if granted.timeout_ms <= 0 or granted.session_id == 0:
            self._change(Stimulus.REFUSED, outcomes)
            outcomes += resyncs(self.watches.drop_one_shot())
            self._fail_all(outcomes)
            return
        self.session = SessionId(granted.session_id, granted.password)
        self.timeout_ms = granted.timeout_ms
        self._is_durable = self._is_durable or not granted.is_read_only
        self._is_granted_read_only = granted.is_read_only
        if first := self._logins.begin():
            self._out.append(first)
        else:
            self._begin_calls(outcomes)

    def _read_token(self, xid: int, err: int, reader: Reader, outcomes: list[Outcome]) -> None:
        """Process a token of the server's side of SASL."""
        if xid == _NOTIFICATION:
            return  # of a watch that a program with the same session had set
        try:
            answer = self._logins.answer(xid, err, None if err else reader.read_buffer())
        except SaslRefusedError as error:
            self.refusal = str(error)
            self._change(Stimulus.AUTH_REFUSED, outcomes)
            self._fail_all(outcomes)
            return
        if answer:
            self._out.append(answer)
        else:
            self._begin_calls(outcomes)

    def _begin_calls(self, outcomes: list[Outcome]) -> None:
        """Send logins, watches and calls: the server serves the session now."""
        is_read_only = self._is_granted_read_only
        self._change(Stimulus.GRANTED_READ_ONLY if is_read_only else Stimulus.GRANTED, outcomes)
        self._out += self._logins.frames()
        self.watches.begin_resync()
        # Not last_zxid: of several changes of one txn, the client may have only the first events.
        for request in self.watches.set_watches(self._replied_zxid):
            self._out.append(set_watches_frame(request))
            self._set_watches_left += 1

    def _read_set_watches(self, err: int, outcomes: list[Outcome]) -> None:
        if not self._set_watches_left:
            raise ProtocolError("", "", "the server sent a reply to no setWatches")
        if err:
            raise ProtocolError("", "", f"the server did not set the watches again: error {err}")
        self._set_watches_left -= 1
        if not self._set_watches_left:
            outcomes += resyncs(self.watches.end_resync())

    def _read_login(self, err: int, outcomes: list[Outcome]) -> None:
        call = self._logins.replied()
        error = None if err == 0 else AuthFailedError(name_of(_AUTH_OP))
        if call is not None and call.phase < ENDED:
            if error is None:
                self._end_quietly(call, outcomes)
            else:
                self._end_with(call, error, outcomes)
        if error is not None:
            self._change(Stimulus.AUTH_REFUSED, outcomes)
            self._fail_all(outcomes)

    def _change(self, stimulus: Stimulus, outcomes: list[Outcome]) -> None:
        state = NEXT_STATE[self.state, stimulus]
        if state is not self.state:
            self.state = state
            self.is_served, self._ignores_bytes = state in SERVED, state in ENDED_STATES
            waits = self._renews and state is SessionState.EXPIRED
            self.has_ended = self._ignores_bytes and not waits
            outcomes.append(state)

    def _fail_all(self, outcomes: list[Outcome]) -> None:
        """End all calls, because the session has ended."""
        for calls in (self._sent, self._waiting):
            while calls:
                call = calls.popleft()
                if call.op_code == _CLOSE:
                    self._end_quietly(call, outcomes)
                else:
                    self._end_with(call, self._error_of_the_end(call), outcomes)
        for login in self._logins.drop_calls():
            self._end_with(login, self._error_of_the_end(login), outcomes)
        self.outstanding_bytes = 0
        self._out.clear()

    def _error_of_the_end(self, call: Call[object]) -> ZooKeeperError:
        return error_of_the_end(self.state, call, self.refusal)

    def _end_with(self, call: Call[object], error: ZooKeeperError, outcomes: list[Outcome]) -> None:
        if call.phase < ENDED:
            self._end(call, error)
            outcomes.append(call)

    def _end_quietly(self, call: Call[object], outcomes: list[Outcome]) -> None:
        if call.phase < ENDED:
            call.phase = ENDED
            call.frame = b""
            outcomes.append(call)

    def _end(self, call: Call[object], error: ZooKeeperError) -> None:
        call.phase = ENDED
        call.frame = b""
        call.error = error
