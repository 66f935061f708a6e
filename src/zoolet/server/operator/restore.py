"""Replaces the database of a running server with a snapshot that is received in pieces.

The steps: read the snapshot into a new tree, write the tree to a temporary file, hold all requests
until all acknowledged changes are on disk, rename the file to a snapshot, replace the state in
memory. Invariants:

- the old state is valid until the rename, the new state after the rename; the two never mix;
- the new state's zxid is greater than every acknowledged zxid, so zxids only increase, and a
  starting server reads the new snapshot and none of the older logs;
- the server acknowledges nothing between the rename and the replacement in memory.

A failure before the rename changes nothing. If the rename fails, the state that a starting server
would read is unknown, so the server ends. This module must not import HTTP.
"""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.operator.answers import Run
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import Disk
from zoolet.storage.files import DataDirectories, snapshot_name
from zoolet.storage.snapshot_parser import SnapshotParser
from zoolet.storage.snapshots import Image, SnapshotFile

log = logging.getLogger(__name__)

MAX_PENDING_BYTES: Final = 1 << 20
"""If more received bytes than this are not parsed yet, the server reads no more from the client."""

_US_PER_S: Final = 1_000_000


class RestoreError(Exception):
    """A restore failed and changed nothing; the message says why."""


class Target(Protocol):
    """The server whose database is replaced."""

    @property
    def last_zxid(self) -> int:
        """The zxid of the last txn."""
        ...

    def hold_requests(self, held: Callable[[], None]) -> None:
        """Hold all requests and session expiries; call ``held`` when all changes are on disk."""
        ...

    def replace_database(
        self, tree: Tree, sessions: dict[int, int], zxid: int, done: Callable[[], None]
    ) -> None:
        """Replace the state, close all connections and accept requests again; then call ``done``.

        ``sessions`` has the timeout of each session in ms.
        """
        ...

    def fail(self, message: str) -> None:
        """End the server with a message."""
        ...


class Restorer:
    """Restores one snapshot at a time."""

    def __init__(
        self,
        config: Config,
        disk: Disk,
        disk_thread: DiskThread,
        run: Run,
        target: Target,
    ) -> None:
        self.run = run
        self.target = target
        self.disk = disk
        self.disk_thread = disk_thread
        self.compression = config.storage.compression
        self.directory = DataDirectories.of(config.data_dir, config.data_log_dir).snapshots
        self.current: Restoring | None = None

    def begin(
        self, on_room: Callable[[], None], on_done: Callable[[int | RestoreError], None]
    ) -> "Restoring":
        """Return the receiver of a snapshot; raises RestoreError if another restore is in progress.

        ``on_room`` is called when the receiver accepts more, ``on_done`` with the zxid of the new
        state or with an error.
        """
        if self.current is not None:
            raise RestoreError("another restore is in progress")
        self.current = Restoring(self, on_room, on_done)
        return self.current


class Restoring:
    """A restore, from the first piece of the snapshot to the new state or an error."""

    def __init__(
        self,
        restorer: Restorer,
        on_room: Callable[[], None],
        on_done: Callable[[int | RestoreError], None],
    ) -> None:
        self._restorer = restorer
        self._target = restorer.target
        self._on_room = on_room
        self._on_done = on_done
        self._parser = SnapshotParser()
        self._parsing = self._parser.steps()
        self._is_running = False
        self._is_complete = False
        self._is_over = False
        self._content: Iterator[bytes] = iter(())
        self._file: SnapshotFile | None = None

    # --- The client's snapshot

    @property
    def has_room(self) -> bool:
        """Whether the restore accepts more of the snapshot now."""
        return self._parser.pending_bytes < MAX_PENDING_BYTES

    def take(self, data: bytes) -> None:
        """Process a piece of the snapshot."""
        if not self._is_over:
            self._parser.feed(data)
            self._read()

    def finish(self) -> None:
        """Record that the snapshot is complete: the client cannot cancel the restore any more."""
        if not self._is_over:
            self._is_complete = True
            self._parser.complete()
            self._read()

    def cancel(self) -> None:
        """Cancel the restore, unless the snapshot is complete."""
        if not self._is_complete and not self._is_over:
            self._end(RestoreError("the client disconnected before the snapshot was complete"))

    # --- Reading

    def _read(self) -> None:
        if not self._is_running:
            self._is_running = True
            self._restorer.run("restore", self._steps(), self._failed)

    def _steps(self) -> Iterator[int]:
        """Parse the received pieces; yield the cost of each step in µs."""
        while not self._is_over:
            had_room = self.has_room
            began_s = time.perf_counter()
            has_read = next(self._parsing, None)
            if has_read is None:
                yield 1
                self._begin_file()
                return
            if self.has_room and not had_room:
                self._on_room()
            if not has_read:
                break
            yield max(1, int((time.perf_counter() - began_s) * _US_PER_S))
        self._is_running = False

    # --- Writing: each step is called on the loop's thread

    def _begin_file(self) -> None:
        parser = self._parser
        # The file gets its zxid and its name later. A starting server removes temporary files.
        self._content = Image(0, parser.tree, parser.sessions).content()
        self._submit(self._open, self._write_next)

    def _write_next(self) -> None:
        chunk = next(self._content, None)
        if chunk is not None:
            self._submit(partial(self._write, chunk), self._write_next)
        else:
            self._submit(self._seal, self._hold)

    def _hold(self) -> None:
        self._target.hold_requests(self._publish)

    def _publish(self) -> None:
        if self._file is None:
            raise AssertionError("a restore without a file")
        zxid = max(self._target.last_zxid, self._parser.zxid) + 1
        restorer = self._restorer
        self._file.path = restorer.directory / snapshot_name(zxid, restorer.compression)
        restorer.disk_thread.submit(self._file.publish, partial(self._published, zxid))

    def _published(self, zxid: int, failure: Exception | None) -> None:
        if failure is not None:
            self._target.fail(
                f"a restore could not rename its snapshot in {self._restorer.directory}: {failure}."
                " Start the server again: it has the state before the restore or the state after"
                " the restore."
            )
            return
        log.warning(
            "a restore has replaced the database: %d znodes and %d sessions at zxid 0x%x",
            len(self._parser.tree),
            len(self._parser.sessions),
            zxid,
        )
        self._target.replace_database(
            self._parser.tree, self._parser.sessions, zxid, partial(self._end, zxid)
        )

    def _submit(self, call: Callable[[], None], then: Callable[[], None]) -> None:
        """Run a call on the disk thread, then call ``then`` on the loop's thread."""

        def done(failure: Exception | None) -> None:
            if failure is not None:
                self._failed(failure)
                return
            try:
                then()
            except Exception as error:  # noqa: BLE001 -- the error ends only the restore
                self._failed(error)

        self._restorer.disk_thread.submit(call, done)

    # --- On the disk thread

    def _open(self) -> None:
        restorer = self._restorer
        self._file = SnapshotFile(restorer.disk, restorer.directory, 0, restorer.compression)

    def _write(self, chunk: bytes) -> None:
        if self._file is not None:
            self._file.write(chunk)

    def _seal(self) -> None:
        if self._file is not None:
            self._file.seal()

    def _abandon(self) -> None:
        if self._file is not None:
            self._file.abandon()
            self._file = None

    # --- The end

    def _failed(self, error: Exception) -> None:
        if not self._is_over:
            self._restorer.disk_thread.submit(self._abandon, lambda _failure: None)
            self._end(RestoreError(f"the snapshot was not restored: {error}"))

    def _end(self, result: int | RestoreError) -> None:
        self._is_over = True
        self._restorer.current = None
        self._parser = SnapshotParser()
        self._parsing = iter(())
        self._content = iter(())
        self._on_done(result)
