"""Streams of the web page in tests: a page on a thread, and a reader of server-sent events."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import uvicorn

from zoolet.web.application import application
from zoolet.web.listening import BrowserProtocol
from zoolet.web.settings import WebSettings

WAIT_S = 30.0


class Page:
    """A page that runs on a thread.

    Attributes:
        settings: its settings, with the port.
        site: what its pages use; only its own thread may change it.
    """

    def __init__(self, settings: WebSettings) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.settings = replace(settings, port=self._listener.getsockname()[1])
        started = threading.Event()
        app = application(self.settings, started.set)
        self.site = app.state.site
        config = uvicorn.Config(
            app, http=BrowserProtocol, ws="none", log_config=None, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert started.wait(WAIT_S)

    @property
    def url(self) -> str:
        """The URL of the page without the last slash."""
        return self.settings.url.rstrip("/")

    @property
    def num_connections(self) -> int:
        """The number of connections of browsers."""
        return len(self._server.server_state.connections)

    def stop(self) -> None:
        """Stop the page, as the command does: the streams end first."""
        with contextlib.suppress(RuntimeError):  # it has stopped already
            self._loop.call_soon_threadsafe(self.site.live.streams.stop)
        self._server.should_exit = True
        self._thread.join(WAIT_S)
        self._listener.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve([self._listener])


@contextmanager
def serving(settings: WebSettings) -> Iterator[Page]:
    """Run the page on a thread, with real sockets."""
    page = Page(settings)
    try:
        yield page
    finally:
        page.stop()


class Reader:
    """Reads the events of one stream."""

    def __init__(self, page: Page, path: str, headers: dict[str, str] | None = None) -> None:
        self.connection = http.client.HTTPConnection(
            "127.0.0.1", page.settings.port, timeout=WAIT_S
        )
        self.connection.request(
            "GET",
            page.settings.base_path + path,
            headers={"Connection": "close", **(headers or {})},
        )
        self.answer = self.connection.getresponse()
        self.status = self.answer.status

    def next(self) -> tuple[str, Any, str] | None:
        """Return the name, the value and the id of the next event; None at the end."""
        fields: dict[str, str] = {}
        while line := self.answer.readline():
            text = line.decode().rstrip("\n")
            if not text and "event" in fields:
                return fields["event"], json.loads(fields["data"]), fields.get("id", "")
            name, _, value = text.partition(": ")
            fields[name] = value
        return None

    def until(self, name: str, **wanted: Any) -> dict[str, Any]:
        """Return the value of the next event with a name and these fields."""
        while True:
            found = self.next()
            assert found is not None, f"the stream has ended before {name}"
            if found[0] == name and wanted.items() <= found[1].items():
                value: dict[str, Any] = found[1]
                return value

    def close(self) -> None:
        """Close the stream, like a browser that leaves."""
        self.answer.close()
        self.connection.close()


@contextmanager
def reading(page: Page, path: str, headers: dict[str, str] | None = None) -> Iterator[Reader]:
    """Open a stream and close it at the end."""
    reader = Reader(page, path, headers)
    try:
        yield reader
    finally:
        reader.close()
