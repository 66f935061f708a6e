"""Attacks with writes: large multis, deep paths, quotas, watch events, snapshots."""

import threading
import time
from itertools import accumulate, repeat
from pathlib import Path

from benchmarks.attack import wire
from benchmarks.attack.arena import Arena, Options, attack
from benchmarks.attack.clients import Client, Load
from benchmarks.attack.data import DataDirectory, ttl_owner, write_children
from benchmarks.attack.reads import scaled
from zoolet.model.codes import AddWatchMode, OpCode
from zoolet.model.owner_kinds import CONTAINER_OWNER, MAX_TTL_MS

_DEPTH = 4000
_NESTED = 50
_LOOK_S = 0.2
_QUOTA = "/zookeeper/quota"


def _watch_all(client: Client) -> None:
    """Watch the root and everything below it."""
    mode = AddWatchMode.PERSISTENT_RECURSIVE
    client.ask(OpCode.ADD_WATCH, wire.add_watch_body("/", mode))


def _multi_of_creates(parts: int, parent: str = "") -> bytes:
    part = (int(OpCode.CREATE), wire.create_body(f"{parent}/n", b"", wire.SEQUENTIAL))
    return wire.multi(1, [part] * parts)


@attack("5 multis of 18,000 creates, 1 MB each, pipelined")
def multi_of_creates(arena: Arena) -> None:
    """Create as many znodes as one request can."""
    parts = arena.size(18_000) // arena.connections
    multis = max(5, arena.connections)
    arena.pipeline([_multi_of_creates(parts)] * multis)


@attack("5 multis of 26,000 parts of which the first is refused, pipelined")
def multi_refused(arena: Arena) -> None:
    """Have many results written for nothing."""
    part = (int(OpCode.CHECK), wire.version_body("/none"))
    parts = arena.size(40_000) // arena.connections
    arena.pipeline([wire.multi(1, [part] * parts)] * max(5, arena.connections))


@attack("5 multis of 24,000 setData of one znode of 1 MB, 1 MB each")
def multi_of_sets(arena: Arena) -> None:
    """Have a large znode looked up in each part of a multi."""
    clients = arena.clients()
    clients[0].ask(OpCode.CREATE, wire.create_body("/s"))
    part = (int(OpCode.SET_DATA), wire.set_data_body("/s", b"x"))
    parts = arena.size(24_000) // arena.connections
    arena.pipeline_over(clients, [wire.multi(1, [part] * parts)] * max(5, len(clients)))


@attack("one multi of 18,000 creates, watched recursively by 40 connections", is_shared=False)
def watch_fan_out(arena: Arena) -> None:
    """Cause 720,000 watch events with one request."""
    watchers = [arena.client() for _ in range(40)]
    for client in watchers:
        _watch_all(client)
    arena.pipeline([_multi_of_creates(arena.size(18_000))])
    arena.send([Load(client, [wire.request(-2, OpCode.PING)]) for client in watchers])
    events = sum(client.replies.events for client in watchers)
    arena.notes.append(f"{events:,} events")


def _deep(directory: Path, options: Options) -> None:
    data = DataDirectory()
    for path in _deep_paths(options):
        data.create(path)
    data.write(directory)


def _deep_paths(options: Options) -> list[str]:
    return list(accumulate(repeat("/a", scaled(_DEPTH, options))))


@attack("multis of 100 setData at depth 4,000, watched recursively at the root", prepare=_deep)
def deep_watched(arena: Arena) -> None:
    """Have all paths above a deep one looked up for watches."""
    with arena.client(address="127.0.0.3") as watcher:
        _watch_all(watcher)
        _set_deep(arena)


@attack("multis of 100 setData at depth 4,000, with a quota somewhere else", prepare=_deep)
def deep_with_quota(arena: Arena) -> None:
    """Have all paths above a deep one looked up for quotas."""
    with arena.client() as client:
        _limit(client, "/zookeeper")
    _set_deep(arena)


def _set_deep(arena: Arena) -> None:
    deepest = _deep_paths(arena.options)[-1]
    part = (int(OpCode.SET_DATA), wire.set_data_body(deepest, b"x"))
    arena.pipeline([wire.multi(1, [part] * 100)] * max(arena.size(10), arena.connections))


def _limit(client: Client, path: str) -> None:
    """Give a path a quota without statistics."""
    above = ""
    for name in path.split("/")[1:]:
        above += f"/{name}"
        client.ask(OpCode.CREATE, wire.create_body(f"{_QUOTA}{above}"))
    limits = b"count=100000000,bytes=-1"
    client.ask(OpCode.CREATE, wire.create_body(f"{_QUOTA}{path}/zookeeper_limits", limits))


def _many_children(directory: Path, options: Options) -> None:
    write_children(directory, {"/big": scaled(300_000, options)})


@attack(
    "200 times create and delete of zookeeper_stats over 300,000 znodes", prepare=_many_children
)
def quota_recount(arena: Arena) -> None:
    """Have a subtree counted each time."""
    clients = arena.clients()
    _limit(clients[0], "/big")
    stats = f"{_QUOTA}/big/zookeeper_stats"
    pair = wire.create(1, stats, b"count=0,bytes=0") + wire.request(
        1, OpCode.DELETE, wire.version_body(stats)
    )
    times = arena.share(arena.size(200))
    arena.send(
        [
            Load(client, [pair] * number, 2 * number)
            for client, number in zip(clients, times, strict=True)
        ]
    )


@attack("200 setData below a quota whose limits are a text of 1 MB")
def quota_texts(arena: Arena) -> None:
    """Have a long text read at each write below a path."""
    clients = arena.clients()
    pairs = arena.size(90_000)
    text = ",".join(["count=1", "bytes=1", *(f"k{number:05d}=1" for number in range(pairs))])
    clients[0].ask(OpCode.CREATE, wire.create_body("/q"))
    _limit(clients[0], "/q")
    for name in ("zookeeper_stats", "zookeeper_limits"):
        body = wire.create_body(f"{_QUOTA}/q/{name}")
        clients[0].ask(OpCode.CREATE, body)
        clients[0].ask(OpCode.SET_DATA, wire.set_data_body(f"{_QUOTA}/q/{name}", text.encode()))
    arena.pipeline_over(clients, [wire.set_data(1, "/q", b"x")] * arena.size(200))


def _quotas_on_each_level(directory: Path, options: Options) -> None:
    data = DataDirectory()
    for path in accumulate(repeat("/a", _NESTED)):
        data.create(path)
        data.create(f"{_QUOTA}{path}")
        data.create(f"{_QUOTA}{path}/zookeeper_limits", b"count=100000000,bytes=-1")
        data.create(f"{_QUOTA}{path}/zookeeper_stats", b"count=0,bytes=0")
    data.create_children("/a" * _NESTED + "/big", scaled(300_000, options))
    data.write(directory)


@attack(
    "50 nested quotas over 300,000 znodes in existing data: the start counts them",
    prepare=_quotas_on_each_level,
    is_shared=False,
)
def quota_nested(arena: Arena) -> None:
    """Look only at the start; the server counted one subtree for each quota."""
    arena.notes.append("see the time of the restart")


def _owned(directory: Path, options: Options, owner: int, time_ms: int) -> None:
    data = DataDirectory()
    data.time_ms = time_ms
    data.create_children("/perishable", scaled(1_000_000, options), b"", owner)
    data.write(directory)


def _containers(directory: Path, options: Options) -> None:
    _owned(directory, options, CONTAINER_OWNER, int(time.time() * 1000))


def _long_ttl(directory: Path, options: Options) -> None:
    _owned(directory, options, ttl_owner(MAX_TTL_MS), int(time.time() * 1000))


def _short_ttl(directory: Path, options: Options) -> None:
    _owned(directory, options, ttl_owner(1), 1)


def _wait(arena: Arena, wait_s: float) -> None:
    threading.Event().wait(min(wait_s, arena.options.limit_s))


_SCANNED_OFTEN = {"extendedTypesEnabled": "true", "znode.container.checkIntervalMs": 1000}


@attack(
    "1,000,000 TTL znodes are looked at every second for 10 s",
    prepare=_long_ttl,
    settings=_SCANNED_OFTEN,
    is_shared=False,
)
def ttl_scan(arena: Arena) -> None:
    """Wait while the server looks for what is over."""
    _wait(arena, 10.0)


@attack(
    "1,000,000 containers are looked at every second for 10 s",
    prepare=_containers,
    settings=_SCANNED_OFTEN,
    is_shared=False,
)
def container_scan(arena: Arena) -> None:
    """Wait while the server looks for those that are empty."""
    _wait(arena, 10.0)


@attack(
    "1,000,000 TTL znodes are over at once",
    prepare=_short_ttl,
    settings={**_SCANNED_OFTEN, "znode.container.maxPerMinute": 6_000_000},
    is_shared=False,
)
def ttl_over(arena: Arena) -> None:
    """Wait while the server deletes them."""
    _wait(arena, 20.0)


def _many_directories(directory: Path, options: Options) -> None:
    data = DataDirectory()
    for number in range(scaled(400_000, options)):
        parent = f"/d{number:07d}"
        data.create(parent)
        data.create(f"{parent}/c")
    data.write(directory)


@attack(
    "snapshots of 800,000 znodes, half of them parents",
    prepare=_many_directories,
    settings={"snapCount": 2, "snapSizeLimitInKb": 1000},
    is_shared=False,
)
def snapshots(arena: Arena) -> None:
    """Write until the server has taken some snapshots."""
    with arena.client() as client:
        client.ask(OpCode.CREATE, wire.create_body("/s"))
        for taken in range(5):
            # Each round logs 2 MB, and 1 MB makes a snapshot due.
            arena.send([Load(client, [wire.set_data(1, "/s", bytes(100_000))] * 20)])
            while int(arena.target.figures()["snap_count"]) <= taken:
                if time.monotonic() > arena.deadline_s:
                    arena.failures.append(f"only {taken} snapshots in time")
                    return
                time.sleep(_LOOK_S)


@attack("20,000 sequential creates with names in other scripts, and 20,000 invalid ones")
def odd_names(arena: Arena) -> None:
    """Have names validated character by character."""
    name = "ж" * 200
    valid = wire.create(1, f"/{name}", b"", wire.SEQUENTIAL)
    invalid = wire.create(1, f"/{name}\ue000", b"")
    arena.pipeline([valid, invalid] * arena.size(10_000))


@attack("getData of 1 MB eight times on each connection, pipelined behind an unsynced write")
def held_replies(arena: Arena) -> None:
    """Have much released when the sync returns."""
    clients = arena.clients()
    size = arena.size(1_000_000)
    clients[0].ask(OpCode.CREATE, wire.create_body("/large", bytes(size)))
    write = wire.set_data(1, "/large", bytes(size))
    read = wire.path_watch(1, OpCode.GET_DATA, "/large")
    loads = []
    for position, client in enumerate(clients):
        first = write if position == 0 else wire.create(1, "/n", b"", wire.SEQUENTIAL)
        loads.append(Load(client, [first] + [read] * 8, 9))
    arena.send(loads)
