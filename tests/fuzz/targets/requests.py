"""Bytes that a client sends to the server: each decoder, and a whole server without sockets."""

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from tests.fuzz.targets.target import Target
from tests.support.rawclient import connect_frame, framed, request_frame
from tests.support.simulated import OpenTransport, default_config
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.server.common.clock import Clock
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.scheduler import Scheduler
from zoolet.server.connections.connection import Connection
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.storage.files import DataDirectories
from zoolet.storage.recovery import recover
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.storage.txn_log import TxnLog
from zoolet.testing.servers.memory_disk import MemoryDisk
from zoolet.wire.frames import decode_connect
from zoolet.wire.jute import INT, MalformedError, Reader, pack_acl, pack_buffer, pack_ustring
from zoolet.wire.jute import pack_ustrings as packed_paths
from zoolet.wire.requests import (
    check_reconfig,
    decode_add_watch,
    decode_auth,
    decode_multi_read,
    decode_path,
    decode_path_or_null,
    decode_path_watch,
    decode_sasl,
    decode_set_watches,
    decode_set_watches2,
    decode_watches_of,
    decode_write,
)

DIRECTORY = Path("/fuzz")
_CONFIG = default_config(DIRECTORY)
_NOW_MS = 1_700_000_000_000

_READERS: tuple[Callable[[Reader], object], ...] = (
    decode_path_watch,
    decode_multi_read,
    decode_path,
    decode_path_or_null,
    decode_auth,
    decode_set_watches,
    decode_set_watches2,
    decode_add_watch,
    decode_watches_of,
    decode_sasl,
    check_reconfig,
)
_WRITES = (
    OpCode.CREATE,
    OpCode.CREATE2,
    OpCode.CREATE_CONTAINER,
    OpCode.CREATE_TTL,
    OpCode.DELETE,
    OpCode.SET_DATA,
    OpCode.SET_ACL,
    OpCode.MULTI,
)


def _create(path: str, flags: int = 0, data: bytes = b"data") -> bytes:
    return pack_ustring(path) + pack_buffer(data) + pack_acl(OPEN_ACL) + INT.pack(flags)


def _multi(*parts: tuple[int, bytes]) -> bytes:
    ops = [INT.pack(op_code) + b"\0" + INT.pack(-1) + body for op_code, body in parts]
    return b"".join(ops) + INT.pack(-1) + b"\1" + INT.pack(-1)


BODIES: dict[int, bytes] = {
    OpCode.CREATE: _create("/new"),
    OpCode.CREATE2: _create("/new", 3),
    OpCode.CREATE_CONTAINER: _create("/new", 4),
    OpCode.CREATE_TTL: _create("/new", 5) + (1000).to_bytes(8),
    OpCode.DELETE: pack_ustring("/a") + INT.pack(-1),
    OpCode.SET_DATA: pack_ustring("/a") + pack_buffer(b"new") + INT.pack(0),
    OpCode.SET_ACL: pack_ustring("/a") + pack_acl(OPEN_ACL) + INT.pack(-1),
    OpCode.MULTI: _multi(
        (OpCode.CREATE, _create("/new")),
        (OpCode.CHECK, pack_ustring("/a") + INT.pack(0)),
        (OpCode.DELETE, pack_ustring("/new") + INT.pack(-1)),
    ),
    OpCode.EXISTS: pack_ustring("/a") + b"\1",
    OpCode.GET_DATA: pack_ustring("/a") + b"\1",
    OpCode.GET_CHILDREN: pack_ustring("/") + b"\1",
    OpCode.GET_CHILDREN2: pack_ustring("/") + b"\0",
    OpCode.GET_ACL: pack_ustring("/a"),
    OpCode.SYNC: pack_ustring("/a"),
    OpCode.MULTI_READ: _multi(
        (OpCode.GET_DATA, pack_ustring("/a") + b"\0"),
        (OpCode.GET_CHILDREN, pack_ustring("/") + b"\0"),
    ),
    OpCode.SET_WATCHES: bytes(8) + 3 * packed_paths(["/a", "/b"]),
    OpCode.SET_WATCHES2: bytes(8) + 5 * packed_paths(["/a", "/b"]),
    OpCode.ADD_WATCH: pack_ustring("/a") + INT.pack(1),
    OpCode.REMOVE_WATCHES: pack_ustring("/a") + INT.pack(3),
    OpCode.CHECK_WATCHES: pack_ustring("/a") + INT.pack(1),
    OpCode.GET_EPHEMERALS: pack_ustring("/"),
    OpCode.GET_ALL_CHILDREN_NUMBER: pack_ustring("/"),
    OpCode.AUTH: INT.pack(0) + pack_ustring("digest") + pack_buffer(b"user:password"),
    OpCode.SASL: pack_buffer(b"token"),
    OpCode.PING: b"",
    OpCode.WHO_AM_I: b"",
    OpCode.CLOSE_SESSION: b"",
}


def _decode_request(data: bytes) -> None:
    """Give the bytes after the first one to the decoder that the first byte selects."""
    number = data[0] if data else 0
    reader = Reader(data[1:])
    if number < len(_READERS):
        _READERS[number](reader)
    else:
        decode_write(_WRITES[(number - len(_READERS)) % len(_WRITES)], reader)


class _Loop:
    """The event loop's queue, and the thread that writes the log, in one."""

    def __init__(self) -> None:
        self._ready: deque[Callable[[], None]] = deque()

    def call_soon(self, call: Callable[..., None], *args: object) -> None:
        self._ready.append(lambda: call(*args))

    def submit(self, call: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        def run() -> None:
            call()
            done(None)

        self._ready.append(run)

    def run(self) -> None:
        while self._ready:
            self._ready.popleft()()


class _Client(OpenTransport):
    """A client of the server, as a transport."""

    def __init__(self, processor: RequestProcessor) -> None:
        self.connection = Connection(processor)
        self.connection.connection_made(cast("Any", self))

    def send(self, data: bytes) -> None:
        if self.connection.is_open:
            self.connection.data_received(data)

    def write(self, data: bytes) -> None:
        del data

    def close(self) -> None:
        if self.connection.is_open:
            self.connection.is_open = False
            self.connection.connection_lost(None)

    def pause_reading(self) -> None:
        """Go on: the bytes are there already."""

    resume_reading = pause_reading
    abort = close


def _raise(failure: Exception) -> None:
    raise failure


def _serve(data: bytes) -> None:
    """Give the bytes to a server that has two znodes, then check that it still serves.

    Every exception is a defect: the real server ends after one.
    """
    directories = DataDirectories.of(DIRECTORY)
    disk = MemoryDisk()
    directories.prepare(disk)
    machine = recover(disk, directories, 1000).machine
    write_snapshot(disk, directories.snapshots, Image.of(machine))
    loop = _Loop()
    scheduler = Scheduler(loop.call_soon)
    commit = GroupCommit(
        TxnLog(disk, directories.logs, 1 << 12),
        cast("DiskThread", loop),
        cast("asyncio.AbstractEventLoop", loop),
        machine.zxid,
        _raise,
        lambda _batch: None,
        _CONFIG.rules.max_txn_bytes,
        scheduler,
    )
    clock = Clock(lambda: _NOW_MS, lambda: _NOW_MS)
    processor = RequestProcessor(_CONFIG, machine, commit, clock, 77, scheduler, _raise)
    attacker = _Client(processor)
    if data[:1] == b"\0":  # a first frame follows; otherwise the session exists already
        attacker.send(data)
    else:
        attacker.send(connect_frame())
        attacker.send(request_frame(1, OpCode.CREATE, _create("/a")))
        loop.run()
        attacker.send(data[1:])
    loop.run()
    zxid = machine.zxid
    bystander = _Client(processor)
    bystander.send(connect_frame())
    bystander.send(request_frame(1, OpCode.CREATE, _create("/bystander-of-the-fuzzer")))
    loop.run()
    assert bystander.connection.is_open
    assert machine.zxid > zxid, "the next client has no session"
    again = recover(disk, directories, 1000).machine
    assert again.zxid == machine.zxid
    assert again.tree.all_records() == machine.tree.all_records()


_READS = (
    OpCode.GET_DATA,
    OpCode.MULTI_READ,
    OpCode.GET_ACL,
    OpCode.SYNC,
    OpCode.AUTH,
    OpCode.SET_WATCHES,
    OpCode.SET_WATCHES2,
    OpCode.ADD_WATCH,
    OpCode.REMOVE_WATCHES,
    OpCode.SASL,
)
"""A request for each of the readers, in their order; none for reconfig."""

_SEEDS = tuple(
    bytes([number]) + BODIES[op_code]
    for number, op_code in enumerate((*_READS, -1, *_WRITES))
    if op_code in BODIES
)
_FRAMES = tuple(b"\1" + request_frame(2, op_code, body) for op_code, body in BODIES.items())

TARGETS = {
    "connect": Target(
        lambda data: decode_connect(data, 0, len(data)), (MalformedError,), (connect_frame()[4:],)
    ),
    "request": Target(_decode_request, (MalformedError,), _SEEDS),
    "server": Target(
        _serve,
        (),
        (
            *_FRAMES,
            connect_frame(),
            b"\1" + b"".join(frame[1:] for frame in _FRAMES),
            b"\1" + framed(b""),
            b"\1ruok",
        ),
    ),
}
