"""The end of a snapshot that a leader sends, found by the structure of its content.

The stream has no length. It has the content of a snapshot file between its header and its seal:
sessions, ACLs, znodes, and the path "/" in place of another znode. Source:
``SerializeUtils.serializeSnapshot`` and ``DataTree.serialize`` of Apache ZooKeeper.
"""

from typing import Final, final

from mypy_extensions import i64

from zoolet.big_endian.buffers import read_i32_be
from zoolet.wire.jute import MalformedError

_SESSION_COUNT: Final = 0
_ACL_COUNT: Final = 1
_ACL: Final = 2
_ACL_ENTRY: Final = 3
_ACL_ID: Final = 4
_PATH: Final = 5
_DATA: Final = 6
_COMPLETE: Final = 7

_SESSION_BYTES: Final = 12  # an id, a timeout
_ACL_HEAD_BYTES: Final = 12  # a number, the count of the entries
_ENTRY_HEAD_BYTES: Final = 8  # permissions, the length of the scheme
_LENGTH_BYTES: Final = 4
_END_BYTES: Final = 5  # the path "/" with its length
_ACL_AND_STAT_BYTES: Final = 68  # the number of the ACL, the Stat (StatPersisted)
_SLASH: Final = 0x2F


@final
class SnapshotScanner:
    """Scans the content of one snapshot as it arrives; it keeps no bytes.

    Attributes:
        is_complete: whether the scanner has passed the end of the content.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._state: i64 = _SESSION_COUNT
        self._skipped: i64 = 0
        self._acls_left: i64 = 0
        self._entries_left: i64 = 0

    def scan(self, data: bytes, position: i64) -> i64:
        """Return the position up to which the bytes from ``position`` are scanned.

        The caller passes the bytes after it again, together with the next bytes: they are an
        incomplete length, or come after the end. Raises MalformedError.
        """
        end: i64 = len(data)
        while not self.is_complete:
            if self._skipped:
                step = min(self._skipped, end - position)
                self._skipped -= step
                position += step
                if self._skipped:
                    break
            if self._state == _PATH:  # the most frequent states come first
                size_bytes = self._pass_path(data, position, end)
            elif self._state == _DATA:
                size_bytes = self._pass_data(data, position, end)
            else:
                size_bytes = self._pass_head(data, position, end)
            if size_bytes < 0:
                break
            position += size_bytes
        return position

    def _pass_path(self, data: bytes, position: i64, end: i64) -> i64:
        """Return the size of the length of a path, or of the end; -1 if bytes are missing."""
        if position + _LENGTH_BYTES > end:
            return -1
        path_bytes = _length(data, position)
        if path_bytes != 1:
            if path_bytes < 0:
                raise MalformedError("the path of a znode is null")
            self._skipped = path_bytes
            self._state = _DATA
            return _LENGTH_BYTES
        if position + _END_BYTES > end:
            return -1
        if data[position + _LENGTH_BYTES] != _SLASH:
            raise MalformedError("a path must begin with a slash")
        self._state = _COMPLETE
        self.is_complete = True
        return _END_BYTES

    def _pass_data(self, data: bytes, position: i64, end: i64) -> i64:
        if position + _LENGTH_BYTES > end:
            return -1
        self._skipped = max(0, _length(data, position)) + _ACL_AND_STAT_BYTES
        self._state = _PATH
        return _LENGTH_BYTES

    def _pass_head(self, data: bytes, position: i64, end: i64) -> i64:
        """Return the size of the fixed bytes of the next part of the sessions or ACLs."""
        state = self._state
        if state == _ACL and not self._acls_left:
            self._state = _PATH
            return 0
        if state == _ACL_ENTRY and not self._entries_left:
            self._acls_left -= 1
            self._state = _ACL
            return 0
        size_bytes: i64 = _LENGTH_BYTES
        if state == _ACL:
            size_bytes = _ACL_HEAD_BYTES
        elif state == _ACL_ENTRY:
            size_bytes = _ENTRY_HEAD_BYTES
        if position + size_bytes > end:
            return -1
        # The length or count is at the end of the fixed bytes in each state.
        length = max(0, _length(data, position + size_bytes - _LENGTH_BYTES))
        if state == _SESSION_COUNT:
            self._skipped = length * _SESSION_BYTES
            self._state = _ACL_COUNT
        elif state == _ACL_COUNT:
            self._acls_left = length
            self._state = _ACL
        elif state == _ACL:
            self._entries_left = length
            self._state = _ACL_ENTRY
        elif state == _ACL_ENTRY:
            self._skipped = length
            self._state = _ACL_ID
        else:
            self._skipped = length
            self._entries_left -= 1
            self._state = _ACL_ENTRY
        return size_bytes


def _length(data: bytes, position: i64) -> i64:
    """Return a length or count; null is -1. Raises MalformedError if it is less."""
    length = i64(read_i32_be(data, position))
    if length < -1:
        raise MalformedError(f"the snapshot has a length of {length}")
    return length
