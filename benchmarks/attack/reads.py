"""Attacks with reads: requests of a few bytes whose answers are long, or long to find."""

import time
from pathlib import Path

from benchmarks.attack import wire
from benchmarks.attack.arena import Arena, Options, attack
from benchmarks.attack.clients import Load
from benchmarks.attack.data import DataDirectory, long_acl, write_children
from zoolet.model.codes import OpCode
from zoolet.wire.jute import pack_ustring

_CHILDREN = 300_000
_LARGE_BYTES = 1_000_000
_MANY_IDENTITIES = 128


def scaled(number: int, options: Options) -> int:
    """Return a size of the data at the scale that was asked for."""
    return max(1, round(number * options.scale))


def _many_children(directory: Path, options: Options) -> None:
    write_children(directory, {"/big": scaled(_CHILDREN, options)})


def _large_znode(directory: Path, options: Options) -> None:
    data = DataDirectory()
    data.create("/large", bytes(scaled(_LARGE_BYTES, options)))
    data.write(directory)


def _with_acl(entries: int, directory: Path, options: Options) -> None:
    data = DataDirectory()
    data.create("/acl", b"x", long_acl(scaled(entries, options)))
    data.write(directory)


def _acl_of_1000(directory: Path, options: Options) -> None:
    _with_acl(1000, directory, options)


def _acl_of_20000(directory: Path, options: Options) -> None:
    _with_acl(20_000, directory, options)


@attack("600 getAllChildrenNumber of 300,000 znodes, pipelined", prepare=_many_children)
def count_children(arena: Arena) -> None:
    """Ask on and on how many znodes there are below one."""
    count = wire.path_only(1, OpCode.GET_ALL_CHILDREN_NUMBER, "/big")
    arena.pipeline([count] * arena.size(600))


@attack("the same 600, each behind a create, so that no cache helps", prepare=_many_children)
def count_children_changed(arena: Arena) -> None:
    """Change the number before each question."""
    count = wire.path_only(1, OpCode.GET_ALL_CHILDREN_NUMBER, "/big")
    pairs = (wire.create(1, "/big/n", b"", wire.SEQUENTIAL) + count for _ in range(arena.size(600)))
    clients = arena.clients()
    requests = list(pairs)
    own = [requests[position :: len(clients)] for position in range(len(clients))]
    arena.send(
        [Load(client, mine, 2 * len(mine)) for client, mine in zip(clients, own, strict=True)]
    )


def _authenticated(arena: Arena, identities: int) -> list[Load]:
    """Return loads that give each connection this many identities."""
    requests = [wire.auth(b"someone%d" % number) for number in range(identities)]
    return [Load(client, requests) for client in arena.clients()]


def _with_identities(arena: Arena, request: bytes, number: int) -> None:
    loads = _authenticated(arena, _MANY_IDENTITIES - 1)
    arena.send(loads)
    clients = [load.client for load in loads]
    arena.pipeline_over(clients, [request] * arena.size(number))


@attack("2,000 getData of a znode with 1,000 ACL entries, by 127 identities", prepare=_acl_of_1000)
def long_acl_checked(arena: Arena) -> None:
    """Have a list of the longest length checked for as many identities as there may be."""
    _with_identities(arena, wire.path_watch(1, OpCode.GET_DATA, "/acl"), 2000)


@attack("100 getData of a znode with 20,000 ACL entries in existing data", prepare=_acl_of_20000)
def longest_acl_checked(arena: Arena) -> None:
    """Have a list checked that was written before there was a limit."""
    _with_identities(arena, wire.path_watch(1, OpCode.GET_DATA, "/acl"), 100)


@attack("20 getData of 20,000 ACL entries, by 2,000 identities", prepare=_acl_of_20000)
def identities_checked(arena: Arena) -> None:
    """Try to have more identities than there may be first."""
    loads = _authenticated(arena, arena.size(2000) // arena.connections)
    arena.send(loads)
    clients = [load.client for load in loads if not load.client.is_closed]
    if clients:
        request = wire.path_watch(1, OpCode.GET_DATA, "/acl")
        arena.pipeline_over(clients, [request] * arena.size(20))


@attack("one multiRead with 1,000 getData of 20,000 ACL entries", prepare=_acl_of_20000)
def acl_in_multi_read(arena: Arena) -> None:
    """Have a list checked as often as one request may name it."""
    part = (int(OpCode.GET_DATA), pack_ustring("/acl") + b"\0")
    request = wire.multi(1, [part] * arena.size(1000), OpCode.MULTI_READ)
    arena.pipeline([request] * max(1, arena.connections))


@attack("one multi of 40,000 checks of 1,000 ACL entries, by 127 identities", prepare=_acl_of_1000)
def acl_in_multi(arena: Arena) -> None:
    """Have a list checked in each part of a multi of 1 MB."""
    part = (int(OpCode.CHECK), wire.version_body("/acl"))
    loads = _authenticated(arena, _MANY_IDENTITIES - 1)
    arena.send(loads)
    parts = arena.size(40_000) // arena.connections
    clients = [load.client for load in loads]
    arena.pipeline_over(clients, [wire.multi(1, [part] * parts)] * len(clients))


@attack("1,000 getACL of 20,000 ACL entries in existing data", prepare=_acl_of_20000)
def get_acl(arena: Arena) -> None:
    """Have a long list shown."""
    arena.pipeline([wire.path_only(1, OpCode.GET_ACL, "/acl")] * arena.size(1000))


@attack("one multiRead of 16 KB that reads 1 MB 1,000 times", prepare=_large_znode)
def multi_read(arena: Arena) -> None:
    """Ask for 1 GB in one request."""
    part = (int(OpCode.GET_DATA), pack_ustring("/large") + b"\0")
    request = wire.multi(1, [part] * 1000, OpCode.MULTI_READ)
    arena.pipeline([request] * arena.connections)


@attack("one multiRead that lists 300,000 children 1,000 times", prepare=_many_children)
def multi_list(arena: Arena) -> None:
    """Ask for a long listing in each part."""
    part = (int(OpCode.GET_CHILDREN), pack_ustring("/big") + b"\0")
    request = wire.multi(1, [part] * 1000, OpCode.MULTI_READ)
    arena.pipeline([request] * arena.connections)


@attack("100 pairs of create and getChildren of 300,000 children", prepare=_many_children)
def list_changed(arena: Arena) -> None:
    """List a large directory after each change of it."""
    pair = wire.create(1, "/big/n", b"", wire.SEQUENTIAL) + wire.path_watch(
        1, OpCode.GET_CHILDREN, "/big"
    )
    loads = [
        Load(client, [pair] * pairs, 2 * pairs)
        for client, pairs in zip(arena.clients(), arena.share(arena.size(100)), strict=True)
    ]
    arena.send(loads)


@attack("100 pairs of delete and getChildren of 300,000 children", prepare=_many_children)
def list_deleted(arena: Arena) -> None:
    """List a large directory after each child that goes."""
    child = iter(range(arena.size(_CHILDREN)))
    listing = wire.path_watch(1, OpCode.GET_CHILDREN2, "/big")
    loads = []
    for client, pairs in zip(arena.clients(), arena.share(arena.size(100)), strict=True):
        requests = [
            wire.request(1, OpCode.DELETE, wire.version_body(f"/big/c{next(child):07d}")) + listing
            for _ in range(pairs)
        ]
        loads.append(Load(client, requests, 2 * pairs))
    arena.send(loads)


@attack("300 getChildren2 of 300,000 children, pipelined", prepare=_many_children)
def list_unchanged(arena: Arena) -> None:
    """List a large directory on and on."""
    listing = wire.path_watch(1, OpCode.GET_CHILDREN2, "/big")
    arena.pipeline([listing] * arena.size(300))


@attack("2,000 getEphemerals of a session with 100,000 ephemerals, of which none match")
def get_ephemerals(arena: Arena) -> None:
    """Have all ephemerals of a session looked through for a short answer."""
    clients = arena.clients()
    clients[0].ask(OpCode.CREATE, wire.create_body("/e"))
    part = (int(OpCode.CREATE), wire.create_body("/e/x", b"", wire.EPHEMERAL | wire.SEQUENTIAL))
    multis = arena.size(100)
    shares = arena.share(multis)
    arena.send(
        [
            Load(client, [wire.multi(1, [part] * 1000)] * multis)
            for client, multis in zip(clients, shares, strict=True)
        ]
    )
    arena.deadline_s = time.monotonic() + arena.options.limit_s
    arena.pipeline_over(
        clients, [wire.path_only(1, OpCode.GET_EPHEMERALS, "/none")] * arena.size(2000)
    )


@attack("20,000 pairs: create a child of a znode of 1 MB, read another", prepare=_large_znode)
def large_parent(arena: Arena) -> None:
    """Have the Stat of a large znode brought up to date before each read."""
    clients = arena.clients()
    pairs = arena.size(20_000)
    requests = []
    for number in range(pairs):
        create = wire.create(1, f"/large/{number}")
        requests.append(create + wire.path_watch(1, OpCode.EXISTS, "/zookeeper"))
    loads = []
    for position, client in enumerate(clients):
        own = requests[position :: len(clients)]
        loads.append(Load(client, own, 2 * len(own)))
    arena.send(loads)


@attack("20,000 pairs of create and delete of one path, pipelined", prepare=_many_children)
def create_delete(arena: Arena) -> None:
    """Let the directory's list of entries grow with children that are gone."""
    pairs = arena.size(20_000)
    loads = []
    for position, (client, share) in enumerate(
        zip(arena.clients(), arena.share(pairs), strict=True)
    ):
        path = f"/big/d{position}"
        pair = wire.create(1, path) + wire.request(1, OpCode.DELETE, wire.version_body(path))
        loads.append(Load(client, [pair] * share, 2 * share))
    arena.send(loads)


@attack("40,000 whoAmI by a client with 127 identities")
def who_am_i(arena: Arena) -> None:
    """Have many identities listed."""
    _with_identities(arena, wire.request(1, OpCode.WHO_AM_I), 40_000)
