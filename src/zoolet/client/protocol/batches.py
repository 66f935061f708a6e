"""Several operations in one request: `Multi` for writes, `MultiRead` for reads.

A program builds them without a client, and gives them to the methods ``multi`` and ``multi_read``.
The methods check their arguments when they are called. This module imports ``model``.
"""

from typing import Final, Self, final

from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.model.codes import CreateMode, OpCode
from zoolet.model.owner_kinds import MAX_TTL_MS
from zoolet.model.requests import Check, Create, Delete, PartRequest, SetData

_NO_FLAGS: Final = CreateMode.PERSISTENT.value
_CREATE2: Final = OpCode.CREATE2.value
_CREATE_CONTAINER: Final = OpCode.CREATE_CONTAINER.value
_CREATE_TTL: Final = OpCode.CREATE_TTL.value
_SET_DATA: Final = OpCode.SET_DATA.value
_DELETE: Final = OpCode.DELETE.value
_CHECK: Final = OpCode.CHECK.value
_GET_DATA: Final = OpCode.GET_DATA.value
_GET_CHILDREN: Final = OpCode.GET_CHILDREN.value


@final
class PathChecks:
    """Checks the paths of successive requests, most of which have the same parent."""

    __slots__ = ("_valid_parent",)

    def __init__(self) -> None:
        self._valid_parent = ""

    def check(self, path: str, is_sequential: bool = False) -> None:
        """Raise ValueError if a path is invalid."""
        end = path.rfind("/")
        if end == -1 or path[:end] != self._valid_parent or not paths.ends_plainly(path, end + 1):
            check_path(path, is_sequential=is_sequential)
            self._valid_parent = path[:end]


@final
class Multi:
    """Writes of which the server applies all or none: ``Multi().create("/a").set("/b", b"x")``.

    Attributes:
        parts: the operations with their op codes, in order; the paths are without the chroot.
    """

    def __init__(self) -> None:
        """Begin without operations."""
        self.parts: list[tuple[int, PartRequest]] = []
        self._paths = PathChecks()

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
        op_code, flags, is_sequential = kind_of_create(mode, ttl_ms)
        self._paths.check(path, is_sequential)
        check_data(data)
        self.parts.append((op_code, Create(path, data, acl, flags, ttl_ms=ttl_ms or -1)))
        return self

    def set(self, path: str, data: bytes | None, *, version: int = -1) -> Self:
        """Add the change of a znode's data; its result is the new Stat.

        Raises:
            ValueError: the path is invalid.
            TypeError: the data are not bytes.
        """
        self._paths.check(path)
        check_data(data)
        self.parts.append((_SET_DATA, SetData(path, data, version)))
        return self

    def delete(self, path: str, *, version: int = -1) -> Self:
        """Add the deletion of a znode; its result is None.

        Raises:
            ValueError: the path is invalid.
        """
        self._paths.check(path)
        self.parts.append((_DELETE, Delete(path, version)))
        return self

    def check(self, path: str, *, version: int = -1) -> Self:
        """Add the check that a znode exists and has a version; its result is None.

        Raises:
            ValueError: the path is invalid.
        """
        self._paths.check(path)
        self.parts.append((_CHECK, Check(path, version)))
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


def kind_of_create(mode: CreateMode, ttl_ms: int) -> tuple[int, int, bool]:
    """Return the op code and the flags of a create, and whether the path is sequential.

    Raises ValueError if the TTL does not fit the mode.
    """
    if mode is CreateMode.PERSISTENT and not ttl_ms:  # for speed
        return _CREATE2, _NO_FLAGS, False
    op_code = _CREATE2
    if mode.has_ttl:
        if not 1 <= ttl_ms <= MAX_TTL_MS:
            raise ValueError(f"ttl_ms must be 1 to {MAX_TTL_MS} for {mode.name}")
        op_code = _CREATE_TTL
    elif ttl_ms:
        raise ValueError(f"ttl_ms needs a mode with a TTL, not {mode.name}")
    elif mode is CreateMode.CONTAINER:
        op_code = _CREATE_CONTAINER
    return op_code, mode.value, mode.is_sequential
