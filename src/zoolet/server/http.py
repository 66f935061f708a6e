"""HTTP/1.1 for the operator's pages: requests in, one answer each, on the library h11.

Owns what a page needs of HTTP and nothing of what the pages say. A page may answer later: it gets a
function to call. Malformed requests, unknown paths and methods get their status and a sentence; a
client that is silent for too long is cut off.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple, cast
from urllib.parse import parse_qsl, urlsplit

import h11

from zoolet.server.admission import AcceptedSocket

MAX_HEADER_BYTES = 16 << 10


class Request(NamedTuple):
    """What was asked for; the query without repetitions."""

    method: str
    path: str
    query: dict[str, str]


class Response(NamedTuple):
    """What is answered."""

    status: HTTPStatus
    content_type: str
    body: bytes


Respond = Callable[[Response], None]
Page = Callable[[Request, Respond], None]
"""Answers a request by calling what it is given, once, now or later."""


def text(status: HTTPStatus, message: str) -> Response:
    """Return an answer that is a sentence."""
    return Response(status, "text/plain; charset=utf-8", f"{message}\n".encode())


class HttpConnection(asyncio.Protocol):
    """One client of the pages; its requests are answered one after another."""

    def __init__(
        self, page: Page, idle_timeout_s: float, accepted: AcceptedSocket | None = None
    ) -> None:
        """Answer with ``page``, and close after a silence of ``idle_timeout_s``.

        ``accepted`` is told when the connection opens and closes.
        """
        self._page = page
        self._accepted = accepted
        self._idle_timeout_s = idle_timeout_s
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._is_taking = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        self._transport = cast("asyncio.Transport", transport)
        if self._accepted is not None:
            self._accepted.opened(self._transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self._transport = None
        if self._accepted is not None:
            self._accepted.closed()
        if self._idle is not None:
            self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        """Take in what has arrived."""
        self._http.receive_data(data)
        self._take()

    def eof_received(self) -> bool:
        """Go on answering a client that asks for nothing more."""
        self._http.receive_data(b"")
        self._take()
        return True

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(self._idle_timeout_s, self._close)

    def _take(self) -> None:
        """Hand the requests that have arrived to the page, each when the one before is answered."""
        if self._is_taking:
            return  # a page has answered at once: the loop below goes on
        self._is_taking = True
        try:
            while self._take_event():
                pass
        finally:
            self._is_taking = False

    def _take_event(self) -> bool:
        """Take the next piece of what has arrived; False where there is none, or it must wait."""
        http = self._http
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
        try:
            event = http.next_event()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                self._send(text(HTTPStatus(error.error_status_hint), f"no HTTP request: {error}"))
            self._close()
            return False
        if isinstance(event, h11.Request):
            self._wait()
            self._ask(event)
        elif isinstance(event, h11.ConnectionClosed):
            self._close()
        return isinstance(event, h11.Event) and not isinstance(event, h11.ConnectionClosed)

    def _ask(self, event: h11.Request) -> None:
        target = urlsplit(event.target.decode("ascii", "replace"))
        request = Request(event.method.decode(), target.path, dict(parse_qsl(target.query)))
        is_head = request.method == "HEAD"
        self._page(request, lambda response: self._answer(response, without_body=is_head))

    def _answer(self, response: Response, *, without_body: bool) -> None:
        if self._transport is None:
            return
        self._send(response, without_body=without_body)
        if self._http.our_state is h11.MUST_CLOSE:
            self._close()
        else:
            self._take()

    def _send(self, response: Response, *, without_body: bool = False) -> None:
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
        ]
        reason = response.status.phrase
        events: list[h11.Event] = [
            h11.Response(status_code=response.status, headers=headers, reason=reason.encode())
        ]
        if not without_body:
            events.append(h11.Data(data=response.body))
        events.append(h11.EndOfMessage())
        if self._transport is not None:
            self._transport.write(b"".join(self._http.send(event) or b"" for event in events))

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
