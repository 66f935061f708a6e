"""A client's connection: receives bytes and passes whole frames to the processor.

This module keeps incomplete frames and decides when frames are processed. It depends on frames and
four-letter words, not on requests. ``sending`` contains the sending side of a connection.

If the scheduler has time left and no other work waits, frames are processed when they arrive.
Otherwise they are processed in the connection's next turn. While the connection waits for a turn,
or for the steps of a long request, the server reads nothing more from the socket. This limits the
number of waiting bytes.
"""

import asyncio
import logging
import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, cast, final

from mypy_extensions import i64

from zoolet.server.common.scheduler import LEAST_CHARGED_S, QUANTUM_S, Scheduler, Share, run_steps
from zoolet.server.connections.arriving import (
    LongRequest,
    estimated_cost_us,
    has_frame,
    whole_word,
)
from zoolet.server.connections.receiving import ReceivingSide
from zoolet.server.connections.sampling import Sampler
from zoolet.server.connections.sending import MAX_UNSENT_BYTES
from zoolet.server.connections.unsent import CHUNK_BYTES
from zoolet.server.logs.log_limiter import LogLimiter
from zoolet.server.sockets.clients import client_at
from zoolet.wire.frames import LENGTH_BYTES, frame_end
from zoolet.wire.jute import MalformedError

if TYPE_CHECKING:
    from zoolet.server.connections.batches import Batch, Hold
    from zoolet.server.sasl.exchanges import Exchange
    from zoolet.server.sockets.admission import AcceptedSocket
    from zoolet.server.zoo_cfg.config import X509Config

log = logging.getLogger(__name__)

_COST_OF_A_LOOK: Final = 32
"""After requests of this total cost, the clock is read. A request costs 1, plus its bytes."""

_LOG_BYTES_PER_COST: Final = 6
_LOG_REPLY_BYTES_PER_COST: Final = 8
"""64 bytes of a request cost 1; 256 bytes of its reply cost 1."""


class Requests:
    """The interface of the request processor that connections use (``RequestProcessor``).

    Attributes:
        limited: the rate-limited log for messages that a client can cause as often as it wants.
        is_held: whether requests must wait, because the server replaces its database.
        sampler: takes samples of the requests, for operators.
    """

    def __init__(
        self,
        max_frame_bytes: int,
        scheduler: Scheduler,
        *,
        limited: LogLimiter,
        keeps_alive: bool,
        x509: "X509Config | None" = None,
    ) -> None:
        self.max_frame_bytes = max_frame_bytes
        self.scheduler = scheduler
        self.limited = limited
        self.keeps_alive = keeps_alive
        self.x509 = x509
        self.is_held = False
        self.sampler = Sampler(scheduler.now_s())

    def connection_opened(self, connection: "Connection") -> None:
        """Add a connection that has been opened."""
        raise NotImplementedError

    def connection_closed(self, connection: "Connection") -> None:
        """Remove a connection that has been closed."""
        raise NotImplementedError

    def all_connections(self) -> "Iterable[Connection]":
        """Return the open connections."""
        raise NotImplementedError

    def answer_word(self, connection: "Connection", word: str, argument: bytes) -> None:
        """Answer a four-letter word and close; ``argument`` has the bytes that follow "stmk"."""
        raise NotImplementedError

    def expect(self, data: bytes, position: i64) -> None:
        """Prepare for the next frames, which begin at ``position``; this may do nothing."""
        raise NotImplementedError

    def take(self, connection: "Connection", data: bytes, start: i64, end: i64) -> None:
        """Process the request in ``data[start:end]``."""
        raise NotImplementedError

    def taken(
        self, connection: "Connection", count: int, size_bytes: int, took_s: float, now_s: float
    ) -> None:
        """Count processed requests and their duration; ``now_s`` is the scheduler's time."""
        raise NotImplementedError

    def heard(self, connection: "Connection") -> None:
        """Record that the client is alive: it sent bytes that are not processed yet."""
        raise NotImplementedError

    def malformed(self, connection: "Connection", error: MalformedError) -> None:
        """Log that the bytes of a connection are not a valid frame; the caller closes it."""
        raise NotImplementedError

    def failed(self, connection: "Connection", error: Exception) -> None:
        """Close the connection after an unexpected exception, or stop the server if necessary."""
        raise NotImplementedError


@final
class Connection(ReceivingSide):
    """The connection of one client, as a Protocol of asyncio.

    Attributes:
        identities: the identities that the client has authenticated; at first, its address.
        established_ms: the time at which the connection was opened, on the monotonic clock.
        is_secure: whether the connection uses TLS.
        is_paused: whether the next requests wait: in an observer until the leader has answered
            earlier ones, and after a failed authentication until its reply is sent.
        exchange: the authentication of the client with SASL; None if it has not begun.
    """

    def __init__(self, requests: Requests, accepted: "AcceptedSocket | None" = None) -> None:
        """Serve the socket ``accepted`` and notify it when the connection opens and closes."""
        super().__init__()
        self.established_ms = 0
        self.is_secure = False
        self.is_paused = False
        self.exchange: Exchange | None = None
        self._is_known = False
        self._requests = requests
        self._accepted = accepted
        # Most clients are idle most of the time, so these objects are created only when needed.
        self._share: Share | None = None
        self._job: LongRequest | None = None
        self._is_reading = True

    # --- Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Add the connection to the processor; every failure here closes the connection."""
        self._transport = cast("asyncio.Transport", transport)
        try:
            if self._accepted is not None:
                self._accepted.opened(self._transport)
            self._open(self._transport)
        except OSError as error:
            self._requests.limited.info(
                "the connection of %s broke before the server could use it: %s", self.peer, error
            )
            self.abort()
        except Exception:  # noqa: BLE001 -- logged; only this connection is closed
            # No request was processed, so the database has not changed.
            self._requests.limited.exception(
                "closing the connection of %s: the connection cannot be served", self.peer
            )
            self.abort()

    def _open(self, transport: asyncio.Transport) -> None:
        peername = transport.get_extra_info("peername")
        if peername is None:
            raise ConnectionResetError("the client reset it")
        host, port = peername[:2]
        self.address, self.identities = client_at(host)
        self.port = port
        if self._accepted is not None:
            self._accepted.known_to_connection()
        transport.set_write_buffer_limits(high=CHUNK_BYTES - 1)
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            self.is_secure = True
            self._descriptor = -1
            x509 = self._requests.x509
            if x509 is not None:
                from zoolet.server.sockets.certificate_ids import (  # noqa: PLC0415 -- only for TLS
                    proven_by,
                )

                proven = proven_by(ssl_object, x509, self._requests.limited)
                self.identities = self.identities.with_(proven)
        if self._requests.keeps_alive:
            peer = cast("socket.socket", transport.get_extra_info("socket"))
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.is_open = self._is_known = True
        self._requests.connection_opened(self)

    def data_received(self, data: bytes) -> None:
        """Pass whole frames to the processor, now or in this connection's next turn."""
        try:
            is_whole = self._keep(data)
            scheduler = self._requests.scheduler
            if scheduler.is_crowded or self._is_waiting or self._job is not None:
                self._requests.heard(self)
                if is_whole:
                    self._wait_for_turn()
                return
            began_s = scheduler.now_s()
            has_more = False
            if is_whole:
                has_more = self._take_frames(began_s)
            else:
                self._requests.heard(self)
            self._worked(began_s)
            if has_more:
                self._wait_for_turn()
        except Exception as error:  # noqa: BLE001 -- the processor decides what to do
            self._requests.failed(self, error)

    def pause_writing(self) -> None:
        """Write nothing more to the transport: the client does not read."""
        self._client_reads = False

    def resume_writing(self) -> None:
        """Send more bytes: the client reads again."""
        self._client_reads = True
        try:
            if self._answer is not None:
                self._answer.go_on()
            elif self._requests.scheduler.is_crowded or self._is_waiting:
                # Wait for a turn: many clients may begin to read in one iteration of the loop.
                if self._unsent is not None:
                    self._requests.scheduler.add(self.share, self._take_turn)
            else:
                began_s = self._requests.scheduler.now_s()
                self._write_more()
                self._worked(began_s)
        except Exception as error:  # noqa: BLE001 -- the processor decides what to do
            self._requests.failed(self, error)

    def eof_received(self) -> bool:
        """Return False to close; True while the client may still wait for its last reply."""
        return self._closes_when_sent and self.is_open and not self.is_secure

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the processor, and drop its unsent bytes."""
        self._job = None
        self._send_no_more()
        if self._accepted is not None:
            self._accepted.closed()
        if self._is_known:
            self._is_known = False
            self._requests.connection_closed(self)
        if exc is not None:
            log.debug("the connection of %s broke: %s", self.peer, exc)

    # --- Called by the processor

    @property
    def share(self) -> Share:
        """The connection's share of the event loop's thread, for the scheduler."""
        if self._share is None:
            self._share = Share(self.peer)
            self._share.op_code = self.stats.last_op_code
        return self._share

    @property
    def takes_requests(self) -> bool:
        """Whether the next request may be processed, also in view of the unsent bytes."""
        return self._may_take and self._waiting_bytes() <= MAX_UNSENT_BYTES

    @property
    def _may_take(self) -> bool:
        """Whether the next request may be processed, without regard to the unsent bytes."""
        return (
            self._job is None
            and not self.is_paused
            and not self._requests.is_held
            and not self._closes_when_sent
        )

    @property
    def has_job(self) -> bool:
        """Whether a long request is in progress."""
        return self._job is not None

    @property
    def is_behind(self) -> bool:
        """Whether requests may have arrived that are not processed yet."""
        return self._is_waiting or self._job is not None or not self._is_reading

    def start_job(self, steps: Iterator[int]) -> None:
        """Run the steps of a long request in this connection's turns; the steps send the reply.

        The server processes no other request of this connection until the steps are done.
        """
        self._job = LongRequest(steps, self._requests.scheduler.now_s())
        self._wait_for_turn()

    def defer(self, batch: "Batch | None", frame: bytes) -> None:
        """Keep a frame that must be sent after the reply to the long request in progress."""
        job = self._job
        if job is not None:
            job.deferred.append((batch, frame))

    def take_deferred(self) -> "list[tuple[Batch | None, bytes]]":
        """Remove and return the frames of ``defer``, each with the batch that it waits for."""
        job = self._job
        if job is None:
            return []
        deferred, job.deferred = job.deferred, []
        return deferred

    def release(self, hold: "Hold") -> None:
        """Send the frames of ``hold``, whose batch is now on disk."""
        try:
            if self.hold is hold:
                self.hold = None
            self.stats.packets_sent += hold.count
            self._write_held(hold)
            # Only now, because a finished connection closes as soon as no bytes are held.
            self.held_bytes -= hold.size_bytes
            self._close_if_sent()
            self._read_again()
        except Exception as error:  # noqa: BLE001 -- the processor decides what to do
            self._requests.failed(self, error)

    def go_on(self) -> None:
        """Process requests again after the database has been replaced."""
        self._read_or_wait()

    def resume(self) -> None:
        """Process requests again after ``is_paused``."""
        self.is_paused = False
        self._read_or_wait()

    def flush(self) -> None:
        """Send the frames that were sent outside of the connection's turn, and need not wait."""
        self._flush()

    # --- Called by the sending side

    def _wait_to_send(self) -> None:
        self._requests.scheduler.add(self.share, self._take_turn)

    def _read_again(self) -> None:
        if not self._is_reading:
            self._read_or_wait()

    def _cut_off(self) -> None:
        self._requests.limited.warning(
            "closing the connection of %s: too many bytes wait that the client does not read",
            self.peer,
        )
        self.abort()

    @property
    def _is_waiting(self) -> bool:
        """Whether the connection waits for a turn."""
        share = self._share
        return share is not None and share.is_waiting

    def _worked(self, began_s: float) -> None:
        """Report work to the scheduler that was done without waiting for a turn."""
        scheduler = self._requests.scheduler
        share = self._share
        if share is None:
            spent_s = scheduler.now_s() - began_s
            if spent_s < LEAST_CHARGED_S:
                scheduler.spend(spent_s)
                return
            share = self.share
        share.op_code = self.stats.last_op_code
        scheduler.used(share, began_s)

    def _wait_for_turn(self) -> None:
        """Pause reading, and continue in the connection's next turn."""
        transport = self._transport
        if transport is None or not self.is_open:
            return
        if self._is_reading:
            self._is_reading = False
            transport.pause_reading()
        cost_us = estimated_cost_us(self._unread)
        if cost_us:
            self.share.next_cost_us = cost_us
        self._requests.scheduler.add(self.share, self._take_turn)

    def _take_turn(self) -> bool:
        """Process waiting work for about one quantum; return whether more work remains."""
        try:
            if not self.is_open:
                return False
            self._write_more()
            job = self._job
            if job is not None:
                if run_steps(job.steps, self.share, self._requests.scheduler, self._job_failed):
                    return True
                if self._job is None:
                    return False
                self._job_done(job)
            elif self._take_frames(self._requests.scheduler.now_s()):
                return True
            if self._job is not None:
                return True
            self._read_or_wait()
        except Exception as error:  # noqa: BLE001 -- the processor decides what to do
            self._requests.failed(self, error)
        return False

    def _job_done(self, job: "LongRequest") -> None:
        self._job = None
        now_s = self._requests.scheduler.now_s()
        self._requests.taken(self, 0, 0, now_s - job.began_s, now_s)
        self._flush()
        if self._closes_when_sent:
            self._close_if_sent()

    def _job_failed(self, error: Exception) -> None:
        self._job = None
        self._requests.failed(self, error)

    def _take_frames(self, began_s: float) -> bool:
        """Pass whole frames to the processor, for one quantum; return whether some remain."""
        data = self._unread
        if self._closes_when_sent or self._is_word(data):
            return False
        requests = self._requests
        max_bytes: i64 = requests.max_frame_bytes
        position: i64 = 0
        taken = 0
        cost: i64 = 0
        is_malformed = has_more = False
        waiting_bytes: i64 = self._waiting_bytes()
        is_first = self.session is None
        requests.expect(data, 0)
        try:
            while True:
                end = frame_end(data, position, max_bytes)
                if end < 0 or waiting_bytes > MAX_UNSENT_BYTES or not self._may_take:
                    break
                if cost >= _COST_OF_A_LOOK:
                    cost = 0
                    if requests.scheduler.now_s() - began_s >= QUANTUM_S:
                        has_more = True
                        break
                    requests.expect(data, position)
                requests.take(self, data, position + LENGTH_BYTES, end)
                before_bytes = waiting_bytes
                waiting_bytes = self._waiting_bytes()
                if waiting_bytes > before_bytes:
                    cost += (waiting_bytes - before_bytes) >> _LOG_REPLY_BYTES_PER_COST
                cost += 1 + ((end - position) >> _LOG_BYTES_PER_COST)
                position = end
                taken += 1
        except MalformedError as error:
            requests.malformed(self, error)
            is_malformed = True
        self._unread = data[position:] if position else data
        requests.taken(self, taken, position, 0.0, began_s)
        requests.sampler.passed(self, data, taken, is_first, began_s)
        self._flush()
        if is_malformed:
            self.abort()
        elif not self.takes_requests:
            self._read_or_wait()
        return has_more

    def _is_word(self, data: bytes) -> bool:
        """Return whether the data is a four-letter word; answer the word if it is complete."""
        if not self._begins_with_word(data):
            return False
        word = whole_word(data)
        if word is not None:
            self._closes_when_sent = True
            self._requests.answer_word(self, word[0], word[1])
        return True

    def _read_or_wait(self) -> None:
        """Process remaining frames, then read from the socket, or pause until there is room."""
        transport = self._transport
        if transport is None or self._closes_when_sent:
            return
        wanted = self.takes_requests
        if wanted and self._has_whole_frame():
            self._wait_for_turn()
            return
        if wanted != self._is_reading:
            self._is_reading = wanted
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def _has_whole_frame(self) -> bool:
        """Return whether a request (which may be malformed) has arrived and waits."""
        unread = self._unread
        # A word is answered as soon as it is complete.
        is_word = self._begins_with_word(unread)
        return not is_word and has_frame(unread, self._requests.max_frame_bytes)
