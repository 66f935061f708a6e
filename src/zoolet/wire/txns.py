"""Txns as bytes: the header and body that a log record holds between its checksum and its end.

Source: ``zookeeper.jute`` (module ``org.apache.zookeeper.txn``) and ``SerializeUtils``. A digest of
the tree may follow the body in logs of 3.6 and later; it is optional, is not written, and is passed
over in reading.
"""

import struct
from collections.abc import Callable
from typing import Any

from zoolet.model.codes import OpCode
from zoolet.model.txns import (
    CheckTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    SubTxn,
    Txn,
    TxnBody,
    TxnHeader,
)
from zoolet.wire.jute import (
    INT,
    LONG,
    MalformedError,
    Reader,
    pack_acl,
    pack_buffer,
    pack_ustring,
    pack_ustrings,
)

_HEADER = struct.Struct(">qiqqi")


def _encode_create(txn: CreateTxn) -> bytes:
    return b"".join(
        (
            pack_ustring(txn.path),
            pack_buffer(txn.data),
            pack_acl(txn.acl),
            b"\x01" if txn.ephemeral else b"\x00",
            INT.pack(txn.parent_cversion),
        )
    )


def _encode_create_container(txn: CreateContainerTxn) -> bytes:
    parts = (pack_ustring(txn.path), pack_buffer(txn.data), pack_acl(txn.acl))
    return b"".join((*parts, INT.pack(txn.parent_cversion)))


def _encode_create_ttl(txn: CreateTtlTxn) -> bytes:
    container = CreateContainerTxn(txn.path, txn.data, txn.acl, txn.parent_cversion)
    return _encode_create_container(container) + LONG.pack(txn.ttl_ms)


def _encode_multi(txn: MultiTxn) -> bytes:
    parts = [INT.pack(len(txn.txns))]
    for op_code, sub in txn.txns:
        parts += (INT.pack(op_code), pack_buffer(_encode_body(sub)))
    return b"".join(parts)


_ENCODERS: dict[type[TxnBody], Callable[[Any], bytes]] = {
    CreateTxn: _encode_create,
    CreateContainerTxn: _encode_create_container,
    CreateTtlTxn: _encode_create_ttl,
    DeleteTxn: lambda txn: pack_ustring(txn.path),
    SetDataTxn: lambda txn: pack_ustring(txn.path) + pack_buffer(txn.data) + INT.pack(txn.version),
    SetAclTxn: lambda txn: pack_ustring(txn.path) + pack_acl(txn.acl) + INT.pack(txn.version),
    CheckTxn: lambda txn: pack_ustring(txn.path) + INT.pack(txn.version),
    CreateSessionTxn: lambda txn: INT.pack(txn.timeout_ms),
    CloseSessionTxn: lambda txn: b"" if txn.paths is None else pack_ustrings(txn.paths),
    ErrorTxn: lambda txn: INT.pack(txn.err),
    MultiTxn: _encode_multi,
}


def _encode_body(body: TxnBody) -> bytes:
    return _ENCODERS[type(body)](body)


def encode_txn(txn: Txn) -> bytes:
    """Return the bytes that a log record keeps of ``txn``."""
    return _HEADER.pack(*txn.header) + _ENCODERS[type(txn.body)](txn.body)


def _decode_create(reader: Reader) -> CreateTxn:
    path, data, acl, ephemeral = (
        reader.read_ustring(),
        reader.read_buffer(),
        reader.read_acl(),
        reader.read_bool(),
    )
    # Logs from before 3.4 end here; -1 means: one more than the parent has (CreateTxnV0).
    parent_cversion = reader.read_int() if reader.remaining else -1
    return CreateTxn(path, data, acl, ephemeral, parent_cversion)


def _decode_create_container(reader: Reader) -> CreateContainerTxn:
    return CreateContainerTxn(
        reader.read_ustring(), reader.read_buffer(), reader.read_acl(), reader.read_int()
    )


def _decode_create_ttl(reader: Reader) -> CreateTtlTxn:
    return CreateTtlTxn(*_decode_create_container(reader), reader.read_long())


def _decode_close_session(reader: Reader) -> CloseSessionTxn:
    return CloseSessionTxn(reader.read_vector(reader.read_ustring) if reader.remaining else None)


_SUB_DECODERS: dict[int, Callable[[Reader], SubTxn]] = {
    OpCode.CREATE: _decode_create,
    OpCode.CREATE2: _decode_create,
    OpCode.CREATE_CONTAINER: _decode_create_container,
    OpCode.CREATE_TTL: _decode_create_ttl,
    OpCode.DELETE_CONTAINER: lambda reader: DeleteTxn(reader.read_ustring()),
    OpCode.DELETE: lambda reader: DeleteTxn(reader.read_ustring()),
    OpCode.SET_DATA: lambda reader: SetDataTxn(
        reader.read_ustring(), reader.read_buffer(), reader.read_int()
    ),
    OpCode.CHECK: lambda reader: CheckTxn(reader.read_ustring(), reader.read_int()),
    OpCode.ERROR: lambda reader: ErrorTxn(reader.read_int()),
}


def _decode_multi(reader: Reader) -> MultiTxn:
    return MultiTxn(reader.read_vector(lambda: _decode_sub(reader)))


def _decode_sub(reader: Reader) -> tuple[OpCode, SubTxn]:
    code, body = reader.read_int(), reader.read_buffer()
    decode = _SUB_DECODERS.get(code)
    if decode is None or body is None:
        raise MalformedError(f"a multi txn holds an unsupported txn of type {code}")
    return OpCode(code), decode(Reader(body))


_DECODERS: dict[int, Callable[[Reader], TxnBody]] = {
    **_SUB_DECODERS,
    OpCode.SET_ACL: lambda reader: SetAclTxn(
        reader.read_ustring(), reader.read_acl(), reader.read_int()
    ),
    OpCode.CREATE_SESSION: lambda reader: CreateSessionTxn(reader.read_int()),
    OpCode.CLOSE_SESSION: _decode_close_session,
    OpCode.MULTI: _decode_multi,
}


def decode_txn(data: bytes) -> Txn:
    """Read the header and body that a log record holds.

    Raises MalformedError where the bytes are no txn, or one of a type that is not supported.
    """
    reader = Reader(data)
    client_id, cxid = reader.read_long(), reader.read_int()
    zxid, time_ms, code = reader.read_long(), reader.read_long(), reader.read_int()
    decode = _DECODERS.get(code)
    if decode is None:
        raise MalformedError(f"unsupported txn of type {code}")
    body = decode(reader)
    return Txn(TxnHeader(client_id, cxid, zxid, time_ms, OpCode(code)), body)
