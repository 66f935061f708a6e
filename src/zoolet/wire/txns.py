"""Txns as bytes: the header and body in a log record, between its checksum and its end mark.

Source: ``zookeeper.jute`` (module ``org.apache.zookeeper.txn``) and ``SerializeUtils``. In logs of
3.6 and later, an optional digest of the tree may follow the body. zoolet does not write the digest
and ignores it when it reads a log.
"""

from collections.abc import Callable
from typing import Final

from mypy_extensions import i64

from zoolet.big_endian.buffers import BytesWriter, read_i32_be, write_i32_be, write_i64_be
from zoolet.model.codes import OpCode, by_number
from zoolet.model.owner_kinds import CONTAINER, NOBODY, SESSION, TTL
from zoolet.model.txns import (
    CheckTxn,
    CloseSessionTxn,
    CreateSessionTxn,
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
    MalformedError,
    Reader,
    set_length,
    write_acl,
    write_bool,
    write_buffer,
    write_ustring,
    write_ustrings,
)

_CREATE: Final = OpCode.CREATE.value
_CREATE2: Final = OpCode.CREATE2.value
_DIGEST_VERSION: Final = 2
_DIGEST_BYTES: Final = 12


def _write_create(writer: BytesWriter, txn: CreateTxn) -> None:
    write_ustring(writer, txn.path)
    write_buffer(writer, txn.data)
    write_acl(writer, txn.acl)
    kind = txn.kind
    if kind is NOBODY or kind is SESSION:
        write_bool(writer, kind is SESSION)
    write_i32_be(writer, txn.parent_cversion)
    if kind is TTL:
        write_i64_be(writer, txn.ttl_ms)


def _write_delete(writer: BytesWriter, txn: DeleteTxn) -> None:
    write_ustring(writer, txn.path)


def _write_set_data(writer: BytesWriter, txn: SetDataTxn) -> None:
    write_ustring(writer, txn.path)
    write_buffer(writer, txn.data)
    write_i32_be(writer, txn.version)


def _write_set_acl(writer: BytesWriter, txn: SetAclTxn) -> None:
    write_ustring(writer, txn.path)
    write_acl(writer, txn.acl)
    write_i32_be(writer, txn.version)


def _write_check(writer: BytesWriter, txn: CheckTxn) -> None:
    write_ustring(writer, txn.path)
    write_i32_be(writer, txn.version)


def _write_create_session(writer: BytesWriter, txn: CreateSessionTxn) -> None:
    write_i32_be(writer, txn.timeout_ms)


def _write_close_session(writer: BytesWriter, txn: CloseSessionTxn) -> None:
    if txn.paths is not None:
        write_ustrings(writer, txn.paths)


def _write_error(writer: BytesWriter, txn: ErrorTxn) -> None:
    write_i32_be(writer, txn.err)


def _write_multi(writer: BytesWriter, txn: MultiTxn) -> None:
    write_i32_be(writer, len(txn.txns))
    for op_code, body in txn.txns:
        # Before 3.8.2, Apache ZooKeeper does not know create2 in a logged multi, and would apply
        # nothing of the multi (ZOOKEEPER-4026). Its servers log create instead.
        write_i32_be(writer, _CREATE if op_code == _CREATE2 else op_code)
        start: i64 = len(writer)
        write_i32_be(writer, 0)
        _write_part(writer, body)
        set_length(writer, start)


def _write_body(writer: BytesWriter, body: TxnBody) -> None:
    # In compiled code, each test compares two pointers; the most frequent types come first.
    if isinstance(body, (CreateTxn, SetDataTxn, DeleteTxn, CheckTxn, ErrorTxn)):
        _write_part(writer, body)
    elif isinstance(body, MultiTxn):
        _write_multi(writer, body)
    elif isinstance(body, SetAclTxn):
        _write_set_acl(writer, body)
    elif isinstance(body, CreateSessionTxn):
        _write_create_session(writer, body)
    else:
        _write_close_session(writer, body)


def _write_part(writer: BytesWriter, body: SubTxn) -> None:
    if isinstance(body, CreateTxn):
        _write_create(writer, body)
    elif isinstance(body, SetDataTxn):
        _write_set_data(writer, body)
    elif isinstance(body, DeleteTxn):
        _write_delete(writer, body)
    elif isinstance(body, CheckTxn):
        _write_check(writer, body)
    else:
        _write_error(writer, body)


def encode_txn(txn: Txn) -> bytes:
    """Return the bytes of ``txn`` in a log record."""
    header, writer = txn.header, BytesWriter()
    write_i64_be(writer, header.client_id)
    write_i32_be(writer, header.cxid)
    write_i64_be(writer, header.zxid)
    write_i64_be(writer, header.time_ms)
    write_i32_be(writer, header.type)
    _write_body(writer, txn.body)
    return writer.getvalue()


def _decode_create(reader: Reader) -> CreateTxn:
    path, data, acl, ephemeral = (
        reader.read_ustring(),
        reader.read_buffer(),
        reader.read_acl(),
        reader.read_bool(),
    )
    # A txn from before 3.4 ends here; -1 means one more than the parent's number (CreateTxnV0).
    parent_cversion = reader.read_int() if reader.remaining else -1
    return CreateTxn(path, data, acl, SESSION if ephemeral else NOBODY, parent_cversion)


def _decode_create_container(reader: Reader) -> CreateTxn:
    path, data, acl = reader.read_ustring(), reader.read_buffer(), reader.read_acl()
    return CreateTxn(path, data, acl, CONTAINER, reader.read_int())


def _decode_create_ttl(reader: Reader) -> CreateTxn:
    path, data, acl = reader.read_ustring(), reader.read_buffer(), reader.read_acl()
    parent_cversion = reader.read_int()
    return CreateTxn(path, data, acl, TTL, parent_cversion, reader.read_long())


def _decode_close_session(reader: Reader) -> CloseSessionTxn:
    if not reader.remaining or _is_digest(reader):
        return CloseSessionTxn(None)
    return CloseSessionTxn(reader.read_vector(reader.read_ustring))


def _is_digest(reader: Reader) -> bool:
    """Return whether only a digest of the tree is left: its version, 2, and 8 bytes.

    With ``closeSessionTxn.enabled=false``, Apache ZooKeeper lists no paths, and the digest follows
    immediately. A list of two paths is always longer.
    """
    if reader.remaining != _DIGEST_BYTES:
        return False
    return read_i32_be(reader.data, reader.position) == _DIGEST_VERSION


_SUB_DECODERS: dict[int, Callable[[Reader], SubTxn]] = by_number(
    {
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
)


def _decode_multi(reader: Reader) -> MultiTxn:
    return MultiTxn(reader.read_vector(lambda: _decode_sub(reader)))


def _decode_sub(reader: Reader) -> tuple[int, SubTxn]:
    code, body = reader.read_int(), reader.read_buffer()
    decode = _SUB_DECODERS.get(code)
    if decode is None or body is None:
        raise MalformedError(f"a multi contains an unsupported txn of type {code}")
    return code, decode(Reader(body))


_DECODERS: dict[int, Callable[[Reader], TxnBody]] = _SUB_DECODERS | by_number(
    {
        OpCode.SET_ACL: lambda reader: SetAclTxn(
            reader.read_ustring(), reader.read_acl(), reader.read_int()
        ),
        # An ensemble logs a change of its members as new data of /zookeeper/config.
        OpCode.RECONFIG: _SUB_DECODERS[OpCode.SET_DATA],
        OpCode.CREATE_SESSION: lambda reader: CreateSessionTxn(reader.read_int()),
        OpCode.CLOSE_SESSION: _decode_close_session,
        OpCode.MULTI: _decode_multi,
    }
)


def decode_txn(data: bytes) -> Txn:
    """Read the header and body in a log record.

    Raises MalformedError if the bytes are not a txn, or if its type is not supported.
    """
    reader = Reader(data)
    client_id, cxid = reader.read_long(), reader.read_int()
    zxid, time_ms, code = reader.read_long(), reader.read_long(), reader.read_int()
    decode = _DECODERS.get(code)
    if decode is None:
        raise MalformedError(f"unsupported txn of type {code}")
    body = decode(reader)
    return Txn(TxnHeader(client_id, cxid, zxid, time_ms, code), body)
