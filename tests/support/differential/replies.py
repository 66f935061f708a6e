"""What a server answers, made comparable: only times and session ids are taken out."""

from collections.abc import Callable

from zoolet.model.codes import OpCode
from zoolet.model.stat import Stat
from zoolet.wire.jute import MalformedError, Reader

_FIRST_TIME_MS = 1_000_000_000_000
"""Any time since 2001; what is smaller is no time, but says something."""

SessionNames = dict[int, str]
"""What to call a session instead of its id."""


def describe(op_code: int, body: bytes, names: SessionNames) -> object:
    """Return the body of a reply as values; bytes where it is not what it should be."""
    if not body:
        return ()
    reader = Reader(body)
    try:
        values = _BODIES.get(op_code, _no_body)(reader, names)
    except MalformedError as error:
        return ("malformed", str(error), body)
    if reader.remaining:
        return ("too long", values, body[reader.position :])
    return values


def describe_event(body: bytes) -> object:
    """Return a watch event's type, state and path."""
    reader = Reader(body)
    return ("event", reader.read_int(), reader.read_int(), reader.read_buffer())


def _stat(reader: Reader, names: SessionNames) -> object:
    fields = Stat.unpack(reader.data, reader.position)
    reader.position += len(fields.pack())
    owner = fields.ephemeral_owner
    return fields._replace(ctime=_time(fields.ctime), mtime=_time(fields.mtime))._asdict() | {
        "ephemeral_owner": names.get(owner, owner)
    }


def _time(time_ms: int) -> int:
    return min(time_ms, _FIRST_TIME_MS)


def _no_body(reader: Reader, _names: SessionNames) -> object:
    """Return what should be nothing."""
    rest = reader.data[reader.position : reader.end]
    reader.position = reader.end
    return rest


def _data(reader: Reader, names: SessionNames) -> object:
    return reader.read_buffer(), _stat(reader, names)


def _names_of_children(reader: Reader, _names: SessionNames) -> object:
    """Apache ZooKeeper keeps children in a hash set: their order says nothing."""
    return sorted(reader.read_vector(reader.read_ustring))


def _names_and_stat(reader: Reader, names: SessionNames) -> object:
    return _names_of_children(reader, names), _stat(reader, names)


def _path(reader: Reader, _names: SessionNames) -> object:
    return reader.read_buffer()


def _path_and_stat(reader: Reader, names: SessionNames) -> object:
    return _path(reader, names), _stat(reader, names)


def _acl(reader: Reader, names: SessionNames) -> object:
    return reader.read_acl(), _stat(reader, names)


def _error(reader: Reader, _names: SessionNames) -> object:
    return reader.read_int()


def _identities(reader: Reader, _names: SessionNames) -> object:
    """Apache ZooKeeper keeps these in a hash set too."""
    return sorted(reader.read_vector(lambda: (reader.read_ustring(), reader.read_ustring())))


def _multi(reader: Reader, names: SessionNames) -> object:
    results: list[object] = []
    while True:
        op_code, done, err = reader.read_int(), reader.read_bool(), reader.read_int()
        if done:
            return results
        kind = _IN_MULTI.get(op_code)
        results.append((op_code, err, kind(reader, names) if kind else ()))


_IN_MULTI: dict[int, Callable[[Reader, SessionNames], object]] = {
    OpCode.CREATE: _path,
    OpCode.CREATE2: _path_and_stat,
    OpCode.SET_DATA: _stat,
    OpCode.ERROR: _error,
    OpCode.GET_DATA: _data,
    OpCode.GET_CHILDREN: _names_of_children,
}

_BODIES: dict[int, Callable[[Reader, SessionNames], object]] = {
    OpCode.CREATE: _path,
    OpCode.CREATE2: _path_and_stat,
    OpCode.CREATE_CONTAINER: _path_and_stat,
    OpCode.CREATE_TTL: _path_and_stat,
    OpCode.EXISTS: _stat,
    OpCode.GET_DATA: _data,
    OpCode.SET_DATA: _stat,
    OpCode.GET_ACL: _acl,
    OpCode.SET_ACL: _stat,
    OpCode.GET_CHILDREN: _names_of_children,
    OpCode.GET_CHILDREN2: _names_and_stat,
    OpCode.SYNC: _path,
    OpCode.MULTI: _multi,
    OpCode.MULTI_READ: _multi,
    OpCode.ADD_WATCH: _error,
    OpCode.GET_ALL_CHILDREN_NUMBER: _error,
    OpCode.GET_EPHEMERALS: _names_of_children,
    OpCode.WHO_AM_I: _identities,
}
