"""Attacks with what operators ask: four-letter words, the admin endpoint, the metrics."""

import contextlib
import functools
import socket
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.attack import wire
from benchmarks.attack.arena import Arena, Options, attack
from benchmarks.attack.clients import Client, Load
from benchmarks.attack.data import DataDirectory
from benchmarks.attack.reads import scaled
from benchmarks.attack.sessions import watch_paths
from zoolet.model.codes import OpCode
from zoolet.testing import ReservedPort

_ADMIN_PORT = ReservedPort()
_METRICS_PORT = ReservedPort()
_ADMIN = {
    "admin.enableServer": "true",
    "admin.serverAddress": "127.0.0.1",
    "admin.serverPort": _ADMIN_PORT.number,
}
_METRICS = {
    "metricsProvider.className": (
        "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
    ),
    "metricsProvider.httpHost": "127.0.0.1",
    "metricsProvider.httpPort": _METRICS_PORT.number,
}
_TIMEOUT_S = 60.0
_READ_BYTES = 1 << 18
_OTHER_ADDRESSES = 20
_EACH = 50


def _ask_words(arena: Arena, word: str, times: int) -> None:
    """Ask a word on as many connections at a time as the attack goes over."""
    before = time.monotonic()
    for _ in range(max(1, times // arena.connections)):
        asking = []
        for _ in range(arena.connections):
            # From another address: the watches have all connections of the attackers'.
            connection = socket.create_connection(
                ("127.0.0.1", arena.target.port), _TIMEOUT_S, source_address=("127.0.0.3", 0)
            )
            connection.sendall(word.encode())
            asking.append(connection)
        for connection in asking:
            with connection:
                _drain(connection)
        if time.monotonic() > arena.deadline_s:
            break
    arena.notes.append(f"{word} in {time.monotonic() - before:.1f} s")


def _drain(connection: socket.socket) -> int:
    received = 0
    with contextlib.suppress(OSError):
        while data := connection.recv(_READ_BYTES):
            received += len(data)
    return received


def _word_with_watches(word: str, arena: Arena) -> None:
    watch_paths(arena, [arena.client() for _ in range(arena.connections)], arena.size(1_000_000))
    _ask_words(arena, word, arena.size(5))


for _word in ("wchp", "wchc", "wchs", "mntr"):
    _run = functools.partial(_word_with_watches, _word)
    _run.__name__ = f"{_word}_watches"  # type: ignore[attr-defined]
    attack(f"{_word}, five times, with 1,000,000 watches")(_run)


def _nobodies(directory: Path, options: Options) -> None:
    data = DataDirectory()
    data.add_sessions(scaled(254_600, options), 1 << 30)
    data.write(directory)


_LONG_SESSIONS = {"maxSessionTimeout": (1 << 31) - 1}


@attack("dump, ten times, with 254,600 sessions", prepare=_nobodies, settings=_LONG_SESSIONS)
def dump_sessions(arena: Arena) -> None:
    """Have all sessions listed."""
    _ask_words(arena, "dump", arena.size(10))


def _many_ephemerals(directory: Path, options: Options) -> None:
    data = DataDirectory()
    sessions = scaled(100_000, options)
    data.add_sessions(sessions, 1 << 30)
    data.create("/e")
    for session_id in data.sessions:
        for number in range(5):
            data.create(f"/e/{session_id:x}-{number}", b"", owner=session_id)
    data.write(directory)


@attack(
    "dump, five times, with 500,000 ephemerals of 100,000 sessions",
    prepare=_many_ephemerals,
    settings=_LONG_SESSIONS,
)
def dump_ephemerals(arena: Arena) -> None:
    """Have all ephemerals listed."""
    _ask_words(arena, "dump", arena.size(5))


@attack(
    "mntr, 300 times, with 500,000 ephemerals of 100,000 sessions",
    prepare=_many_ephemerals,
    settings=_LONG_SESSIONS,
)
def mntr_ephemerals(arena: Arena) -> None:
    """Have all ephemerals counted."""
    _ask_words(arena, "mntr", arena.size(300))


def _many_connections(arena: Arena) -> list[Client]:
    """Open many connections from many addresses."""
    return [
        arena.client(address=f"127.0.1.{number}")
        for number in range(1, _OTHER_ADDRESSES + 1)
        for _ in range(arena.size(_EACH))
    ]


def _word_with_connections(word: str, arena: Arena) -> None:
    clients = _many_connections(arena)
    clients[0].ask(OpCode.CREATE, wire.create_body("/n"))
    arena.send([Load(client, [wire.set_data(1, "/n", b"x")] * 10) for client in clients])
    for _ in range(3):
        # Writes wait for the disk while the word is answered.
        for client in clients:
            client.socket.setblocking(True)
            client.socket.sendall(wire.set_data(1, "/n", b"x"))
        _ask_words(arena, word, arena.size(20))
    arena.send([Load(client, [], 0) for client in clients])


for _word in ("cons", "stat", "crst"):
    _run = functools.partial(_word_with_connections, _word)
    _run.__name__ = f"{_word}_connections"  # type: ignore[attr-defined]
    attack(f"{_word}, 60 times, with 1,000 connections that write")(_run)


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def _ask_pages(arena: Arena, port: int, path: str, requests: int) -> None:
    """Pipeline GETs on as many connections as the attack goes over, and read the answers."""
    connections = []
    for number in arena.share(requests):
        connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
        last = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        if number:
            connection.sendall(_get(path) * (number - 1) + last)
        connections.append((connection, number))
    for connection, number in connections:
        with connection:
            connection.settimeout(max(1.0, arena.deadline_s - time.monotonic()))
            if number:
                _drain(connection)


def _pages_with_watches(path: str, requests: int, arena: Arena) -> None:
    watch_paths(arena, [arena.client()], arena.size(200_000))
    _ask_pages(arena, _ADMIN_PORT.number, path, arena.size(requests))


@attack("500 GETs of watches_by_path, pipelined, with 200,000 watches", settings=_ADMIN)
def admin_pipelined(arena: Arena) -> None:
    """Ask for long pages on and on."""
    _pages_with_watches("/commands/watches_by_path", 500, arena)


@attack("500 GETs of monitor, pipelined, with 200,000 watches", settings=_ADMIN)
def admin_monitor(arena: Arena) -> None:
    """Ask for short pages on and on."""
    _pages_with_watches("/commands/monitor", 500, arena)


@attack("100 GETs of watches, one after another, with 200,000 watches", settings=_ADMIN)
def admin_memory(arena: Arena) -> None:
    """Ask for long pages one at a time; look at the memory afterwards."""
    watch_paths(arena, [arena.client()], arena.size(200_000))
    for _ in range(arena.size(100)):
        if time.monotonic() > arena.deadline_s:
            arena.notes.append("not all were asked in time")
            break
        with socket.create_connection(("127.0.0.1", _ADMIN_PORT.number), _TIMEOUT_S) as connection:
            connection.sendall(b"GET /commands/watches HTTP/1.0\r\n\r\n")
            _drain(connection)


def _without_reading(arena: Arena, ask: Callable[[], bytes], number: int) -> None:
    connections = []
    for _ in range(number):
        connection = socket.create_connection(("127.0.0.1", _ADMIN_PORT.number), _TIMEOUT_S)
        connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            connection.sendall(ask())
        connections.append(connection)
    time.sleep(min(5.0, arena.options.limit_s))
    for connection in connections:
        connection.close()


@attack("59 HTTP clients pipeline 100 GETs of a page of 5 MB and do not read", settings=_ADMIN)
def admin_not_read(arena: Arena) -> None:
    """Ask for long pages and leave them unread."""
    watch_paths(arena, [arena.client()], arena.size(200_000))
    request = _get("/commands/watches_by_path") * 100
    _without_reading(arena, lambda: request, arena.connections)


@attack("2,000 HTTP clients send half a request and wait", settings=_ADMIN, is_shared=False)
def admin_half_requests(arena: Arena) -> None:
    """Have many connections to the admin endpoint open; clients must still get in."""
    _without_reading(arena, lambda: b"GET /commands/ruok HTTP/1.1\r\nX", arena.size(2000))
    arena.client().ask(OpCode.EXISTS, wire.watch_body("/"))


@attack("random bytes on 300 connections to the admin endpoint", settings=_ADMIN)
def admin_random_bytes(arena: Arena) -> None:
    """Send what is no HTTP."""
    for _ in range(arena.size(300)):
        with socket.create_connection(("127.0.0.1", _ADMIN_PORT.number), _TIMEOUT_S) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(arena.random.randbytes(20_000))
                connection.shutdown(socket.SHUT_WR)
            _drain(connection)


@attack("2,000 GETs of /metrics, pipelined", settings=_METRICS)
def metrics_pipelined(arena: Arena) -> None:
    """Ask for the metrics on and on."""
    _ask_pages(arena, _METRICS_PORT.number, "/metrics", arena.size(2000))
