"""The interface of what has states and txns: a data directory, or an archive."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

from zoolet.model.txns import Txn
from zoolet.storage.recovery import AsOf, Recovery


class MissingTxns(NamedTuple):
    """Txns that a source does not have, between two that it has.

    Attributes:
        reason: why they are missing.
        after_zxid: the last txn before them; 0 if there is none.
        after_ms: the time of this txn, in ms since the epoch; None if it is not known.
        before_zxid: the zxid of the first state after them.
        before_ms: the time of this state; None if it is not known.
    """

    reason: str
    after_zxid: int
    after_ms: int | None
    before_zxid: int
    before_ms: int | None


class AbandonedTxns(NamedTuple):
    """Txns that a source has, but that are not part of the history: the server was set back.

    Attributes:
        after_zxid: the last txn before them, with which the history continues.
        until_zxid: the last one of them.
    """

    after_zxid: int
    until_zxid: int


Found = Txn | MissingTxns | AbandonedTxns
"""What a history consists of."""


class Source(ABC):
    """A sequence of txns, and the states between them."""

    @abstractmethod
    def state_at(self, as_of: AsOf) -> Recovery:
        """Return the state after the last txn at or before a moment; the newest one for ``ALL``.

        ``notes`` of the result are warnings for the user. Raises StorageError or ArchiveError if
        the source does not have the state, or cannot be read.
        """

    @abstractmethod
    def txns(self, since: AsOf, until: AsOf) -> Iterator[Found]:
        """Yield the txns from ``since`` to ``until``, both included, and where txns are missing.

        Between two times, only txns with such times are yielded: if a clock was changed, they need
        not be adjacent.

        Raises StorageError or ArchiveError if the source cannot be read.
        """


def is_before(txn: Txn, since: AsOf) -> bool:
    """Return whether a txn is earlier than the first wanted one."""
    header = txn.header
    return (since.zxid is not None and header.zxid < since.zxid) or (
        since.time_ms is not None and header.time_ms < since.time_ms
    )
