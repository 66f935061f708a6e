"""The admin commands snapshot and restore: who may, how often, and what a restore leaves."""

import gzip
import http.client
import json
import random
import socket
import threading
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.rawclient import Connected, RawClient
from tests.support.waiting import WAIT_S, wait_until
from zoolet.model.acl import ACL, Id
from zoolet.model.codes import CreateMode, OpCode, Permission, Xid
from zoolet.state_machine.access import digest_of
from zoolet.testing import EmbeddedServer, ReservedPort
from zoolet.wire.jute import INT, LONG, Reader, pack_acl, pack_buffer, pack_ustring, pack_ustrings

ROOT = "digest root:secret"
SEAL_BYTES = 13


class Reply(NamedTuple):
    """An answer of the admin endpoint."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.body)
        return answer


class Admin:
    """A server and its admin endpoint."""

    def __init__(self, **settings: object) -> None:
        self.port = ReservedPort()
        self.server = EmbeddedServer(
            settings={
                "admin.enableServer": "true",
                "admin.serverPort": self.port.number,
                "admin.rateLimiterIntervalInMS": 0,
                "4lw.commands.whitelist": "*",
                **settings,
            }
        )

    def ask(
        self,
        method: str,
        command: str,
        body: Any = None,
        auth: str | None = ROOT,
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port.number, timeout=WAIT_S)
        try:
            headers = {} if auth is None else {"Authorization": auth}
            connection.request(method, f"/commands/{command}", body, headers)
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def files(self) -> list[str]:
        """Return the names in the data directory."""
        return self.server.disk.list_names(self.server.config.data_dir / "version-2")

    def snapshot(self) -> bytes:
        reply = self.ask("GET", "snapshot")
        assert reply.status == 200
        return reply.body

    def restore(self, body: Any) -> Reply:
        return self.ask("POST", "restore", body)


@pytest.fixture
def admin() -> Iterator[Admin]:
    made = Admin()
    with made.server:
        yield made


@pytest.fixture
def client(admin: Admin) -> Iterator[RawClient]:
    with Client(admin) as connected:
        yield connected


class Client(RawClient):
    """A client with a session.

    Attributes:
        session: what the server has said of it.
    """

    def __init__(self, admin: Admin) -> None:
        super().__init__(admin.server.port)
        self.session = self.connect()


def children(admin: Admin) -> set[str]:
    with Client(admin) as client:
        body = client.request(OpCode.GET_CHILDREN, pack_ustring("/") + b"\0").body
        reader = Reader(body)
        return {reader.read_ustring() for _ in range(reader.read_int())} - {"zookeeper"}


def resumed(client: RawClient, session: Connected) -> Connected:
    """Take a session up again; its id is 0 if it is over."""
    return client.connect(session_id=session.session_id, password=session.password)


def protect_root(client: RawClient, permission: Permission) -> None:
    acl = (ACL(int(permission), Id("digest", digest_of(b"root:secret"))),)
    body = pack_ustring("/") + pack_acl(acl) + INT.pack(-1)
    assert client.request(OpCode.SET_ACL, body).err == 0


# --- Rules


@pytest.mark.parametrize(("method", "command"), [("GET", "snapshot"), ("POST", "restore")])
class TestRules:
    """What holds for both commands."""

    @pytest.mark.parametrize(
        ("auth", "status"),
        [
            (None, 401),
            ("digest", 401),
            ("nonsense a:b", 401),
            ("digest root:secret more", 401),
            ("digest other:secret", 403),
            ("ip", 403),
            ("world anyone", 401),
        ],
    )
    def test_who_may_not(
        self,
        admin: Admin,
        client: RawClient,
        method: str,
        command: str,
        auth: str | None,
        status: int,
    ) -> None:
        protect_root(client, Permission.ALL)
        reply = admin.ask(method, command, b"", auth)
        assert (reply.status, reply.json["command"]) == (status, command)
        assert reply.json["error"]

    @pytest.mark.parametrize(
        "missing",
        [Permission.READ, Permission.WRITE, Permission.CREATE, Permission.DELETE, Permission.ADMIN],
    )
    def test_all_permissions_on_the_root_are_needed(
        self, admin: Admin, client: RawClient, method: str, command: str, missing: Permission
    ) -> None:
        protect_root(client, Permission.ALL & ~missing)
        assert admin.ask(method, command, b"").status == 403

    def test_the_other_method_is_refused(self, admin: Admin, method: str, command: str) -> None:
        other = "POST" if method == "GET" else "GET"
        assert admin.ask(other, command, b"").status == 405

    def test_it_can_be_switched_off(self, method: str, command: str) -> None:
        admin = Admin(**{f"admin.{command}.enabled": "false"})
        with admin.server:
            assert admin.ask(method, command, b"", None).status == 401
            assert admin.ask(method, command, b"").status == 503

    def test_its_rate_is_limited(self, method: str, command: str) -> None:
        admin = Admin(**{"admin.rateLimiterIntervalInMS": 60_000})
        with admin.server:
            body = b"no snapshot"
            assert admin.ask(method, command, body, "digest").status == 401  # does not count
            first = admin.ask(method, command, body)
            assert first.status == (200 if method == "GET" else 500)
            assert admin.ask(method, command, body).status == 429
            admin.server.clock.move(59.0)
            assert admin.ask(method, command, body).status == 429
            admin.server.clock.move(2.0)
            assert admin.ask(method, command, body).status == first.status
            figures = admin.ask("GET", "monitor").json
            assert figures[f"{command}_rate_limited_count"] == 2
            assert figures[f"{command}_error_count"] == (0 if method == "GET" else 2)


def test_an_open_root_lets_whoever_proves_anything(admin: Admin) -> None:
    for auth in ("digest a:b", "ip"):
        assert admin.ask("GET", "snapshot", auth=auth).status == 200


# --- Snapshot


def test_a_snapshot_says_its_zxid_and_size(admin: Admin, client: RawClient) -> None:
    zxid = client.create("/a", b"x" * 500_000).zxid
    reply = admin.ask("GET", "snapshot")
    assert reply.headers["last_zxid"] == f"0x{zxid:x}"
    assert reply.headers["snapshot_size"] == str(len(reply.body))
    assert reply.headers["Content-Type"] == "application/octet-stream"
    # What stands behind the first seal: a digest of nothing, and the zxid, each sealed.
    before, seal = reply.body[:-SEAL_BYTES], reply.body[-SEAL_BYTES:]
    assert seal == LONG.pack(zlib.adler32(before)) + pack_ustring("/")
    assert before[-8:] == LONG.pack(zxid)


def test_a_snapshot_can_stay_on_the_server(admin: Admin, client: RawClient) -> None:
    zxid = client.create("/a", b"x").zxid
    reply = admin.ask("GET", "snapshot?streaming=false")
    assert reply.headers["last_zxid"] == f"0x{zxid:x}"
    assert reply.json == {"command": "snapshot", "error": None}
    assert f"snapshot.{zxid:x}" in admin.files()


def test_snapshots_at_the_same_time_are_all_answered(admin: Admin, client: RawClient) -> None:
    client.create("/a", b"x")
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: replies.append(admin.ask("GET", "snap"))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert [reply.status for reply in replies] == [200] * 5
    assert len({reply.body for reply in replies}) == 1


def test_a_snapshot_that_cannot_be_written_is_an_error(admin: Admin, client: RawClient) -> None:
    client.create("/a", b"x" * 100_000)
    admin.server.disk.fill()
    assert admin.ask("GET", "snapshot").status == 500
    assert admin.ask("GET", "monitor").json["snapshot_error_count"] == 1


# --- Restore


def test_a_restore_brings_the_state_of_the_snapshot_back(admin: Admin) -> None:
    with Client(admin) as client:
        client.create("/stays", b"old")
        client.create("/goes", b"x")
        snapshot = admin.snapshot()
        set_data = pack_ustring("/stays") + pack_buffer(b"new") + INT.pack(-1)
        client.request(OpCode.SET_DATA, set_data)
        client.request(OpCode.DELETE, pack_ustring("/goes") + INT.pack(-1))
        last = client.create("/comes", b"x").zxid
        reply = admin.restore(snapshot)
        assert reply.status == 200
        assert reply.json == {"last_zxid": last + 1, "command": "restore", "error": None}
        assert client.is_closed_by_server()
    assert children(admin) == {"stays", "goes"}
    with Client(admin) as client:
        got = client.request(OpCode.GET_DATA, pack_ustring("/stays") + b"\0")
        assert Reader(got.body).read_buffer() == b"old"
        assert client.create("/after", b"").zxid > last + 1


@pytest.mark.parametrize("writes_after", [False, True])
def test_a_restore_outlives_a_crash(admin: Admin, *, writes_after: bool) -> None:
    with Client(admin) as client:
        client.create("/a")
        snapshot = admin.snapshot()
        client.create("/b")
        assert admin.restore(snapshot).status == 200
    if writes_after:
        with Client(admin) as client:
            client.create("/c")
    admin.server.kill()
    admin.server.start()
    assert children(admin) == ({"a", "c"} if writes_after else {"a"})


def test_restores_can_be_repeated(admin: Admin) -> None:
    with Client(admin) as client:
        client.create("/a")
        first = admin.snapshot()
    for number in range(3):
        with Client(admin) as client:
            client.create(f"/b{number}")
        second = admin.snapshot()
        assert admin.restore(first).status == 200
        assert children(admin) == {"a"}
        assert admin.restore(second).status == 200
        assert children(admin) == {"a", f"b{number}"}
        assert admin.restore(first).status == 200
        assert admin.server.stop() == 0
        admin.server.start()
        assert children(admin) == {"a"}


def test_a_snapshot_of_another_server_can_be_restored(admin: Admin) -> None:
    other = Admin()
    with other.server, Client(other) as client:
        for number in range(300):
            client.create(f"/{number:03d}", b"x" * 1000)
        snapshot = other.snapshot()
        zxid = client.create("/last").zxid
    assert admin.restore(snapshot).json["last_zxid"] == zxid
    assert len(children(admin)) == 300


@pytest.mark.parametrize("pieces", [1, 7, 100])
def test_a_restore_is_streamed(admin: Admin, client: RawClient, pieces: int) -> None:
    client.create("/a", b"x" * 900_000)
    client.create("/b")
    for compress in (bytes, gzip.compress):
        snapshot = compress(admin.snapshot())
        size = -(-len(snapshot) // pieces)
        cut = [snapshot[start : start + size] for start in range(0, len(snapshot), size)]
        assert admin.restore(iter(cut)).status == 200
        assert children(admin) == {"a", "b"}


def damaged(snapshot: bytes, chance: random.Random) -> bytes:
    """Return a snapshot that is cut short, or in which a bit is flipped, or to which is added."""
    kind = chance.randrange(3)
    position = chance.randrange(len(snapshot))
    if kind == 0:
        return snapshot[:position]
    if kind == 1:
        return snapshot + bytes(chance.randrange(1, 5000))
    flipped = bytearray(snapshot)
    flipped[position] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def test_a_damaged_snapshot_changes_nothing(admin: Admin, client: RawClient) -> None:
    client.create("/a", b"x" * 100)
    snapshot = admin.snapshot()
    plain = snapshot[: -SEAL_BYTES - 8 - SEAL_BYTES - 20]
    client.create("/b")
    chance = random.Random(16)
    for _ in range(60):
        body = damaged(snapshot, chance)
        if body in {plain, snapshot}:
            continue
        reply = admin.restore(body)
        assert reply.status == 500, body
        assert "not restored" in reply.json["error"]
    assert client.request(OpCode.PING, xid=Xid.PING).err == 0
    assert children(admin) == {"a", "b"}


def test_a_snapshot_without_a_zxid_can_be_restored(admin: Admin, client: RawClient) -> None:
    """As Apache before 3.9 writes it, and as it is in the data directory."""
    client.create("/a")
    snapshot = admin.snapshot()
    last = client.create("/b").zxid
    reply = admin.restore(snapshot[: -SEAL_BYTES - 8 - SEAL_BYTES - 20])
    assert reply.json["last_zxid"] == last + 1
    assert children(admin) == {"a"}


def test_a_client_that_goes_before_the_end_changes_nothing(admin: Admin, client: RawClient) -> None:
    client.create("/a")
    snapshot = admin.snapshot()
    client.create("/b")
    head = (
        f"POST /commands/restore HTTP/1.1\r\nHost: h\r\nAuthorization: {ROOT}\r\n"
        f"Content-Length: {len(snapshot)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", admin.port.number), timeout=WAIT_S) as going:
        going.sendall(head.encode() + snapshot[:-1])
        # A second restore is refused while the first is in progress.
        refused = Reply(0, {}, b"")
        while refused.status != 409:
            refused = admin.restore(b"")
        assert "in progress" in refused.json["error"]
    reply = Reply(409, {}, b"")
    while reply.status == 409:
        reply = admin.restore(b"")
    assert reply.status == 500
    assert children(admin) == {"a", "b"}


def test_a_full_disk_changes_nothing(admin: Admin, client: RawClient) -> None:
    client.create("/a", b"x" * 100_000)
    snapshot = admin.snapshot()
    client.create("/b")
    admin.server.disk.fill()
    assert admin.restore(snapshot).status == 500
    assert client.request(OpCode.EXISTS, pack_ustring("/b") + b"\0").err == 0
    # The thread of the disk removes it, maybe behind the answer.
    wait_until(
        lambda: not any(name.startswith("unfinished") for name in admin.files()), "the removal"
    )


def test_clients_are_told_by_their_watches(admin: Admin) -> None:
    with Client(admin) as client:
        client.create("/a", b"old")
        client.create("/p")
        snapshot = admin.snapshot()
        client.request(OpCode.SET_DATA, pack_ustring("/a") + pack_buffer(b"new") + INT.pack(-1))
        seen = client.create("/p/child").zxid
        session = client.session
        assert admin.restore(snapshot).status == 200
    with RawClient(admin.server.port) as back:
        assert resumed(back, session).session_id == session.session_id
        watches = (
            LONG.pack(seen) + pack_ustrings(["/a"]) + pack_ustrings([]) + pack_ustrings(["/p"])
        )
        back.send(OpCode.SET_WATCHES, watches, xid=Xid.SET_WATCHES)
        xids = [back.read_reply().xid for _ in range(3)]
        assert xids == [Xid.NOTIFICATION, Xid.NOTIFICATION, Xid.SET_WATCHES]


def test_a_session_that_the_snapshot_does_not_have_is_over(admin: Admin) -> None:
    snapshot = admin.snapshot()
    with Client(admin) as client:
        client.create("/e", flags=CreateMode.EPHEMERAL)
        session = client.session
        assert admin.restore(snapshot).status == 200
    with RawClient(admin.server.port) as back:
        assert resumed(back, session).session_id == 0
    assert children(admin) == set()


def test_an_ephemeral_of_the_snapshot_goes_with_its_session(admin: Admin) -> None:
    with Client(admin) as client:
        client.create("/e", flags=CreateMode.EPHEMERAL)
        snapshot = admin.snapshot()
        client.request(OpCode.CLOSE_SESSION)
    assert admin.restore(snapshot).status == 200
    assert children(admin) == {"e"}
    admin.server.clock.move(60.0, clients_ping=False)
    assert children(admin) == set()


def test_clients_that_write_meanwhile_lose_nothing_but_what_is_restored(admin: Admin) -> None:
    """What is acknowledged after the restore was answered stays; zxids only increase."""
    snapshot = admin.snapshot()
    stop = threading.Event()
    zxids: list[int] = []
    after: list[str] = []
    restored = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            try:
                with Client(admin) as client:
                    while not stop.is_set():
                        is_after = restored.is_set()
                        number += 1
                        zxids.append(client.create(f"/{number}").zxid)
                        if is_after:
                            after.append(str(number))
            except (OSError, EOFError):
                continue

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            reply = admin.restore(snapshot)
            assert reply.status == 200
        restored.set()
        while len(after) < 20:
            assert writer.is_alive()
    finally:
        stop.set()
        writer.join(WAIT_S)
    assert zxids == sorted(set(zxids))
    assert set(after) <= children(admin)
    admin.server.kill()
    admin.server.start()
    assert set(after) <= children(admin)
