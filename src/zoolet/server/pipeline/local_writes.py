"""Writes of a standalone server: the server itself decides each change."""

from typing import TYPE_CHECKING, Final, cast, final

from zoolet.model.codes import ErrorCode, OpCode
from zoolet.server.common.clock import Clock
from zoolet.server.common.stats import ServerStats
from zoolet.server.connections.batches import EVERYTHING
from zoolet.server.connections.connection import Connection, Requests
from zoolet.server.pipeline.auditing import Auditor
from zoolet.server.pipeline.changes import Changes
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.local_sessions import LocalSessions
from zoolet.server.pipeline.outbox import Outbox
from zoolet.server.pipeline.removal import Removal
from zoolet.server.pipeline.writes import Writes
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.view import Requester
from zoolet.wire.jute import MalformedError, Reader
from zoolet.wire.replies import encode_path
from zoolet.wire.requests import check_reconfig, decode_path_or_null, decode_write

if TYPE_CHECKING:
    from zoolet.state_machine.sessions import Session

_CLOSE_SESSION: Final = OpCode.CLOSE_SESSION.value


@final
class LocalWrites(Writes):
    """Makes all changes of a standalone server.

    Attributes:
        sessions: opens, closes and expires sessions.
        removal: removes containers and TTL znodes.
    """

    def __init__(
        self,
        config: Config,
        requests: Requests,
        machine: StateMachine,
        commit: GroupCommit,
        outbox: Outbox,
        clock: Clock,
        stats: ServerStats,
        next_session_id: int,
        auditor: Auditor | None,
    ) -> None:
        self._requests = requests
        self._commit = commit
        self._outbox = outbox
        changes = self._changes = Changes(machine, commit, outbox, clock, requests.limited, auditor)
        self.removal = Removal(config, requests, machine, changes, clock)
        self.sessions = LocalSessions(
            config, requests, machine, commit, changes, outbox, clock, stats, next_session_id
        )

    def write(self, connection: Connection, xid: int, op_code: int, reader: Reader) -> None:
        """Prepare, append and apply a write, and reply when its txn is on disk."""
        session = cast("Session", connection.session)
        requester = Requester(session.session_id, connection.identities)
        try:
            request = decode_write(op_code, reader)
        except MalformedError as error:
            self._requests.limited.warning(
                "refusing a malformed request of %s: %s", connection.peer, error
            )
            if op_code == OpCode.MULTI:
                self._refuse(connection, xid, op_code, ErrorCode.MARSHALLING_ERROR)
            else:
                # For other requests, Apache ZooKeeper decodes the body before it assigns a zxid.
                self._outbox.answer(connection, EVERYTHING, xid, ErrorCode.MARSHALLING_ERROR)
            return
        if op_code == _CLOSE_SESSION and self.sessions.takes_steps_to_close(session):
            connection.start_job(self.sessions.close_in_steps(connection, session, xid))
            return
        applied, batch = self._changes.make(requester, xid, op_code, request)
        if self._changes.auditor is not None:
            self._changes.auditor.client_wrote(batch, connection, op_code, request, applied.result)
        self._outbox.reply_to_write(batch, connection, xid, applied.result)
        if op_code == _CLOSE_SESSION:
            connection.finish()
        self._changes.end()

    def _refuse(self, connection: Connection, xid: int, op_code: int, code: ErrorCode) -> None:
        """Commit an error txn for a refused request, and send the error."""
        session = cast("Session", connection.session)
        applied, batch = self._changes.refuse(session.session_id, xid, code)
        if self._changes.auditor is not None:
            self._changes.auditor.client_wrote(batch, connection, op_code, None, applied.result)
        self._outbox.reply(batch, connection, xid, batch.last_zxid, code)
        self._changes.end()

    def sync(self, connection: Connection, xid: int, reader: Reader) -> None:
        """Reply when every txn applied so far is durable; later reads show all these txns."""
        path = decode_path_or_null(reader).path
        batch = self._commit.newest_batch()
        zxid = self._commit.zxid_seen_with(batch)
        self._outbox.reply(batch, connection, xid, zxid, 0, encode_path(path))

    def reconfig(self, connection: Connection, xid: int, reader: Reader) -> None:
        """Refuse a reconfig, as a standalone server does; the error txn has its own zxid."""
        check_reconfig(reader)
        self._refuse(connection, xid, OpCode.RECONFIG, ErrorCode.RECONFIG_DISABLED)

    def turn_ended(self) -> None:
        """Let the txns of the next turn have a new time."""
        self._changes.begin_moment()

    @property
    def is_quiet(self) -> bool:
        """Whether no sessions are being closed, and no znodes are being removed, in steps."""
        return not self.sessions.is_expiring and not self.removal.is_under_way
