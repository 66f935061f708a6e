"""Attacks with sessions, ephemerals and watches: many that end at once."""

import contextlib
import time
from pathlib import Path

from benchmarks.attack import wire
from benchmarks.attack.arena import Arena, Options, attack
from benchmarks.attack.clients import Client, Load
from benchmarks.attack.data import FIRST_SESSION, DataDirectory
from benchmarks.attack.reads import scaled
from zoolet.model.codes import AddWatchMode, OpCode

_BEFORE_S = 1.0


def _nobodies(directory: Path, options: Options) -> None:
    data = DataDirectory()
    data.add_sessions(scaled(254_600, options), 4000)
    data.write(directory)


@attack("254,600 sessions of existing data expire in one tick", prepare=_nobodies, is_shared=False)
def sessions_expire(arena: Arena) -> None:
    """Wait until all have expired."""
    if not arena.target.wait_for_sessions(1, arena.options.limit_s):
        arena.failures.append("the sessions did not expire")


def _ephemerals_of_nobody(directory: Path, options: Options) -> None:
    data = DataDirectory()
    data.add_sessions(1, 4000)
    data.create_children("/e", scaled(1_000_000, options), b"", FIRST_SESSION)
    data.write(directory)


@attack(
    "a session with 1,000,000 ephemerals of existing data expires",
    prepare=_ephemerals_of_nobody,
    is_shared=False,
)
def ephemerals_expire(arena: Arena) -> None:
    """Wait until the session has expired."""
    if not arena.target.wait_for_sessions(1, arena.options.limit_s):
        arena.failures.append("the session did not expire")


def create_ephemerals(arena: Arena, clients: list[Client], number: int) -> None:
    """Let sessions create ephemerals below /e, or as many of them as they may."""
    clients[0].ask(OpCode.CREATE, wire.create_body("/e"))
    part = (int(OpCode.CREATE), wire.create_body("/e/x", b"", wire.EPHEMERAL | wire.SEQUENTIAL))
    loads = []
    for client, share in zip(clients, arena.share(number), strict=True):
        multis = [wire.multi(1, [part] * 1000)] * (share // 1000)
        loads.append(Load(client, [*multis, wire.multi(1, [part] * (share % 1000))]))
    arena.send(loads)


@attack("a session with as many ephemerals as it may have (at most 1,000,000) is closed")
def ephemerals_close(arena: Arena) -> None:
    """Create them, then close the session."""
    clients = arena.clients()
    create_ephemerals(arena, clients, arena.size(1_000_000))
    znodes = arena.target.data().znodes
    arena.notes.append(f"{znodes:,} znodes")
    time.sleep(_BEFORE_S)
    arena.deadline_s = time.monotonic() + arena.options.limit_s
    arena.pipeline_over(clients, [wire.request(1, OpCode.CLOSE_SESSION)] * len(clients))


def watch_paths(arena: Arena, clients: list[Client], number: int) -> None:
    """Let clients watch paths that are not there."""
    loads = []
    for position, client in enumerate(clients):
        requests = [
            wire.path_watch(1, OpCode.EXISTS, f"/watched/{path:07d}", watch=True)
            for path in range(position, number, len(clients))
        ]
        loads.append(Load(client, requests))
    arena.send(loads)
    arena.notes.clear()  # every one is answered with NO_NODE
    arena.deadline_s = time.monotonic() + arena.options.limit_s


@attack("a connection with 1,000,000 watches closes")
def watches_forgotten(arena: Arena) -> None:
    """Watch, then close the connection."""
    clients = arena.clients()
    watch_paths(arena, clients, arena.size(1_000_000))
    time.sleep(_BEFORE_S)
    for client in clients:
        client.close()


@attack("20 setWatches of 1 MB: all watches are told that their znodes are gone")
def set_watches_missed(arena: Arena) -> None:
    """Let every path of a long list cause an event."""
    paths = [f"/w{number:07d}" for number in range(arena.size(70_000))]
    _set_watches(arena, wire.set_watches(-8, paths))


@attack("20 setWatches of 1 MB: all watches stay")
def set_watches_kept(arena: Arena) -> None:
    """Let every path of a long list become a watch."""
    paths = [f"/w{number:07d}" for number in range(arena.size(70_000))]
    _set_watches(arena, wire.set_watches(-8, (), paths))


def _set_watches(arena: Arena, request: bytes) -> None:
    # The replies to setWatches have an xid of their own, and events come between.
    ping = wire.request(1, OpCode.PING)
    times = max(arena.size(20), arena.connections)
    arena.pipeline([request + ping] * times, 2 * (times // arena.connections))


@attack("30 addWatch of paths of 1 MB on each connection, then as many again")
def watched_paths(arena: Arena) -> None:
    """Have the server keep long paths, as long as the client is there."""
    path = "/" + "x" * (arena.size(1_000_000) - 100)
    loads = []
    for client in arena.clients():
        requests = []
        for number in range(60 if arena.connections == 1 else 10):
            body = wire.add_watch_body(f"{path}{number:03d}", AddWatchMode.PERSISTENT)
            requests.append(wire.request(1, OpCode.ADD_WATCH, body))
        loads.append(Load(client, requests))
    arena.send(loads)


@attack("3,000 times: connect, get a session, close the connection")
def reconnects(arena: Arena) -> None:
    """Open sessions and leave them."""
    for _ in range(arena.size(3000) // arena.connections):
        for client in arena.clients():
            client.close()


@attack("3,000 times: take a session up again, on a new connection each time", is_shared=False)
def session_moves(arena: Arena) -> None:
    """Let one session move between connections."""
    first = arena.client()
    if first.session is None:
        return
    for _ in range(arena.size(3000)):
        with arena.client(has_session=False) as client, contextlib.suppress(OSError, EOFError):
            wire.connect(client.socket, 10_000, first.session)


@attack("watch events: 100,000 deletes of znodes that 59 connections watch", is_shared=False)
def watched_deletes(arena: Arena) -> None:
    """Let each delete cause an event on each connection."""
    number = arena.size(1000)
    watchers = [arena.client() for _ in range(58)]
    owner = arena.client()
    owner.ask(OpCode.CREATE, wire.create_body("/w"))
    part = (int(OpCode.CREATE), wire.create_body("/w/x", b"", wire.EPHEMERAL | wire.SEQUENTIAL))
    owner.ask(OpCode.MULTI, wire.multi(1, [part] * number)[12:])
    arena.send(
        [
            Load(
                client,
                [
                    wire.path_watch(1, OpCode.EXISTS, f"/w/x{child:010d}", watch=True)
                    for child in range(number)
                ],
            )
            for client in watchers
        ]
    )
    arena.send([Load(owner, [wire.request(1, OpCode.CLOSE_SESSION)])])
    arena.send([Load(client, [wire.request(-2, OpCode.PING)]) for client in watchers])
    events = sum(client.replies.events for client in watchers)
    arena.notes.append(f"{events:,} events")
