"""A batch of txns, and what it holds back until they are durable.

Whatever shows a txn of a batch (a reply, a watch event, an answer to an operator) waits in the
batch. `zoolet.server.pipeline.group_commit` fills batches and releases them.
"""

from enum import Enum
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from zoolet.model.big_endian import BytesWriter
from zoolet.server.common.stats import ConnectionStats
from zoolet.state_machine.watches import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable


class Scope(Enum):
    """Which znodes an answer shows, if it is not one."""

    NOTHING = "no znode"
    EVERYTHING = "any znode"


# Looked up once: a member of an enum costs more than what is done with it.
NOTHING: Final = Scope.NOTHING
EVERYTHING: Final = Scope.EVERYTHING

Shows = str | Scope
"""What an answer shows of the tree: the znode at a path, or a scope."""


class Receiver(Watcher):
    """A client's connection, as far as a batch knows it.

    A native base class and no Protocol: compiled code finds attributes of a Protocol slowly.

    Attributes:
        hold: what waits for the disk, in the newest batch in which anything does.
        held_bytes: how much waits for the disk.
        stats: what the connection did.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hold: Hold | None = None
        self.held_bytes: i64 = 0
        self.stats = ConnectionStats()

    def release(self, hold: "Hold") -> None:
        """Send what waited for the disk until now."""
        raise NotImplementedError


@final
@mypyc_attr(acyclic=True)
class Hold:
    """What a batch holds back for one connection.

    Attributes:
        batch: the batch.
        connection: to which it goes.
        frames: what was to be sent, in order, behind ``long_parts``.
        long_parts: what was to be sent before; long frames are kept without making copies.
        size_bytes: how much that is in all.
        count: how many frames that are.
    """

    def __init__(self, batch: "Batch", connection: Receiver) -> None:
        self.batch = batch
        self.connection = connection
        self.frames = BytesWriter()
        self.long_parts: list[bytes] | None = None
        self.size_bytes: i64 = 0
        self.count = 0

    def add_long(self, body: bytes) -> None:
        """Add bytes behind what ``frames`` has now."""
        if self.long_parts is None:
            self.long_parts = []
        self.long_parts.append(self.frames.getvalue())
        self.long_parts.append(body)
        self.frames = BytesWriter()

    def parts(self) -> list[bytes]:
        """Return all that is to be sent, in order."""
        return [*(self.long_parts or ()), self.frames.getvalue()]


@final
@mypyc_attr(acyclic=True)
class Batch:
    """Txns that become durable together, and what waits for that.

    Attributes:
        first_zxid: of the first txn; 0 while there is none.
        last_zxid: of the last txn.
        records: the txns as the log holds them.
        num_txns: how many they are.
        touched: the paths about which they say something new.
        opened_ms: when the first txn was added.
        sync_ms: how long it took to write and sync it.
        number: of this batch; a later one has a greater number.
        is_released: whether the batch is on disk, and what waited for it may be sent.
        holds: what waits, a hold for each connection.
        callbacks: what else is to happen once the batch is durable.
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

    def hold_of(self, connection: Receiver) -> Hold:
        """Return what is held back for a connection, to add to it."""
        hold = connection.hold
        if hold is None or hold.batch is not self:
            hold = connection.hold = Hold(self, connection)
            self.holds.append(hold)
        return hold
