"""Clients whose sessions live on while the servers change; each notes when it gets replies."""

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from tests.support.waiting import WAIT_S, wait_until
from zoolet.client import Client, ClientOptions, CreateMode, ZooKeeperError

_PAUSE_S = 0.01
_CALL_S = 1.0
LOST = (ZooKeeperError, KazooException, KazooTimeoutError)


class LiveClient:
    """A client that reads repeatedly in a thread of its own.

    Attributes:
        name: the kind of the client and its number.
        ephemeral: the path of its ephemeral.
        replies_s: the times of its replies.
        events: the number of events of its watch on ``watched``.
    """

    def __init__(self, name: str, number: int, watched: str) -> None:
        self.name = f"{name} {number}"
        self.ephemeral = f"/ephemerals/{name}-{number}"
        self.replies_s: list[float] = []
        self.events = 0
        self._watched = watched
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name)

    def start(self) -> None:
        """Open the session, create the ephemeral, set the watch, and begin to read."""
        self._open()
        self._create(self.ephemeral)
        self.watch()
        self.session = self.session_id()
        self._thread.start()

    def watch(self) -> None:
        """Set a watch on the watched znode."""
        self._read(self._watched, self._noticed)

    def close(self) -> None:
        """Stop reading, and close the session."""
        self._stops.set()
        self._thread.join(WAIT_S)
        self._close()

    def wait_for_reply(self) -> None:
        """Return after the next reply."""
        count = len(self.replies_s)
        wait_until(lambda: len(self.replies_s) > count, f"a reply to {self.name}")

    def gap_s(self, begin_s: float, end_s: float) -> float:
        """Return the time from the last reply before ``begin_s`` to the first one after ``end_s``.

        If there were replies between the two moments, returns the longest time without a reply.
        """
        first = max(at for at, found in enumerate(self.replies_s) if found <= begin_s)
        last = min(at for at, found in enumerate(self.replies_s) if found >= end_s)
        times = self.replies_s[first : last + 1]
        return max(after - before for before, after in itertools.pairwise(times))

    def _noticed(self, _event: object) -> None:
        self.events += 1

    def _run(self) -> None:
        while not self._stops.wait(_PAUSE_S):
            try:
                self._read(self.ephemeral, None)
            except LOST:
                continue
            self.replies_s.append(time.monotonic())

    def session_id(self) -> int:
        """Return the id of the session now."""
        raise NotImplementedError

    def _open(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    def _create(self, path: str) -> None:
        raise NotImplementedError

    def _read(self, path: str, watch: Callable[[Any], None] | None) -> None:
        raise NotImplementedError


class LiveKazoo(LiveClient):
    """A client of kazoo."""

    def __init__(self, hosts: str, number: int, watched: str, timeout_ms: int) -> None:
        super().__init__("kazoo", number, watched)
        retry = {"max_tries": -1, "delay": 0.02, "max_delay": 0.2}
        self._client = KazooClient(hosts, timeout_ms / 1000, connection_retry=retry)

    def session_id(self) -> int:
        identity: tuple[int, bytes] = self._client.client_id
        return identity[0]

    def _open(self) -> None:
        self._client.start()

    def _close(self) -> None:
        self._client.stop()
        self._client.close()

    def _create(self, path: str) -> None:
        self._client.create(path, b"", ephemeral=True)

    def _read(self, path: str, watch: Callable[[Any], None] | None) -> None:
        self._client.get_async(path, watch).get(timeout=_CALL_S)


class LiveZoolet(LiveClient):
    """A client of zoolet."""

    def __init__(self, hosts: str, number: int, watched: str, timeout_ms: int) -> None:
        super().__init__("zoolet", number, watched)
        options = ClientOptions(session_timeout_ms=timeout_ms, call_timeout_s=_CALL_S)
        self._client = Client(hosts, options)

    def session_id(self) -> int:
        return self._client.session_id.id

    def _open(self) -> None:
        self._client.start()

    def _close(self) -> None:
        self._client.close()

    def _create(self, path: str) -> None:
        self._client.create(path, b"", mode=CreateMode.EPHEMERAL)

    def _read(self, path: str, watch: Callable[[Any], None] | None) -> None:
        self._client.get(path, watch=watch)
