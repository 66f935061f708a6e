"""A parser for a snapshot that arrives in pieces; it works in steps and needs little extra memory.

The snapshot is the content of a file, or comes from a leader. A leader sends no seal.

Format: docs/formats/snapshot.md. After the first seal, Apache ZooKeeper writes two more sealed
parts: a digest, which is skipped, and the zxid of the last txn. Source of both, in Apache ZooKeeper
3.9: ``ZKDatabase.deserializeSnapshot`` and ``DataTree.serializeLastProcessedZxid``.

Invariant: a snapshot that is cut short or damaged anywhere raises MalformedError. The parser does
no I/O.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from mypy_extensions import i64

from zoolet.big_endian.buffers import read_i32_be, read_i64_be
from zoolet.state_machine.acl_table import OPEN, StoredAcl
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import PZXID
from zoolet.storage import snapshots
from zoolet.wire.jute import INT, LONG, MalformedError, Reader, pack_ustring

STEP_ZNODES: Final = 300
"""The maximum number of znodes, sessions or ACLs that a step reads; a step takes about 1 ms."""

MAX_TRAILER_BYTES: Final = 4096
MAX_PART_BYTES: Final = 1 << 30

_SEAL_TEXT: Final = pack_ustring("/")
_SEAL_BYTES: Final = LONG.size + len(_SEAL_TEXT)
_LENGTH_BYTES: Final = 4
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_WINDOW_BITS: Final = 31
_INFLATED_BYTES: Final = 1 << 18
_BYTES_BEHIND_DATA: Final = snapshots.ACL_AND_STAT_BYTES
_MZXID_AT: Final = 16  # the offset in these bytes: after the number of the ACL, and czxid


class SnapshotParser:
    """Parses one snapshot, which may be compressed with gzip.

    Attributes:
        tree: the znodes.
        sessions: session id to the timeout in ms.
        zxid: the zxid of the last txn that the snapshot is known to contain.
        open_acls: path to ACL number, for the znodes whose ACL is not in the table of a leader's
            snapshot; ``snapshots.Snapshot`` has the reason. A file must have all ACLs.
    """

    def __init__(self, *, is_sealed: bool = True) -> None:
        """Parse the content of a file; if not ``is_sealed``, a snapshot that a leader sends.

        The caller must feed SNAPSHOT_HEADER before the content that a leader sends.
        """
        self._is_sealed = is_sealed
        self.open_acls: dict[str, int] = {}
        self.tree = Tree()
        self.sessions: dict[int, int] = {}
        self.zxid = 0
        self._is_complete = False
        self._pieces: list[bytes] = []
        self._pending_bytes = 0
        self._inflater: zlib._Decompress | None = None
        self._is_begun = False
        self._data = b""
        self._position = 0
        self._summed = 0
        self._checksum = 1

    @property
    def pending_bytes(self) -> int:
        """The number of bytes that were fed and not read yet."""
        tail_bytes = 0 if self._inflater is None else len(self._inflater.unconsumed_tail)
        return self._pending_bytes + tail_bytes + self._left_bytes

    @property
    def _left_bytes(self) -> int:
        """The number of bytes that can be read at the position."""
        return len(self._data) - self._position

    def feed(self, data: bytes) -> None:
        """Add the next bytes of the snapshot."""
        self._pieces.append(data)
        self._pending_bytes += len(data)

    def complete(self) -> None:
        """Record that all bytes of the snapshot were fed."""
        self._is_complete = True

    def steps(self) -> Iterator[bool]:
        """Parse the snapshot; yields True after each step, and False if more bytes are needed.

        Raises MalformedError.
        """
        yield from self._read_header()
        acls: dict[int, StoredAcl] = {snapshots.OPEN_ACL_NUMBER: OPEN}
        yield from self._read_acls(acls)
        yield from self._read_znodes(acls)
        if self._is_sealed:
            yield from self._read_seals()
        elif self._left_bytes or self._pieces:
            raise MalformedError("there are bytes after the end of the snapshot")
        yield from self._count_children()

    # --- Bytes

    def _need(self, size_bytes: int) -> Iterator[bool]:
        """Yield until this number of bytes can be read at the position."""
        if size_bytes > MAX_PART_BYTES:
            raise MalformedError(f"a part of {size_bytes} bytes is too large")
        while self._left_bytes < size_bytes:
            if self._take_pieces(size_bytes):
                yield True
            elif self._is_complete:
                raise MalformedError("the snapshot is cut short")
            else:
                yield False

    def _take_pieces(self, size_bytes: int) -> bool:
        """Add the fed bytes to the data if copying them is useful; return whether it added them."""
        missing_bytes = size_bytes - self._left_bytes
        inflater = self._inflater
        if not self._pieces and not (inflater is not None and inflater.unconsumed_tail):
            return False
        if inflater is None and self._pending_bytes < missing_bytes and not self._is_complete:
            return False
        added, self._pieces, self._pending_bytes = b"".join(self._pieces), [], 0
        if not self._is_begun and added:
            self._is_begun = True
            if added[:2] == _GZIP_MAGIC:
                inflater = self._inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
        if inflater is not None:
            added = self._inflate(inflater, added)
        self._sum()
        self._data = self._data[self._position :] + added
        self._position = self._summed = 0
        return True

    def _inflate(self, inflater: "zlib._Decompress", added: bytes) -> bytes:
        """Decompress a limited part; the decompressor keeps the rest."""
        try:
            inflated = inflater.decompress(inflater.unconsumed_tail + added, _INFLATED_BYTES)
        except zlib.error as error:
            raise MalformedError(f"the bytes are not gzip: {error}") from error
        return inflated

    def _sum(self) -> None:
        """Add the bytes up to the position to the checksum."""
        read = memoryview(self._data)[self._summed : self._position]
        self._checksum = zlib.adler32(read, self._checksum)
        self._summed = self._position

    def _read_int(self) -> int:
        value = read_i32_be(self._data, self._position)
        self._position += INT.size
        return value

    def _read_long(self) -> int:
        value = read_i64_be(self._data, self._position)
        self._position += LONG.size
        return value

    # --- Parts

    def _read_header(self) -> Iterator[bool]:
        yield from self._need(len(snapshots.MAGIC) + INT.size + LONG.size + INT.size)
        magic = self._data[: len(snapshots.MAGIC)]
        if magic != snapshots.MAGIC:
            raise MalformedError(f"a snapshot must begin with {snapshots.MAGIC!r}, not {magic!r}")
        self._position = len(snapshots.MAGIC)
        if (version := self._read_int()) != snapshots.VERSION:
            raise MalformedError(f"version {version} of the snapshot format is not supported")
        self._read_long()  # the database id, which nothing uses
        for number in range(_count(self._read_int())):
            yield from self._need(LONG.size + INT.size)
            session_id = self._read_long()
            self.sessions[session_id] = self._read_int()
            if number % STEP_ZNODES == STEP_ZNODES - 1:
                yield True

    def _read_acls(self, acls: dict[int, StoredAcl]) -> Iterator[bool]:
        yield from self._need(INT.size)
        for number in range(_count(self._read_int())):
            yield from self._need(LONG.size + INT.size)
            acl_number = self._read_long()
            end = INT.size
            for entry in range(max(0, read_i32_be(self._data, self._position))):
                end += INT.size  # the permissions
                for _ in ("scheme", "id"):
                    yield from self._need(end + INT.size)
                    end += INT.size + max(0, read_i32_be(self._data, self._position + end))
                if entry % STEP_ZNODES == STEP_ZNODES - 1:
                    yield True
            yield from self._need(end)
            reader = Reader(self._data, self._position)
            acls[acl_number] = self.tree.acl_table.find_or_add(reader.read_acl())
            self._position = reader.position
            if number % STEP_ZNODES == STEP_ZNODES - 1:
                yield True

    def _read_znodes(self, acls: dict[int, StoredAcl]) -> Iterator[bool]:
        tree = self.tree
        number = 0
        reader = Reader(self._data)
        while True:
            if not self._has_znode():
                yield from self._need_znode()
            if self._data.startswith(_SEAL_TEXT, self._position):
                self._position += len(_SEAL_TEXT)
                break
            if reader.data is not self._data:
                reader = Reader(self._data)
            self._read_znode(reader, acls)
            number += 1
            if number % STEP_ZNODES == 0:
                yield True
        if "/" not in tree.records:
            raise MalformedError("the tree has no root")
        if number != len(tree.records):
            raise MalformedError(f"{number - len(tree.records)} znodes are in the snapshot twice")
        if self.open_acls and self._is_sealed:
            # A start would find the ACL in the logs after the snapshot. Here, there are no logs.
            path = next(iter(self.open_acls))
            raise MalformedError(f"the ACL of {path!r} is not in the ACL table")
        tree.acl_table.drop_unused()

    def _has_znode(self) -> bool:
        """Return whether the znode at the position can be read; a generator would be slower."""
        data = self._data
        size_bytes: i64 = len(data)
        path_at: i64 = self._position + _LENGTH_BYTES
        if path_at > size_bytes:
            return False
        data_at = path_at + max(0, i64(read_i32_be(data, path_at - _LENGTH_BYTES))) + _LENGTH_BYTES
        if data_at > size_bytes:
            return False
        end = data_at + max(0, i64(read_i32_be(data, data_at - _LENGTH_BYTES))) + _BYTES_BEHIND_DATA
        return end <= size_bytes

    def _need_znode(self) -> Iterator[bool]:
        """Yield until the znode at the position, or the end of the tree, can be read."""
        yield from self._need(INT.size)
        path_bytes = _count(max(0, read_i32_be(self._data, self._position)))
        if self._left_bytes < INT.size + path_bytes + INT.size:
            yield from self._need(INT.size + path_bytes)
        if self._data.startswith(_SEAL_TEXT, self._position):
            return
        yield from self._need(INT.size + path_bytes + INT.size)
        data_at = self._position + INT.size + path_bytes
        data_bytes = _count(max(0, read_i32_be(self._data, data_at)))
        size_bytes = INT.size + path_bytes + INT.size + data_bytes + _BYTES_BEHIND_DATA
        if self._left_bytes < size_bytes:
            yield from self._need(size_bytes)

    def _read_znode(self, reader: Reader, acls: dict[int, StoredAcl]) -> None:
        reader.position = self._position
        path = reader.read_ustring()
        try:
            snapshots.read_znode(reader, self.tree, acls, path or "/", self.open_acls)
        except KeyError as error:
            raise MalformedError(f"the znode {path!r} has no parent") from error
        self._position = end = reader.position
        self.zxid = max(
            self.zxid,
            read_i64_be(self._data, end - PZXID),
            read_i64_be(self._data, end - _BYTES_BEHIND_DATA + _MZXID_AT),
        )

    def _read_seals(self) -> Iterator[bool]:
        """Check the seal, and read the parts that Apache ZooKeeper may have written after it."""
        yield from self._need(_SEAL_BYTES)
        self._check_seal()
        while True:
            if self._take_pieces(1):
                yield True
            elif self._is_complete:
                break
            else:
                yield False
            if self._left_bytes > MAX_TRAILER_BYTES:
                raise MalformedError("there are bytes after the end of the snapshot")
        if self._inflater is not None and not self._inflater.eof:
            raise MalformedError("the gzip stream is cut short")
        left_bytes = self._left_bytes
        if left_bytes not in {0, LONG.size + _SEAL_BYTES}:
            self._read_digest()
            left_bytes = self._left_bytes
        if left_bytes:
            yield from self._need(LONG.size + _SEAL_BYTES)
            self.zxid = max(self.zxid, self._read_long())
            self._check_seal()
        if self._position != len(self._data):
            raise MalformedError("there are bytes after the end of the snapshot")

    def _read_digest(self) -> None:
        reader = Reader(self._data, self._position)
        reader.read_long()  # the zxid of the digest
        if reader.read_int() < 2:  # the version; version 1 contains text
            reader.read_ustring()
        else:
            reader.read_long()
        self._position = reader.position
        self._check_seal()

    def _check_seal(self) -> None:
        self._sum()
        reader = Reader(self._data, self._position)
        if reader.read_long() != self._checksum or reader.read_ustring() != "/":
            raise MalformedError("the snapshot's checksum is wrong")
        self._position = reader.position

    def _count_children(self) -> Iterator[bool]:
        for number, path in enumerate(self.tree.directories, 1):
            self.tree.count_children(path)
            if number % STEP_ZNODES == 0:
                yield True


def _count(number: int) -> int:
    if number < 0:
        raise MalformedError(f"a length is negative: {number}")
    return number
