"""Makes the calls of a client: each method checks its arguments and encodes one request.

Invariants: the xids of the calls rise, and no call is made with arguments that cannot be sent. All
paths of the methods are relative to the chroot. This module imports ``wire``, ``model`` and the
protocol's calls.
"""

from collections.abc import Sequence
from typing import Any, Final, final

from zoolet.big_endian.buffers import BytesWriter
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.watches import CHILD, DATA, PERSISTENT, RECURSIVE, OnNotice, Watcher
from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, AclList, Id
from zoolet.model.codes import AddWatchMode, CreateMode, OpCode, WatcherType
from zoolet.model.owner_kinds import MAX_TTL_MS
from zoolet.model.requests import Check, Create, Delete, PartRequest, SetData
from zoolet.model.results import AclOf, Children, Created, ZnodeData
from zoolet.model.stat import Stat
from zoolet.wire.request_frames import (
    write_add_watch,
    write_bare,
    write_create,
    write_delete,
    write_multi,
    write_multi_read,
    write_path,
    write_path_watch,
    write_reconfig,
    write_set_acl,
    write_set_data,
    write_watches_of,
)

_GET_DATA: Final = OpCode.GET_DATA.value
_EXISTS: Final = OpCode.EXISTS.value
_GET_CHILDREN: Final = OpCode.GET_CHILDREN.value
_GET_CHILDREN2: Final = OpCode.GET_CHILDREN2.value
_SET_DATA: Final = OpCode.SET_DATA.value
_CREATE2: Final = OpCode.CREATE2.value
_CREATE_CONTAINER: Final = OpCode.CREATE_CONTAINER.value
_CREATE_TTL: Final = OpCode.CREATE_TTL.value
_DELETE: Final = OpCode.DELETE.value
_CHECK: Final = OpCode.CHECK.value
_MAX_XID: Final = (1 << 31) - 1


@final
class RequestMaker:
    """Makes the calls of one client, which have successive xids."""

    def __init__(self, chroot: str = "") -> None:
        """Make calls whose paths are below ``chroot``; "" is no chroot."""
        self._chroot = chroot
        self._xid = 0
        self._valid_parent = ""

    def get(self, path: str, watch: OnNotice | None = None) -> Call[ZnodeData]:
        """Return the call of getData."""
        full = self._full(path)
        return self._reading(_GET_DATA, path, full, _watcher(full, DATA, path, watch))

    def exists(self, path: str, watch: OnNotice | None = None) -> Call[Stat | None]:
        """Return the call of exists; its result is None if the znode does not exist."""
        full = self._full(path)
        return self._reading(_EXISTS, path, full, _watcher(full, DATA, path, watch))

    def children(self, path: str, watch: OnNotice | None = None) -> Call[Children]:
        """Return the call of getChildren2."""
        full = self._full(path)
        return self._reading(_GET_CHILDREN2, path, full, _watcher(full, CHILD, path, watch))

    def set(self, path: str, data: bytes | None, version: int) -> Call[Stat]:
        """Return the call of setData."""
        full = self._full(path)
        _check_data(data)
        writer, xid = BytesWriter(), self._next_xid()
        write_set_data(writer, xid, full, data, version)
        return Call(_SET_DATA, xid, path, writer.getvalue())

    def create(
        self, path: str, data: bytes | None, mode: CreateMode, acl: AclList, ttl_ms: int
    ) -> Call[Created]:
        """Return the call of create2, createContainer or createTTL."""
        op_code = _op_code_of(mode, ttl_ms)
        full = self._full(path, is_sequential=mode.is_sequential)
        _check_data(data)
        writer, xid = BytesWriter(), self._next_xid()
        write_create(writer, xid, op_code, full, data, acl, mode.value, ttl_ms)
        return Call(op_code, xid, path, writer.getvalue())

    def delete(self, path: str, version: int) -> Call[None]:
        """Return the call of delete."""
        full = self._full(path)
        writer, xid = BytesWriter(), self._next_xid()
        write_delete(writer, xid, full, version)
        return Call(_DELETE, xid, path, writer.getvalue())

    def get_acl(self, path: str) -> Call[AclOf]:
        """Return the call of getACL."""
        return self._with_path(OpCode.GET_ACL.value, path)

    def set_acl(self, path: str, acl: AclList, version: int) -> Call[Stat]:
        """Return the call of setACL."""
        full = self._full(path)
        writer, xid = BytesWriter(), self._next_xid()
        write_set_acl(writer, xid, full, acl, version)
        return Call(OpCode.SET_ACL.value, xid, path, writer.getvalue())

    def sync(self, path: str) -> Call[str]:
        """Return the call of sync."""
        return self._with_path(OpCode.SYNC.value, path)

    def ephemerals(self, prefix: str) -> Call[tuple[str, ...]]:
        """Return the call of getEphemerals."""
        return self._with_path(OpCode.GET_EPHEMERALS.value, prefix)

    def count_descendants(self, path: str) -> Call[int]:
        """Return the call of getAllChildrenNumber."""
        return self._with_path(OpCode.GET_ALL_CHILDREN_NUMBER.value, path)

    def who_am_i(self) -> Call[tuple[Id, ...]]:
        """Return the call of whoAmI."""
        return self._bare(OpCode.WHO_AM_I.value)

    def close(self) -> Call[None]:
        """Return the call of closeSession."""
        return self._bare(OpCode.CLOSE_SESSION.value)

    def login(self) -> Call[None]:
        """Return the call that ends with the reply to a login, which the session itself encodes."""
        return Call(OpCode.AUTH.value, 0, "", b"")

    def config(self) -> Call[ZnodeData]:
        """Return the call that reads the configuration of the ensemble, also with a chroot."""
        return self._reading(_GET_DATA, paths.CONFIG, paths.CONFIG, None)

    def reconfig(
        self, joining: str | None, leaving: str | None, members: str | None, version: int
    ) -> Call[ZnodeData]:
        """Return the call of reconfig."""
        writer, xid = BytesWriter(), self._next_xid()
        write_reconfig(writer, xid, joining, leaving, members, version)
        return Call(OpCode.RECONFIG.value, xid, "", writer.getvalue())

    def add_watch(self, path: str, mode: AddWatchMode, watch: OnNotice) -> Call[None]:
        """Return the call of addWatch."""
        full = self._full(path)
        kind = RECURSIVE if mode is AddWatchMode.PERSISTENT_RECURSIVE else PERSISTENT
        writer, xid = BytesWriter(), self._next_xid()
        write_add_watch(writer, xid, full, mode.value)
        return Call(
            OpCode.ADD_WATCH.value, xid, path, writer.getvalue(), Watcher(full, kind, path, watch)
        )

    def check_watches(self, path: str, watcher_type: WatcherType) -> Call[None]:
        """Return the call of checkWatches."""
        return self._watches_of(OpCode.CHECK_WATCHES.value, path, watcher_type)

    def remove_watches(self, path: str, watcher_type: WatcherType) -> Call[None]:
        """Return the call of removeWatches."""
        call = self._watches_of(OpCode.REMOVE_WATCHES.value, path, watcher_type)
        call.removes = (self._full(path), watcher_type.value)
        return call

    def multi(self, operations: Sequence[tuple[int, PartRequest]]) -> Call[tuple[object, ...]]:
        """Return the call of multi; the methods ``part_...`` make its operations."""
        writer, xid = BytesWriter(), self._next_xid()
        write_multi(writer, xid, operations)
        return Call(OpCode.MULTI.value, xid, "", writer.getvalue())

    def multi_read(self, reads: Sequence[tuple[int, str]]) -> Call[tuple[object, ...]]:
        """Return the call of multiRead; `part_get` and `part_children` make its reads."""
        writer, xid = BytesWriter(), self._next_xid()
        write_multi_read(writer, xid, reads)
        return Call(OpCode.MULTI_READ.value, xid, "", writer.getvalue())

    def part_create(
        self,
        path: str,
        data: bytes | None = b"",
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: AclList = OPEN_ACL,
        ttl_ms: int = 0,
    ) -> tuple[int, PartRequest]:
        """Return the operation of a multi that creates a znode."""
        op_code = _op_code_of(mode, ttl_ms)
        full = self._full(path, is_sequential=mode.is_sequential)
        _check_data(data)
        return op_code, Create(full, data, acl, mode.value, ttl_ms=ttl_ms or -1)

    def part_set(self, path: str, data: bytes | None, version: int) -> tuple[int, PartRequest]:
        """Return the operation of a multi that sets data."""
        _check_data(data)
        return _SET_DATA, SetData(self._full(path), data, version)

    def part_delete(self, path: str, version: int) -> tuple[int, PartRequest]:
        """Return the operation of a multi that deletes a znode."""
        return _DELETE, Delete(self._full(path), version)

    def part_check(self, path: str, version: int) -> tuple[int, PartRequest]:
        """Return the operation of a multi that checks a version."""
        return _CHECK, Check(self._full(path), version)

    def part_get(self, path: str) -> tuple[int, str]:
        """Return the read of a multiRead that reads data and Stat."""
        return _GET_DATA, self._full(path)

    def part_children(self, path: str) -> tuple[int, str]:
        """Return the read of a multiRead that reads the names of children."""
        return _GET_CHILDREN, self._full(path)

    def _full(self, path: str, *, is_sequential: bool = False) -> str:
        """Return the path on the server; raises ValueError if the path is invalid."""
        # For speed: most paths have the same parent as the path before, and a plain last part.
        end = path.rfind("/")
        if path[:end] != self._valid_parent or not paths.ends_plainly(path, end + 1):
            # The server appends digits to a sequential path, which may end with a slash.
            reason = paths.reason_invalid(path + "0" if is_sequential else path)
            if reason is not None:
                raise ValueError(f"{path!r} is not a valid path: {reason}")
            self._valid_parent = path[:end]
        if self._chroot:
            return self._chroot if path == paths.ROOT else self._chroot + path
        return path

    def _next_xid(self) -> int:
        self._xid = 1 if self._xid == _MAX_XID else self._xid + 1
        return self._xid

    def _reading(self, op_code: int, path: str, full: str, watcher: Watcher | None) -> Call[Any]:
        writer, xid = BytesWriter(), self._next_xid()
        write_path_watch(writer, xid, op_code, full, watcher is not None)
        return Call(op_code, xid, path, writer.getvalue(), watcher)

    def _with_path(self, op_code: int, path: str) -> Call[Any]:
        full = self._full(path)
        writer, xid = BytesWriter(), self._next_xid()
        write_path(writer, xid, op_code, full)
        return Call(op_code, xid, path, writer.getvalue())

    def _bare(self, op_code: int) -> Call[Any]:
        writer, xid = BytesWriter(), self._next_xid()
        write_bare(writer, xid, op_code)
        return Call(op_code, xid, "", writer.getvalue())

    def _watches_of(self, op_code: int, path: str, watcher_type: WatcherType) -> Call[None]:
        full = self._full(path)
        writer, xid = BytesWriter(), self._next_xid()
        write_watches_of(writer, xid, op_code, full, watcher_type.value)
        return Call(op_code, xid, path, writer.getvalue())


def _watcher(full: str, kind: int, path: str, watch: OnNotice | None) -> Watcher | None:
    return None if watch is None else Watcher(full, kind, path, watch)


def _op_code_of(mode: CreateMode, ttl_ms: int) -> int:
    """Return the op code of a create; raises ValueError if the TTL does not fit the mode."""
    if mode.has_ttl:
        if not 1 <= ttl_ms <= MAX_TTL_MS:
            raise ValueError(f"ttl_ms must be 1 to {MAX_TTL_MS} for {mode.name}")
        return _CREATE_TTL
    if ttl_ms:
        raise ValueError(f"ttl_ms needs a mode with a TTL, not {mode.name}")
    return _CREATE_CONTAINER if mode is CreateMode.CONTAINER else _CREATE2


def _check_data(data: bytes | None) -> None:
    if data is not None and not isinstance(data, bytes):
        raise TypeError(f"data must be bytes or None, not {type(data).__name__}")
