"""Several operations in one request: `Multi` for writes, `MultiRead` for reads.

A program builds them without a client, and gives them to the methods ``multi`` and ``multi_read``.
The methods check their arguments when they are called. This module imports ``model``.
"""

from typing import Final, NamedTuple, Self, final

from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.model.codes import CreateMode, OpCode
from zoolet.model.owner_kinds import MAX_TTL_MS

_CREATE2: Final = OpCode.CREATE2.value
_CREATE_CONTAINER: Final = OpCode.CREATE_CONTAINER.value
_CREATE_TTL: Final = OpCode.CREATE_TTL.value
_SET_DATA: Final = OpCode.SET_DATA.value
_DELETE: Final = OpCode.DELETE.value
_CHECK: Final = OpCode.CHECK.value
_GET_DATA: Final = OpCode.GET_DATA.value
_GET_CHILDREN: Final = OpCode.GET_CHILDREN.value


class Part(NamedTuple):
    """One operation of a multi; the fields that it does not need have their defaults."""

    op_code: int
    path: str
    data: bytes | None = None
    version: int = -1
    flags: int = 0
    acl: AclList = OPEN_ACL
    ttl_ms: int = 0


@final
class Multi:
    """Writes of which the server applies all or none: ``Multi().create("/a").set("/b", b"x")``.

    Attributes:
        parts: the operations, in order.
    """

    def __init__(self) -> None:
        """Begin without operations."""
        self.parts: list[Part] = []

    def __len__(self) -> int:
        return len(self.parts)

    def create(
        self,
        path: str,
        data: bytes | None = b"",
        *,
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: AclList = OPEN_ACL,
        ttl_ms: int = 0,
    ) -> Self:
        """Add the creation of a znode; its result is the path of the znode.

        Raises:
            ValueError: the path is invalid, or ``ttl_ms`` does not fit the mode.
            TypeError: the data are not bytes.
        """
        check_path(path, is_sequential=mode.is_sequential)
        check_data(data)
        op_code = op_code_of(mode, ttl_ms)
        self.parts.append(Part(op_code, path, data, -1, mode.value, acl, ttl_ms))
        return self

    def set(self, path: str, data: bytes | None, *, version: int = -1) -> Self:
        """Add the change of a znode's data; its result is the new Stat.

        Raises:
            ValueError: the path is invalid.
            TypeError: the data are not bytes.
        """
        check_path(path)
        check_data(data)
        self.parts.append(Part(_SET_DATA, path, data, version))
        return self

    def delete(self, path: str, *, version: int = -1) -> Self:
        """Add the deletion of a znode; its result is None.

        Raises:
            ValueError: the path is invalid.
        """
        check_path(path)
        self.parts.append(Part(_DELETE, path, None, version))
        return self

    def check(self, path: str, *, version: int = -1) -> Self:
        """Add the check that a znode exists and has a version; its result is None.

        Raises:
            ValueError: the path is invalid.
        """
        check_path(path)
        self.parts.append(Part(_CHECK, path, None, version))
        return self


@final
class MultiRead:
    """Reads of one state of the server: ``MultiRead().get("/a").children("/b")``.

    This needs ZooKeeper 3.6 or later.

    Attributes:
        parts: the op code and the path of each read, in order.
    """

    def __init__(self) -> None:
        """Begin without reads."""
        self.parts: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self.parts)

    def get(self, path: str) -> Self:
        """Add the read of a znode's data and Stat; its result is a `ZnodeData`.

        Raises:
            ValueError: the path is invalid.
        """
        check_path(path)
        self.parts.append((_GET_DATA, path))
        return self

    def children(self, path: str) -> Self:
        """Add the read of the names of children; its result is a tuple of names.

        Raises:
            ValueError: the path is invalid.
        """
        check_path(path)
        self.parts.append((_GET_CHILDREN, path))
        return self


def check_path(path: str, *, is_sequential: bool = False) -> None:
    """Raise ValueError if a path is invalid.

    The server appends digits to a sequential path, which may end with a slash.
    """
    reason = paths.reason_invalid(path + "0" if is_sequential else path)
    if reason is not None:
        raise ValueError(f"{path!r} is not a valid path: {reason}")


def check_data(data: bytes | None) -> None:
    """Raise TypeError if data are neither bytes nor None."""
    if data is not None and not isinstance(data, bytes):
        raise TypeError(f"data must be bytes or None, not {type(data).__name__}")


def op_code_of(mode: CreateMode, ttl_ms: int) -> int:
    """Return the op code of a create; raise ValueError if the TTL does not fit the mode."""
    if mode.has_ttl:
        if not 1 <= ttl_ms <= MAX_TTL_MS:
            raise ValueError(f"ttl_ms must be 1 to {MAX_TTL_MS} for {mode.name}")
        return _CREATE_TTL
    if ttl_ms:
        raise ValueError(f"ttl_ms needs a mode with a TTL, not {mode.name}")
    return _CREATE_CONTAINER if mode is CreateMode.CONTAINER else _CREATE2
