"""Txns: the changes that are logged and applied, each fully determined when it is made.

Source: ``zookeeper.jute``, module ``org.apache.zookeeper.txn``. Nothing that applying a txn needs
(time, zxid, the sequence in a name, the next version) is left to be found out later.
"""

from typing import NamedTuple

from zoolet.model.acl import AclList
from zoolet.model.codes import OpCode


class TxnHeader(NamedTuple):
    """Whose change, when and of what kind.

    Attributes:
        client_id: the session that asked.
        cxid: the xid of its request; 0 where the server asked of itself.
        zxid: the change's number; each is greater than the one before.
        time_ms: milliseconds since the epoch.
        type: the op code of the change, ERROR where the request was refused.
    """

    client_id: int
    cxid: int
    zxid: int
    time_ms: int
    type: OpCode


class CreateTxn(NamedTuple):
    """A znode comes to be; path has its sequence, parent_cversion is what the parent's becomes."""

    path: str
    data: bytes | None
    acl: AclList
    ephemeral: bool
    parent_cversion: int


class CreateContainerTxn(NamedTuple):
    """A container comes to be."""

    path: str
    data: bytes | None
    acl: AclList
    parent_cversion: int


class CreateTtlTxn(NamedTuple):
    """A znode with a time to live comes to be."""

    path: str
    data: bytes | None
    acl: AclList
    parent_cversion: int
    ttl_ms: int


class DeleteTxn(NamedTuple):
    """A znode goes."""

    path: str


class SetDataTxn(NamedTuple):
    """A znode's data is replaced; version is what its version becomes."""

    path: str
    data: bytes | None
    version: int


class SetAclTxn(NamedTuple):
    """A znode's ACL is replaced; version is what its aversion becomes."""

    path: str
    acl: AclList
    version: int


class CheckTxn(NamedTuple):
    """A check that held, in a multi; it changes nothing."""

    path: str
    version: int


class CreateSessionTxn(NamedTuple):
    """A session begins."""

    timeout_ms: int


class CloseSessionTxn(NamedTuple):
    """A session ends, and the ephemerals at these paths with it.

    None: the log was written by a release before 3.6, which did not list them.
    """

    paths: tuple[str, ...] | None


class ErrorTxn(NamedTuple):
    """A request was refused; it took a zxid all the same."""

    err: int


class MultiTxn(NamedTuple):
    """Several changes under one zxid; where one of them was refused, all are ErrorTxns."""

    txns: tuple[tuple[OpCode, "SubTxn"], ...]


SubTxn = (
    CreateTxn | CreateContainerTxn | CreateTtlTxn | DeleteTxn | SetDataTxn | CheckTxn | ErrorTxn
)

TxnBody = SubTxn | SetAclTxn | CreateSessionTxn | CloseSessionTxn | MultiTxn


class Txn(NamedTuple):
    """One entry of the log."""

    header: TxnHeader
    body: TxnBody
