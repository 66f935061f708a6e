"""Snapshots: sessions and tree as one file, with a checksum behind them.

Format: docs/formats/snapshot.md; source: ``FileSnap``, ``SnapStream``, ``SerializeUtils`` and
``DataTree.serialize`` of the original. A snapshot counts only under its final name, which it gets
when it is whole and synced.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from zoolet.core.tree import Tree, wrap_int32
from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.model.owners import OwnerKind
from zoolet.model.stat import Stat
from zoolet.storage.compression import Compression, CompressionError, compression_of
from zoolet.storage.disk import Disk
from zoolet.storage.errors import DamagedFileError
from zoolet.storage.files import snapshot_name
from zoolet.wire.jute import INT, LONG, MalformedError, Reader, pack_acl, pack_buffer, pack_ustring

_FILE_HEADER = struct.Struct(">4siq")
_MAGIC = b"ZKSN"
_VERSION = 2
_DATABASE_ID = -1

_SESSION = struct.Struct(">qi")
_ACL_AND_STAT = struct.Struct(">qqqqqiiiqq")
"""The ACL's number, then the Stat as it is kept: without what follows from data and children, and
with the count of children created in place of cversion (``StatPersisted``)."""

_CREATED_AT = 44
"""Where in that record the count of children created stands; aversion and the owner follow it."""

_OWNER_END = 60
_LENGTH_AND_CHILDREN = struct.Struct(">ii")
"""What a Stat has between its owner and pzxid, and a kept one has not."""

_NEITHER_CREATED_NOR_OWNED = bytes(_OWNER_END - _CREATED_AT)

_OPEN_ACL_NUMBER = -1
_END_OF_TREE = pack_ustring("/")
_CHUNK_BYTES = 1 << 20


class Snapshot(NamedTuple):
    """What a snapshot holds: the tree, and the timeout in ms of each session."""

    tree: Tree
    sessions: dict[int, int]


def write_snapshot(
    disk: Disk,
    directory: Path,
    zxid: int,
    tree: Tree,
    sessions: Mapping[int, int],
    compression: Compression = Compression.NONE,
) -> Path:
    """Write the state after ``zxid``; returns its path when it is on disk under its name.

    An OSError leaves no file behind that could be taken for a snapshot.
    """
    path = directory / snapshot_name(zxid, compression)
    compressor = compression.compressor()
    # The original looks for names that begin with "snapshot": this one does not.
    unfinished = directory / f"unfinished.{path.name}"
    disk.remove(unfinished)
    file = disk.create(unfinished)
    try:
        checksum = 1
        for chunk in _in_chunks(_content(tree, sessions)):
            checksum = zlib.adler32(chunk, checksum)
            file.write(compressor.compress(chunk))
        seal = compressor.compress(LONG.pack(checksum) + _END_OF_TREE)
        file.write(seal + compressor.flush())
        file.sync()
    finally:
        file.close()
    disk.rename(unfinished, path)
    disk.sync_directory(directory)
    return path


def _content(tree: Tree, sessions: Mapping[int, int]) -> Iterator[bytes]:
    yield _FILE_HEADER.pack(_MAGIC, _VERSION, _DATABASE_ID)
    yield INT.pack(len(sessions))
    for session_id, timeout_ms in sessions.items():
        yield _SESSION.pack(session_id, timeout_ms)
    numbers: dict[AclList, int] = {OPEN_ACL: _OPEN_ACL_NUMBER}
    for node in tree.nodes.values():
        numbers.setdefault(node.acl, len(numbers))
    yield INT.pack(len(numbers) - 1)
    for acl, number in numbers.items():
        if number != _OPEN_ACL_NUMBER:
            yield LONG.pack(number) + pack_acl(acl)
    for path, node in tree.nodes.items():
        if path == paths.ROOT:
            continue
        stat = node.stat
        yield (
            pack_ustring(path)
            + pack_buffer(node.data)
            + _ACL_AND_STAT.pack(
                numbers[node.acl],
                stat.czxid,
                stat.mzxid,
                stat.ctime,
                stat.mtime,
                stat.version,
                node.created,
                stat.aversion,
                tree.perishable.get(path, stat.ephemeral_owner),
                stat.pzxid,
            )
        )
    yield _END_OF_TREE


def _in_chunks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join pieces into chunks of about a megabyte."""
    gathered: list[bytes] = []
    size_bytes = 0
    for piece in pieces:
        gathered.append(piece)
        size_bytes += len(piece)
        if size_bytes >= _CHUNK_BYTES:
            yield b"".join(gathered)
            gathered.clear()
            size_bytes = 0
    yield b"".join(gathered)


def read_snapshot(path: Path, data: bytes) -> Snapshot:
    """Read a snapshot's content, as its name says that it is compressed.

    Raises DamagedFileError where it is none, or not whole; the offset is in what was compressed.
    """
    try:
        reader = Reader(compression_of(path.name).decompress(data))
    except CompressionError as error:
        raise DamagedFileError(path, 0, str(error)) from error
    try:
        return _read_content(reader)
    except MalformedError as error:
        raise DamagedFileError(path, reader.position, str(error)) from error


def _read_content(reader: Reader) -> Snapshot:
    if (magic := reader.data[: len(_MAGIC)]) != _MAGIC:
        raise MalformedError(f"a snapshot begins with {_MAGIC!r}, not {magic!r}")
    reader.position = len(_MAGIC)
    if (version := reader.read_int()) != _VERSION:
        raise MalformedError(f"version {version} of the snapshot format is not known")
    reader.read_long()  # the database id, which nothing uses
    sessions = {reader.read_long(): reader.read_int() for _ in range(_count(reader, _SESSION.size))}
    tree = _read_tree(reader)
    checksum = zlib.adler32(reader.data[: reader.position])
    if reader.read_long() != checksum or reader.read_ustring() != "/":
        raise MalformedError("the snapshot's checksum is not that of its bytes")
    return Snapshot(tree, sessions)


def _count(reader: Reader, least_bytes: int) -> int:
    count = reader.read_int()
    if not 0 <= count <= reader.remaining // least_bytes:
        raise MalformedError(f"{count} elements in {reader.remaining} bytes")
    return count


def _read_tree(reader: Reader) -> Tree:
    tree = Tree()
    acls = {_OPEN_ACL_NUMBER: OPEN_ACL}
    for _ in range(_count(reader, LONG.size + INT.size)):
        number = reader.read_long()
        acls[number] = tree.intern_acl(reader.read_acl())
    _read_znodes(reader, tree, acls)
    if "" not in tree.nodes:
        raise MalformedError("the tree has no root")
    for node in tree.nodes.values():
        if node.children is not None:
            node.count_children(node.stat.pzxid)
    return tree


def _read_znodes(reader: Reader, tree: Tree, acls: Mapping[int, AclList]) -> None:
    """Read znodes into a tree, up to the end mark.

    This is where a start spends its time, so it is done without a call per field.
    """
    data, position, end = reader.data, reader.position, reader.end
    unpack_length, put = INT.unpack_from, tree.put
    acl_of = {LONG.pack(number): acl for number, acl in acls.items()}
    path = ""
    try:
        while True:
            start = position + INT.size
            position = start + unpack_length(data, position)[0]
            if not start <= position <= end:
                raise MalformedError(f"the path behind the znode {path!r} is cut short")
            path = data[start:position].decode("utf-8", "replace")
            if path == paths.ROOT:
                break
            start = position
            (length,) = unpack_length(data, position)
            position += INT.size + (max(0, length))
            if length < -1 or position + _ACL_AND_STAT.size > end:
                raise MalformedError(f"the znode {path!r} is cut short")
            acl = acl_of[data[position : position + LONG.size]]
            content = data[start:position]
            if data[position + _CREATED_AT : position + _OWNER_END] == _NEITHER_CREATED_NOR_OWNED:
                # Most znodes: their record has the very bytes of the file, but for two counts.
                put(
                    path,
                    content
                    + data[position + LONG.size : position + _OWNER_END]
                    + _LENGTH_AND_CHILDREN.pack(max(0, length), 0)
                    + data[position + _OWNER_END : position + _ACL_AND_STAT.size],
                    acl,
                    0,
                    0,
                )
            else:
                put(path, *_record_of(content, acl, data, position))
            position += _ACL_AND_STAT.size
    except struct.error as error:
        raise MalformedError(f"the tree is cut short behind the znode {path!r}") from error
    except KeyError as error:
        raise MalformedError(f"the znode {path!r} has no parent, or no ACL") from error
    finally:
        reader.position = min(position, end)


def _record_of(
    content: bytes, acl: AclList, data: bytes, position: int
) -> tuple[bytes, AclList, int, int]:
    """Return a znode's record, ACL, count of children created, and owner.

    ``content`` is its data behind their length; the Stat as kept stands at ``position``.
    """
    _, czxid, mzxid, ctime, mtime, version, created, aversion, owner, pzxid = (
        _ACL_AND_STAT.unpack_from(data, position)
    )
    is_session = owner and OwnerKind.of(owner) is OwnerKind.SESSION
    stat = Stat(
        czxid,
        mzxid,
        ctime,
        mtime,
        version,
        wrap_int32(2 * created),
        aversion,
        owner if is_session else 0,
        len(content) - INT.size,
        0,
        pzxid,
    )
    return content + stat.pack(), acl, created, owner
