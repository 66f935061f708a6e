"""The client's half: reads the lists at the beginning of a long reply while the reply arrives.

A list of a million children would otherwise be read in one long step, in which a program with an
event loop does nothing else. For any bytes, the methods return or raise MalformedError.
"""

from typing import Final, final

from zoolet.model.codes import OpCode
from zoolet.model.results import Children, Refused
from zoolet.wire.jute import MalformedError, Reader
from zoolet.wire.multi_headers import next_in_multi
from zoolet.wire.reply_bodies import ReadPartResult, read_count, read_multi_read, read_stat

_GET_CHILDREN: Final = OpCode.GET_CHILDREN.value
_GET_CHILDREN2: Final = OpCode.GET_CHILDREN2.value
_MULTI_READ: Final = OpCode.MULTI_READ.value
_ERROR: Final = OpCode.ERROR.value
_COUNT_BYTES: Final = 4
_PART_BYTES: Final = 13
"""The header of a part of a multiRead, and the count of a list or the code of an error."""


def begins_with_lists(op_code: int) -> bool:
    """Return whether the reply to a request may begin with lists of names."""
    return op_code in (_GET_CHILDREN2, _MULTI_READ)


@final
class ListsAhead:
    """The lists at the beginning of the reply to getChildren2 or multiRead.

    Attributes:
        is_over: whether something else follows, which must be read when the reply is complete.
    """

    def __init__(self, op_code: int) -> None:
        self.is_over = False
        self._is_multi = op_code == _MULTI_READ
        self._lists: list[ReadPartResult] = []
        self._last: tuple[str, ...] = ()
        self._names: list[str] = []
        self._names_left = 0

    def read(self, reader: Reader, missing_bytes: int) -> None:
        """Read what is there in whole.

        Args:
            reader: the bytes of the reply that are there and are not read yet; its position moves
                behind the bytes that were read.
            missing_bytes: the number of bytes of the reply that follow later.
        """
        while not self.is_over:
            if not self._names_left and not self._begin_list(reader, missing_bytes):
                return
            if self._names_left:
                self._read_names(reader, missing_bytes)
                if self._names_left:
                    return
                self._end_list()

    def _begin_list(self, reader: Reader, missing_bytes: int) -> bool:
        """Read what is before the names of a list; return whether it is there."""
        if reader.remaining < (_PART_BYTES if self._is_multi else _COUNT_BYTES):
            return False
        if self._is_multi:
            start = reader.position
            op_code = next_in_multi(reader)
            if op_code == _ERROR:
                self._lists.append(Refused(reader.read_int()))
                return True
            if op_code != _GET_CHILDREN:
                reader.position = start
                self.is_over = True
                return True
        self._names_left = read_count(reader, missing_bytes)
        if not self._names_left:
            self._end_list()
        return True

    def _read_names(self, reader: Reader, missing_bytes: int) -> None:
        names, left = self._names, self._names_left
        start = reader.position
        try:
            while left:
                names.append(reader.read_ustring())
                start = reader.position
                left -= 1
        except MalformedError:
            reader.position = start
            if not _is_incomplete(reader, missing_bytes):
                raise
        self._names_left = left

    def _end_list(self) -> None:
        self._last = tuple(self._names)
        self._lists.append(self._last)
        self._names = []
        self.is_over = not self._is_multi

    def children(self, reader: Reader) -> Children:
        """Return the result of getChildren2; ``reader`` has the rest of the complete reply."""
        return Children(self._last, read_stat(reader))

    def parts(self, reader: Reader) -> tuple[ReadPartResult, ...]:
        """Return the results of multiRead; ``reader`` has the rest of the complete reply."""
        return (*self._lists, *read_multi_read(reader))


def _is_incomplete(reader: Reader, missing_bytes: int) -> bool:
    """Return whether the next text is valid so far, and the missing bytes can complete it."""
    remaining = reader.remaining
    if remaining < _COUNT_BYTES:
        return missing_bytes > 0
    start = reader.position
    size_bytes = reader.read_int()
    reader.position = start
    return 0 <= size_bytes <= remaining + missing_bytes - _COUNT_BYTES
