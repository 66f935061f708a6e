"""Files that a server or a tool reads: logs, snapshots, exports, objects of an archive."""

import io
import json
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.targets.snapshots import snapshot_file, streamed_snapshot
from tests.fuzz.targets.target import Target, pieces_of, text_in
from zoolet.archive.errors import ArchiveError
from zoolet.archive.format.log_records import DamagedRecordError, split_records
from zoolet.archive.format.names import parse_name
from zoolet.archive.format.objects import Checksum, decode_object, encode_object
from zoolet.archive.format.records import MalformedRecordError, Owner, Previous, Reason, Timeline
from zoolet.data.new_directory import import_tree
from zoolet.exports.lines import ExportError, read_export, write_export
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.stat import Stat
from zoolet.model.txns import CloseSessionTxn, CreateTxn, DeleteTxn, MultiTxn, Txn, TxnHeader
from zoolet.state_machine.tree import Tree
from zoolet.storage.compression import Compression, CompressionError
from zoolet.storage.ensemble_marker import marker_path, read_marker
from zoolet.storage.errors import DamagedFileError, StorageError
from zoolet.storage.files import DataDirectories, log_name
from zoolet.storage.recovery import recover
from zoolet.storage.snapshot_parser import SnapshotParser
from zoolet.storage.snapshots import SNAPSHOT_HEADER, Image, read_snapshot, write_snapshot
from zoolet.storage.txn_log import encode_record, read_raw_records
from zoolet.testing.servers.memory_disk import MemoryDisk
from zoolet.wire.jute import MalformedError
from zoolet.wire.txns import decode_txn, encode_txn

_PATH = Path("/fuzz/version-2/file")
_LIMIT_BYTES = 1 << 20
_OBJECT = "txns/0001/file"


def _txn(zxid: int, code: OpCode, body: CreateTxn | DeleteTxn | CloseSessionTxn | MultiTxn) -> Txn:
    return Txn(TxnHeader(7, zxid, zxid, 1_700_000_000_000, code), body)


_CREATES: dict[int, int] = {OpCode.CREATE2: OpCode.CREATE}
_CREATED = CreateTxn("/a", b"data", OPEN_ACL, OwnerKind.NOBODY, 1)
_TXNS = (
    _txn(1, OpCode.CREATE, _CREATED),
    _txn(2, OpCode.DELETE, DeleteTxn("/a")),
    _txn(3, OpCode.CLOSE_SESSION, CloseSessionTxn(("/e", "/f"))),
    _txn(4, OpCode.MULTI, MultiTxn(((OpCode.CREATE, _CREATED), (OpCode.DELETE, DeleteTxn("/a"))))),
)


def _decode_txn(data: bytes) -> None:
    """What is decoded must be encoded and decoded again as the same txn.

    A list of two empty paths has the bytes of a digest, but no znode has an empty path. A create2
    in a multi is written as create.
    """
    txn = decode_txn(data)
    body = txn.body
    if isinstance(body, MultiTxn):
        parts = [(_CREATES.get(code, code), part) for code, part in body.txns]
        txn = Txn(txn.header, MultiTxn(tuple(parts)))
    has_empty_paths = isinstance(body, CloseSessionTxn) and "" in (body.paths or ())
    assert has_empty_paths or decode_txn(encode_txn(txn)) == txn


def _log_of(*records: bytes) -> bytes:
    return b"ZKLG\0\0\0\2" + bytes(8) + b"".join(records)


def _recover_log(data: bytes) -> None:
    """Start with this log: the server serves a complete state, or it refuses with StorageError.

    After a start, a second start must find the same state: recovery may cut only an incomplete end.
    """
    directories = DataDirectories.of(Path("/fuzz"))
    disk = MemoryDisk()
    directories.prepare(disk)
    write_snapshot(disk, directories.snapshots, Image(0, Tree.fresh(), {}))
    file = disk.create(directories.logs / log_name(1))
    file.write(data)
    file.sync()
    file.close()
    first = recover(disk, directories, 1000).machine
    second = recover(disk, directories, 1000).machine
    assert (first.zxid, first.tree.all_records()) == (second.zxid, second.tree.all_records())


def _parse_snapshot(data: bytes, *, is_sealed: bool = True) -> None:
    parser = SnapshotParser(is_sealed=is_sealed)
    pieces = iter(pieces_of(data))
    for has_all in parser.steps():
        if has_all:
            continue
        piece = next(pieces, None)
        if piece is None:
            parser.complete()
        else:
            parser.feed(piece)


def _compressed(compression: Compression) -> bytes:
    compressor = compression.compressor()
    return compressor.compress(b"data") + compressor.flush()


def _decode_object(data: bytes) -> None:
    checksum = Checksum(_OBJECT)
    checksum.add(data)
    content = b"".join(decode_object(_OBJECT, io.BytesIO(data).read, None))
    checksum.check()
    assert len(content) < _LIMIT_BYTES * max(1, len(data))


def _read_export(data: bytes) -> None:
    """What is read must be written and read again as the same znodes."""
    header, found = read_export(text_in(data).splitlines())
    znodes = list(found)
    again, copies = read_export(write_export(header, znodes))
    assert (again, list(copies)) == (header, znodes)


def _import_export(data: bytes) -> None:
    """What is imported can be written as a snapshot and read again."""
    zxid, tree = import_tree(text_in(data).splitlines(), "file")
    disk, directory = MemoryDisk(), Path("/snapshots")
    disk.make_directory(directory)
    path = write_snapshot(disk, directory, Image(zxid, tree, {}))
    again = read_snapshot(path, disk.read(path)).tree
    assert set(again.records) == set(tree.records)


def _again(decode: Callable[[bytes], Owner | Timeline]) -> Callable[[bytes], None]:
    """Return a function that decodes the bytes, encodes the result and decodes it again."""

    def run(data: bytes) -> None:
        found = decode(data)
        assert decode(found.encode()) == found

    return run


def _read_marker(data: bytes) -> None:
    directories, disk = DataDirectories.of(Path("/fuzz")), MemoryDisk()
    directories.prepare(disk)
    file = disk.create(marker_path(directories))
    file.write(data)
    file.sync()
    file.close()
    assert read_marker(disk, directories) is not None


_TIMELINE = Timeline(1, Reason.SNAPSHOT, Previous(1, 2, 3), 4, 5)
_MARKER = b'{"zxid": "1f", "epoch": 1, "time": "2026-01-01T00:00:00Z", "members": ["a:1:2"]}'
_STAT = dict.fromkeys(Stat._fields, 1)
_ROOT: dict[str, object] = {"path": "/", "data": None, "acl": [], "stat": _STAT, "created": 0}
_EXPORT = "\n".join(
    json.dumps(line)
    for line in (
        {"zoolet_export": 1, "zxid": "0x7", "root": "/"},
        {
            "path": "/a",
            "data": "text",
            "acl": [{"perms": 31, "scheme": "world", "id": "anyone"}],
            "stat": _STAT,
            "created": 3,
        },
    )
).encode()

_HEADER, _, _ZNODE = _EXPORT.partition(b"\n")
_EXPORT_OF_ALL = b"\n".join((_HEADER, json.dumps(_ROOT).encode(), _ZNODE))

TARGETS = {
    "txn": Target(_decode_txn, (MalformedError,), tuple(encode_txn(txn) for txn in _TXNS)),
    "log": Target(
        _recover_log, (StorageError,), (_log_of(*(encode_record(txn) for txn in _TXNS)), _log_of())
    ),
    "log-records": Target(
        lambda data: list(read_raw_records(_PATH, data)),
        (DamagedFileError,),
        (_log_of(*(encode_record(txn) for txn in _TXNS)),),
    ),
    "snapshot": Target(_parse_snapshot, (MalformedError,), (snapshot_file(),)),
    "leader-snapshot": Target(
        lambda data: _parse_snapshot(SNAPSHOT_HEADER + data, is_sealed=False),
        (MalformedError,),
        (streamed_snapshot(),),
    ),
    "snapshot-file": Target(
        lambda data: read_snapshot(_PATH, data), (StorageError,), (snapshot_file(),)
    ),
    "gzip": Target(
        lambda data: Compression.GZIP.decompress(data[: 1 << 12]),
        (CompressionError,),
        (_compressed(Compression.GZIP),),
    ),
    "snappy": Target(
        lambda data: Compression.SNAPPY.decompress(data[: 1 << 12]),
        (CompressionError,),
        (_compressed(Compression.SNAPPY),),
    ),
    "archive-object": Target(
        _decode_object, (ArchiveError,), (b"".join(encode_object(_OBJECT, [b"content"])),)
    ),
    "archive-records": Target(
        lambda data: list(split_records(pieces_of(data))),
        (DamagedRecordError,),
        (b"".join(encode_record(txn) for txn in _TXNS),),
    ),
    "archive-names": Target(
        lambda data: parse_name(text_in(data)),
        (),
        (b"txns/0001/0000000000000001-0000000000000002-1700000000000-1700000000001",),
    ),
    "export": Target(_read_export, (ExportError,), (_EXPORT,)),
    "export-of-all": Target(_import_export, (StorageError,), (_EXPORT_OF_ALL,)),
    "ensemble-marker": Target(_read_marker, (), (_MARKER,)),
    "archive-owner": Target(
        _again(Owner.decode), (MalformedRecordError,), (Owner("id", "host", "", 7, 1, 2).encode(),)
    ),
    "archive-timeline": Target(
        _again(Timeline.decode), (MalformedRecordError,), (_TIMELINE.encode(),)
    ),
}
