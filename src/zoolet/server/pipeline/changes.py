"""Changes of the database: turn a request into a txn, append it, apply it and notify watchers.

Every change goes through this module: the changes that clients request, and the changes that the
server makes itself (it closes expired sessions and deletes containers and TTL znodes).
"""

from typing import Final, final

from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.requests import WriteRequest
from zoolet.model.txns import Txn
from zoolet.server.common.clock import Clock
from zoolet.server.connections.batches import Batch
from zoolet.server.logs.log_limiter import LogLimiter
from zoolet.server.pipeline.auditing import Auditor
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.outbox import Outbox
from zoolet.state_machine.apply import Applied
from zoolet.state_machine.identities import NOBODY
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.view import Requester
from zoolet.storage.txn_log import TxnTooLargeError

_CLOSE_SESSION: Final = OpCode.CLOSE_SESSION.value


@final
class Changes:
    """Makes all changes of one database.

    Attributes:
        machine: the database.
        auditor: makes the records of the audit log; None if there is no audit log.
    """

    def __init__(
        self,
        machine: StateMachine,
        commit: GroupCommit,
        outbox: Outbox,
        clock: Clock,
        limited: LogLimiter,
        auditor: Auditor | None,
    ) -> None:
        self.machine = machine
        self.auditor = auditor
        self._commit = commit
        self._outbox = outbox
        self._clock = clock
        self._limited = limited
        self._wall_ms = 0

    def begin_moment(self) -> None:
        """Read the clock for the next txn; txns between two calls of this method share one time."""
        self._wall_ms = 0

    def _time_ms(self) -> int:
        """Return the time for the next txn, in ms since the epoch."""
        if not self._wall_ms:
            self._wall_ms = self._clock.wall_ms()
        return self._wall_ms

    def make(
        self, requester: Requester, xid: int, op_code: int, request: WriteRequest
    ) -> tuple[Applied, Batch]:
        """Prepare a request and commit its txn; a request whose txn is too large is refused.

        The caller calls ``end`` after it has sent the reply.
        """
        machine = self.machine
        txn = machine.prepare(requester, xid, op_code, request, self._time_ms())
        if machine.warnings:
            self._limited.warning("%s", machine.warnings[-1])
            machine.warnings.clear()
        try:
            return self.commit(txn)
        except TxnTooLargeError as error:
            self._limited.warning(
                "refusing a request of session 0x%x: %s", requester.session_id, error
            )
        return self.refuse(requester.session_id, xid, ErrorCode.MARSHALLING_ERROR)

    def make_own(self, session_id: int, op_code: OpCode, request: WriteRequest) -> None:
        """Make a change that the server itself requests; no client receives a reply."""
        self.begin_moment()
        self.make(Requester(session_id, NOBODY), 0, op_code, request)
        self.end()

    def refuse(self, session_id: int, xid: int, code: ErrorCode) -> tuple[Applied, Batch]:
        """Commit an error txn for a request that is refused whatever the database contains."""
        return self.commit(self.machine.refuse(session_id, xid, code, self._time_ms()))

    def delete_ephemerals(self, session_id: int, at_most: int) -> None:
        """Delete up to ``at_most`` ephemerals of a session that ends, in a separate txn."""
        self.begin_moment()
        txn = self.machine.delete_ephemerals(session_id, at_most, self._time_ms())
        batch = self.commit(txn)[1]
        if self.auditor is not None:
            self.auditor.ephemerals_deleted(batch, txn)
        self.end()

    def end(self) -> None:
        """Mark the last change as complete, its reply included."""
        self.machine.is_changing = False

    def commit(self, txn: Txn) -> tuple[Applied, Batch]:
        """Append and apply a txn, and hold its watch events; returns its result and its batch.

        A failure before *apply* changes nothing. A later failure ends the server: the machine is
        marked as changing until the caller calls ``end``.
        """
        machine = self.machine
        batch = self._commit.append(txn, self._clock.monotonic_ms)
        machine.is_changing = True
        if self.auditor is not None and txn.header.type == _CLOSE_SESSION:
            self.auditor.session_closes(batch, txn, machine.tree)
        applied = machine.apply(txn, self._clock.monotonic_ms)
        self._commit.touch(batch, applied.touched)
        if applied.events:
            self._outbox.notify(batch, applied.events)
        return applied, batch
