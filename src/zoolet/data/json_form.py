"""Txns and the contents of files as JSON values: UTF-8 data as text, other data in base64."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from zoolet.data.new_directory import znodes_of
from zoolet.exports.lines import Shown, show_acl, show_data, show_znode
from zoolet.model.codes import OpCode
from zoolet.model.numbers import hex64
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.txns import (
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    ErrorTxn,
    MultiTxn,
    Txn,
    TxnBody,
)
from zoolet.storage.disk import Disk
from zoolet.storage.snapshots import read_snapshot
from zoolet.storage.txn_log import read_records

if TYPE_CHECKING:
    from zoolet.model.acl import AclList

_LOG_MAGIC = b"ZKLG"


def show_txn(txn: Txn) -> Shown:
    """Return a txn and its header as a JSON object."""
    header = txn.header
    return {
        "zxid": f"0x{header.zxid:x}",
        "time": show_time(header.time_ms),
        "session": f"0x{hex64(header.client_id)}",
        "cxid": header.cxid,
        **_show_body(header.type, txn.body),
    }


def show_time(time_ms: int) -> str:
    """Return a time in the format of ISO 8601, in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _show_body(op_code: int, body: TxnBody) -> Shown:
    shown: Shown = {"type": OpCode(op_code).name.lower()}
    if isinstance(body, MultiTxn):
        return shown | {"parts": [_show_body(part_code, part) for part_code, part in body.txns]}
    if isinstance(body, ErrorTxn):
        return shown | {"err": body.err}
    if isinstance(body, CreateSessionTxn):
        return shown | {"timeout_ms": body.timeout_ms}
    if isinstance(body, CloseSessionTxn):
        return shown | {"paths": None if body.paths is None else list(body.paths)}
    for name, value in body.fields().items():
        if name == "data":
            shown |= show_data(cast("bytes | None", value))
        elif name == "kind":
            shown |= _show_kind(cast("CreateTxn", body))
        elif name != "ttl_ms":
            shown[name] = show_acl(cast("AclList", value)) if name == "acl" else value
    return shown


def _show_kind(txn: CreateTxn) -> Shown:
    """Return the field that depends on the kind of znode; the txn's type shows the rest."""
    if txn.kind is OwnerKind.TTL:
        return {"ttl_ms": txn.ttl_ms}
    if txn.kind is OwnerKind.CONTAINER:
        return {}
    return {"ephemeral": txn.kind is OwnerKind.SESSION}


def is_log(path: Path) -> bool:
    """Return whether a file begins like a log; if not, the file may be a snapshot."""
    with Disk().open(path) as file:
        return file.read_at(0, len(_LOG_MAGIC)) == _LOG_MAGIC


def show_file(path: Path) -> Iterator[Shown]:
    """Yield the records of a log or a snapshot as JSON objects; raises DamagedFileError."""
    if is_log(path):
        with Disk().open(path) as log:
            for offset, txn in read_records(path, log):
                yield {"offset": offset, **show_txn(txn)}
        return
    snapshot = read_snapshot(path, path.read_bytes())
    for session_id, timeout_ms in snapshot.sessions.items():
        yield {"session": f"0x{hex64(session_id)}", "timeout_ms": timeout_ms}
    yield from map(show_znode, znodes_of(snapshot.tree))
