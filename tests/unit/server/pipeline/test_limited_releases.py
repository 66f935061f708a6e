"""Many connections get their frames in several iterations, and each client sees its order."""

import random

import pytest

from tests.support.rawclient import RawReply
from tests.support.stage import Stage, StageClient
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode, Xid
from zoolet.server.pipeline.releases import RELEASED_AT_ONCE
from zoolet.wire.jute import INT, Reader, pack_acl, pack_buffer, pack_ustring

WATCHERS = 2 * RELEASED_AT_ONCE + 30


def read(path: str, *, watch: bool) -> bytes:
    return pack_ustring(path) + (b"\1" if watch else b"\0")


def write(path: str, data: bytes) -> bytes:
    return pack_ustring(path) + pack_buffer(data) + INT.pack(-1)


def create(client: StageClient, path: str, data: bytes) -> None:
    body = pack_ustring(path) + pack_buffer(data) + pack_acl(OPEN_ACL) + INT.pack(0)
    assert client.request(OpCode.CREATE, body).err == 0


def stage_of(watchers: int) -> tuple[Stage, StageClient, list[StageClient]]:
    """Return a stage with the znode /0, a client that changes it, and other clients."""
    stage = Stage()
    writer = stage.client()
    create(writer, "/0", b"0")
    return stage, writer, [stage.client() for _ in range(watchers)]


def test_an_iteration_releases_a_limited_number_of_holds() -> None:
    stage, writer, watchers = stage_of(WATCHERS)
    for watcher in watchers:
        assert watcher.request(OpCode.GET_DATA, read("/0", watch=True)).err == 0
    writer.send(OpCode.SET_DATA, write("/0", b"1"))
    told: list[int] = []
    while not stage.is_idle:
        stage.iterate()
        told.append(sum(bool(watcher.transport.written) for watcher in watchers))
    assert told[-1] == WATCHERS
    most = max(after - before for before, after in zip([0, *told], told, strict=False))
    assert most == RELEASED_AT_ONCE


def test_other_clients_are_served_between() -> None:
    stage, writer, watchers = stage_of(WATCHERS)
    bystander, last = stage.client(), watchers[-1]
    for watcher in watchers:
        watcher.request(OpCode.GET_DATA, read("/0", watch=True))
    writer.send(OpCode.SET_DATA, write("/0", b"1"))
    while not watchers[0].transport.written:
        stage.iterate()
    bystander.send(OpCode.GET_DATA, read("/0", watch=False))
    last.send(OpCode.GET_DATA, read("/0", watch=False))
    stage.iterate()
    assert not last.transport.written
    assert [Reader(reply.body).read_buffer() for reply in bystander.replies()] == [b"1"]
    # What is read meanwhile shows the change, so it comes behind the event.
    stage.settle()
    event, reply = last.replies()
    assert (event.xid, Reader(reply.body).read_buffer()) == (Xid.NOTIFICATION, b"1")


def test_a_failed_change_ends_the_release() -> None:
    stage, writer, watchers = stage_of(WATCHERS)
    for watcher in watchers:
        watcher.request(OpCode.GET_DATA, read("/0", watch=True))
    writer.send(OpCode.SET_DATA, write("/0", b"1"))
    while not watchers[0].transport.written:
        stage.iterate()
    stage.commit.stop()
    stage.settle()
    assert sum(bool(watcher.transport.written) for watcher in watchers) == RELEASED_AT_ONCE
    assert not writer.transport.written


class Model:
    """What one client may see: it checks every frame that comes."""

    def __init__(self, client: StageClient) -> None:
        self.client = client
        self.asked: list[tuple[int, str, bool]] = []
        self.watched: dict[str, int] = {}
        """By path, the version that the reply showed with which the client began to watch."""
        self._last_zxid = 0
        self._last_xid = 0

    def ask(self, op_code: int, path: str, body: bytes, *, watch: bool = False) -> None:
        self._last_xid += 1
        self.client.send(op_code, body, self._last_xid)
        self.asked.append((self._last_xid, path, watch))

    def check(self) -> None:
        for reply in self.client.replies():
            if reply.xid == Xid.NOTIFICATION:
                reader = Reader(reply.body, 8)
                del self.watched[reader.read_ustring()]  # it fails for an event without a watch
            else:
                self._check_reply(reply)

    def _check_reply(self, reply: RawReply) -> None:
        xid, path, watch = self.asked.pop(0)
        assert (reply.xid, reply.err) == (xid, 0)
        assert reply.zxid >= self._last_zxid
        self._last_zxid = reply.zxid
        reader = Reader(reply.body)
        if len(reply.body) > 68:  # the reply to a read: data and Stat
            version = int(reader.read_buffer() or b"")
            assert self.watched.get(path, version) == version, "new data before the event"
            if watch:
                self.watched.setdefault(path, version)


@pytest.mark.parametrize("seed", range(6))
def test_each_client_sees_its_order(seed: int) -> None:
    """Random reads, watches and writes of many clients, while frames are released."""
    chance = random.Random(seed)
    stage, writer, clients = stage_of(RELEASED_AT_ONCE + 60)
    paths = ["/0", "/1", "/2"]
    for path in paths[1:]:
        create(writer, path, b"0")
    versions = dict.fromkeys(paths, 0)
    models = [Model(client) for client in [writer, *clients]]
    for _ in range(25):
        path = chance.choice(paths)
        for model in chance.sample(models, chance.choice((5, len(models), len(models)))):
            watch = chance.random() < 0.8
            model.ask(OpCode.GET_DATA, path, read(path, watch=watch), watch=watch)
        for _ in range(chance.randrange(6)):
            stage.iterate()
        for model in chance.sample(models, chance.randrange(4)):
            path = chance.choice(paths)
            versions[path] += 1
            model.ask(OpCode.SET_DATA, path, write(path, b"%d" % versions[path]))
            # The stage serves clients by their numbers, so each write is in its own iteration.
            for _ in range(chance.randrange(1, 4)):
                stage.iterate()
        if chance.random() < 0.5:
            for model in models:
                model.check()
    stage.settle()
    for model in models:
        model.check()
        assert not model.asked
        stale = [path for path, seen in model.watched.items() if seen != versions[path]]
        assert not stale, "an event is missing"
