"""Replies that are too long to encode at once: each is encoded a step at a time.

All of a reply shows the state at one zxid, the one at which its request was taken. So what a step
needs is kept at the beginning: records never change, and lists of children only grow.
"""

from typing import Final, final

from zoolet.model.acl import AclList
from zoolet.model.big_endian import BytesWriter, write_i32_be
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.errors import RequestError
from zoolet.state_machine import access
from zoolet.state_machine.directory import Directory
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import write_names
from zoolet.wire.jute import write_acl_entries, write_ustring
from zoolet.wire.replies import write_end_of_multi, write_multi_read_part

LONG_BODY_BYTES: Final = 1 << 16
"""A longer body is sent as it is, without being copied behind its header."""

NAMES_AT_ONCE: Final = 5000
"""Longer lists are encoded in several steps."""

ENTRIES_AT_ONCE: Final = 200
"""Longer ACLs are encoded in several steps."""

_BYTES_AT_ONCE: Final = 1 << 18
_BYTES_BESIDE_A_NAME: Final = 4
_GET_DATA: Final = OpCode.GET_DATA.value
_BYTES_BESIDE_DATA: Final = 72
"""In a record: the length of the data, and the Stat."""


class EncodingSteps:
    """A reply's body that is encoded in several steps, out of the state at one zxid.

    Attributes:
        behind: what ends the body, behind what ``body`` returns; apart, to save copies of that.
    """

    def __init__(self, behind: bytes = b"") -> None:
        self.behind = behind

    def step(self) -> bool:
        """Encode a part of it; say whether it is whole."""
        raise NotImplementedError

    def body(self) -> bytes:
        """Return the whole body, but for ``behind``."""
        raise NotImplementedError


@final
class EncodedBefore(EncodingSteps):
    """A long body that is kept."""

    def __init__(self, body: bytes, behind: bytes) -> None:
        super().__init__(behind)
        self._body = body

    def step(self) -> bool:
        """Do nothing: it is whole."""
        return True

    def body(self) -> bytes:
        """Return it."""
        return self._body


@final
class NamesOfChildren(EncodingSteps):
    """The names of many children; kept for the next read if no child comes or goes meanwhile."""

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
        """Encode some names; say whether all are."""
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
        """The bytes of the names that are encoded so far, each with its length."""
        return len(self._writer) - _BYTES_BESIDE_A_NAME

    def body(self) -> bytes:
        """Return the whole list; the same object each time."""
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
        """Encode some paths; say whether all are."""
        end = min(self._position + NAMES_AT_ONCE, len(self._paths))
        for path in self._paths[self._position : end]:
            if path.startswith(self._prefix):
                self._found += 1
                write_ustring(self._writer, path)
        self._position = end
        return end == len(self._paths)

    def body(self) -> bytes:
        """Return the number of paths, and the paths."""
        count = BytesWriter()
        write_i32_be(count, self._found)
        count.write(self._writer.getvalue())
        return count.getvalue()


@final
class EntriesOfAcl(EncodingSteps):
    """The entries of a long ACL, and the Stat of its znode.

    Lists in existing data may be longer than a client may write.
    """

    def __init__(self, acl: AclList, hides_digests: bool, stat: bytes) -> None:
        super().__init__(stat)
        self._acl = acl
        self._hides_digests = hides_digests
        self._position = 0
        self._writer = BytesWriter()
        write_i32_be(self._writer, len(acl))

    def step(self) -> bool:
        """Encode some entries; say whether all are."""
        end = self._position + ENTRIES_AT_ONCE
        entries = self._acl[self._position : end]
        if self._hides_digests:
            entries = access.hide_digests(entries)
        write_acl_entries(self._writer, entries)
        self._position = end
        return end >= len(self._acl)

    def body(self) -> bytes:
        """Return all entries."""
        return self._writer.getvalue()


@final
class ReadPart:
    """A part of a multiRead: its op code, and its error, its body, or the names that make one."""

    __slots__ = ("body", "err", "names", "op_code")

    def __init__(self, op_code: int) -> None:
        self.op_code = op_code
        self.err = 0
        self.body = b""
        self.names: NamesOfChildren | None = None


@final
class MultiReadReply(EncodingSteps):
    """The reply to a multiRead.

    A step raises RequestError (BAD_ARGUMENTS) as soon as the results have more than
    ``most_bytes``; 0 is no limit. Source of what counts: ``FinalRequestProcessor`` of 3.9.7.
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
        """Encode some parts; say whether all are. Nothing is written before all are counted."""
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
        """Add up what Apache counts: the bytes of the data, and of each name and its length."""
        size_bytes = len(part.body)
        size_bytes -= _BYTES_BESIDE_DATA if part.op_code == _GET_DATA else _BYTES_BESIDE_A_NAME
        self._size_bytes += size_bytes
        self._check(self._size_bytes)

    def _check(self, size_bytes: int) -> None:
        if 0 < self._most_bytes < size_bytes:
            raise RequestError(ErrorCode.BAD_ARGUMENTS)

    def body(self) -> bytes:
        """Return all parts."""
        return self._writer.getvalue()


def long_directory(tree: Tree, path: str) -> Directory | None:
    """Return the directory of a path whose names take several steps to encode; None: at once."""
    directory = tree.directories.get(path)
    if directory is None or directory.listing is not None:
        return None
    return directory if len(directory.entries) > NAMES_AT_ONCE else None
