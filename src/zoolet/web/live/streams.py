"""Streams of server-sent events: what waits for each browser, and how many streams there are.

Source: the section "Server-sent events" of the HTML standard. Invariants: what waits for a browser
is bounded; a stream ends when its login ends, when its user may not see the page any more, and when
the page's process stops.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

log = logging.getLogger(__name__)

MOST_STREAMS: Final = 400
"""Most streams at a time."""

MOST_OF_USER: Final = 100
"""Most streams of one user; without a login, of one address."""

MOST_WAITING: Final = 256
"""Most events that wait for a browser."""

MOST_WAITING_BYTES: Final = 1 << 20
"""Above this size, the events that wait for a browser are dropped."""

HEARTBEAT_S: Final = 15.0
"""A stream without events sends a comment after this time, so that a lost browser is noticed."""

SEND_S: Final = 60.0
"""A browser that accepts nothing for this time loses its stream."""

_RETRY_MS: Final = 2000
_HEADERS: Final = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}


class TooManyStreamsError(Exception):
    """There are too many streams; the message says what to do."""


def encoded(event: str, value: Mapping[str, Any], number: str = "") -> bytes:
    """Return an event as bytes; ``number`` is what the browser sends after a lost connection."""
    text = json.dumps(value, separators=(",", ":"))  # ASCII, so it is one line for every browser
    head = f"id: {number}\n" if number else ""
    return f"{head}event: {event}\ndata: {text}\n\n".encode()


RESET: Final = encoded("reset", {"error": "Events were dropped: this browser reads too slowly."})
"""Tells a browser to load everything again."""


class Stream:
    """What waits for one browser.

    Args:
        key: the login to which it belongs; "" without one.
        owner: whose streams are counted together.
        is_valid: whether the user may still see the page.
    """

    def __init__(self, key: str, owner: str, is_valid: Callable[[], bool]) -> None:
        self.key = key
        self.owner = owner
        self.is_ended = False
        self._is_valid = is_valid
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._wake = asyncio.Event()

    def put(self, event: bytes) -> None:
        """Add an encoded event. If too much waits, the browser is told to load everything again."""
        if self.is_ended:
            return
        if len(self._waiting) >= MOST_WAITING or self._size + len(event) > MOST_WAITING_BYTES:
            self._waiting.clear()
            self._size = 0
            event = RESET
        self._waiting.append(event)
        self._size += len(event)
        self._wake.set()

    def end(self, reason: str, error: str = "") -> None:
        """End the stream; the page says the reason: login, stopped or connection."""
        if not self.is_ended:
            self.put(encoded("end", {"reason": reason, "error": error}))
            self.is_ended = True

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what to send, until the end."""
        yield f"retry: {_RETRY_MS}\n\n".encode()
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._wake.wait()
            except TimeoutError:
                if not self._is_valid():
                    self.end("login")
                else:
                    yield b":\n\n"
                    continue
            self._wake.clear()
            chunk = b"".join(self._waiting)
            self._waiting.clear()
            self._size = 0
            yield chunk
            if self.is_ended and not self._waiting:
                return


class Streams:
    """All streams."""

    def __init__(self) -> None:
        self._streams: set[Stream] = set()
        self._is_stopped = False

    def __len__(self) -> int:
        return len(self._streams)

    def open(self, key: str, owner: str, is_valid: Callable[[], bool]) -> Stream:
        """Return a new stream.

        Raises:
            TooManyStreamsError: there are too many streams already.
        """
        if self._is_stopped:
            raise TooManyStreamsError("zoolet web is stopping. Try again later")
        if len(self._streams) >= MOST_STREAMS:
            raise TooManyStreamsError(
                f"{MOST_STREAMS} pages show changes as they happen. Load this page again to see"
                " what has changed"
            )
        if sum(stream.owner == owner for stream in self._streams) >= MOST_OF_USER:
            raise TooManyStreamsError(
                f"you have {MOST_OF_USER} pages that show changes as they happen. Close some of"
                " them"
            )
        stream = Stream(key, owner, is_valid)
        self._streams.add(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """Forget a stream whose browser has left."""
        stream.is_ended = True
        self._streams.discard(stream)

    def end(self, key: str) -> None:
        """End the streams of a login."""
        for stream in self._streams:
            if key and stream.key == key:
                stream.end("login")

    def stop(self) -> None:
        """End all streams: the process stops."""
        self._is_stopped = True
        for stream in self._streams:
            stream.end("stopped")


class EventResponse(Response):
    """The response that sends a stream, until its end or until the browser leaves.

    Args:
        stream: the stream.
        on_end: is called once, at the end.
    """

    def __init__(self, stream: Stream, on_end: Callable[[], None]) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._stream = stream
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        if scope["method"] == "HEAD":
            self._on_end()
            await send(start)
            await send({"type": "http.response.body"})
            return
        sending = asyncio.create_task(self._send(start, send))
        leaving = asyncio.create_task(left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            self._on_end()
            sending.cancel()
            leaving.cancel()
            await asyncio.wait({sending, leaving})

    async def _send(self, start: Message, send: Send) -> None:
        try:
            await send(start)
            async for chunk in self._stream.chunks():
                async with asyncio.timeout(SEND_S):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            log.warning("a browser has read nothing for %d s: its stream ends", int(SEND_S))
            return
        except OSError:
            return  # the browser has left
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def left(receive: Receive) -> None:
    """Return when the browser has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
