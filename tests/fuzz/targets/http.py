"""Bytes that reach the HTTP port of the server."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from tests.fuzz.targets.target import Target, pieces_of
from zoolet.server.common.scheduler import Scheduler
from zoolet.server.operator import http
from zoolet.server.operator.answers import Answers
from zoolet.server.operator.http import Exchange, HttpConnection, Request, Upload

_IDLE_S = 60.0


class _Transport(asyncio.Transport):
    """Takes all that is sent at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.is_closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.is_closed

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def pause_reading(self) -> None:
        """Go on: the bytes are there already."""

    resume_reading = pause_reading

    def close(self) -> None:
        self.is_closed = True

    abort = close


class _Body:
    """Receives the body of a request."""

    has_room = True

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._size_bytes = 0

    def take(self, data: bytes) -> None:
        self._size_bytes += len(data)

    def finish(self) -> None:
        self._exchange.respond(http.text(HTTPStatus.OK, f"{self._size_bytes} bytes"))

    def cancel(self) -> None:
        """Nothing to free."""


def _page(request: Request, exchange: Exchange) -> Upload | None:
    if request.method == "POST":
        return _Body(exchange)
    exchange.respond(http.text(HTTPStatus.OK, f"{request.path} {sorted(request.query.items())}"))
    return None


async def _exchange(data: bytes) -> None:
    """Each request gets an answer with a status, and no exception reaches the event loop."""
    loop = asyncio.get_running_loop()
    failures: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    scheduler = Scheduler(loop.call_soon)

    def at_once(callback: Callable[[], None]) -> None:
        callback()

    transport = _Transport()
    connection = HttpConnection(_page, Answers(scheduler.run, at_once), _IDLE_S)
    connection.connection_made(cast("asyncio.Transport", transport))
    for piece in pieces_of(data):
        if transport.is_closed:
            break
        connection.data_received(piece)
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    if not transport.is_closed:
        connection.eof_received()
    connection.connection_lost(None)
    await asyncio.sleep(0)
    assert not failures, failures
    sent = b"".join(transport.sent)
    assert not sent or sent.startswith(b"HTTP/1.1 "), sent[:80]


_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n0\r\n\r\n"

TARGETS = {
    "http": Target(
        lambda data: asyncio.run(_exchange(data)),
        (),
        (
            b"GET /commands/monitor?name=a%20b HTTP/1.1\r\nHost: h\r\n\r\n",
            b"POST /commands/restore HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\ndata",
            b"POST / HTTP/1.1\r\nHost: h\r\n" + _CHUNKED,
            b"GET / HTTP/1.0\r\n\r\n",
            b"HEAD http://[::1]/a HTTP/1.1\r\nHost: h\r\n\r\n",
            b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
    )
}
