"""Replies that are too long to encode in one step: each reply is encoded in several steps.

The whole reply shows the state at one zxid: the zxid at which the server began to process the
request. So a reply that begins keeps the data of all its steps. Records and lists of children are
not copied. Records never change. A list only grows: a deleted child stays in it until a new list
replaces it. The set of the deleted paths changes, so it is copied.
"""

from typing import Final, final

from zoolet.big_endian.buffers import BytesWriter, write_i32_be
from zoolet.model.acl import AclList
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.errors import RequestError
from zoolet.state_machine import access
from zoolet.state_machine.directory import Directory
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import write_names
from zoolet.wire.jute import write_acl_entries, write_ustring
from zoolet.wire.multi_headers import write_end_of_multi
from zoolet.wire.replies import write_multi_read_part

LONG_BODY_BYTES: Final = 1 << 16
"""A longer body is sent separately from its header; joining the two would copy the body."""

NAMES_AT_ONCE: Final = 5000
"""The most names or paths that one step encodes; longer lists take several steps."""

ENTRIES_AT_ONCE: Final = 200
"""The most ACL entries that one step encodes; longer ACLs take several steps."""

_BYTES_AT_ONCE: Final = 1 << 18
_BYTES_BESIDE_A_NAME: Final = 4
_GET_DATA: Final = OpCode.GET_DATA.value
_BYTES_BESIDE_DATA: Final = 72
"""The bytes of a record besides its data: the length of the data, and the Stat."""


class EncodingSteps:
    """The body of a reply, which is encoded in several steps and shows the state at one zxid.

    Attributes:
        behind: the bytes that follow the bytes of ``body``; separate, so that ``body`` is not
            copied.
    """

    def __init__(self, behind: bytes = b"") -> None:
        self.behind = behind

    def step(self) -> bool:
        """Encode a part of the body; return whether the body is complete."""
        raise NotImplementedError

    def body(self) -> bytes:
        """Return the body without ``behind``."""
        raise NotImplementedError


@final
class EncodedBefore(EncodingSteps):
    """A long body that has been encoded before."""

    def __init__(self, body: bytes, behind: bytes) -> None:
        super().__init__(behind)
        self._body = body

    def step(self) -> bool:
        """Do nothing: the body is complete."""
        return True

    def body(self) -> bytes:
        """Return the body without ``behind``."""
        return self._body


@final
class NamesOfChildren(EncodingSteps):
    """The names of many children.

    The encoded list is kept for the next read, unless a child was created or deleted since this
    read began.
    """

    def __init__(self, directory: Directory, behind: bytes) -> None:
        super().__init__(behind)
        self._directory = directory
        self._changes = directory.changes
        self._gone = directory.copy_gone()
        self._entries = directory.entries
        self._num_entries = len(self._entries)
        self._writer = BytesWriter()
        self._position = 0
        self.is_whole = False
        self._body = b""
        write_i32_be(self._writer, directory.num_children)

    def step(self) -> bool:
        """Encode some names; return whether all names are encoded."""
        end = min(self._position + NAMES_AT_ONCE, self._num_entries)
        names = self._entries[self._position : end]
        if self._gone:
            names = [path for path in names if path not in self._gone]
        write_names(self._writer, names)
        self._position = end
        self.is_whole = end == self._num_entries
        return self.is_whole

    @property
    def size_bytes(self) -> int:
        """The number of bytes of the names encoded so far, with their length fields."""
        return len(self._writer) - _BYTES_BESIDE_A_NAME

    def body(self) -> bytes:
        """Return the whole list; each call returns the same object."""
        if not self._body:
            self._body = self._writer.getvalue()
            if self._directory.changes == self._changes:
                self._directory.listing = self._body
        return self._body


@final
class PathsOfEphemerals(EncodingSteps):
    """The paths of a session's ephemerals that begin with a prefix."""

    def __init__(self, paths_of_session: tuple[str, ...], prefix: str) -> None:
        super().__init__()
        self._paths = paths_of_session
        self._prefix = prefix
        self._position = 0
        self._found = 0
        self._writer = BytesWriter()

    def step(self) -> bool:
        """Encode some paths; return whether all paths are encoded."""
        end = min(self._position + NAMES_AT_ONCE, len(self._paths))
        for path in self._paths[self._position : end]:
            if path.startswith(self._prefix):
                self._found += 1
                write_ustring(self._writer, path)
        self._position = end
        return end == len(self._paths)

    def body(self) -> bytes:
        """Return the encoded number of paths, followed by the paths."""
        count = BytesWriter()
        write_i32_be(count, self._found)
        count.write(self._writer.getvalue())
        return count.getvalue()


@final
class EntriesOfAcl(EncodingSteps):
    """The entries of a long ACL, and the Stat of its znode.

    An ACL in existing data can be longer than the server allows a client to write.
    """

    def __init__(self, acl: AclList, hides_digests: bool, stat: bytes) -> None:
        super().__init__(stat)
        self._acl = acl
        self._hides_digests = hides_digests
        self._position = 0
        self._writer = BytesWriter()
        write_i32_be(self._writer, len(acl))

    def step(self) -> bool:
        """Encode some entries; return whether all entries are encoded."""
        end = self._position + ENTRIES_AT_ONCE
        entries = self._acl[self._position : end]
        if self._hides_digests:
            entries = access.hide_digests(entries)
        write_acl_entries(self._writer, entries)
        self._position = end
        return end >= len(self._acl)

    def body(self) -> bytes:
        """Return the encoded entries."""
        return self._writer.getvalue()


@final
class ReadPart:
    """The result of one part of a multiRead.

    Attributes:
        op_code: the op code of the part.
        err: the error code; 0 if the read succeeded.
        body: the encoded result; empty until it is encoded, and if the read failed.
        names: encodes a long list of children in steps; None if one step encodes the body.
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
        self._parts = parts
        self._most_bytes = most_bytes
        self._size_bytes = 0
        self._counted = 0
        self._position = 0
        self._writer = BytesWriter()

    def step(self) -> bool:
        """Count or encode some parts; return whether all parts are encoded.

        The bytes of all parts are counted before the first part is encoded.
        """
        while self._counted < len(self._parts):
            part = self._parts[self._counted]
            names = part.names
            if names is not None:
                if not names.is_whole and not names.step():
                    self._check(self._size_bytes + names.size_bytes)
                    return False
                part.body = names.body()
            if not part.err:
                self._count(part)
            self._counted += 1
        until = len(self._writer) + _BYTES_AT_ONCE
        while self._position < len(self._parts):
            part = self._parts[self._position]
            write_multi_read_part(self._writer, part.op_code, part.err, part.body)
            self._position += 1
            if len(self._writer) >= until:
                return False
        write_end_of_multi(self._writer)
        return True

    def _count(self, part: ReadPart) -> None:
        """Add the bytes that Apache ZooKeeper counts: the data, and each name with its length."""
        size_bytes = len(part.body)
        size_bytes -= _BYTES_BESIDE_DATA if part.op_code == _GET_DATA else _BYTES_BESIDE_A_NAME
        self._size_bytes += size_bytes
        self._check(self._size_bytes)

    def _check(self, size_bytes: int) -> None:
        if 0 < self._most_bytes < size_bytes:
            raise RequestError(ErrorCode.BAD_ARGUMENTS)

    def body(self) -> bytes:
        """Return the encoded parts."""
        return self._writer.getvalue()


def long_directory(tree: Tree, path: str) -> Directory | None:
    """Return the directory of a path if its names take several steps to encode, else None."""
    directory = tree.directories.get(path)
    if directory is None or directory.listing is not None:
        return None
    return directory if len(directory.entries) > NAMES_AT_ONCE else None
