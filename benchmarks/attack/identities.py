"""Attacks with identities and access control lists."""

import time
from pathlib import Path

from benchmarks.attack import wire
from benchmarks.attack.arena import Arena, Options, attack
from benchmarks.attack.clients import Client, Load
from benchmarks.attack.data import DataDirectory
from benchmarks.attack.verdict import MAX_GROWTH_MB
from zoolet.model.acl import ACL, AclList, Id
from zoolet.model.codes import OpCode, Permission
from zoolet.wire.jute import pack_ustring

_AUTH_ACL: AclList = (ACL(int(Permission.ALL), Id("auth", "")),)
_LIST_BYTES = 144_000


def _auths(first: int, number: int) -> list[bytes]:
    return [wire.auth(b"someone%07d" % user) for user in range(first, first + number)]


def _identify(arena: Arena, identities: int) -> list[Client]:
    """Return connections that have sent this number of auth requests each."""
    loads = [Load(client, _auths(0, identities)) for client in arena.clients()]
    arena.send(loads)
    return [load.client for load in loads]


@attack("20,000 distinct auth requests")
def auth_requests(arena: Arena) -> None:
    """Prove one identity after another."""
    arena.pipeline(_auths(0, arena.size(20_000)))


@attack("20 auth requests under a scheme with a name of 900 KB", is_shared=False)
def long_scheme(arena: Arena) -> None:
    """Have a long name logged; look at the server's log afterwards."""
    scheme = "\x01" * arena.size(900_000)
    failing = wire.request(-4, OpCode.AUTH, bytes(4) + pack_ustring(scheme) + bytes(4))
    for _ in range(20):
        arena.send([Load(arena.client(), [failing])])
    arena.notes.clear()


@attack("10,000 auth requests under a scheme that there is not, on new connections")
def auth_failures(arena: Arena) -> None:
    """Fail to authenticate on many connections, which the server closes and logs."""
    failing = wire.request(-4, OpCode.AUTH, bytes(4) + b"\0\0\0\4none" + bytes(4))
    for _ in range(arena.size(10_000) // arena.connections):
        arena.send([Load(client, [failing]) for client in arena.clients()])
        arena.close()
        if time.monotonic() > arena.deadline_s:
            break
    arena.notes.clear()


@attack("5,000 auth requests, then a multi of creates whose ACLs use the scheme auth")
def auth_in_multi(arena: Arena) -> None:
    """Have one ACL entry stand for many identities in each part of a multi."""
    clients = _identify(arena, arena.size(5000) // arena.connections)
    part = (int(OpCode.CREATE), wire.create_body("/auth", b"", wire.SEQUENTIAL, _AUTH_ACL))
    request = wire.multi(1, [part] * arena.size(400))
    arena.pipeline_over([each for each in clients if not each.is_closed], [request] * len(clients))


@attack("127 auth requests, then a multi of 20,000 creates whose ACLs use the scheme auth")
def auth_in_long_multi(arena: Arena) -> None:
    """Do the same within the limit on identities, as long as a request may be."""
    clients = _identify(arena, 127)
    parts = arena.size(20_000) // arena.connections
    part = (int(OpCode.CREATE), wire.create_body("/auth", b"", wire.SEQUENTIAL, _AUTH_ACL))
    arena.pipeline_over(clients, [wire.multi(1, [part] * parts)] * len(clients))


def _one_znode(directory: Path, options: Options) -> None:
    del options
    data = DataDirectory()
    data.create("/acl")
    data.write(directory)


def _distinct_list(number: int, size_bytes: int) -> AclList:
    """Return an ACL of about this number of bytes that no other number gives."""
    name = "x" * 90
    entries = size_bytes // 144
    anyone = ACL(int(Permission.ALL), Id("world", "anyone"))
    users = (
        ACL(int(Permission.ALL), Id("digest", f"{number:07d}.{entry:07d}.{name}:{'y' * 20}"))
        for entry in range(entries - 1)
    )
    return (anyone, *users)


@attack("300 setACL of distinct lists of 144 KB, one znode", prepare=_one_znode)
def set_acl(arena: Arena) -> None:
    """Replace one znode's ACL by long lists; look at the memory again after a restart."""
    before_mb = arena.target.resident_mb()
    arena.after_restart(lambda: _look_at_memory(arena, before_mb))
    number = arena.size(300)
    requests = [
        wire.set_acl(1, "/acl", _distinct_list(position, arena.size(_LIST_BYTES, 288)))
        for position in range(number)
    ]
    arena.pipeline(requests)


def _look_at_memory(arena: Arena, before_mb: float) -> None:
    growth_mb = arena.target.resident_mb() - before_mb
    if growth_mb > MAX_GROWTH_MB:
        arena.failures.append(f"{growth_mb:,.0f} MB more after the restart")


@attack("1,000 creates and deletes of a znode with a distinct list of 28 KB")
def acl_of_deleted(arena: Arena) -> None:
    """Let lists lose their only znode by a delete."""
    requests = [
        wire.create(1, f"/a{position}", b"", 0, _distinct_list(position, 28_800))
        + wire.request(1, OpCode.DELETE, wire.version_body(f"/a{position}"))
        for position in range(arena.size(1000))
    ]
    loads = []
    for position, client in enumerate(arena.clients()):
        own = requests[position :: arena.connections]
        loads.append(Load(client, own, 2 * len(own)))
    arena.send(loads)


@attack("20,000 creates with an ACL of 100 networks of the scheme ip, then 200,000 reads")
def networks(arena: Arena) -> None:
    """Have an address compared with networks, the dearest of the matches."""
    entries = tuple(
        ACL(int(Permission.ALL), Id("ip", f"10.{number}.0.0/16")) for number in range(100)
    )
    acl = (*entries, ACL(int(Permission.ALL), Id("ip", "127.0.0.1")))
    clients = arena.clients()
    clients[0].ask(OpCode.CREATE, wire.create_body("/ip", b"", 0, acl))
    request = wire.path_watch(1, OpCode.GET_DATA, "/ip")
    arena.pipeline_over(clients, [request] * arena.size(40_000))
