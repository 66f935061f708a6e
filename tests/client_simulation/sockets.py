"""Sockets of simulated threads, and what replaces the modules that a `Client` uses.

A socket belongs to the simulated network, or is one end of a pair. A wait for a socket lets other
threads run, and simulated time pass.
"""

import errno
import os
import random
import socket
import threading
from types import SimpleNamespace
from typing import Any

from tests.client_simulation.clock import Link, Network
from tests.client_simulation.threads import Condition, Lock, RLock, Semaphore, Thread, Threads
from zoolet.client.thread_client import polling


class Socket:
    """A socket: a connection of the simulated network, or one end of a socket pair."""

    def __init__(self, sockets: "Sockets", number: int) -> None:
        self.sockets = sockets
        self.number = number
        self.data = bytearray()
        self.has_ended = self.is_reset = self.is_closed = self.is_open = False
        self.error = 0
        self.peer: Socket | None = None
        self.link: Link | None = None
        self.limit_s: float | None = None
        self.chunk = sockets.chance.choice([64 << 10, 64 << 10, 50, 7])

    # Called by the network.

    def received(self, data: bytes) -> None:
        self.data += data

    def ended(self, *, is_reset: bool) -> None:
        self.has_ended = True
        self.is_reset = is_reset

    def opened(self, link: Link | None) -> None:
        self.link = link
        if self.is_closed and link is not None:
            link.close()
        self.is_open = True
        self.error = 0 if link is not None else errno.ECONNREFUSED

    # Called by the client.

    def fileno(self) -> int:
        return -1 if self.is_closed else self.number

    def setsockopt(self, level: int, option: int, value: object) -> None:
        del value
        if (level, option) == (socket.SOL_SOCKET, socket.SO_RCVTIMEO):
            self.limit_s = 0.05

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
        return self.error

    def setblocking(self, blocks: bool) -> None:
        self.limit_s = None if blocks else 0.0

    def connect_ex(self, address: tuple[str, int]) -> int:
        self.sockets.network.connect(address[1], self, self.opened)
        return errno.EINPROGRESS

    @property
    def is_readable(self) -> bool:
        return bool(self.data) or self.has_ended or self.error != 0

    @property
    def is_writable(self) -> bool:
        return self.is_open

    def recv(self, size: int) -> bytes:
        if not self.is_readable:
            limit_s = self.limit_s
            self.sockets.threads.wait(lambda: self.is_readable or self.is_closed, limit_s)
        else:
            self.sockets.threads.switch()
        if self.is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self.data:
            data = bytes(self.data[: min(size, self.chunk)])
            del self.data[: len(data)]
            return data
        if self.is_reset:
            self.is_reset = False
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if self.has_ended:
            return b""
        raise BlockingIOError

    def send(self, data: bytes, flags: int = 0) -> int:
        del flags
        self.sockets.threads.switch()
        if self.is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self.has_ended and self.link is not None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if self.peer is not None:
            self.peer.data += data
            return len(data)
        assert self.link is not None
        chance = self.sockets.chance
        if chance.random() < self.sockets.full:
            data = data[: chance.randrange(len(data))]
            if not data:
                raise BlockingIOError
        self.link.to_server.send(data)
        return len(data)

    def shutdown(self, how: int) -> None:
        del how
        if self.link is None or self.is_closed:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self.has_ended = True
        self.link.close()

    def close(self) -> None:
        self.is_closed = True
        self.sockets.open.pop(self.number, None)
        if self.link is not None:
            self.link.close()


class Sockets:
    """All sockets of a run.

    Attributes:
        open: the open sockets, by their descriptors.
        full: how often a socket takes only a part of the bytes.
    """

    def __init__(self, threads: Threads, network: Network, chance: random.Random) -> None:
        self.threads = threads
        self.network = network
        self.chance = chance
        self.open: dict[int, Socket] = {}
        self.full = chance.choice([0.0, 0.0, 0.2])
        self._free = iter(range(1000, 1 << 30))

    def new(self) -> Socket:
        """Return a new socket."""
        made = Socket(self, next(self._free))
        self.open[made.number] = made
        return made

    def pair(self) -> tuple[Socket, Socket]:
        """Return two connected sockets."""
        one, two = self.new(), self.new()
        one.peer, two.peer = two, one
        one.is_open = two.is_open = True
        return one, two


class Poll:
    """A poll object."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._wanted: dict[int, int] = {}

    def register(self, fd: Any, eventmask: int = 0, /) -> None:
        number = fd if isinstance(fd, int) else fd.fileno()
        if number < 0:
            raise ValueError("file descriptor cannot be a negative integer (-1)")
        self._wanted[number] = eventmask

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        limit_s = None if timeout is None else max(0.0, timeout) / 1000
        self._sockets.threads.wait(lambda: bool(self._found()), limit_s)
        return self._found()

    def _found(self) -> list[tuple[int, int]]:
        found = []
        for number, wanted in self._wanted.items():
            one = self._sockets.open.get(number)
            if one is None:
                found.append((number, 0x20))  # POLLNVAL
                continue
            events = polling.POLLIN if wanted & polling.POLLIN and one.is_readable else 0
            events |= polling.POLLOUT if wanted & polling.POLLOUT and one.is_writable else 0
            if one.is_reset:
                events |= 0x10  # POLLHUP
            if events:
                found.append((number, events))
        return found


def modules_of(threads: Threads, sockets: Sockets) -> dict[str, Any]:
    """Return what replaces ``threading``, ``time``, ``socket`` and ``new_poll``."""

    def monotonic() -> float:
        threads.switch()
        return threads.clock.now_s

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port))]

    return {
        "threading": SimpleNamespace(
            Lock=lambda: Lock(threads),
            RLock=lambda: RLock(threads),
            Condition=lambda lock=None: Condition(threads, lock),
            Thread=lambda **options: Thread(threads, **options),
            get_ident=threading.get_ident,
            current_thread=lambda: threads.current.shown or threads.current,
            Semaphore=lambda value: Semaphore(threads, value),
            TIMEOUT_MAX=threading.TIMEOUT_MAX,
        ),
        "time": SimpleNamespace(monotonic=monotonic),
        "socket": SimpleNamespace(
            **{name: getattr(socket, name) for name in dir(socket) if name.isupper()},
            socket=lambda *_: sockets.new(),
            socketpair=sockets.pair,
            getaddrinfo=getaddrinfo,
        ),
        "new_poll": lambda: Poll(sockets),
    }
