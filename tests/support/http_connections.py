"""Connections of the operators' pages over HTTP, on a transport that keeps what is written."""

import asyncio
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, cast

from tests.support.waiting import WAIT_S
from zoolet.server.common.scheduler import Scheduler
from zoolet.server.operator.answers import Answers
from zoolet.server.operator.http import Exchange, HttpConnection, Request, Response, Upload, text

CHUNK = b"x" * 10_000
"""What the page writes at once."""


class Transport:
    """Takes what is written; its client reads all at once, or when the test says so.

    Attributes:
        written: all that was written.
        most_unread_bytes: the most that was written and not read at any time.
    """

    def __init__(self) -> None:
        self.written = b""
        self.client_reads = True
        self.protocol: asyncio.Protocol
        self.unread_bytes = 0
        self.most_unread_bytes = 0
        self.is_paused = False
        self.is_reading = True
        self.is_closed = False
        self.is_aborted = False
        self._limit_bytes = 0

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None:
        self._limit_bytes = high

    def write(self, data: bytes) -> None:
        self.written += data
        if self.client_reads:
            return
        self.unread_bytes += len(data)
        self.most_unread_bytes = max(self.most_unread_bytes, self.unread_bytes)
        if self.unread_bytes > self._limit_bytes and not self.is_paused:
            self.is_paused = True
            self.protocol.pause_writing()

    def read(self, size_bytes: int) -> None:
        """Let the client read."""
        self.unread_bytes = max(0, self.unread_bytes - size_bytes)
        if self.is_paused and self.unread_bytes <= self._limit_bytes // 4:
            self.is_paused = False
            self.protocol.resume_writing()

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True


class Made:
    """A connection whose page answers when the test says so.

    Attributes:
        asked: the requests that the page was given.
        waiting: where to answer those that are not answered yet.
        num_made: how many chunks were made.
        durable: what waits until everything is on disk; None: everything is.
    """

    def __init__(
        self, *, at_once: bool = True, num_chunks: int = 0, idle_timeout_s: float = WAIT_S
    ) -> None:
        self.asked: list[Request] = []
        self.waiting: list[Exchange] = []
        self.at_once = at_once
        self.num_chunks = num_chunks
        self.num_made = 0
        self.durable: list[Callable[[], None]] | None = None
        self.upload: Upload | None = None
        loop = asyncio.get_running_loop()
        scheduler = Scheduler(loop.call_soon)
        self.answers = Answers(scheduler.run, self.when_durable)
        self.transport = Transport()
        self.connection = self.connect(self.transport, idle_timeout_s)

    def connect(self, transport: Transport, idle_timeout_s: float = WAIT_S) -> HttpConnection:
        made = HttpConnection(self.page, self.answers, idle_timeout_s)
        transport.protocol = made
        made.connection_made(cast("asyncio.Transport", transport))
        return made

    def when_durable(self, callback: Callable[[], None]) -> None:
        if self.durable is None:
            callback()
        else:
            self.durable.append(callback)

    def page(self, request: Request, exchange: Exchange) -> Upload | None:
        self.asked.append(request)
        if self.at_once:
            self.answer(exchange)
        else:
            self.waiting.append(exchange)
        return self.upload

    def answer(self, exchange: Exchange) -> None:
        if self.num_chunks:
            exchange.respond(Response(HTTPStatus.OK, "text/plain", self.chunks()))
        else:
            exchange.respond(text(HTTPStatus.OK, f"answer {len(self.asked)}"))

    def chunks(self) -> Iterator[bytes]:
        for _ in range(self.num_chunks):
            self.num_made += 1
            yield CHUNK

    @property
    def statuses(self) -> list[bytes]:
        pieces = self.transport.written.split(b"HTTP/1.1 ")[1:]
        return [piece[:3] for piece in pieces]
