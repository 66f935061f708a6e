"""What a client reads in replies: one value for each kind of result.

Source: ``zookeeper.jute``, module ``org.apache.zookeeper.proto``.
"""

from typing import NamedTuple, final

from mypy_extensions import mypyc_attr

from zoolet.model.acl import AclList
from zoolet.model.codes import EventType
from zoolet.model.record import Record
from zoolet.model.stat import Stat


class ZnodeData(NamedTuple):
    """The result of getData and of reconfig. ``data`` is None if the znode has null data."""

    data: bytes | None
    stat: Stat


class Children(NamedTuple):
    """The result of getChildren2: the names of the children, in no order, and the parent's Stat."""

    names: tuple[str, ...]
    stat: Stat


class AclOf(NamedTuple):
    """The result of getACL."""

    acl: AclList
    stat: Stat


class Created(NamedTuple):
    """The result of create2, createContainer and createTTL.

    ``path`` is the path of the znode, with its sequence number.
    """

    path: str
    stat: Stat


class Event(NamedTuple):
    """A watch event.

    ``zxid`` is the zxid of the change; -1 if the server does not send it, as servers before 3.9.
    """

    type: EventType
    path: str
    zxid: int


@final
@mypyc_attr(acyclic=True)
class Granted(Record):
    """The reply to a connect request.

    If the session has expired, ``timeout_ms`` is 0 or less, the session id is 0, and the password
    is 16 zeros. ``is_read_only`` says whether the server serves only reads.
    """

    __slots__ = ("timeout_ms", "session_id", "password", "is_read_only")

    def __init__(
        self, timeout_ms: int, session_id: int, password: bytes, *, is_read_only: bool
    ) -> None:
        self.timeout_ms = timeout_ms
        self.session_id = session_id
        self.password = password
        self.is_read_only = is_read_only


@final
@mypyc_attr(acyclic=True)
class Refused(Record):
    """The result of an operation of a multi or multiRead that failed.

    ``code`` is the number of an ErrorCode. One failed operation fails the whole multi: the code of
    the operations before it is OK, and of those after it RUNTIME_INCONSISTENCY.
    """

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code


class Visited(NamedTuple):
    """A znode that a walk over a subtree has read.

    ``names`` are the names of its children, in order. ``found`` is None if the walk does not read
    data.
    """

    path: str
    names: tuple[str, ...]
    found: ZnodeData | None = None
