"""Makes the calls of a client: each method checks its arguments and encodes one request.

Invariant: no call is made with arguments that cannot be sent. Several threads may make calls at the
same time; then xids can repeat, which does no harm, because replies come in the order of the calls.
All paths of the methods are relative to the chroot. This module imports ``wire``, ``model`` and the
protocol's calls.
"""

from typing import Any, Final, final

from zoolet.big_endian.buffers import BytesWriter
from zoolet.client.errors import ZooKeeperError
from zoolet.client.protocol.batches import (
    Multi,
    MultiRead,
    PathChecks,
    check_data,
    kind_of_create,
)
from zoolet.client.protocol.calls import DROPPED, Call
from zoolet.client.protocol.watches import CHILD, DATA, PERSISTENT, RECURSIVE, OnNotice, Watcher
from zoolet.model import paths
from zoolet.model.acl import AclList, Id
from zoolet.model.codes import AddWatchMode, CreateMode, OpCode, WatcherType
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
_GET_CHILDREN2: Final = OpCode.GET_CHILDREN2.value
_SET_DATA: Final = OpCode.SET_DATA.value
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
        self._paths = PathChecks()

    def full_path(self, path: str) -> str:
        """Return the path on the server; raises ValueError if the path is invalid."""
        return self._full(path)

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
        check_data(data)
        writer, xid = BytesWriter(), self._next_xid()
        write_set_data(writer, xid, full, data, version)
        return Call(_SET_DATA, xid, path, writer.getvalue())

    def create(
        self, path: str, data: bytes | None, mode: CreateMode, acl: AclList, ttl_ms: int
    ) -> Call[Created]:
        """Return the call of create2, createContainer or createTTL."""
        op_code, flags, is_sequential = kind_of_create(mode, ttl_ms)
        full = self._full(path, is_sequential=is_sequential)
        check_data(data)
        writer, xid = BytesWriter(), self._next_xid()
        write_create(writer, xid, op_code, full, data, acl, flags, ttl_ms)
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

    def multi(self, batch: Multi) -> Call[tuple[str | Stat | None, ...]]:
        """Return the call of multi."""
        writer, xid = BytesWriter(), self._next_xid()
        write_multi(writer, xid, self._below(batch.parts) if self._chroot else batch.parts)
        call: Call[Any] = Call(OpCode.MULTI.value, xid, "", writer.getvalue())
        call.parts = [(op_code, request.path) for op_code, request in batch.parts]
        return call

    def multi_read(
        self, batch: MultiRead
    ) -> Call[tuple[ZnodeData | tuple[str, ...] | ZooKeeperError, ...]]:
        """Return the call of multiRead."""
        writer, xid = BytesWriter(), self._next_xid()
        reads = [(op_code, self._below_chroot(path)) for op_code, path in batch.parts]
        write_multi_read(writer, xid, reads)
        call: Call[Any] = Call(OpCode.MULTI_READ.value, xid, "", writer.getvalue())
        call.parts = list(batch.parts)
        return call

    def _below(self, parts: list[tuple[int, PartRequest]]) -> list[tuple[int, PartRequest]]:
        """Return the operations of a multi with their paths on the server."""
        moved: list[tuple[int, PartRequest]] = []
        for op_code, request in parts:
            other: PartRequest
            if isinstance(request, Create):
                path = self._below_chroot(request.path, CreateMode(request.flags).is_sequential)
                ttl_ms = request.ttl_ms
                other = Create(path, request.data, request.acl, request.flags, ttl_ms=ttl_ms)
            elif isinstance(request, SetData):
                other = SetData(self._below_chroot(request.path), request.data, request.version)
            elif isinstance(request, Delete):
                other = Delete(self._below_chroot(request.path), request.version)
            else:
                other = Check(self._below_chroot(request.path), request.version)
            moved.append((op_code, other))
        return moved

    def _below_chroot(self, path: str, is_sequential: bool = False) -> str:
        if self._chroot:
            # The server appends digits to a sequential path, which must stay below the chroot.
            is_root = path == paths.ROOT and not is_sequential
            return self._chroot if is_root else self._chroot + path
        return path

    def _full(self, path: str, *, is_sequential: bool = False) -> str:
        """Return the path on the server; raises ValueError if the path is invalid."""
        self._paths.check(path, is_sequential)
        return self._below_chroot(path, is_sequential) if self._chroot else path

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


def removal_of_watches(full: str) -> Call[object]:
    """Return the sent call that removes all watches on a path; nobody waits for its reply."""
    writer = BytesWriter()
    write_watches_of(writer, 0, OpCode.REMOVE_WATCHES.value, full, WatcherType.ANY.value)
    call: Call[object] = Call(OpCode.REMOVE_WATCHES.value, 0, full, writer.getvalue())
    call.phase = DROPPED
    call.size_bytes = 0  # it is not limited like the calls of the program
    return call


def _watcher(full: str, kind: int, path: str, watch: OnNotice | None) -> Watcher | None:
    return None if watch is None else Watcher(full, kind, path, watch)
