"""Znodes and txns as values that JSON has: text as text, other bytes in base64."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from zoolet.core.tree import Tree
from zoolet.model.acl import ACL, AclList, Id
from zoolet.model.codes import OpCode
from zoolet.model.stat import Stat
from zoolet.model.txns import CloseSessionTxn, CreateSessionTxn, ErrorTxn, MultiTxn, Txn, TxnBody
from zoolet.storage.snapshots import read_snapshot
from zoolet.storage.txnlog import read_records

Shown = dict[str, object]

_LOG_MAGIC = b"ZKLG"


def show_data(data: bytes | None) -> Shown:
    """Return data under ``data`` where it is UTF-8 text or null, else under ``data_base64``."""
    if data is None:
        return {"data": None}
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}


def read_data(shown: Shown) -> bytes | None:
    """Return what show_data showed; raises ValueError where it is neither."""
    if "data_base64" in shown:
        return base64.b64decode(str(shown["data_base64"]), validate=True)
    data = shown["data"]
    if data is not None and not isinstance(data, str):
        raise ValueError("data must be text or null")
    return None if data is None else data.encode()


def show_acl(acl: AclList) -> list[Shown]:
    """Return a list of entries."""
    return [{"perms": entry.perms, "scheme": entry.id.scheme, "id": entry.id.id} for entry in acl]


def read_acl(shown: object) -> AclList:
    """Return what show_acl showed; raises ValueError, KeyError or TypeError where it is not it."""
    if not isinstance(shown, list):
        raise TypeError("acl must be a list")
    return tuple(
        ACL(int(entry["perms"]), Id(str(entry["scheme"]), str(entry["id"]))) for entry in shown
    )


def show_znodes(tree: Tree) -> Iterator[Shown]:
    """Yield every znode, parents before children; the owner of a container or TTL is shown too."""
    for path, node in tree.znodes():
        stat = node.stat
        owner = tree.perishable.get(path, stat.ephemeral_owner)
        yield {
            "path": path,
            **show_data(node.data),
            "acl": show_acl(node.acl),
            "stat": stat._replace(ephemeral_owner=owner)._asdict(),
            "created": node.created,
        }


def read_stat(shown: object) -> Stat:
    """Return a Stat; raises TypeError or ValueError where it is none."""
    if not isinstance(shown, dict):
        raise TypeError("stat must be an object")
    return Stat(**{name: int(value) for name, value in shown.items()})


def show_txn(txn: Txn) -> Shown:
    """Return a txn with its header."""
    header = txn.header
    return {
        "zxid": f"0x{header.zxid:x}",
        "time": show_time(header.time_ms),
        "session": f"0x{header.client_id & 0xFFFFFFFFFFFFFFFF:x}",
        "cxid": header.cxid,
        **_show_body(header.type, txn.body),
    }


def show_time(time_ms: int) -> str:
    """Return a time as ISO 8601 has it, in UTC."""
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
        else:
            shown[name] = show_acl(cast("AclList", value)) if name == "acl" else value
    return shown


def show_file(path: Path) -> Iterator[Shown]:
    """Yield what a log or a snapshot holds, record by record; raises DamagedFileError."""
    data = path.read_bytes()
    if data.startswith(_LOG_MAGIC):
        for offset, txn in read_records(path, data):
            yield {"offset": offset, **show_txn(txn)}
        return
    snapshot = read_snapshot(path, data)
    for session_id, timeout_ms in snapshot.sessions.items():
        yield {"session": f"0x{session_id & 0xFFFFFFFFFFFFFFFF:x}", "timeout_ms": timeout_ms}
    yield from show_znodes(snapshot.tree)
