"""A server in this process whose disk a test can hold up, let fail, and let go on."""

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.rawclient import RawClient
from zoolet.server.config import Config
from zoolet.server.errors import ServerError
from zoolet.server.service import Server
from zoolet.storage.disk import Disk, DiskFile
from zoolet.testing import ReservedPort

WAIT_S = 10.0


class GatedFile(DiskFile):
    """A file whose syncs pass a gate."""

    def __init__(self, path: Path, disk: "GatedDisk") -> None:
        super().__init__(path)
        self._disk = disk

    def sync(self) -> None:
        self._disk.pass_gate()
        super().sync()


class GatedDisk(Disk):
    """A disk on which a sync waits while the gate is shut, and fails once it is broken."""

    def __init__(self) -> None:
        self.failure: OSError | None = None
        self._open = threading.Event()
        self._open.set()
        self._waiting = threading.Event()

    def create(self, path: Path) -> DiskFile:
        return GatedFile(path, self)

    def shut(self) -> None:
        self._waiting.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def wait_for_sync(self) -> None:
        """Return when a sync waits at the gate."""
        assert self._waiting.wait(WAIT_S)

    def pass_gate(self) -> None:
        self._waiting.set()
        assert self._open.wait(WAIT_S)
        if self.failure is not None:
            raise self.failure


class GatedServer:
    """A server on a GatedDisk, on a thread of its own.

    Attributes:
        failure: why the server ended by itself; None while it has not.
        bystander: a client that a test may put beside those that it is about.
    """

    bystander: RawClient

    def __init__(self, directory: Path) -> None:
        self.disk = GatedDisk()
        self.failure: ServerError | None = None
        self._reserved_port = ReservedPort()
        self.config = Config(
            data_dir=directory,
            client_port=self._reserved_port.number,
            client_address="127.0.0.1",
            preallocate_bytes=4096,
            max_connections_per_address=0,
            four_letter_words=frozenset({"srvr"}),
        )
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def wait_until_ended(self) -> None:
        assert self._ended.wait(WAIT_S)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with Server(self.config, self.disk) as server:
            self._ready.set()
            failing = asyncio.ensure_future(server.failed())
            stopping = asyncio.ensure_future(self._stop.wait())
            await asyncio.wait((failing, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if failing.done():
                try:
                    failing.result()
                except ServerError as error:
                    self.failure = error
            failing.cancel()
        self._ended.set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(WAIT_S)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disk.open()
        if not self._ended.is_set():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
