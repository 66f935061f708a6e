"""A proxy before a server that counts the requests and measures the answers."""

import asyncio
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from zoolet.model.codes import OpCode
from zoolet.testing.servers.base import ADDRESS

_LENGTH = struct.Struct("!i")
_HEADER = struct.Struct("!ii")
_REPLY = struct.Struct("!i")
_EVENT_XID = -1
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Figures:
    """What passed: requests (without pings and connecting), by kind; and the largest answer."""

    requests: int
    pings: int
    by_kind: Counter[str]
    largest_answer_bytes: int
    submitted_s: float
    took_s: float


class CountingProxy:
    """Passes on frames, in an event loop on a thread of its own.

    Attributes:
        hosts: what a client connects to instead of the server.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._kinds: Counter[int] = Counter()
        self._events = 0
        self._largest_bytes = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def requests(self) -> int:
        """How many requests have passed, without pings."""
        return self._kinds.total() - self._kinds[OpCode.PING]

    def by_kind(self) -> Counter[str]:
        """Return how many requests of each kind have passed, and watch events."""
        found = Counter({OpCode(k).name.lower(): count for k, count in self._kinds.copy().items()})
        found["(watch events)"] = self._events
        return found

    def figures(self, submitted_s: float, took_s: float) -> Figures:
        """Return what has passed."""
        by_kind = self.by_kind()
        pings = by_kind.pop("ping", 0)
        return Figures(self.requests, pings, by_kind, self._largest_bytes, submitted_s, took_s)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, ADDRESS, 0, backlog=2048)
        self.hosts = f"{ADDRESS}:{server.sockets[0].getsockname()[1]}"
        self._ready.set()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, to_server = await asyncio.open_connection(ADDRESS, self._server_port)
        await asyncio.gather(
            self._pass_on(reader, to_server, self._count_request),
            self._pass_on(theirs, writer, self._count_answer),
        )

    async def _pass_on(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        count: Callable[[bytes, int, int], None],
    ) -> None:
        kept = b""
        is_first = True
        try:
            while data := await source.read(_READ_BYTES):
                target.write(data)
                kept += data
                start = 0
                while len(kept) - start >= _LENGTH.size:
                    size_bytes = _LENGTH.unpack_from(kept, start)[0]
                    if len(kept) - start - _LENGTH.size < size_bytes:
                        break
                    if not is_first:
                        count(kept, start + _LENGTH.size, size_bytes)
                    is_first = False
                    start += _LENGTH.size + size_bytes
                kept = kept[start:]
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            target.close()

    def _count_request(self, frame: bytes, start: int, _: int) -> None:
        self._kinds[_HEADER.unpack_from(frame, start)[1]] += 1

    def _count_answer(self, frame: bytes, start: int, size_bytes: int) -> None:
        if _REPLY.unpack_from(frame, start)[0] == _EVENT_XID:
            self._events += 1
        self._largest_bytes = max(self._largest_bytes, size_bytes)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
