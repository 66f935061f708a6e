"""Txns: the changes that are logged and applied, each fully determined when it is made.

Source: ``zookeeper.jute``, module ``org.apache.zookeeper.txn``. Nothing that applying a txn needs
(time, zxid, the sequence in a name, the next version) is left to be found out later.
"""

from typing import final

from mypy_extensions import mypyc_attr

from zoolet.model.acl import AclList
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.record import Record


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class TxnHeader(Record):
    """Whose change, when and of what kind.

    Attributes:
        client_id: the session that asked.
        cxid: the xid of its request; 0 where the server asked of itself.
        zxid: the change's number; each is greater than the one before.
        time_ms: milliseconds since the epoch.
        type: the OpCode of the change, ERROR where the request was refused.
    """

    __slots__ = ("client_id", "cxid", "zxid", "time_ms", "type")

    def __init__(
        self,
        client_id: int,
        cxid: int,
        zxid: int,
        time_ms: int,
        type: int,  # noqa: A002 -- the protocol's name
    ) -> None:
        self.client_id = client_id
        self.cxid = cxid
        self.zxid = zxid
        self.time_ms = time_ms
        self.type = type


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class CreateTxn(Record):
    """A znode is created.

    Attributes:
        path: with its sequence.
        kind: whom the znode goes with.
        parent_cversion: what the parent's cversion becomes.
        ttl_ms: of the kind TTL.
    """

    __slots__ = ("path", "data", "acl", "kind", "parent_cversion", "ttl_ms")

    def __init__(
        self,
        path: str,
        data: bytes | None,
        acl: AclList,
        kind: OwnerKind,
        parent_cversion: int,
        ttl_ms: int = 0,
    ) -> None:
        self.path = path
        self.data = data
        self.acl = acl
        self.kind = kind
        self.parent_cversion = parent_cversion
        self.ttl_ms = ttl_ms


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class DeleteTxn(Record):
    """A znode goes."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class SetDataTxn(Record):
    """A znode's data is replaced; version is what its version becomes."""

    __slots__ = ("path", "data", "version")

    def __init__(self, path: str, data: bytes | None, version: int) -> None:
        self.path = path
        self.data = data
        self.version = version


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class SetAclTxn(Record):
    """A znode's ACL is replaced; version is what its aversion becomes."""

    __slots__ = ("path", "acl", "version")

    def __init__(self, path: str, acl: AclList, version: int) -> None:
        self.path = path
        self.acl = acl
        self.version = version


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class CheckTxn(Record):
    """A check that held, in a multi; it changes nothing."""

    __slots__ = ("path", "version")

    def __init__(self, path: str, version: int) -> None:
        self.path = path
        self.version = version


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class CreateSessionTxn(Record):
    """A session begins."""

    __slots__ = ("timeout_ms",)

    def __init__(self, timeout_ms: int) -> None:
        self.timeout_ms = timeout_ms


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class CloseSessionTxn(Record):
    """A session ends, and the ephemerals at these paths with it.

    None: the log was written by a release before 3.6, which did not list them.
    """

    __slots__ = ("paths",)

    def __init__(self, paths: tuple[str, ...] | None) -> None:
        self.paths = paths


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class ErrorTxn(Record):
    """A request was refused; it took a zxid all the same."""

    __slots__ = ("err",)

    def __init__(self, err: int) -> None:
        self.err = err


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class MultiTxn(Record):
    """Several changes under one zxid; where one of them was refused, all are ErrorTxns."""

    __slots__ = ("txns",)

    def __init__(self, txns: "tuple[tuple[int, SubTxn], ...]") -> None:
        self.txns = txns


SubTxn = CreateTxn | DeleteTxn | SetDataTxn | CheckTxn | ErrorTxn

TxnBody = SubTxn | SetAclTxn | CreateSessionTxn | CloseSessionTxn | MultiTxn


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Txn(Record):
    """One entry of the log."""

    __slots__ = ("header", "body")

    def __init__(self, header: TxnHeader, body: "TxnBody") -> None:
        self.header = header
        self.body = body
