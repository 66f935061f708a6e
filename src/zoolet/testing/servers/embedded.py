"""A server in this process: the production code, on its own thread, with real TCP connections.

This module starts, stops, crashes and wipes the server. It gives the server the disk, the clock and
the network of a test, with faults and access to the server's state. The data are in memory or in a
directory.
"""

import asyncio
import atexit
import contextlib
import logging
import random
import shutil
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from zoolet.server.common.errors import ServerError
from zoolet.server.service import Server
from zoolet.server.zoo_cfg.config import Config, Listener
from zoolet.server.zoo_cfg.reading import parse_config
from zoolet.testing.servers.base import (
    ADDRESS,
    IN_MEMORY,
    ManagedServer,
    ReservedPort,
    write_settings,
)
from zoolet.testing.servers.clock import ServerClock
from zoolet.testing.servers.faults import FaultError, Faults
from zoolet.testing.servers.loop_thread import LoopThread
from zoolet.testing.servers.memory_disk import MemoryDisk
from zoolet.testing.servers.network import Network
from zoolet.testing.servers.server_state import Inside

log = logging.getLogger(__name__)

_IN_MEMORY_DIRECTORY = Path("/in-memory")
"""The name of the data directory in messages, if the data are in memory."""

_WAIT_S = 10.0
_TOLD_REQUESTS = 20
_DEFAULTS = {"tickTime": 100, "maxSessionTimeout": 600_000}

LIVING: "weakref.WeakSet[EmbeddedServer]" = weakref.WeakSet()
"""The servers of this process that are not closed; reports use them, and exit closes them."""

_RUNNING: "set[EmbeddedServer]" = set()
"""The running servers; this set keeps them from being garbage collected."""


@atexit.register
def _close_living() -> None:
    for server in tuple(LIVING):
        server.close()


class EmbeddedServer(ManagedServer):
    """A server on a thread of this process.

    As a context manager (also an asynchronous one), it starts the server, and closes it at the end.
    All methods may be called from any thread, also from a thread that runs an event loop. Methods
    that do not wait for an event return within milliseconds.

    Attributes:
        faults: the faults of the server.
        clock: the server's clock.
        inside: the state of the server, and assertions about the state.
        failure: the error with which the server ended by itself; None if it did not.
        addresses: the addresses to which clients can connect; ``hosts`` is the first.
    """

    def __init__(
        self,
        directory: Path | None = None,
        settings: Mapping[str, object] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        """Prepare the server; ``settings`` are keys of zoo.cfg, ``seed`` is for random faults.

        Without a directory, the data are in memory, and exist as long as this object.
        """
        super().__init__()
        data_dir = _IN_MEMORY_DIRECTORY if directory is None else directory / "data"
        wanted = {**_DEFAULTS, **(IN_MEMORY if directory is None else {}), **(settings or {})}
        text = write_settings(data_dir, self.port, wanted)
        self._config = parse_config(text, Path("settings"), environment={})
        for warning in self._config.warnings:
            log.warning("%s", warning)
        self._thread = LoopThread("zoolet-server")
        self._close_thread = weakref.finalize(self, LoopThread.close, self._thread)
        self._close_thread.atexit = False  # at exit, _close_living closes the whole server
        self.faults = Faults(self._thread, self, seed)
        self._memory = MemoryDisk(self.faults.note) if directory is None else None
        self.clock = ServerClock(self._thread, self._look_at_clock, self.faults.note)
        self._network = Network(self.clock, self.faults, self._config.max_frame_bytes)
        self.faults.attach(self._network)
        self.inside = Inside(self._thread, self._network, self._running)
        self.failure: ServerError | None = None
        self.addresses = [Address(self, self._reserved_port)]
        self._server: Server | None = None
        self._resources: contextlib.AsyncExitStack
        self._watching: asyncio.Task[None]
        self._crashing: asyncio.Task[None]
        self._changing = asyncio.Lock()
        self._ended = threading.Event()
        LIVING.add(self)

    @property
    def config(self) -> Config:
        """The server's settings."""
        return self._config

    @property
    def is_running(self) -> bool:
        """Whether the server runs."""
        return self._server is not None

    @property
    def disk(self) -> MemoryDisk:
        """The disk in memory.

        Raises:
            FaultError: the data are in a directory.
        """
        if self._memory is None:
            raise FaultError(
                "the data are in a directory, on this machine's disk: create the EmbeddedServer"
                " without a directory to delay syncs, fill the disk, or lose unsynced data"
            )
        return self._memory

    # --- Start, stop and faults

    def start(self) -> None:
        """Start the server; return when it accepts clients.

        Raises:
            ServerError: the server cannot start, for example because it cannot listen.
            StorageError: the data directory is damaged or cannot be read or written.
        """
        self._thread.run(self._start())

    def stop(self) -> int:
        """Stop the server cleanly; return 0, or 1 if the server had ended by itself."""
        self.faults.note("stop the server")
        self.resume()
        if self._memory is not None:
            self._memory.release_syncs()
        self._thread.run(self._end())
        return int(self.failure is not None)

    def kill(self, *, seed: int | None = None) -> None:
        """End the server immediately, like a power failure.

        If the data are in memory, unsynced data are lost. With a seed, a random part of them
        survives, as on a real disk.
        """
        chance = None if seed is None else random.Random(seed)  # noqa: S311 -- reproducible
        self.faults.note("kill the server" + ("" if seed is None else f", seed {seed}"))
        self.resume()
        self._thread.run(self._crash(chance))

    def pause(self) -> None:
        """Pause the server: it sends no replies, but its connections stay open."""
        self.faults.note("pause the server")
        self._thread.pause()

    def resume(self) -> None:
        """Continue after ``pause``."""
        self._thread.resume()

    def wait_until_ended(self, timeout_s: float = _WAIT_S) -> None:
        """Wait until the server has ended.

        Raises:
            TimeoutError: the server still runs after ``timeout_s`` seconds.
        """
        if not self._ended.wait(timeout_s):
            raise TimeoutError(f"the server still runs after {timeout_s:g} s")

    def wipe(self) -> None:
        """Reset the server, on the same port: no data, no sessions, no faults, and the real time.

        The server disconnects all clients, and never accepts their sessions again.
        """
        self.resume()
        self._thread.run(self._wipe())

    def heal(self) -> None:
        """End all faults, so that clients can finish: rules, pause, disk, clock, addresses.

        Start the server if it has ended by itself or was stopped.
        """
        self.resume()
        self.faults.clear()
        self.clock.run()
        if self._memory is not None:
            self._memory.mend()
        for address in self.addresses:
            address.start()
        if self.failure is not None:
            self.wait_until_ended()
        self.start()

    def close(self) -> None:
        """Kill the server if it runs, and end its thread: it cannot be started again."""
        LIVING.discard(self)
        if self._close_thread.alive:
            self.resume()
            self._thread.run(self._crash(None))
            self._close_thread()

    def open_addresses(self, count: int) -> str:
        """Open addresses until there are ``count``; return all, in the format of kazoo's hosts."""
        self._thread.run(self._open_addresses(count))
        return ",".join(address.hosts for address in self.addresses)

    def report(self) -> str:
        """Return the injected faults and the last requests; "" if there are none."""
        told = {"injected": self.faults.story, "asked": self.inside.requests()[-_TOLD_REQUESTS:]}
        return "\n".join(f"{what}: {each}" for what, lines in told.items() for each in lines)

    # --- Calls of its parts, on its thread

    def expire(self, session_id: int) -> bool:
        """Expire a session; return False if it does not exist."""
        return self._server is not None and self._server.expire_session(session_id)

    def stand_still(self, tell: Callable[[], None]) -> None:
        """Block until the server is resumed; call ``tell`` as soon as a resume is possible."""
        self._thread.stand_still(tell)

    def crash_soon(self) -> None:
        """Schedule a crash that loses unsynced data, and then a start."""

        async def crash() -> None:
            await self._crash(None)
            await self._start()

        self._crashing = self._thread.loop.create_task(crash())

    def let_in(self, port: int, *, lets_in: bool) -> None:
        """Accept clients on a port, or refuse them and disconnect the connected ones."""
        self._thread.call(lambda: self._network.let_in(port, lets_in=lets_in))

    def _running(self) -> Server:
        if self._server is None:
            why = "start it first" if self.failure is None else str(self.failure)
            raise RuntimeError(f"the server does not run: {why}")
        return self._server

    def _look_at_clock(self, *, clients_ping: bool) -> None:
        if self._server is None:
            return
        sessions = self._server.machine.sessions.by_id
        for link in self._network.links if clients_ping else ():
            session = sessions.get(link.session_id)
            if session is not None and not link.is_held:
                session.touch(self.clock.now_ms())
        self._server.look_at_clock()

    async def _start(self) -> None:
        async with self._changing:
            if self._server is not None:
                return
            self.failure = None
            self.clock.begin()
            async with contextlib.AsyncExitStack() as started:
                server = Server(
                    self._config,
                    self._memory,
                    self.clock.reading,
                    self._network.link,
                    owns_process=False,
                )
                await started.enter_async_context(server)
                for address in self.addresses[1:]:
                    self._listen(started, server, address)
                self._resources = started.pop_all()
            self._server = server
            _RUNNING.add(self)
            self._ended.clear()
            self._watching = asyncio.create_task(self._watch(server))

    def _listen(
        self, started: contextlib.AsyncExitStack, server: Server, address: "Address"
    ) -> None:
        started.callback(server.listen_at(Listener(ADDRESS, address.port)).close)

    async def _watch(self, server: Server) -> None:
        """Wait until the server fails, and then end it."""
        try:
            await server.failed()
        except ServerError as error:
            self.failure = error
        await self._end()

    async def _end(self) -> None:
        async with self._changing:
            if self._server is None:
                return
            self._server = None
            if asyncio.current_task() is not self._watching:
                self._watching.cancel()
            await self._resources.aclose()
            self._network.cut(self._network.links)
            while self._network.links:
                await asyncio.sleep(0)
            _RUNNING.discard(self)
            self._ended.set()

    async def _crash(self, chance: random.Random | None) -> None:
        failure = self.failure
        if self._memory is not None:
            self._memory.cut_power()
        self._network.cut(self._network.links)
        await self._end()
        self.failure = failure
        if self._memory is not None:
            self._memory.lose_unsynced(chance)
            self._memory.restore_power()

    async def _wipe(self) -> None:
        await self._crash(None)
        if self._memory is None:
            shutil.rmtree(self._config.data_dir, ignore_errors=True)
        else:
            self._memory.erase()
        self.faults.forget()
        self._network.forget()
        self.clock.reset()
        del self.addresses[1:]
        await self._start()

    async def _open_addresses(self, count: int) -> None:
        server = self._running()
        while len(self.addresses) < count:
            address = Address(self, ReservedPort())
            self._listen(self._resources, server, address)
            self.addresses.append(address)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.close)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Address:
    """One address of a server, like the address of a member of an ensemble.

    Attributes:
        port: the TCP port.
        hosts: the address to which a client connects, ``127.0.0.1:PORT``.
        is_up: whether clients can connect to this address.
    """

    def __init__(self, server: EmbeddedServer, reserved_port: ReservedPort) -> None:
        self.port = reserved_port.number
        self.hosts = reserved_port.address
        self.is_up = True
        self._reserved_port = reserved_port
        self._server = weakref.proxy(server)

    def stop(self) -> None:
        """Refuse new clients at this address, and disconnect its connected clients."""
        self.is_up = False
        self._server.faults.note(f"stop the address {self.hosts}")
        self._server.let_in(self.port, lets_in=False)

    def start(self) -> None:
        """Accept clients at this address again."""
        self.is_up = True
        self._server.let_in(self.port, lets_in=True)
