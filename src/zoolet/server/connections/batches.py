"""A batch of txns, and the frames that the batch holds until its txns are durable.

Every output that shows a txn of a batch (a reply, a watch event, an answer to an operator) waits
in the batch. `zoolet.server.pipeline.group_commit` fills batches and releases them.
"""

from enum import Enum
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i32, i64, mypyc_attr

from zoolet.big_endian.buffers import BytesWriter
from zoolet.server.common.stats import ConnectionStats
from zoolet.state_machine.watches import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoolet.server.audit.records import AuditRecord


class Scope(Enum):
    """Which znodes a reply shows, if it does not show exactly one znode."""

    NOTHING = "no znode"
    EVERYTHING = "any znode"


# Module constants, because the look-up of an enum member is slow.
NOTHING: Final = Scope.NOTHING
EVERYTHING: Final = Scope.EVERYTHING

Shows = str | Scope
"""The part of the tree that a reply shows: the path of one znode, or a scope."""

_SHARED_BYTES: Final = 4096
"""A longer frame is not copied: many holds may have it, and their clients may leave it unread."""


class Receiver(Watcher):
    """The interface of a client's connection that a batch uses.

    A native base class, not a Protocol: compiled code accesses attributes of a Protocol slowly.

    Attributes:
        hold: the connection's hold in the newest batch that has one; None if no frame waits.
        held_bytes: the number of bytes that wait for the disk, in all batches.
        stats: the connection's counters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hold: Hold | None = None
        self.held_bytes: i64 = 0
        self.stats = ConnectionStats()

    def release(self, hold: "Hold") -> None:
        """Send the frames of ``hold``, whose batch is now on disk."""
        raise NotImplementedError

    def descriptor_for(self, hold: "Hold") -> i32:  # noqa: ARG002 -- for subclasses
        """Return the descriptor to which the bytes of ``hold.newest()`` may be sent now.

        It is -1 if only ``release`` may send them.
        """
        return -1


@final
@mypyc_attr(acyclic=True)
class Hold:
    """The frames for one connection that wait until a batch is durable.

    Attributes:
        batch: the batch.
        connection: the connection that receives the frames.
        long_parts: the bytes to send before all other frames, in order; None if no long frame
            waits. Each long frame is a separate part, so that it is not copied.
        size_bytes: the total number of bytes.
        sent_bytes: how many of the first bytes are sent already; negative if nobody knows.
        count: the total number of frames.
    """

    def __init__(self, batch: "Batch", connection: Receiver) -> None:
        self.batch = batch
        self.connection = connection
        # Most holds have one frame. So a hold that has only an event needs no buffer.
        self._only = b""
        self._frames: BytesWriter | None = None
        self.long_parts: list[bytes] | None = None
        self.size_bytes: i64 = 0
        self.sent_bytes: i64 = 0
        self.count = 0

    def out(self) -> BytesWriter:
        """Return the buffer for one more frame."""
        frames = self._frames
        if frames is None:
            frames = self._frames = BytesWriter()
            only, self._only = self._only, b""
            if len(only) > _SHARED_BYTES:
                self._add_parts([only])
            else:
                frames.write(only)
        return frames

    def add(self, frame: bytes) -> None:
        """Add a frame that other holds may have too; copy it only if it is one of several."""
        if self._frames is None and self.count == 0:
            self._only = frame
        elif len(frame) > _SHARED_BYTES:
            self.add_long([frame])
        else:
            self.out().write(frame)
        self.count += 1

    def add_long(self, parts: list[bytes]) -> None:
        """Add a long frame or body after the bytes that ``out`` has now, without a copy."""
        self._add_parts([self.out().getvalue(), *parts])
        self._frames = BytesWriter()

    def _add_parts(self, parts: list[bytes]) -> None:
        if self.long_parts is None:
            self.long_parts = []
        self.long_parts += parts

    def newest(self) -> bytes:
        """Return the bytes to send after ``long_parts``."""
        frames = self._frames
        return self._only if frames is None else frames.getvalue()

    def parts(self) -> list[bytes]:
        """Return all bytes to send, in order."""
        return [*(self.long_parts or ()), self.newest()]


@final
@mypyc_attr(acyclic=True)
class Batch:
    """Txns that become durable together, and the output that waits for them.

    Attributes:
        number: the number of this batch; a later batch has a greater number.
        is_released: whether the batch is on disk, so that the frames that wait for it may be sent.
        first_zxid: the zxid of the first txn; 0 while the batch has no txn.
        last_zxid: the zxid of the last txn; 0 while the batch has no txn.
        num_txns: the number of txns.
        opened_ms: the time at which the first txn was added, on the monotonic clock.
        sync_ms: the duration of writing and syncing the batch.
        records: the txns in the format of the log.
        touched: the paths for which a read has a different result because of the txns.
        holds: the waiting frames, one hold for each connection.
        callbacks: the functions to call when the batch is durable.
        audited: the records for the audit log; empty if there is no audit log.
    """

    def __init__(self, number: i64) -> None:
        self.number = number
        self.is_released = False
        self.first_zxid = 0
        self.last_zxid = 0
        self.num_txns = 0
        self.opened_ms = 0
        self.sync_ms = 0
        self.records = BytesWriter()
        self.touched: set[str] = set()
        self.holds: list[Hold] = []
        self.callbacks: list[Callable[[], None]] = []
        self.audited: list[AuditRecord] = []

    def hold_of(self, connection: Receiver) -> Hold:
        """Return the hold of a connection in this batch; make the hold if it does not exist."""
        hold = connection.hold
        if hold is None or hold.batch is not self:
            hold = connection.hold = Hold(self, connection)
            self.holds.append(hold)
        return hold
