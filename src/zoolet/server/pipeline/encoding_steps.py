"""Replies that are too long to encode in one step: each reply is encoded in several steps.

The whole reply shows the state at one zxid: the zxid at which the server began to process the
request. So a reply that begins keeps the data of all its steps. Records and lists of children are
not copied. Records never change. A list only grows: a deleted child stays in it until a new list
replaces it. The set of the deleted paths changes, so it is copied.

A step takes about as long as a few short requests, so that other clients do not notice it.
"""

from typing import Final, final

from mypy_extensions import i64

from zoolet.big_endian.buffers import BytesWriter, write_i32_be
from zoolet.model.acl import AclList
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.errors import RequestError
from zoolet.state_machine import access
from zoolet.state_machine.directory import Directory
from zoolet.state_machine.name_pieces import NAMES_PER_PIECE, NamePieces
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import write_names
from zoolet.wire.jute import write_acl_entries, write_ustring
from zoolet.wire.multi_headers import write_end_of_multi
from zoolet.wire.replies import write_multi_read_part

LONG_BODY_BYTES: Final = 1 << 16
"""A longer body is sent separately from its header; joining the two would copy the body."""

LONG_LIST: Final = 5000
"""A list with more names or paths is encoded in several steps."""

ENTRIES_AT_ONCE: Final = 200
"""The most ACL entries that one step encodes; longer ACLs take several steps."""

_PART_BYTES: Final = 1 << 16
"""A part of a body ends after this number of bytes: a longer buffer is copied when it grows."""

_BYTES_BESIDE_A_NAME: Final = 4
_GET_DATA: Final = OpCode.GET_DATA.value
_BYTES_BESIDE_DATA: Final = 72
"""The bytes of a record besides its data: the length of the data, and the Stat."""


class EncodingSteps:
    """The body of a reply, which is encoded in several steps and shows the state at one zxid.

    The body is kept in parts, which are sent one after the other, so that no step copies the whole
    body.

    Attributes:
        is_complete: whether the body is complete.
        size_bytes: the number of bytes in the complete parts.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self.size_bytes: i64 = 0
        self._parts: list[bytes] = []
        self._writer = BytesWriter()

    def step(self) -> bool:
        """Encode a part of the body, if it is not complete; return whether it is complete."""
        if not self.is_complete:
            self.is_complete = self._encode()
        return self.is_complete

    def _encode(self) -> bool:
        """Encode a part of the body; return whether the body is complete."""
        raise NotImplementedError

    def parts(self) -> list[bytes]:
        """Return the parts of the complete body; callers must not change the list."""
        return self._parts

    def _end_part(self) -> None:
        """Make a part of the bytes that were written since the last part."""
        self._add_part(self._writer.getvalue())
        self._writer = BytesWriter()

    def _add_part(self, part: bytes) -> None:
        self._parts.append(part)
        self.size_bytes += len(part)

    def _end_long_part(self) -> None:
        if len(self._writer) >= _PART_BYTES:
            self._end_part()


@final
class NamesOfChildren(EncodingSteps):
    """The names of many children, and the bytes ``behind`` them.

    The pieces and the rest of the directory are used and completed. So replies that are encoded at
    the same time share the work and the bytes, and so do later replies, except for the pieces that
    have changed.
    """

    def __init__(self, directory: Directory, behind: bytes) -> None:
        super().__init__()
        self._directory = directory
        self._behind = behind
        self._gone = directory.copy_gone()
        pieces = directory.pieces
        if pieces is None:
            pieces = directory.pieces = NamePieces()
        # After a change, the directory gets other lists, and these lists stay right for the replies
        # that have them.
        self._pieces = pieces.valid
        self._earlier = pieces.earlier
        self._changed = pieces.changed
        self._entries = directory.shared_entries()
        self._num_entries: i64 = len(self._entries)
        self._position: i64 = 0
        write_i32_be(self._writer, directory.num_children)
        self._end_part()
        self._use_pieces()
        rest = directory.rest
        if rest is not None:
            self._end(rest)

    def _encode(self) -> bool:
        """Encode some names; return whether all names are encoded."""
        self._use_pieces()
        start: i64 = self._position
        end: i64 = min(start + NAMES_PER_PIECE, self._num_entries)
        encoded = self._encoded(start, end)
        self._position = end
        if end - start == NAMES_PER_PIECE:
            self._pieces.append(encoded)
            self._add_part(encoded)
            return False
        directory = self._directory
        pieces = directory.pieces
        is_current = pieces is not None and pieces.valid is self._pieces
        if is_current and len(directory.entries) == self._num_entries:
            directory.rest = encoded
        self._end(encoded)
        return True

    def _encoded(self, start: i64, end: i64) -> bytes:
        """Return the encoded names of these entries, which are those of one piece or of the rest.

        An earlier piece is used if it has not changed: a check takes a fifth of the time.
        """
        names = self._entries[start:end]
        number: i64 = start // NAMES_PER_PIECE
        is_whole = end - start == NAMES_PER_PIECE
        if is_whole and number < len(self._earlier) and self._changed.isdisjoint(names):
            return self._earlier[number]
        if self._gone:
            names = [path for path in names if path not in self._gone]
        writer = BytesWriter()
        write_names(writer, names)
        return writer.getvalue()

    def _end(self, rest: bytes) -> None:
        self._add_part(rest)
        self._add_part(self._behind)
        self.is_complete = True

    def _use_pieces(self) -> None:
        """Take the pieces that are encoded; after this, the first missing piece is next."""
        num_pieces: i64 = min(i64(len(self._pieces)), self._num_entries // NAMES_PER_PIECE)
        for piece in self._pieces[self._position // NAMES_PER_PIECE : num_pieces]:
            self._add_part(piece)
        self._position = num_pieces * NAMES_PER_PIECE

    @property
    def names_bytes(self) -> int:
        """The number of bytes of the names encoded so far, with their length fields."""
        return self.size_bytes - _BYTES_BESIDE_A_NAME


@final
class PathsOfEphemerals(EncodingSteps):
    """The paths of a session's ephemerals that begin with a prefix."""

    def __init__(self, paths_of_session: tuple[str, ...], prefix: str) -> None:
        super().__init__()
        self._paths = paths_of_session
        self._prefix = prefix
        self._position = 0
        self._found = 0

    def _encode(self) -> bool:
        """Encode some paths; return whether all paths are encoded."""
        end = min(self._position + NAMES_PER_PIECE, len(self._paths))
        for path in self._paths[self._position : end]:
            if path.startswith(self._prefix):
                self._found += 1
                write_ustring(self._writer, path)
        self._position = end
        self._end_long_part()
        if end < len(self._paths):
            return False
        self._end_part()
        write_i32_be(self._writer, self._found)
        self._end_part()
        self._parts.insert(0, self._parts.pop())
        return True


@final
class EntriesOfAcl(EncodingSteps):
    """The entries of a long ACL, and the Stat of its znode.

    An ACL in existing data can be longer than the server allows a client to write.
    """

    def __init__(self, acl: AclList, hides_digests: bool, stat: bytes) -> None:
        super().__init__()
        self._acl = acl
        self._hides_digests = hides_digests
        self._stat = stat
        self._position = 0
        write_i32_be(self._writer, len(acl))

    def _encode(self) -> bool:
        """Encode some entries; return whether all entries are encoded."""
        end = self._position + ENTRIES_AT_ONCE
        entries = self._acl[self._position : end]
        if self._hides_digests:
            entries = access.hide_digests(entries)
        write_acl_entries(self._writer, entries)
        self._position = end
        self._end_long_part()
        if end < len(self._acl):
            return False
        self._writer.write(self._stat)
        self._end_part()
        return True


@final
class ReadPart:
    """The result of one part of a multiRead.

    Attributes:
        op_code: the op code of the part.
        err: the error code; 0 if the read succeeded.
        body: the encoded result; empty if ``names`` has it, and if the read failed.
        names: encodes a long list of children in steps; None if ``body`` has the result.
    """

    __slots__ = ("body", "err", "names", "op_code")

    def __init__(self, op_code: int) -> None:
        self.op_code = op_code
        self.err = 0
        self.body = b""
        self.names: NamesOfChildren | None = None


@final
class MultiReadReply(EncodingSteps):
    """The reply to a multiRead.

    A step raises RequestError (BAD_ARGUMENTS) as soon as the results have more than ``most_bytes``
    bytes; 0 means no limit. The bytes are counted as ``FinalRequestProcessor`` of Apache ZooKeeper
    3.9.7 counts them.
    """

    def __init__(self, parts: list[ReadPart], most_bytes: int) -> None:
        super().__init__()
        self._reads = parts
        self._most_bytes = most_bytes
        self._counted_bytes = 0
        self._counted = 0
        self._position = 0

    def _encode(self) -> bool:
        """Count or encode some parts; return whether all parts are encoded.

        The bytes of all parts are counted before the first part is encoded.
        """
        while self._counted < len(self._reads):
            part = self._reads[self._counted]
            names = part.names
            if names is not None and not names.step():
                self._check(self._counted_bytes + names.names_bytes)
                return False
            if not part.err:
                self._count(part)
            self._counted += 1
        while self._position < len(self._reads):
            part = self._reads[self._position]
            write_multi_read_part(self._writer, part.op_code, part.err, part.body)
            self._position += 1
            if part.names is not None:
                self._end_part()
                for piece in part.names.parts():
                    self._add_part(piece)
                return False
            if len(self._writer) >= _PART_BYTES:
                self._end_part()
                return False
        write_end_of_multi(self._writer)
        self._end_part()
        return True

    def _count(self, part: ReadPart) -> None:
        """Add the bytes that Apache ZooKeeper counts: the data, and each name with its length."""
        if part.names is not None:
            self._counted_bytes += part.names.names_bytes
        else:
            beside = _BYTES_BESIDE_DATA if part.op_code == _GET_DATA else _BYTES_BESIDE_A_NAME
            self._counted_bytes += len(part.body) - beside
        self._check(self._counted_bytes)

    def _check(self, size_bytes: int) -> None:
        if 0 < self._most_bytes < size_bytes:
            raise RequestError(ErrorCode.BAD_ARGUMENTS)


def long_directory(tree: Tree, path: str) -> Directory | None:
    """Return the directory of a path if its names take several steps to encode, else None."""
    directory = tree.directories.get(path)
    return directory if directory is not None and len(directory.entries) > LONG_LIST else None
