"""The history of a znode, out of the logs."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zoolet.model.codes import OpCode
from zoolet.model.txns import (
    CloseSessionTxn,
    CreateContainerTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    SubTxn,
    TxnBody,
    TxnHeader,
)


class Change(NamedTuple):
    """One change of a znode: by which txn, and what it was."""

    header: TxnHeader
    what: CreateTxn | CreateContainerTxn | CreateTtlTxn | SetDataTxn | SetAclTxn | DeleteTxn


def history(path: str, txns: Iterable[tuple[TxnHeader, TxnBody]]) -> Iterator[Change]:
    """Yield what happened to a path, oldest first.

    The end of a session deletes its ephemerals; where its txn does not list them (releases before
    3.6), the last create in the logs says whose the znode is.
    """
    owner: int | None = None
    for header, body in txns:
        for part in _parts(body):
            if isinstance(part, CloseSessionTxn):
                listed = () if part.paths is None else part.paths
                if path not in listed and owner != header.client_id:
                    continue
                owner = None
                yield Change(header, DeleteTxn(path))
            elif isinstance(part, _CHANGES) and part.path == path:
                if isinstance(part, CreateTxn):
                    owner = header.client_id if part.ephemeral else None
                elif isinstance(part, DeleteTxn):
                    owner = None
                yield Change(header, part)


_CHANGES = (CreateTxn, CreateContainerTxn, CreateTtlTxn, SetDataTxn, SetAclTxn, DeleteTxn)


def _parts(body: TxnBody) -> tuple[SubTxn | TxnBody, ...]:
    """Return what a txn does: of a multi its parts, or nothing where it was refused."""
    if not isinstance(body, MultiTxn):
        return (body,)
    if any(op_code == OpCode.ERROR for op_code, _ in body.txns):
        return ()
    return tuple(part for _, part in body.txns)
