"""A network that fails when a test says so: a TCP proxy on 127.0.0.1 between client and server."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from tests.support.waiting import WAIT_S

ADDRESS = "127.0.0.1"
_CHUNK_BYTES = 65536


class Proxy:
    """Passes bytes on in both directions, until it is told not to.

    Attributes:
        hosts: what a client connects to instead of the server.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server((ADDRESS, 0))
        self.hosts = f"{ADDRESS}:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._refuses = threading.Event()
        self._swallows_replies = False
        self._swallows_requests = False
        self._may_reply = threading.Event()
        self._may_reply.set()
        self._may_request = threading.Event()
        self._may_request.set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def lead_to(self, server_port: int) -> None:
        """Lead to another server from now on: the connections to this one are closed."""
        self._server_port = server_port
        self.cut()

    def cut(self) -> None:
        """Close every connection, as a network does that breaks; new ones are let in."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Let no connection through for as long as this lasts."""
        self._refuses.set()
        self.cut()
        try:
            yield
        finally:
            self._refuses.clear()

    @contextlib.contextmanager
    def replies_lost(self) -> Iterator[None]:
        """Bring requests to the server and no reply back; the connections end with this."""
        self._swallows_replies = True
        try:
            yield
        finally:
            self.cut()
            self._swallows_replies = False

    @contextlib.contextmanager
    def replies_held(self) -> Iterator[None]:
        """Bring requests to the server, and the replies back when this ends."""
        self._may_reply.clear()
        try:
            yield
        finally:
            self._may_reply.set()

    @contextlib.contextmanager
    def requests_lost(self) -> Iterator[None]:
        """Bring no request to the server, but what it sends; the connections end with this."""
        self._swallows_requests = True
        try:
            yield
        finally:
            self.cut()
            self._swallows_requests = False

    @contextlib.contextmanager
    def requests_held(self) -> Iterator[None]:
        """Bring what the server sends, and the requests to it when this ends."""
        self._may_request.clear()
        try:
            yield
        finally:
            self._may_request.set()

    def close(self) -> None:
        """End it."""
        self._refuses.set()
        # Without shutdown, accept() keeps the port open: clients could still connect.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(WAIT_S)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refuses.is_set():
                client.close()
                continue
            try:
                server = socket.create_connection((ADDRESS, self._server_port))
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((client, server))
            if self._refuses.is_set():  # since the first look; nobody has cut this pair
                self.cut()
                continue
            for source, target, is_reply in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._pass_on, args=(source, target, is_reply), daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_reply: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                (self._may_reply if is_reply else self._may_request).wait()
                if not (self._swallows_replies if is_reply else self._swallows_requests):
                    target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
