"""The outbox: sends replies and watch events to clients, or holds them until a batch is on disk.

This module decides the order of the frames on a connection. Replies have the order of the requests.
A watch event is sent before any reply that shows the same change. A frame that shows a batch is
sent when the batch is on disk. Other modules decide the content of a frame and which batch it
waits for.
"""

from collections.abc import Collection, Iterator
from typing import Final, cast, final

from zoolet.big_endian.buffers import BytesWriter
from zoolet.model.errors import RequestError
from zoolet.model.replies import TxnResult
from zoolet.server.common.scheduler import STEP_COST_US
from zoolet.server.common.stats import ServerStats
from zoolet.server.connections.batches import Batch, Hold, Shows
from zoolet.server.connections.connection import Connection
from zoolet.server.pipeline.encoding_steps import LONG_BODY_BYTES, EncodingSteps
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.reads import Shown
from zoolet.state_machine.apply import Event
from zoolet.state_machine.watches import Watcher
from zoolet.wire.frames import LENGTH_BYTES, REPLY_HEADER_BYTES, write_reply, write_reply_header
from zoolet.wire.replies import encode_event, encode_result

REPLY_BYTES: Final = LENGTH_BYTES + REPLY_HEADER_BYTES

_EVENTS_EACH: Final = 16
"""If a txn causes more events, events for the same watchers are sent together in one piece."""


@final
class Outbox:
    """Sends replies and watch events.

    In every method, ``batch`` is the batch that must be on disk before the frame is sent. None
    means that the frame is sent with the other frames of this turn of the event loop.
    """

    def __init__(self, commit: GroupCommit, stats: ServerStats) -> None:
        self._commit = commit
        self._stats = stats

    # --- Replies

    def answer(
        self, connection: Connection, shows: Shows, xid: int, err: int, body: bytes = b""
    ) -> None:
        """Send the reply to a read, or hold it until the txns that it shows are on disk.

        The zxid in the header is the last zxid that a client may see together with the reply.
        """
        batch = self._commit.batch_to_wait_for(connection, shows)
        self.reply(batch, connection, xid, self._commit.zxid_seen_with(batch), err, body)

    def answer_in_steps(self, connection: Connection, xid: int, shown: Shown) -> None:
        """Send the reply to a read that takes several steps to encode.

        The reply shows the state at the time of this call, so it waits for the txns that are not
        synced at that time. Events that arrive during the steps are sent after the reply.
        """
        batch = self._commit.batch_to_wait_for(connection, shown.shows)
        zxid = self._commit.zxid_seen_with(batch)
        steps = shown.steps
        if steps is None:
            raise AssertionError("a read without steps does not need answer_in_steps")
        if steps.is_complete:
            self._reply_in_parts(batch, connection, xid, zxid, steps)
        else:
            connection.start_job(self._encode_and_reply(connection, xid, batch, zxid, steps))

    def _encode_and_reply(
        self,
        connection: Connection,
        xid: int,
        batch: Batch | None,
        zxid: int,
        steps: EncodingSteps,
    ) -> Iterator[int]:
        try:
            while not steps.step():
                yield STEP_COST_US
            self._reply_in_parts(batch, connection, xid, zxid, steps)
        except RequestError as error:
            self.reply(batch, connection, xid, zxid, error.code)
        self.send_deferred(connection)

    def reply_to_write(
        self, batch: Batch, connection: Connection, xid: int, result: TxnResult
    ) -> None:
        """Send the result of the write whose txn is the last txn of the batch."""
        body = encode_result(result)
        self.reply(batch, connection, xid, batch.last_zxid, result.err, body)

    def reply(
        self,
        batch: Batch | None,
        connection: Connection,
        xid: int,
        zxid: int,
        err: int,
        body: bytes = b"",
    ) -> None:
        """Send a reply."""
        if len(body) > LONG_BODY_BYTES:
            self._reply_long(batch, connection, xid, zxid, [body], len(body))
            return
        self._stats.packets_sent += 1
        hold = connection.hold
        if batch is not None and (hold is None or hold.batch is not batch):
            hold = _hold_behind(batch, connection)
        if hold is None:
            write_reply(connection.out(), xid, zxid, err, body)
        else:
            hold.count += 1
            write_reply(hold.out(), xid, zxid, err, body)
            hold.size_bytes += REPLY_BYTES + len(body)
            connection.held_bytes += REPLY_BYTES + len(body)

    def _reply_in_parts(
        self,
        batch: Batch | None,
        connection: Connection,
        xid: int,
        zxid: int,
        steps: EncodingSteps,
    ) -> None:
        """Send a reply whose body is complete."""
        parts, body_bytes = steps.parts(), int(steps.size_bytes)
        if body_bytes > LONG_BODY_BYTES:
            self._reply_long(batch, connection, xid, zxid, parts, body_bytes)
        else:
            self.reply(batch, connection, xid, zxid, 0, b"".join(parts))

    def _reply_long(
        self,
        batch: Batch | None,
        connection: Connection,
        xid: int,
        zxid: int,
        body: list[bytes],
        body_bytes: int,
    ) -> None:
        """Send a reply without a copy of its long body, which is in parts."""
        self._stats.packets_sent += 1
        hold = _hold_behind(batch, connection)
        if hold is None:
            writer = BytesWriter()
            write_reply_header(writer, xid, zxid, 0, body_bytes)
            connection.send_long([writer.getvalue(), *body])
        else:
            hold.count += 1
            write_reply_header(hold.out(), xid, zxid, 0, body_bytes)
            hold.add_long(body)
            hold.size_bytes += REPLY_BYTES + body_bytes
            connection.held_bytes += REPLY_BYTES + body_bytes

    # --- Frames other than replies

    def send(self, batch: Batch | None, connection: Connection, frame: bytes) -> None:
        """Send a frame, but only after the reply to a long request that is in progress."""
        self._stats.packets_sent += 1
        if connection.has_job:
            connection.defer(batch, frame)
        else:
            self._send_now(batch, connection, frame)

    def send_deferred(self, connection: Connection) -> None:
        """Send the frames that ``send`` deferred during the steps of a long request."""
        for batch, frame in connection.take_deferred():
            self._send_now(batch, connection, frame)

    @staticmethod
    def _send_now(batch: Batch | None, connection: Connection, frame: bytes) -> None:
        hold = _hold_behind(batch, connection)
        if hold is None:
            connection.out().write(frame)
        else:
            hold.add(frame)
            hold.size_bytes += len(frame)
            connection.held_bytes += len(frame)

    def notify(self, batch: Batch | None, events: list[Event]) -> None:
        """Send watch events to their watchers."""
        if batch is not None and len(events) > _EVENTS_EACH:
            self._notify_in_pieces(batch, events)
            return
        for event in events:
            frame = encode_event(event.type, event.path, event.zxid)
            for watcher in event.watchers:
                connection = cast("Connection", watcher)
                if connection.is_open:
                    self.send(batch, connection, frame)

    def _notify_in_pieces(self, batch: Batch, events: list[Event]) -> None:
        """Send many events of one txn; send events for the same watchers in one piece."""
        first = 0
        while first < len(events):
            watchers = events[first].watchers
            frames = BytesWriter()
            end = first
            while end < len(events) and _are_same(events[end].watchers, watchers):
                frames.write(encode_event(events[end].type, events[end].path, events[end].zxid))
                end += 1
            piece = frames.getvalue()
            for watcher in watchers:
                connection = cast("Connection", watcher)
                if connection.is_open:
                    self.send(batch, connection, piece)
                    self._stats.packets_sent += end - first - 1
            first = end

    # --- Frames that wait for the disk

    def batch_released(self, batch: Batch, now_ms: int) -> None:
        """Count the latency of the replies that a batch held."""
        latency_ms = now_ms - batch.opened_ms
        for hold in batch.holds:
            stats = hold.connection.stats
            self._stats.latency.add(latency_ms, hold.count)
            self._stats.latencies.add(latency_ms, hold.count)
            stats.add(latency_ms, hold.count)
            stats.last_zxid = batch.last_zxid
            stats.last_response_ms = batch.opened_ms + latency_ms

    def holds(self) -> list[Hold]:
        """Return all holds: the frames that wait for the disk, by batch and connection."""
        syncing = self._commit.syncing
        return self._commit.collecting.holds + ([] if syncing is None else syncing.holds)


def _are_same(watchers: Collection[Watcher], others: Collection[Watcher]) -> bool:
    return watchers is others or (len(watchers) == len(others) and [*watchers] == [*others])


def _hold_behind(batch: Batch | None, connection: Connection) -> Hold | None:
    """Return the hold for a frame that must not be sent before ``batch`` is on disk.

    None means that the frame need not wait. If other frames of ``connection`` wait for a later
    batch, this frame waits for that batch too, to keep the order.
    """
    hold = connection.hold
    if batch is None or batch.is_released:
        return hold
    if hold is not None and hold.batch.number > batch.number:
        return hold
    return batch.hold_of(connection)
