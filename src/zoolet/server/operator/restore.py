"""Replaces the database of a running server by a snapshot that arrives piece by piece.

The steps: read the snapshot into a new tree, write it to a file without a name, hold all requests
until everything acknowledged is on disk, give the file its name, hold the new state in memory.
Invariants:

- the old state counts until the file has its name, the new one from then on, never a mix;
- the new state's zxid is above every zxid that was acknowledged: zxids only increase, and a start
  reads the new snapshot and nothing of the logs before it;
- nothing is acknowledged between the name and the new state in memory.

What fails before the file has its name changes nothing. If giving the name fails, nobody knows what
a start would read: the server ends. Must not import HTTP.
"""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

from zoolet.server.common.answers import Run
from zoolet.server.common.disk_thread import DiskThread
from zoolet.server.zoo_cfg.config import Config
from zoolet.state_machine.tree import Tree
from zoolet.storage.disk import Disk
from zoolet.storage.files import DataDirectories, snapshot_name
from zoolet.storage.snapshot_parser import SnapshotParser
from zoolet.storage.snapshots import Image, SnapshotFile

log = logging.getLogger(__name__)

MAX_PENDING_BYTES: Final = 1 << 20
"""No more of a snapshot is read from the client while this much waits."""

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
        """Take no request and end no session from now on; call ``held`` when all is on disk."""
        ...

    def replace_database(
        self, tree: Tree, sessions: dict[int, int], zxid: int, done: Callable[[], None]
    ) -> None:
        """Hold another state; ``sessions`` are the timeouts in ms. Call ``done`` behind it.

        The connections are closed, and the requests are no longer held.
        """
        ...

    def fail(self, message: str) -> None:
        """End the server."""
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
        """Return what takes the snapshot; raises RestoreError if another restore is under way.

        ``on_room`` is called when it takes more, ``on_done`` with the zxid of the new state, or
        with what went wrong.
        """
        if self.current is not None:
            raise RestoreError("another restore is under way")
        self.current = Restoring(self, on_room, on_done)
        return self.current


class Restoring:
    """One restore."""

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

    # -- what the client does ----------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether it takes more of the snapshot now."""
        return self._parser.pending_bytes < MAX_PENDING_BYTES

    def take(self, data: bytes) -> None:
        """Take a piece of the snapshot."""
        if not self._is_over:
            self._parser.feed(data)
            self._read()

    def finish(self) -> None:
        """Note that the snapshot is complete: from now on the client cannot cancel."""
        if not self._is_over:
            self._is_complete = True
            self._parser.complete()
            self._read()

    def cancel(self) -> None:
        """Give up, unless the snapshot is complete."""
        if not self._is_complete and not self._is_over:
            self._end(RestoreError("the client is gone"))

    # -- reading -----------------------------------------------------------------------------------

    def _read(self) -> None:
        if not self._is_running:
            self._is_running = True
            self._restorer.run("restore", self._steps(), self._failed)

    def _steps(self) -> Iterator[int]:
        """Read what was fed; yields the cost of each step in µs."""
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

    # -- writing: each step is called on the loop's thread -----------------------------------------

    def _begin_file(self) -> None:
        parser = self._parser
        # Its name comes later. Until then a start removes it.
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
                f"a restore could not give its snapshot in {self._restorer.directory} its name:"
                f" {failure}. Start again: the server has the state before the restore, or the one"
                " after it."
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
        """Run a call on the disk's thread, then go on."""

        def done(failure: Exception | None) -> None:
            if failure is not None:
                self._failed(failure)
                return
            try:
                then()
            except Exception as error:  # noqa: BLE001 -- it ends the restore alone
                self._failed(error)

        self._restorer.disk_thread.submit(call, done)

    # -- on the disk's thread ----------------------------------------------------------------------

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

    # -- the end -----------------------------------------------------------------------------------

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
