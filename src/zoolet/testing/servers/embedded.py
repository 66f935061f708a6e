"""A server in this process: the code of production on a thread of its own, on the real wire.

Owns the server's life (start, stop, crash, wipe) and what stands around it in a test: disk, clock,
network, faults, and a look inside. Its data are in memory, or in a directory.
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
from zoolet.testing.clock import ServerClock
from zoolet.testing.faults.faults import FaultError, Faults
from zoolet.testing.faults.memory_disk import MemoryDisk
from zoolet.testing.loop_thread import LoopThread
from zoolet.testing.server_state import Inside
from zoolet.testing.servers.base import (
    ADDRESS,
    IN_MEMORY,
    ManagedServer,
    ReservedPort,
    write_settings,
)
from zoolet.testing.traffic.network import Network

log = logging.getLogger(__name__)

_IN_MEMORY_DIRECTORY = Path("/in-memory")
"""What messages call the data directory of a server in memory."""

_WAIT_S = 10.0
_TOLD_REQUESTS = 20
_DEFAULTS = {"tickTime": 100, "maxSessionTimeout": 600_000}

LIVING: "weakref.WeakSet[EmbeddedServer]" = weakref.WeakSet()
"""The servers of this process that are not closed: for reports, and to be closed at its end."""

_RUNNING: "set[EmbeddedServer]" = set()
"""Those that run: nobody else need hold them."""


@atexit.register
def _close_living() -> None:
    for server in tuple(LIVING):
        server.close()


class EmbeddedServer(ManagedServer):
    """A server on a thread of this process.

    As a context manager, also an asynchronous one, it is started, and closed at the end. All of it
    may be called from any thread, also from one that runs an event loop: but for what waits for
    something to happen, it returns within milliseconds.

    Attributes:
        faults: what goes wrong.
        clock: what time it is for the server.
        inside: what the server holds, and assertions about it.
        failure: why it ended by itself; None while it has not.
        addresses: those that clients may connect to; ``hosts`` is the first.
    """

    def __init__(
        self,
        directory: Path | None = None,
        settings: Mapping[str, object] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        """Set it up; ``settings`` are zoo.cfg's, ``seed`` is that of faults by chance.

        Without a directory its data are in memory, and last as long as this object.
        """
        super().__init__()
        data_dir = _IN_MEMORY_DIRECTORY if directory is None else directory / "data"
        wanted = {**_DEFAULTS, **(IN_MEMORY if directory is None else {}), **(settings or {})}
        text = write_settings(data_dir, self.port, wanted)
        self._config = parse_config(text, Path("settings"))
        for warning in self._config.warnings:
            log.warning("%s", warning)
        self._thread = LoopThread("zoolet-server")
        self._close_thread = weakref.finalize(self, LoopThread.close, self._thread)
        self._close_thread.atexit = False  # _close_living does more
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
        """Whether it serves."""
        return self._server is not None

    @property
    def disk(self) -> MemoryDisk:
        """What its data are on; raises FaultError where they are in a directory."""
        if self._memory is None:
            raise FaultError(
                "the data are in a directory, on this machine's disk: make the EmbeddedServer"
                " without one to hold its disk up, fill it, or lose what is not synced"
            )
        return self._memory

    # -- its life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and return when it serves; raises ServerError or StorageError."""
        self._thread.run(self._start())

    def stop(self) -> int:
        """Stop it cleanly, and return 0, or 1 where it had ended by itself."""
        self.faults.note("stop the server")
        self.resume()
        if self._memory is not None:
            self._memory.release_syncs()
        self._thread.run(self._end())
        return int(self.failure is not None)

    def kill(self, *, seed: int | None = None) -> None:
        """End it as a power switch would.

        In memory, what was not synced is lost; with a seed, chance leaves some of it, within what a
        real disk might leave.
        """
        chance = None if seed is None else random.Random(seed)  # noqa: S311 -- to be the same again
        self.faults.note("kill the server" + ("" if seed is None else f", seed {seed}"))
        self.resume()
        self._thread.run(self._crash(chance))

    def pause(self) -> None:
        """Let it stand still: connections are not closed, and nothing is answered."""
        self.faults.note("pause the server")
        self._thread.pause()

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        self._thread.resume()

    def wait_until_ended(self, timeout_s: float = _WAIT_S) -> None:
        """Return once it has ended; raises TimeoutError where it still serves."""
        if not self._ended.wait(timeout_s):
            raise TimeoutError(f"the server still serves after {timeout_s:g} s")

    def wipe(self) -> None:
        """Be as new, on the same port: no data, no sessions, no faults, and the clock as it goes.

        Clients of before are cut off, and never let in again.
        """
        self.resume()
        self._thread.run(self._wipe())

    def heal(self) -> None:
        """End what goes wrong, so that clients can finish: faults, pause, disk, clock, addresses.

        Where the server has ended by itself, or was stopped, it is started.
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
        """Kill it if it runs, and end its thread: it cannot be started again."""
        LIVING.discard(self)
        if self._close_thread.alive:
            self.resume()
            self._thread.run(self._crash(None))
            self._close_thread()

    def open_addresses(self, count: int) -> str:
        """Serve on this number of addresses, as an ensemble would; return them all for a client."""
        self._thread.run(self._open_addresses(count))
        return ",".join(address.hosts for address in self.addresses)

    def report(self) -> str:
        """Return what was injected and what was asked last; empty where nothing was."""
        told = {"injected": self.faults.story, "asked": self.inside.requests()[-_TOLD_REQUESTS:]}
        return "\n".join(f"{what}: {each}" for what, lines in told.items() for each in lines)

    # -- what its parts ask of it, on its thread ---------------------------------------------------

    def expire(self, session_id: int) -> bool:
        """End a session as if its time were up; False: there is none."""
        return self._server is not None and self._server.expire_session(session_id)

    def stand_still(self, tell: Callable[[], None]) -> None:
        """Return when the server is resumed; ``tell`` is called as soon as it can be."""
        self._thread.stand_still(tell)

    def crash_soon(self) -> None:
        """Lose what is not synced, and start again; returns before that."""

        async def crash() -> None:
            await self._crash(None)
            await self._start()

        self._crashing = self._thread.loop.create_task(crash())

    def let_in(self, port: int, *, lets_in: bool) -> None:
        """Let clients in on a port, or turn them away and cut off those that are in."""
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
        """End the server once it has failed."""
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
    """One of the addresses of a server, as one member of an ensemble.

    Attributes:
        port: the TCP port.
        hosts: what a client connects to.
        is_up: whether clients are let in.
    """

    def __init__(self, server: EmbeddedServer, reserved_port: ReservedPort) -> None:
        self.port = reserved_port.number
        self.hosts = reserved_port.address
        self.is_up = True
        self._reserved_port = reserved_port
        self._server = weakref.proxy(server)

    def stop(self) -> None:
        """Turn clients away here, and cut off those that are connected here."""
        self.is_up = False
        self._server.faults.note(f"stop the address {self.hosts}")
        self._server.let_in(self.port, lets_in=False)

    def start(self) -> None:
        """Let clients in again."""
        self.is_up = True
        self._server.let_in(self.port, lets_in=True)
