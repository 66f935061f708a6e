"""Txns: the changes that are logged and applied.

Source: ``zookeeper.jute``, module ``org.apache.zookeeper.txn``. A txn contains everything that
applying it needs (time, zxid, the sequence number in a name, the next version).
"""

from typing import final

from mypy_extensions import mypyc_attr

from zoolet.model.acl import AclList
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.record import Record


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class TxnHeader(Record):
    """The origin, number, time and type of a change.

    Attributes:
        client_id: the id of the session that sent the request.
        cxid: the xid of the request; 0 if the server itself made it.
        zxid: the number of the change, which is greater than that of the previous change.
        time_ms: the time in milliseconds since the epoch.
        type: the OpCode of the change; ERROR if the request was refused.
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
    """The creation of a znode.

    Attributes:
        path: the path, including the sequence number.
        kind: whether the znode is ephemeral, a container, a TTL znode or none of these.
        parent_cversion: the number of children ever created in the parent, with this one.
        ttl_ms: the TTL in milliseconds; 0 if the kind is not TTL.
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
    """The deletion of a znode."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class SetDataTxn(Record):
    """A change of a znode's data; ``version`` is its new version."""

    __slots__ = ("path", "data", "version")

    def __init__(self, path: str, data: bytes | None, version: int) -> None:
        self.path = path
        self.data = data
        self.version = version


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class SetAclTxn(Record):
    """A change of a znode's ACL; ``version`` is its new aversion."""

    __slots__ = ("path", "acl", "version")

    def __init__(self, path: str, acl: AclList, version: int) -> None:
        self.path = path
        self.acl = acl
        self.version = version


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class CheckTxn(Record):
    """A successful check in a multi; it changes nothing."""

    __slots__ = ("path", "version")

    def __init__(self, path: str, version: int) -> None:
        self.path = path
        self.version = version


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class CreateSessionTxn(Record):
    """The start of a session."""

    __slots__ = ("timeout_ms",)

    def __init__(self, timeout_ms: int) -> None:
        self.timeout_ms = timeout_ms


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class CloseSessionTxn(Record):
    """The end of a session, and the deletion of its ephemerals at ``paths``.

    ``paths`` is None if the log does not list the paths: before release 3.6, or with
    ``closeSessionTxn.enabled=false``.
    """

    __slots__ = ("paths",)

    def __init__(self, paths: tuple[str, ...] | None) -> None:
        self.paths = paths


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class ErrorTxn(Record):
    """A refused request; it has a zxid like a change."""

    __slots__ = ("err",)

    def __init__(self, err: int) -> None:
        self.err = err


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class MultiTxn(Record):
    """Several changes with the same zxid; if one of them is an ErrorTxn, none of them happens."""

    __slots__ = ("txns",)

    def __init__(self, txns: "tuple[tuple[int, SubTxn], ...]") -> None:
        self.txns = txns


SubTxn = CreateTxn | DeleteTxn | SetDataTxn | CheckTxn | ErrorTxn

TxnBody = SubTxn | SetAclTxn | CreateSessionTxn | CloseSessionTxn | MultiTxn


@final
@mypyc_attr(acyclic=True, free_list_len=1)
class Txn(Record):
    """One entry of the transaction log."""

    __slots__ = ("header", "body")

    def __init__(self, header: TxnHeader, body: "TxnBody") -> None:
        self.header = header
        self.body = body
