"""The search for a read-write server, while a read-only server serves the session of a `Client`.

A thread of its own does it, because the background thread must read and send pings. The thread
exists only as long as a read-only server serves the session. This module does not know the engine.
Imports ``client/connecting`` and ``model``.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from zoolet.client.connecting.read_write import MAX_ANSWER_BYTES, WORD, Candidates, says_read_write
from zoolet.client.thread_client.transport import TICK_S, Transport, connect
from zoolet.model.addresses import Address

if TYPE_CHECKING:
    import ssl


class ReadWriteSearch:
    """Asks one server after another, until one is read-write or the search is stopped."""

    def __init__(
        self,
        candidates: Candidates,
        tls_context: "Callable[[], ssl.SSLContext | None]",
        limit_s: float,
        found: Callable[[Address], None],
    ) -> None:
        """Prepare a search, which calls ``found`` with the address of a read-write server.

        ``limit_s`` is the limit for each connection and each answer.
        """
        self._candidates = candidates
        self._tls_context = tls_context
        self._limit_s = limit_s
        self._found = found
        self._stops = threading.Event()

    def start(self) -> None:
        """Begin to search."""
        threading.Thread(target=self._search, name="zoolet-client-search", daemon=True).start()

    def stop(self) -> None:
        """End the search; do not wait for its end."""
        self._stops.set()

    def _search(self) -> None:
        while not self._stops.wait(self._candidates.pause_s()):
            address = self._candidates.next()
            if self._is_read_write(address) and not self._stops.is_set():
                self._found(address)
                return

    def _is_read_write(self, address: Address) -> bool:
        """Whether a server is reached and says that it is read-write."""
        try:
            transport = connect(
                address.host, address.port, self._limit_s, self._tls_context(), self._check
            )
            try:
                return says_read_write(self._ask(transport))
            finally:
                transport.close()
        except (OSError, ValueError):
            return False

    def _ask(self, transport: Transport) -> bytes:
        """Send the word; return what the server sends until it closes the connection."""
        end_s = time.monotonic() + self._limit_s
        unsent, answer = WORD, b""
        while time.monotonic() < end_s:
            self._check()
            if unsent:
                unsent = unsent[transport.send(unsent) :]
            data = transport.receive(TICK_S, is_writing=bool(unsent))
            if data == b"":
                return answer
            answer = (answer + (data or b""))[:MAX_ANSWER_BYTES]
        return b""

    def _check(self) -> None:
        if self._stops.is_set():
            raise ConnectionAbortedError("the search is stopped")
