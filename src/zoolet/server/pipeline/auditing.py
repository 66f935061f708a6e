"""Makes the records of the audit log from requests and their results.

The records wait in the batch of their txn: the audit log gets them when the batch is on disk. Reads
are not recorded. Source of what is recorded, and of the fields: ``AuditHelper`` and
``DataTree.deleteNodes`` of Apache ZooKeeper.
"""

from typing import Final, final

from zoolet.model.codes import CreateMode, OpCode
from zoolet.model.replies import TxnResult
from zoolet.model.requests import (
    Create,
    Delete,
    Multi,
    SetAcl,
    SetData,
    WriteRequest,
)
from zoolet.model.txns import CloseSessionTxn, DeleteTxn, MultiTxn, Txn
from zoolet.server.audit import records
from zoolet.server.audit.records import FAILURE, SUCCESS, AuditRecord
from zoolet.server.common.clock import Clock
from zoolet.server.connections.batches import Batch
from zoolet.server.connections.connection import Connection
from zoolet.state_machine.tree import Tree

_ERROR: Final = OpCode.ERROR.value
_MULTI: Final = OpCode.MULTI.value
_RECONFIG: Final = OpCode.RECONFIG.value
_CONFIG_PATH: Final = "/zookeeper/config"

_TYPES: Final = {mode.value: mode.name.lower() for mode in CreateMode}
"""The types of znodes by the flags of a create; invalid flags have none."""


@final
class Auditor:
    """Makes the records of one server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def client_wrote(
        self,
        batch: Batch,
        connection: Connection,
        op_code: int,
        request: WriteRequest | None,
        result: TxnResult,
    ) -> None:
        """Record a write of a client, whose txn is in ``batch``.

        ``request`` is None for a reconfig, and for a multi that cannot be decoded.
        """
        made = _Made(self._clock.wall_ms(), connection, result.err)
        audited = batch.audited
        if isinstance(request, Multi):
            _add_multi(audited, made, request, result)
        elif isinstance(request, Create):
            path = request.path if result.err else result.path
            audited.append(made.record(records.CREATE, path, _TYPES.get(request.flags, "")))
        elif isinstance(request, SetData):
            audited.append(made.record(records.SET_DATA, request.path))
        elif isinstance(request, Delete):
            audited.append(made.record(records.DELETE, request.path))
        elif isinstance(request, SetAcl):
            record = made.record(records.SET_ACL, request.path)
            record.acl = request.acl
            audited.append(record)
        elif op_code == _RECONFIG:
            audited.append(made.record(records.RECONFIG, None if result.err else _CONFIG_PATH))
        elif op_code == _MULTI:
            audited.append(made.record(records.MULTI, None))

    def session_closes(self, batch: Batch, txn: Txn, tree: Tree) -> None:
        """Record the ephemerals that the end of a session deletes; the txn is not applied yet."""
        body, session_id = txn.body, txn.header.client_id
        listed: tuple[str, ...] = ()
        if isinstance(body, CloseSessionTxn) and body.paths is not None:
            listed = body.paths
        for path in dict.fromkeys((*listed, *tree.ephemerals_of(session_id))):
            exists = path in tree.records
            self._deleted(batch, session_id, path, SUCCESS if exists else FAILURE)

    def ephemerals_deleted(self, batch: Batch, txn: Txn) -> None:
        """Record the ephemerals that one of several txns for the end of a session has deleted."""
        body = txn.body
        if isinstance(body, MultiTxn):
            for _, part in body.txns:
                if isinstance(part, DeleteTxn):
                    self._deleted(batch, txn.header.client_id, part.path, SUCCESS)

    def _deleted(self, batch: Batch, session_id: int, path: str, result: str) -> None:
        time_ms = self._clock.wall_ms()
        batch.audited.append(
            AuditRecord(
                time_ms, records.DELETE_EPHEMERAL, result, session_id=session_id, znode=path
            )
        )


def without_data(request: WriteRequest) -> WriteRequest:
    """Return a request without the data of znodes, which records do not need.

    A forwarded request waits for its txn, and its data must not use memory meanwhile.
    """
    if isinstance(request, (Create, SetData)):
        request.data = None
    elif isinstance(request, Multi):
        for operation in request.operations:
            part = operation[1]
            if isinstance(part, (Create, SetData)):
                part.data = None
    return request


@final
class _Made:
    """What all records of a request have in common."""

    def __init__(self, time_ms: int, connection: Connection, err: int) -> None:
        session = connection.session
        self.time_ms = time_ms
        self.session_id = 0 if session is None else session.session_id
        self.identities = connection.identities
        self.address = connection.address
        self.err = err

    def record(self, operation: str, znode: str | None, znode_type: str = "") -> AuditRecord:
        return AuditRecord(
            self.time_ms,
            operation,
            FAILURE if self.err else SUCCESS,
            self.err,
            self.session_id,
            self.identities,
            self.address,
            znode,
            znode_type,
        )


def _add_multi(audited: list[AuditRecord], made: _Made, request: Multi, result: TxnResult) -> None:
    """Record each part of a multi that has changed something; one record if it was refused."""
    parts = result.parts
    for part in parts:
        if part.op_code == _ERROR and part.err and not made.err:
            made.err = part.err
    if made.err or len(parts) != len(request.operations):
        audited.append(made.record(records.MULTI, None))
        return
    for place, operation in enumerate(request.operations):
        body = operation[1]
        path = parts[place].path
        if isinstance(body, Create):
            audited.append(made.record(records.CREATE, path, _TYPES.get(body.flags, "")))
        elif isinstance(body, Delete):
            audited.append(made.record(records.DELETE, path))
        elif isinstance(body, SetData):
            audited.append(made.record(records.SET_DATA, path))
