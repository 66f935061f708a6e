"""The requests that an embedded server received: op code, paths, session, reply.

Tests use this module to look at the requests. It decodes the body of each request again, so it
does not depend on `zoolet.server`, which has decoded the body too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zoolet.model.codes import ErrorCode, OpCode
from zoolet.model.requests import Multi, MultiRead, SetWatches
from zoolet.wire.jute import MalformedError, Reader
from zoolet.wire.requests import (
    WRITE_OP_CODES,
    decode_add_watch,
    decode_auth,
    decode_multi_read,
    decode_path,
    decode_path_watch,
    decode_set_watches,
    decode_set_watches2,
    decode_watches_of,
    decode_write,
)

_READS: dict[int, Callable[[Reader], Any]] = {
    OpCode.EXISTS: decode_path_watch,
    OpCode.GET_DATA: decode_path_watch,
    OpCode.GET_CHILDREN: decode_path_watch,
    OpCode.GET_CHILDREN2: decode_path_watch,
    OpCode.GET_ACL: decode_path,
    OpCode.SYNC: decode_path,
    OpCode.GET_ALL_CHILDREN_NUMBER: decode_path,
    OpCode.GET_EPHEMERALS: decode_path,
    OpCode.MULTI_READ: decode_multi_read,
    OpCode.ADD_WATCH: decode_add_watch,
    OpCode.CHECK_WATCHES: decode_watches_of,
    OpCode.REMOVE_WATCHES: decode_watches_of,
    OpCode.SET_WATCHES: decode_set_watches,
    OpCode.SET_WATCHES2: decode_set_watches2,
    OpCode.AUTH: decode_auth,
}


@dataclass(slots=True, eq=False)
class SeenRequest:
    """One request.

    Attributes:
        session_id: the session that sent the request.
        op_code: the op code.
        xid: the xid of the request.
        record: the decoded body (``model.requests``); None if the body is empty or invalid, or if
            this module does not know the op code.
        size_bytes: the length of the request in bytes.
        at_ms: the time of arrival, in ms of the server's monotonic clock.
        err: the error code of the reply, 0 for success; None if there is no reply yet.
    """

    session_id: int
    op_code: int
    xid: int
    record: Any
    size_bytes: int = 0
    at_ms: int = 0
    err: int | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths in the request."""
        record = self.record
        if isinstance(record, SetWatches):
            return tuple(path for watches in record[1:] for path in watches)
        if isinstance(record, Multi | MultiRead):
            return tuple(part.path for _, part in record.operations)
        path = getattr(record, "path", None)
        return () if path is None else (path,)

    @property
    def asked(self) -> str:
        """The op code and the paths, as text."""
        return f"{_name_of(OpCode, self.op_code)} {', '.join(self.paths)}".rstrip()

    @property
    def what(self) -> str:
        """The session, the op code and the paths, as text."""
        return f"session 0x{self.session_id:x} {self.asked}"

    def __str__(self) -> str:
        answer = "unanswered" if self.err is None else name_of_error(self.err)
        return f"{self.what} -> {answer}"


def read_request(op_code: int, data: bytes, start: int, end: int) -> Any:
    """Return the decoded body of a request; see `SeenRequest.record`."""
    reader = Reader(data, start, end)
    try:
        if op_code in WRITE_OP_CODES:
            return decode_write(op_code, reader)
        decode = _READS.get(op_code)
        return None if decode is None else decode(reader)
    except MalformedError:
        return None


def name_of_error(err: int) -> str:
    """Return the name of an error code."""
    return _name_of(ErrorCode, err)


def _name_of(codes: type[OpCode] | type[ErrorCode], value: int) -> str:
    try:
        return codes(value).name
    except ValueError:
        return str(value)
