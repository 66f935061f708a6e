"""Snapshots: the sessions and the tree in a single file with a checksum.

Format: docs/formats/snapshot.md; source: ``FileSnap``, ``SnapStream``, ``SerializeUtils`` and
``DataTree.serialize`` of Apache ZooKeeper. A snapshot is valid only under its final name; the file
gets this name when it is complete and synced.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, final

from mypy_extensions import i32, i64, mypyc_attr

from zoolet.big_endian.buffers import (
    BytesWriter,
    read_i32_be,
    read_i64_be,
    write_i32_be,
    write_i64_be,
)
from zoolet.model import paths
from zoolet.model.acl import ACL, Id
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.stat import STAT_BYTES
from zoolet.state_machine.acl_table import OPEN, StoredAcl
from zoolet.state_machine.kept import ABSENT, KeptZnode
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.records import encode_plain
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import AVERSION, OWNER
from zoolet.state_machine.znode import VERSION as VERSION_AT
from zoolet.storage.compression import Compression, CompressionError, compression_of
from zoolet.storage.disk import Disk
from zoolet.storage.errors import DamagedFileError
from zoolet.storage.files import UNFINISHED, snapshot_name
from zoolet.wire.jute import (
    INT,
    LONG,
    MalformedError,
    Reader,
    pack_ustring,
    write_acl,
    write_ustring,
)

MAGIC: Final = b"ZKSN"
VERSION: Final = 2
_DATABASE_ID: Final = -1
SNAPSHOT_HEADER: Final = MAGIC + INT.pack(VERSION) + LONG.pack(_DATABASE_ID)
"""The beginning of each snapshot that zoolet writes."""

_SESSION_BYTES: Final = 12

# The bytes after a znode's data: the number of its ACL, then the Stat (``StatPersisted``) without
# dataLength and numChildren, and with the number of created children in place of cversion.
_CZXID_AT: Final = 8
_CREATED_AT: Final = 44
_OWNER_AT: Final = 52
_PZXID_AT: Final = 60
ACL_AND_STAT_BYTES: Final = 68

OPEN_ACL_NUMBER: Final = -1
_END_OF_TREE: Final = pack_ustring("/")
SEAL_BYTES: Final = LONG.size + len(_END_OF_TREE)
_CHUNK_BYTES: Final = 1 << 18
_RUN_BYTES: Final = 1 << 14
"""The most bytes of one run. Between two runs, a step may end because it takes too long."""
_PATHS_AT_ONCE: Final = 5000
"""The most paths that one step looks up; some may have no znode, so a step may write nothing."""

_SYNC_BYTES = 1 << 22  # a single sync of all bytes at the end would delay the log's syncs


class Snapshot(NamedTuple):
    """The content of a snapshot.

    Attributes:
        tree: the znodes.
        sessions: session id to the timeout in ms.
        open_acls: path to ACL number, for the znodes whose ACL is not in the snapshot's table.
            Apache ZooKeeper writes the table first, and the znodes while it applies txns
            (ZOOKEEPER-4846), so the ACL is in a txn of the logs after the snapshot. Until it is
            found, the znode has an ACL that permits nothing.
    """

    tree: Tree
    sessions: dict[int, int]
    open_acls: dict[str, int]


def _has_time() -> bool:
    return True


@final
class Image:
    """The state at one moment; it stays the same while the tree changes.

    No znode is copied, so an image of any number of znodes takes the same time. Until the content
    was read or ``release`` is called, the tree keeps the previous state of each znode that changes.
    """

    def __init__(self, zxid: int, tree: Tree, sessions: Mapping[int, int]) -> None:
        """Keep the state after ``zxid``; ``sessions`` is session id to timeout in ms."""
        self.zxid = zxid
        self._tree = tree
        self._acl_lists = tuple(tree.acl_table.lists.values())
        self._sessions = dict(sessions)
        self._kept = tree.keep_znodes()  # last: nothing fails between this and a release

    @classmethod
    def of(cls, machine: StateMachine) -> "Image":
        """Return an image of the current state of a machine."""
        sessions = machine.sessions.by_id.values()
        timeouts = {session.session_id: session.timeout_ms for session in sessions}
        return cls(machine.zxid, machine.tree, timeouts)

    def release(self) -> None:
        """Stop the tree from keeping znodes for this image; do nothing if this was done already."""
        self._tree.forget_kept(self._kept)

    def steps_to_free(self) -> Iterator[bytes]:
        """Release the image and free its memory in steps; each step yields b""."""
        self.release()
        while self._kept.drop_some():
            yield b""

    def content(self, has_time: Callable[[], bool] = _has_time) -> Iterator[bytes]:
        """Yield the content of a snapshot before its seal in chunks, and release the image.

        A chunk may be empty. The znodes are in the order of ``Tree.walk``.

        Args:
            has_time: returns False if a chunk must end as soon as possible.
        """
        writer = BytesWriter()
        writer.write(SNAPSHOT_HEADER)
        write_i32_be(writer, len(self._sessions))
        for session_id, timeout_ms in self._sessions.items():
            write_i64_be(writer, session_id)
            write_i32_be(writer, timeout_ms)
        numbers: dict[StoredAcl, int] = {}
        write_i32_be(writer, len(self._acl_lists))
        for acl in self._acl_lists:
            number = numbers[acl] = len(numbers) + 1
            write_i64_be(writer, number)
            write_acl(writer, acl.entries)
            if len(writer) >= _CHUNK_BYTES:
                yield writer.getvalue()
                writer = BytesWriter()
        levels = [_Level([paths.ROOT], 1)]
        while not self._write_znodes(writer, levels, numbers, has_time):
            yield writer.getvalue()
            writer = BytesWriter()
        yield from self.steps_to_free()
        writer.write(_END_OF_TREE)
        yield writer.getvalue()

    def _write_znodes(
        self,
        writer: BytesWriter,
        levels: "list[_Level]",
        numbers: dict[StoredAcl, int],
        has_time: Callable[[], bool],
    ) -> bool:
        """Write znodes until a chunk ends; return whether the walk has reached all znodes."""
        tree, kept = self._tree, self._kept
        others = (tree.directories.parts, tree.acls.parts, tree.perishable.parts, kept.others.parts)
        marks = tree.keeps_only(kept)
        for _ in range(_PATHS_AT_ONCE):
            while levels[-1].position == levels[-1].end:
                levels.pop()
                if not levels:
                    return True
            level = levels[-1]
            room = min(_RUN_BYTES, _CHUNK_BYTES - len(writer))
            run, position = encode_plain(
                tree.records,
                kept.plain,
                others,
                level.paths,
                level.position,
                level.end,
                room,
                marks,
            )
            if run:
                writer.write(run)
                level.position = position
            else:
                self._write_next(writer, levels, numbers, marks)
            if len(writer) >= _CHUNK_BYTES or not has_time():
                break
        return False

    def _write_next(
        self,
        writer: BytesWriter,
        levels: "list[_Level]",
        numbers: dict[StoredAcl, int],
        marks: bool,
    ) -> None:
        """Write the next znode, if the path has one, and let its children follow."""
        level = levels[-1]
        path = level.paths[level.position]
        level.position += 1
        znode = self._state_of(path, marks)
        if znode is ABSENT:
            return
        _write_znode(
            writer, path, znode, OPEN_ACL_NUMBER if znode.acl is OPEN else numbers[znode.acl]
        )
        if znode.num_entries:
            levels.append(_Level(znode.entries, znode.num_entries))

    def _state_of(self, path: str, marks: bool) -> KeptZnode:
        """Return the state of a path at the moment of the image; it need not be kept any more."""
        record = self._kept.plain.pop(path)
        if record is not None:
            return KeptZnode.childless(record, OPEN, 0)
        znode = self._kept.others.pop(path)
        if znode is None:
            znode = self._tree.state_of(path)
            if marks:
                self._tree.records.mark(path)
        return znode


@final
@mypyc_attr(acyclic=True)
class _Level:
    """The place of a walk in the children of one znode.

    Attributes:
        paths: a list that begins with the paths of the children.
        end: the number of these paths.
        position: the number of those that the walk has reached.
    """

    __slots__ = ("end", "paths", "position")

    def __init__(self, children: list[str], end: i64) -> None:
        self.paths = children
        self.end: i64 = end
        self.position: i64 = 0


def _write_znode(writer: BytesWriter, path: str, znode: KeptZnode, acl_number: int) -> None:
    record = znode.record
    end: i64 = len(record)
    write_ustring(writer, "" if path == paths.ROOT else path)
    writer.write(record[: end - STAT_BYTES])
    write_i64_be(writer, acl_number)
    # Numbers, not slices: each slice would be a new object.
    for at in range(end - STAT_BYTES, end - VERSION_AT, 8):  # two zxids and two times
        write_i64_be(writer, read_i64_be(record, at))
    write_i32_be(writer, read_i32_be(record, end - VERSION_AT))
    write_i32_be(writer, znode.created)
    write_i32_be(writer, read_i32_be(record, end - AVERSION))
    write_i64_be(writer, znode.owner or read_i64_be(record, end - OWNER))
    write_i64_be(writer, znode.pzxid)


class SnapshotFile:
    """A snapshot that is being written; it gets its name when it is complete and on disk."""

    def __init__(
        self, disk: Disk, directory: Path, zxid: int, compression: Compression = Compression.NONE
    ) -> None:
        """Create the file, under a name that is not the name of a snapshot."""
        self.path = directory / snapshot_name(zxid, compression)
        self._disk = disk
        self._compressor = compression.compressor()
        self._checksum = 1
        self._unsynced_bytes = 0
        self._unfinished = directory / (UNFINISHED + self.path.name)
        disk.remove(self._unfinished)
        self._file = disk.create(self._unfinished)

    def write(self, chunk: bytes) -> None:
        """Write a chunk of the content."""
        self._checksum = zlib.adler32(chunk, self._checksum)
        compressed = self._compressor.compress(chunk)
        self._file.write(compressed)
        self._unsynced_bytes += len(compressed)
        if self._unsynced_bytes >= _SYNC_BYTES:
            self._file.sync()
            self._unsynced_bytes = 0

    def finish(self) -> None:
        """Seal the file, and give it its final name when it is on disk."""
        self.seal()
        self.publish()

    def seal(self) -> None:
        """Write the end, and return when the whole file is on disk."""
        seal = self._compressor.compress(_seal_of(self._checksum))
        self._file.write(seal + self._compressor.flush())
        self._file.sync()

    def publish(self) -> None:
        """Give the file its final name: from now on, a start of the server reads it."""
        self._disk.rename(self._unfinished, self.path)
        self._disk.sync_directory(self.path.parent)
        self._file.close()

    def abandon(self) -> None:
        """Remove the unfinished file."""
        self._file.close()
        self._disk.remove(self._unfinished)


def _seal_of(checksum: int) -> bytes:
    """Return the end of a snapshot whose content has this checksum."""
    return LONG.pack(checksum) + _END_OF_TREE


def is_seal_of(checksum: int, data: bytes) -> bool:
    """Return whether ``data`` seals a snapshot; the checksum is that of all bytes before it.

    Snapshots of Apache ZooKeeper may have several sealed parts. The checksum in each seal is that
    of all bytes before it, including earlier seals, so the last seal covers the whole file.
    """
    return data == _seal_of(checksum)


def write_snapshot(
    disk: Disk, directory: Path, image: Image, compression: Compression = Compression.NONE
) -> Path:
    """Write a whole snapshot; return its path when it is on disk under its final name.

    If an OSError is raised, there is no file with the name of a snapshot.
    """
    file = SnapshotFile(disk, directory, image.zxid, compression)
    try:
        for chunk in image.content():
            file.write(chunk)
        file.finish()
    except OSError:
        file.abandon()
        raise
    return file.path


def read_snapshot(path: Path, data: bytes) -> Snapshot:
    """Read the content of a snapshot; its name determines the compression.

    Raises DamagedFileError if the content is not a complete snapshot; the offset counts bytes of
    the decompressed content.
    """
    try:
        reader = Reader(compression_of(path.name).decompress(data))
    except CompressionError as error:
        raise DamagedFileError(path, 0, str(error)) from error
    try:
        return _read_content(reader)
    except MalformedError as malformed:  # another name, because mypyc gives a name one type
        raise DamagedFileError(path, reader.position, str(malformed)) from malformed


def _read_content(reader: Reader) -> Snapshot:
    magic = reader.data[: len(MAGIC)]
    if magic != MAGIC:
        raise MalformedError(f"a snapshot must begin with {MAGIC!r}, not {magic!r}")
    reader.position = len(MAGIC)
    if (version := reader.read_int()) != VERSION:
        raise MalformedError(f"version {version} of the snapshot format is not supported")
    reader.read_long()  # the database id, which nothing uses
    sessions: dict[int, int] = {}
    for _ in range(_count(reader, _SESSION_BYTES)):
        session_id = reader.read_long()
        sessions[session_id] = reader.read_int()
    open_acls: dict[str, int] = {}
    tree = _read_tree(reader, open_acls)
    checksum = zlib.adler32(memoryview(reader.data)[: reader.position])
    if reader.read_long() != checksum or reader.read_ustring() != "/":
        raise MalformedError("the snapshot's checksum is wrong")
    return Snapshot(tree, sessions, open_acls)


def _count(reader: Reader, least_bytes: i64) -> int:
    count = reader.read_int()
    if not 0 <= count <= reader.remaining // least_bytes:
        raise MalformedError(f"{count} elements do not fit in {reader.remaining} bytes")
    return count


def _read_tree(reader: Reader, open_acls: dict[str, int]) -> Tree:
    tree = Tree()
    acls = {OPEN_ACL_NUMBER: OPEN}
    for _ in range(_count(reader, LONG.size + 4)):
        number = reader.read_long()
        acls[number] = tree.acl_table.find_or_add(reader.read_acl())
    path = ""
    num_read: i64 = 0
    try:
        path = reader.read_ustring()
        while path != "/":
            read_znode(reader, tree, acls, path or paths.ROOT, open_acls)
            num_read += 1
            path = reader.read_ustring()
    except KeyError as error:
        raise MalformedError(f"the znode {path!r} has no parent") from error
    if paths.ROOT not in tree.records:
        raise MalformedError("the tree has no root")
    if num_read != len(tree.records):
        raise MalformedError(f"{num_read - len(tree.records)} znodes are in the snapshot twice")
    tree.acl_table.drop_unused()
    tree.count_all_children()
    return tree


def read_znode(
    reader: Reader,
    tree: Tree,
    acls: dict[int, StoredAcl],
    path: str,
    open_acls: dict[str, int],
) -> None:
    """Read a znode after its path; raises KeyError if its parent does not exist."""
    data, start = reader.data, reader.position
    reader.skip_buffer()
    at = reader.position
    reader.skip(ACL_AND_STAT_BYTES)
    created = read_i32_be(data, at + _CREATED_AT)
    owner = read_i64_be(data, at + _OWNER_AT)
    is_session = owner != 0 and OwnerKind.of(owner) is OwnerKind.SESSION
    record = BytesWriter()
    record.write(data[start:at])
    record.write(data[at + _CZXID_AT : at + _OWNER_AT])
    write_i64_be(record, owner if is_session else 0)
    write_i32_be(record, i32(at - start - 4))
    write_i32_be(record, 0)
    record.write(data[at + _PZXID_AT : at + ACL_AND_STAT_BYTES])
    number: int = read_i64_be(data, at)
    acl = acls.get(number)
    if acl is None:
        open_acls[path] = number
        acl = tree.acl_table.find_or_add((_no_acl(number),))
    tree.put(path, record.getvalue(), acl, created, owner)


def _no_acl(number: int) -> ACL:
    """Return a placeholder for an unknown ACL: it permits nothing."""
    return ACL(0, Id("unknown", f"ACL {number} of the snapshot"))
