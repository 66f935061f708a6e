"""Each row of the table of disclosures, with the permission that it names and with all others."""

import itertools
import re
import urllib.request
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.support.rawclient import END_OF_MULTI, RawClient, RawReply, multi_body
from zoolet.model.acl import ACL, AclList, Id
from zoolet.model.codes import AddWatchMode, ErrorCode, EventType, OpCode, Permission, Xid
from zoolet.server.operator.four_letter_words import WORDS
from zoolet.state_machine.access import digest_of
from zoolet.state_machine.disclosures import EVENTS, OPERATOR_COMMANDS, OPERATOR_WORDS, REPLIES, Of
from zoolet.testing import ReservedPort, ServerProcess
from zoolet.wire.jute import INT, LONG, Reader, pack_acl, pack_buffer, pack_ustring

OWNER, GUEST = b"owner:secret", b"guest:secret"
ALL = Permission.ALL
ANY_VERSION, WRONG_VERSION, NO_WATCH = INT.pack(-1), INT.pack(77), b"\0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    admin = ReservedPort()
    settings = {
        "extendedTypesEnabled": "true",
        "4lw.commands.whitelist": "*",
        "admin.enableServer": "true",
        "admin.serverPort": admin.number,
        "admin.serverAddress": "127.0.0.1",
    }
    with ServerProcess(tmp_path_factory.mktemp("server"), settings) as running:
        yield running
    admin.release()


class Scene:
    """A znode of the owner's, with a child, of which the guest has some permissions."""

    def __init__(self, server: ServerProcess, path: str) -> None:
        self.port = server.port
        self.path = path
        self.owner = self.connect(OWNER)
        self.guest = self.connect(GUEST)

    def connect(self, credentials: bytes) -> RawClient:
        client = RawClient(self.port)
        client.connect(timeout_ms=20_000)
        self.authenticate(client, credentials)
        return client

    def authenticate(self, client: RawClient, credentials: bytes) -> None:
        body = INT.pack(0) + pack_ustring("digest") + pack_buffer(credentials)
        assert client.request(OpCode.AUTH, body, xid=Xid.AUTH).err == 0

    def acl(self, permission: int) -> AclList:
        entries = [ACL(ALL, Id("digest", digest_of(OWNER)))]
        return (*entries, ACL(permission, Id("digest", digest_of(GUEST))))

    def create(self, path: str, permission: int) -> None:
        assert self.owner.create(path, b"data", acl=self.acl(permission)).err == 0

    def make(self, permission: int) -> None:
        self.create(self.path, permission)

    def close(self) -> None:
        for client in (self.owner, self.guest):
            client.request(OpCode.CLOSE_SESSION)
            client.socket.close()


NUMBERS = itertools.count()


@pytest.fixture
def scene(server: ServerProcess) -> Iterator[Scene]:
    made = Scene(server, f"/n{next(NUMBERS)}")
    yield made
    made.close()


class Try(NamedTuple):
    """A request about a znode, and the errors that say something of it."""

    op_code: OpCode
    body: Callable[[str], bytes]
    errors: tuple[ErrorCode, ...] = (ErrorCode.OK,)


def of_path(rest: bytes) -> Callable[[str], bytes]:
    return lambda path: pack_ustring(path) + rest


def creating(rest: bytes) -> Callable[[str], bytes]:
    body = pack_buffer(b"x") + pack_acl((ACL(ALL, Id("world", "anyone")),)) + rest
    return lambda path: pack_ustring(f"{path}/new") + body


def in_multi(op_code: int, *contents: Callable[[str], bytes]) -> Callable[[str], bytes]:
    return lambda path: multi_body([(op_code, content(path)) for content in contents])


VERSION = (ErrorCode.OK, ErrorCode.BAD_VERSION)
TRIES: dict[str, list[Try]] = {
    "exists": [Try(OpCode.EXISTS, of_path(NO_WATCH))],
    "getData": [Try(OpCode.GET_DATA, of_path(NO_WATCH))],
    "getChildren": [
        Try(OpCode.GET_CHILDREN, of_path(NO_WATCH)),
        Try(OpCode.GET_CHILDREN2, of_path(NO_WATCH)),
    ],
    "getAllChildrenNumber": [Try(OpCode.GET_ALL_CHILDREN_NUMBER, of_path(b""))],
    "getACL": [Try(OpCode.GET_ACL, of_path(b""))],
    "create": [
        Try(OpCode.CREATE, creating(INT.pack(0))),
        Try(OpCode.CREATE, creating(INT.pack(2))),
        Try(OpCode.CREATE, creating(INT.pack(0)), (ErrorCode.NODE_EXISTS,)),
        Try(OpCode.CREATE2, creating(INT.pack(3))),
        Try(OpCode.CREATE_CONTAINER, creating(INT.pack(4)), (ErrorCode.NODE_EXISTS,)),
        Try(OpCode.CREATE_TTL, creating(INT.pack(6) + LONG.pack(60_000))),
    ],
    "setData": [
        Try(OpCode.SET_DATA, of_path(pack_buffer(b"y") + WRONG_VERSION), VERSION),
        Try(OpCode.SET_DATA, of_path(pack_buffer(b"y") + ANY_VERSION)),
    ],
    "setACL": [
        Try(
            OpCode.SET_ACL,
            of_path(pack_acl((ACL(ALL, Id("world", "anyone")),)) + version),
            VERSION,
        )
        for version in (WRONG_VERSION, ANY_VERSION)
    ],
}


def replies_to(scene: Scene, tries: list[Try]) -> list[RawReply]:
    return [scene.guest.request(each.op_code, each.body(scene.path)) for each in tries]


@pytest.mark.parametrize("name", TRIES)
def test_a_reply_shows_something_with_the_permission(scene: Scene, name: str) -> None:
    (row,) = [row for row in REPLIES if row.name == name]
    assert row.permission is not None
    scene.make(row.permission)
    for reply, each in zip(replies_to(scene, TRIES[name]), TRIES[name], strict=True):
        assert reply.err in each.errors
        assert bool(reply.body) == (reply.err == 0)


@pytest.mark.parametrize("name", TRIES)
def test_a_reply_shows_nothing_with_every_other_permission(scene: Scene, name: str) -> None:
    (row,) = [row for row in REPLIES if row.name == name]
    assert row.permission is not None
    assert row.without == "NOAUTH"
    scene.make(ALL & ~row.permission)
    for reply in replies_to(scene, TRIES[name]):
        assert (reply.err, reply.body) == (ErrorCode.NO_AUTH, b"")


@pytest.mark.parametrize("permission", [Permission.READ, Permission.ADMIN])
def test_one_of_the_permissions_is_enough_for_a_list_and_digests_need_admin(
    scene: Scene, permission: Permission
) -> None:
    scene.make(permission)
    reply = scene.guest.request(OpCode.GET_ACL, pack_ustring(scene.path))
    is_shown = digest_of(OWNER).encode() in reply.body
    assert (reply.err, is_shown) == (0, permission is Permission.ADMIN)
    assert is_shown or b"owner:x" in reply.body


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_part_of_a_multi_read_needs_read_by_itself(scene: Scene, is_allowed: bool) -> None:
    scene.make(Permission.READ if is_allowed else ALL & ~Permission.READ)
    for op_code in (OpCode.GET_DATA, OpCode.GET_CHILDREN):
        body = in_multi(op_code, of_path(NO_WATCH), lambda _: pack_ustring("/") + NO_WATCH)
        reader = Reader(scene.guest.request(OpCode.MULTI_READ, body(scene.path)).body)
        assert reader.read_int() == (op_code if is_allowed else OpCode.ERROR)
        reader.read_bool()
        assert reader.read_int() == (0 if is_allowed else ErrorCode.NO_AUTH)
        assert (b"data" in reader.data) == (is_allowed and op_code == OpCode.GET_DATA)


@pytest.mark.parametrize("is_allowed", [True, False])
def test_deletes_need_delete_on_the_parent(scene: Scene, is_allowed: bool) -> None:
    scene.make(Permission.DELETE if is_allowed else ALL & ~Permission.DELETE)
    scene.create(f"{scene.path}/child", 0 if is_allowed else ALL)
    scene.create(f"{scene.path}/child/below", 0)
    wanted = [ErrorCode.BAD_VERSION, ErrorCode.NOT_EMPTY]
    if not is_allowed:
        wanted = [ErrorCode.NO_AUTH] * 2
    for version, code in zip((WRONG_VERSION, ANY_VERSION), wanted, strict=True):
        body = pack_ustring(f"{scene.path}/child") + version
        assert scene.guest.request(OpCode.DELETE, body)[2:] == (code, b"")


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_check_needs_read_and_a_part_behind_a_refused_one_shows_nothing(
    scene: Scene, is_allowed: bool
) -> None:
    scene.make(Permission.READ if is_allowed else ALL & ~Permission.READ)
    body = in_multi(OpCode.CHECK, of_path(WRONG_VERSION), lambda _: pack_ustring("/") + ANY_VERSION)
    reply = scene.guest.request(OpCode.MULTI, body(scene.path))
    first = ErrorCode.BAD_VERSION if is_allowed else ErrorCode.NO_AUTH
    codes = (first, ErrorCode.RUNTIME_INCONSISTENCY)
    parts = [INT.pack(OpCode.ERROR) + b"\0" + INT.pack(code) + INT.pack(code) for code in codes]
    assert reply.body == b"".join(parts) + END_OF_MULTI


def test_what_needs_no_permission(scene: Scene) -> None:
    """That a path is missing or exists, the session's own ephemerals, the connection's watches."""
    scene.make(0)
    guest = scene.guest
    assert guest.request(OpCode.EXISTS, pack_ustring("/none") + NO_WATCH).err == ErrorCode.NO_NODE
    for path in (scene.path, "/none"):
        watch = pack_ustring(path) + INT.pack(AddWatchMode.PERSISTENT)
        assert guest.request(OpCode.ADD_WATCH, watch).body == INT.pack(0)
        of_any = pack_ustring(path) + INT.pack(3)
        for op_code in (OpCode.CHECK_WATCHES, OpCode.REMOVE_WATCHES):
            assert guest.request(op_code, of_any)[2:] == (0, b"")
        assert guest.request(OpCode.CHECK_WATCHES, of_any).err == ErrorCode.NO_WATCHER
        assert guest.request(OpCode.SYNC, pack_ustring(path)).body == pack_ustring(path)
    assert guest.create(f"{scene.path}-own", flags=1, acl=scene.acl(0)).err == 0
    own = guest.request(OpCode.GET_EPHEMERALS, pack_ustring("/")).body
    assert own == INT.pack(1) + pack_ustring(f"{scene.path}-own")
    assert scene.owner.request(OpCode.GET_EPHEMERALS, pack_ustring("/")).body == INT.pack(0)


LATER = 1 << 40
"""A zxid after everything that has happened: a client that has missed nothing."""


def paths(path: str, num_lists: int) -> bytes:
    return num_lists * (INT.pack(1) + pack_ustring(path))


class Free(NamedTuple):
    """A request that shows nothing of a znode, whatever its body says of one."""

    op_code: OpCode
    body: Callable[[str], bytes]
    xid: int | None = None
    closes: bool = False


FREE = {
    "addWatch": Free(OpCode.ADD_WATCH, of_path(INT.pack(AddWatchMode.PERSISTENT))),
    "addWatch, recursive": Free(
        OpCode.ADD_WATCH, of_path(INT.pack(AddWatchMode.PERSISTENT_RECURSIVE))
    ),
    "setWatches": Free(
        OpCode.SET_WATCHES, lambda path: LONG.pack(LATER) + paths(path, 1) + INT.pack(0) * 2
    ),
    "setWatches, missed": Free(
        OpCode.SET_WATCHES, lambda path: LONG.pack(0) + paths(path, 3), Xid.SET_WATCHES
    ),
    "setWatches2": Free(
        OpCode.SET_WATCHES2, lambda path: LONG.pack(0) + paths(path, 5), Xid.SET_WATCHES
    ),
    "sync": Free(OpCode.SYNC, of_path(b"")),
    "ping": Free(OpCode.PING, of_path(b""), Xid.PING),
    "auth": Free(
        OpCode.AUTH,
        lambda path: INT.pack(0) + pack_ustring("digest") + pack_buffer(f"{path}:x".encode()),
        Xid.AUTH,
    ),
    "auth, refused": Free(
        OpCode.AUTH,
        lambda path: INT.pack(0) + pack_ustring(path) + pack_buffer(path.encode()),
        Xid.AUTH,
        closes=True,
    ),
    "SASL": Free(OpCode.SASL, lambda path: pack_buffer(path.encode())),
    "whoAmI": Free(OpCode.WHO_AM_I, of_path(b"")),
    "reconfig": Free(OpCode.RECONFIG, lambda path: 3 * pack_buffer(path.encode()) + LONG.pack(-1)),
    "createSession": Free(OpCode.CREATE_SESSION, of_path(b""), closes=True),
    "closeSession": Free(OpCode.CLOSE_SESSION, of_path(b""), closes=True),
    "deleteContainer": Free(OpCode.DELETE_CONTAINER, of_path(b""), closes=True),
}


def answered(scene: Scene, free: Free, path: str) -> list[tuple[int, int, bytes]]:
    """Return what a connection of its own gets for a request; its own path is left out."""
    asking = scene.connect(GUEST)
    sent = asking.send(free.op_code, free.body(path), free.xid)
    frames = []
    try:
        if not free.closes:
            asking.send(OpCode.GET_EPHEMERALS, pack_ustring("/"), xid=LAST)
        while (reply := asking.read_reply()).xid != LAST:
            frames.append(reply)
    except (EOFError, ConnectionResetError):
        assert free.closes
    assert [frame.xid for frame in frames] in ([sent], [])
    if not free.closes:
        asking.request(OpCode.CLOSE_SESSION)
    asking.socket.close()
    return [(frame.xid, frame.err, frame.body.replace(path.encode(), b"PATH")) for frame in frames]


LAST = 1_000_000


def seen_by_owner(scene: Scene, path: str) -> list[bytes]:
    op_codes = (OpCode.GET_DATA, OpCode.GET_CHILDREN)
    return [
        scene.owner.request(op_code, pack_ustring(path) + NO_WATCH).body for op_code in op_codes
    ]


def test_all_other_requests_of_the_table_are_tried() -> None:
    (row,) = [row for row in REPLIES if row.name == "all other requests"]
    assert (row.permission, row.of) == (None, Of.NONE)
    assert {free.op_code for free in FREE.values()} == set(row.op_codes)


@pytest.mark.parametrize("name", FREE)
def test_all_other_requests_show_nothing_of_a_znode(scene: Scene, name: str) -> None:
    """The answer is the same, whatever the znode holds, and the znode stays as it was."""
    free = FREE[name]
    scene.make(ALL & ~Permission.READ)
    scene.create(f"{scene.path}/child", ALL & ~Permission.READ)
    bare = scene.path.replace("/n", "/b")  # as long: sync answers with the path
    scene.create(bare, 0)
    write_data(scene, scene.path)
    both = (scene.path, bare)
    before = [seen_by_owner(scene, path) for path in both]
    first, second = (answered(scene, free, path) for path in both)
    assert first == second
    assert len(first) == 1
    for _, _, body in first:
        assert not any(shown in body for shown in (b"secret", b"child", OWNER))
    assert [seen_by_owner(scene, path) for path in both] == before


def events_of(client: RawClient) -> list[tuple[int, str]]:
    """Return the events that come before what is asked now is answered."""
    xid = client.send(OpCode.SYNC, pack_ustring("/"))
    events = []
    while (reply := client.read_reply()).xid != xid:
        if reply.xid == Xid.NOTIFICATION:
            reader = Reader(reply.body)
            event_type, _state = reader.read_int(), reader.read_int()
            events.append((event_type, reader.read_ustring()))
    return events


def write_data(scene: Scene, path: str) -> None:
    body = pack_ustring(path) + pack_buffer(b"z") + ANY_VERSION
    assert scene.owner.request(OpCode.SET_DATA, body).err == 0


def delete(scene: Scene, path: str) -> None:
    assert scene.owner.request(OpCode.DELETE, pack_ustring(path) + ANY_VERSION).err == 0


CHANGES: dict[str, tuple[EventType, Callable[[Scene, int], None]]] = {
    "NodeCreated": (EventType.NODE_CREATED, lambda scene, permission: scene.make(permission)),
    "NodeDeleted": (EventType.NODE_DELETED, lambda scene, _: delete(scene, scene.path)),
    "NodeDataChanged": (
        EventType.NODE_DATA_CHANGED,
        lambda scene, _: write_data(scene, scene.path),
    ),
    "NodeChildrenChanged": (
        EventType.NODE_CHILDREN_CHANGED,
        lambda scene, _: scene.create(f"{scene.path}/child", 0),
    ),
}


@pytest.mark.parametrize("is_allowed", [True, False])
@pytest.mark.parametrize("name", CHANGES)
def test_a_live_event_needs_read(scene: Scene, name: str, is_allowed: bool) -> None:
    event, change = CHANGES[name]
    permission = Permission.READ if is_allowed else ALL & ~Permission.READ
    if event is not EventType.NODE_CREATED:
        scene.make(permission)
    watch = pack_ustring(scene.path) + INT.pack(AddWatchMode.PERSISTENT)
    assert scene.guest.request(OpCode.ADD_WATCH, watch).err == 0
    change(scene, permission)
    assert events_of(scene.guest) == ([(event, scene.path)] if is_allowed else [])


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_watch_from_above_needs_read_of_the_znode_that_changes(
    scene: Scene, is_allowed: bool
) -> None:
    scene.make(0 if is_allowed else ALL)
    watch = pack_ustring(scene.path) + INT.pack(AddWatchMode.PERSISTENT_RECURSIVE)
    assert scene.guest.request(OpCode.ADD_WATCH, watch).err == 0
    child = f"{scene.path}/child"
    scene.create(child, Permission.READ if is_allowed else ALL & ~Permission.READ)
    write_data(scene, child)
    delete(scene, child)
    wanted = [EventType.NODE_CREATED, EventType.NODE_DATA_CHANGED, EventType.NODE_DELETED]
    assert events_of(scene.guest) == ([(event, child) for event in wanted] if is_allowed else [])


def set_watches(
    scene: Scene, since: int, *lists: list[str], op_code: OpCode
) -> list[tuple[int, str]]:
    """Take watches over on a connection of its own, as a client does that comes back."""
    body = LONG.pack(since)
    for paths in (*lists, [], [])[: 3 if op_code == OpCode.SET_WATCHES else 5]:
        body += INT.pack(len(paths)) + b"".join(map(pack_ustring, paths))
    returned = scene.connect(GUEST)
    try:
        returned.send(op_code, body, xid=Xid.SET_WATCHES)
        events = events_of(returned)
        write_data(scene, scene.path)
        return events + [(-1, "") for _ in events_of(returned)]
    finally:
        returned.request(OpCode.CLOSE_SESSION)
        returned.socket.close()


MISSED = {
    "setWatches: NodeDataChanged": (0, EventType.NODE_DATA_CHANGED),
    "setWatches: NodeCreated": (1, EventType.NODE_CREATED),
    "setWatches: NodeChildrenChanged": (2, EventType.NODE_CHILDREN_CHANGED),
}


@pytest.mark.parametrize("op_code", [OpCode.SET_WATCHES, OpCode.SET_WATCHES2])
@pytest.mark.parametrize("is_allowed", [True, False])
@pytest.mark.parametrize("name", MISSED)
def test_what_a_client_missed_needs_read(
    scene: Scene, name: str, is_allowed: bool, op_code: OpCode
) -> None:
    """Without it the watch stays, whatever has changed: nothing tells whether anything has."""
    place, event = MISSED[name]
    scene.make(Permission.READ if is_allowed else ALL & ~Permission.READ)
    scene.create(f"{scene.path}/child", 0)
    lists = [[scene.path] if number == place else [] for number in range(3)]
    events = set_watches(scene, 0, *lists, op_code=op_code)
    assert events == ([(event, scene.path)] if is_allowed else [])


def test_that_a_znode_is_missing_is_told_to_everyone(scene: Scene) -> None:
    scene.make(0)
    lists = [["/none"], ["/none"], ["/none"]]
    events = set_watches(scene, 0, *lists, op_code=OpCode.SET_WATCHES)
    assert events == [(EventType.NODE_DELETED, "/none")] * 2


@pytest.mark.parametrize("is_readable_again", [True, False])
def test_a_watch_kept_without_read_tells_what_changes_once_it_may(
    scene: Scene, is_readable_again: bool
) -> None:
    scene.make(0)
    body = LONG.pack(0) + INT.pack(1) + pack_ustring(scene.path) + INT.pack(0) * 2
    scene.guest.send(OpCode.SET_WATCHES, body, xid=Xid.SET_WATCHES)
    assert events_of(scene.guest) == []
    if is_readable_again:
        acl = pack_ustring(scene.path) + pack_acl(scene.acl(Permission.READ)) + ANY_VERSION
        assert scene.owner.request(OpCode.SET_ACL, acl).err == 0
    write_data(scene, scene.path)
    wanted = [(EventType.NODE_DATA_CHANGED, scene.path)] if is_readable_again else []
    assert events_of(scene.guest) == wanted


def test_operators_alone_see_paths_without_a_permission(
    server: ServerProcess, scene: Scene
) -> None:
    """What is not listed as an operator's shows no path, whoever watches and owns it."""
    path = f"{scene.path}-hidden"
    assert scene.guest.create(path, flags=1, acl=scene.acl(0)).err == 0
    watch = pack_ustring(path) + INT.pack(AddWatchMode.PERSISTENT)
    assert scene.guest.request(OpCode.ADD_WATCH, watch).err == 0
    for _ in range(500):  # topk shows what clients request most
        scene.guest.request(OpCode.EXISTS, pack_ustring(path) + NO_WATCH)
    words = {word.decode() for word in WORDS} - {"stmk"}
    assert {word for word in words if path in server.ask(word)} == OPERATOR_WORDS
    commands = re.findall(r'href="[^"]*/(\w+)"', get(server, ""))
    assert len(commands) > 20
    # restore is a POST; snapshot is the whole tree, for those who have all permissions on the root.
    tried = set(commands) - {"restore", "snapshot"}
    assert {each for each in tried if path in get(server, f"/{each}")} == OPERATOR_COMMANDS


def get(server: ServerProcess, command: str) -> str:
    admin = server.config.admin
    assert admin is not None
    url = f"http://127.0.0.1:{admin.listener.port}/commands{command}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read(), "utf-8")


def test_the_table_has_every_request_and_every_event() -> None:
    listed = [op_code for row in REPLIES for op_code in row.op_codes]
    assert set(listed) == set(OpCode) - {OpCode.NOTIFICATION, OpCode.ERROR}
    assert {row.event for row in EVENTS} == {event for event in EventType if event > 0}
    names = [row.name for row in (*REPLIES, *EVENTS)]
    assert len(names) == len(set(names))
    tried = TRIES.keys() | CHANGES.keys() | MISSED.keys()
    by_themselves = {"multiRead", "getACL: digests", "delete", "check in a multi"}
    free = {row.name for row in (*REPLIES, *EVENTS) if row.of is Of.NONE}
    assert tried | by_themselves | free == set(names)
