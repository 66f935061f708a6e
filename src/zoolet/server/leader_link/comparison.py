"""Compares the history of a leader with that of this server, before anything of it is used.

A leader trusts the zxid that a learner names. A leader of another history, which has this zxid too,
would send its later txns, and this server would mix two histories. So this server names the zxid
before its last txn. The leader sends the last txn again, and the bytes must be equal. If the leader
sends a snapshot instead, the states must have a session or the creation of a znode in common.
"""

from zoolet.model.txns import Txn
from zoolet.server.leader_link.errors import FatalLinkError, LinkError, NeedsSnapshotError
from zoolet.server.leader_link.own_database import OwnDatabase
from zoolet.server.leader_link.received_database import ReceivedDatabase
from zoolet.storage.common_history import LastTxn
from zoolet.wire.txns import encode_txn


class Comparison:
    """The comparison on one link; it ends with the first check that raises nothing.

    Attributes:
        after_zxid: the zxid that this server names to the leader; with 0 it gets a snapshot.
        is_proven_by_snapshot: whether a snapshot has proven that the histories are the same. Then
            the next link needs no comparison, and gets the txns after the last one.
    """

    def __init__(self, last: LastTxn, message: str, *, takes_snapshot: bool) -> None:
        """Compare with the last txn of this server.

        ``message`` is that of the FatalLinkError. With ``takes_snapshot``, the leader's snapshot
        is installed if the histories are the same.
        """
        self.after_zxid = last.before_zxid if last.payload is not None else 0
        self.is_proven_by_snapshot = False
        self._last = last
        self._message = message
        self._takes_snapshot = takes_snapshot

    def check(self, txn: Txn | None) -> None:
        """Compare the first txn of the leader, None if it sends none.

        Raises NeedsSnapshotError if it is not the last txn of this server: only a state shows
        whether the leader was set back to an older state, or has another history.
        """
        if txn is None or encode_txn(txn) != self._last.payload:
            raise NeedsSnapshotError(
                f"the leader does not have the last txn 0x{self._last.zxid:x} of this server"
            )

    async def check_snapshot(self, own: OwnDatabase, received: ReceivedDatabase) -> None:
        """Compare the states.

        Raises FatalLinkError if they have nothing in common, and LinkError if the leader needs to
        send only the txns after the last one.
        """
        if not await own.has_history_of(received):
            raise FatalLinkError(self._message)
        if not self._takes_snapshot and received.machine.zxid >= self._last.zxid:
            self.is_proven_by_snapshot = True
            raise LinkError("the leader has the history of this server")
