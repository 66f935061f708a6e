"""For each allocation that a request makes: if it fails, nothing acknowledged is lost.

A child process has a server's parts on a real disk. One allocation of one request fails there: the
Nth, for each N until the request succeeds. Compiled code may end the process then, which is a
correct end. The parent recovers the data directory and looks for all that was acknowledged.
"""

import asyncio
import faulthandler
import os
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tests.simulation.memory import testcapi
from tests.support.rawclient import connect_frame, request_frame
from tests.support.simulated import OpenTransport, default_config
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.server.common.clock import SYSTEM_CLOCK
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.common.scheduler import Scheduler
from zoolet.server.connections.connection import Connection
from zoolet.server.pipeline.group_commit import GroupCommit
from zoolet.server.pipeline.processor import RequestProcessor
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.disk import Disk
from zoolet.storage.files import DataDirectories
from zoolet.storage.recovery import recover
from zoolet.storage.snapshots import Image, write_snapshot
from zoolet.storage.txn_log import TxnLog
from zoolet.testing.received_requests.frames import REPLY_HEADER, find_frames
from zoolet.wire.jute import INT, pack_acl, pack_buffer, pack_ustring

MOST_ALLOCATIONS = 2000
SUCCESSES = 5
"""So often in a row the request has to succeed: then all its allocations have failed once."""

_CREATE_BODY = pack_buffer(b"x" * 3000) + pack_acl(OPEN_ACL)


def _create(path: str, flags: int = 0) -> bytes:
    return pack_ustring(path) + _CREATE_BODY + INT.pack(flags)


def _multi(*parts: tuple[int, bytes]) -> bytes:
    ops = [INT.pack(op_code) + b"\0" + INT.pack(-1) + body for op_code, body in parts]
    return b"".join(ops) + INT.pack(-1) + b"\1" + INT.pack(-1)


REQUESTS: dict[str, tuple[int, bytes]] = {
    "create": (OpCode.CREATE, _create("/new")),
    "ephemeral": (OpCode.CREATE2, _create("/new", 1)),
    "sequential": (OpCode.CREATE, _create("/new", 2)),
    "set": (OpCode.SET_DATA, pack_ustring("/before") + pack_buffer(b"new") + INT.pack(-1)),
    "set_acl": (OpCode.SET_ACL, pack_ustring("/before") + pack_acl(OPEN_ACL) + INT.pack(-1)),
    "delete": (OpCode.DELETE, pack_ustring("/before") + INT.pack(-1)),
    "multi": (
        OpCode.MULTI,
        _multi((OpCode.CREATE, _create("/new")), (OpCode.CREATE, _create("/new/below"))),
    ),
    "close": (OpCode.CLOSE_SESSION, b""),
    "watching": (OpCode.GET_DATA, pack_ustring("/before") + b"\1"),
}


class _Loop:
    """The event loop's queue, and the thread that writes the log, in one."""

    def __init__(self) -> None:
        self.ready: deque[Callable[[], None]] = deque()

    def call_soon(self, call: Callable[..., None], *args: object) -> None:
        self.ready.append(lambda: call(*args))

    def submit(self, call: Callable[[], None], done: Callable[[Exception | None], None]) -> None:
        def run() -> None:
            call()
            done(None)

        self.ready.append(run)


class _Parts(OpenTransport):
    """A server's parts on a directory, and one client of it."""

    def __init__(self, directory: Path) -> None:
        config = default_config(directory)
        directories = DataDirectories.of(directory)
        disk = Disk()
        directories.prepare(disk)
        machine = recover(disk, directories, 1000).machine
        write_snapshot(disk, directories.snapshots, Image.of(machine))
        self.loop = _Loop()
        self.has_failed = False
        self.received = b""
        scheduler = Scheduler(self.loop.call_soon)
        commit = GroupCommit(
            TxnLog(disk, directories.logs, 1 << 16),
            cast("DiskThread", self.loop),
            cast("asyncio.AbstractEventLoop", self.loop),
            machine.zxid,
            self._fail,
            lambda _batch: None,
            config.rules.max_txn_bytes,
            scheduler,
        )
        processor = RequestProcessor(
            config, machine, commit, SYSTEM_CLOCK, 77, scheduler, self._fail
        )
        self.connection = Connection(processor)
        self.connection.connection_made(cast("Any", self))
        self.send(connect_frame())
        self.request(OpCode.CREATE, _create("/before"))
        self.request(OpCode.CREATE, _create("/mine", 1))
        self.received = b""

    def _fail(self, _failure: Exception) -> None:
        self.has_failed = True

    def request(self, op_code: int, body: bytes) -> None:
        self.send(request_frame(1, op_code, body))

    def send(self, frame: bytes) -> None:
        self.connection.data_received(frame)
        self.run()

    def run(self) -> None:
        while self.loop.ready and not self.has_failed:
            self.loop.ready.popleft()()

    def codes(self) -> list[int]:
        """Return the error codes of all replies that came."""
        received = self.received
        bounds = find_frames(received).bounds
        return [REPLY_HEADER.unpack_from(received, start)[2] for start, _ in bounds]

    # --- As a transport

    def write(self, data: bytes) -> None:
        self.received += data

    def close(self) -> None:
        self.connection.is_open = False

    abort = pause_reading = resume_reading = close


def _child(directory: Path, number: int, op_code: int, body: bytes, report: int) -> None:
    """Let an allocation fail in one request; report which requests were acknowledged."""
    parts = _Parts(directory)
    frame = request_frame(1, op_code, body)
    data_received = parts.connection.data_received
    testcapi.set_nomemory(number, number + 1)
    try:
        data_received(frame)
    except MemoryError:
        os._exit(1)  # the loop's handler ends the server
    finally:
        testcapi.remove_mem_hooks()
    parts.run()
    if parts.codes() == [0]:
        os.write(report, b"a")
    parts.received = b""
    if parts.connection.is_open and not parts.has_failed and op_code != OpCode.CLOSE_SESSION:
        parts.request(OpCode.CREATE, _create("/behind"))
        if parts.codes() == [0]:
            os.write(report, b"b")
    os._exit(0)


def _run_child(directory: Path, number: int, op_code: int, body: bytes) -> tuple[bytes, int]:
    """Return what the child reported, and its wait status."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            faulthandler.disable()  # a fault of the child is a result, not an error
            signal.alarm(30)
            _child(directory, number, op_code, body, writing)
        finally:
            os._exit(3)
    os.close(writing)
    reported = b""
    while more := os.read(reading, 16):
        reported += more
    os.close(reading)
    return reported, os.waitpid(pid, 0)[1]


def _check(name: str, machine: StateMachine, reported: bytes) -> None:
    """Check that all that was acknowledged is there, after a start."""
    records = machine.tree.records
    if b"b" in reported:
        assert "/behind" in records
    if b"a" not in reported:
        return
    if name in {"create", "multi"}:
        assert "/new" in records
    if name == "multi":
        assert "/new/below" in records
    if name == "sequential":
        assert any(path.startswith("/new") for path in records)
    if name == "set":
        assert b"new" in records["/before"][:8]
    if name == "delete":
        assert "/before" not in records
    if name == "close":
        assert "/mine" not in records


@pytest.mark.skipif(testcapi is None, reason="this Python has no _testcapi: no allocation can fail")
@pytest.mark.parametrize("name", REQUESTS)
def test_no_failed_allocation_loses_what_was_acknowledged(name: str, tmp_path: Path) -> None:
    op_code, body = REQUESTS[name]
    in_a_row = failures = 0
    for number in range(MOST_ALLOCATIONS):
        directory = tmp_path / str(number)
        directory.mkdir()
        reported, status = _run_child(directory, number, op_code, body)
        assert os.waitstatus_to_exitcode(status) not in {3, -signal.SIGALRM}, number
        recovery = recover(Disk(), DataDirectories.of(directory), 1000)
        _check(name, recovery.machine, reported)
        in_a_row = in_a_row + 1 if b"a" in reported and status == 0 else 0
        failures += in_a_row == 0
        if in_a_row == SUCCESSES:
            break
    assert in_a_row == SUCCESSES, "the request never succeeds"
    assert failures, "no allocation failed"
