"""Long lists are sent in parts: each reply shows one state, and the parts are shared.

The clock of this stage goes on whenever it is read. So a long request takes many turns, between
which other requests are processed.
"""

import random

import pytest

from tests.support.rawclient import RawReply
from tests.support.stage import Stage, StageClient
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import OpCode
from zoolet.server.connections.sending import MAX_UNSENT_BYTES
from zoolet.server.pipeline.encoding_steps import LONG_LIST
from zoolet.state_machine.name_pieces import NAMES_PER_PIECE
from zoolet.wire.jute import INT, Reader, pack_acl, pack_buffer, pack_ustring

NO_WATCH = b"\0"
LISTED = pack_ustring("/d") + NO_WATCH
STAT_BYTES = 68
END_BYTES = 9


class PassingStage(Stage):
    """A stage on which each look at the clock takes time."""

    def _read_clock(self) -> float:
        self.now_s += 0.00003
        return super()._read_clock()


class Family:
    """The znode /d with many children, and its names after each zxid."""

    def __init__(self, stage: Stage, num_children: int, name_bytes: int = 6) -> None:
        self.stage = stage
        self.writer = stage.client()
        tree = stage.machine.tree
        tree.create("/d", "/", b"", OPEN_ACL, 0, -1, 1, 0)
        self.names = [f"{number:0{name_bytes}d}" for number in range(num_children)]
        for name in self.names:
            tree.create(f"/d/{name}", "/d", b"", OPEN_ACL, 0, -1, 1, 0)
        self.by_zxid = {0: frozenset(self.names)}
        self.now = set(self.names)

    def change(self, name: str) -> None:
        """Create a child, or delete it if it exists; the server takes the request at once."""
        if name in self.now:
            self.now.remove(name)
            body = pack_ustring(f"/d/{name}") + INT.pack(-1)
            self.writer.send(OpCode.DELETE, body)
        else:
            self.now.add(name)
            body = pack_ustring(f"/d/{name}") + pack_buffer(b"") + pack_acl(OPEN_ACL) + INT.pack(0)
            self.writer.send(OpCode.CREATE, body)
        while self.writer.socket:
            self.stage.iterate()
        while self.writer.connection.is_behind:
            self.stage.iterate()
        zxid = self.stage.machine.tree.directories["/d"].pzxid
        self.by_zxid[zxid] = frozenset(self.now)

    def at(self, zxid: int) -> frozenset[str]:
        """Return the names after the txn with this zxid."""
        return self.by_zxid[max(changed for changed in self.by_zxid if changed <= zxid)]


def multi_read(*bodies: tuple[int, bytes]) -> bytes:
    framed = [INT.pack(op_code) + b"\0" + INT.pack(-1) + body for op_code, body in bodies]
    return b"".join(framed) + INT.pack(-1) + b"\1" + INT.pack(-1)


BOTH = multi_read(
    (OpCode.GET_CHILDREN, LISTED),
    (OpCode.GET_DATA, pack_ustring("/") + NO_WATCH),
    (OpCode.GET_CHILDREN, LISTED),
)
REQUESTS = {
    OpCode.GET_CHILDREN: LISTED,
    OpCode.GET_CHILDREN2: LISTED,
    OpCode.MULTI_READ: BOTH,
}


def lists_in(op_code: int, reply: RawReply) -> list[list[str]]:
    """Return the lists of names in a reply, which has nothing else but what belongs to it."""
    reader = Reader(reply.body)
    if op_code == OpCode.MULTI_READ:
        found = []
        for expected in (OpCode.GET_CHILDREN, OpCode.GET_DATA, OpCode.GET_CHILDREN):
            assert (reader.read_int(), reader.read_bool(), reader.read_int()) == (expected, 0, 0)
            if expected == OpCode.GET_CHILDREN:
                found.append(list(reader.read_vector(reader.read_ustring)))
            else:
                reader.read_buffer()
                reader.position += STAT_BYTES
        assert reader.remaining == END_BYTES
        return found
    names = list(reader.read_vector(reader.read_ustring))
    assert reader.remaining == (STAT_BYTES if op_code == OpCode.GET_CHILDREN2 else 0)
    return [names]


class Readers:
    """Clients that list children; some of them stop to read, or go away."""

    def __init__(self, family: Family, chance: random.Random) -> None:
        self.family = family
        self.chance = chance
        self.asked: dict[StageClient, list[int]] = {}
        self.num_checked = 0

    def ask(self) -> None:
        if len(self.asked) < 4 or self.chance.random() < 0.1:
            client = self.family.stage.client()
            self.asked[client] = []
        else:
            client = self.chance.choice(list(self.asked))
        op_code = self.chance.choice(list(REQUESTS))
        client.send(op_code, REQUESTS[op_code])
        self.asked[client].append(op_code)

    def stop_or_go_on(self) -> None:
        client = self.chance.choice(list(self.asked))
        if self.chance.random() < 0.5:
            client.connection.pause_writing()
        else:
            client.connection.resume_writing()

    def go_away(self) -> None:
        if len(self.asked) > 2 and self.chance.random() < 0.3:
            client = self.chance.choice(list(self.asked))
            del self.asked[client]
            client.lose()

    def finish(self) -> None:
        for client in self.asked:
            client.connection.resume_writing()
        self.family.stage.settle()
        for client, op_codes in self.asked.items():
            for op_code, reply in zip(op_codes, client.replies(), strict=True):
                assert reply.err == 0
                expected = self.family.at(reply.zxid)
                for names in lists_in(op_code, reply):
                    assert len(names) == len(expected)
                    assert set(names) == expected
                    self.num_checked += 1
            op_codes.clear()


@pytest.mark.parametrize("seed", range(4))
def test_each_reply_in_parts_shows_the_state_at_its_zxid(seed: int) -> None:
    chance = random.Random(seed)
    stage = PassingStage()
    family = Family(stage, LONG_LIST + chance.randrange(1, 3 * NAMES_PER_PIECE))
    names = [*family.names, *(f"new{number}" for number in range(500))]
    readers = Readers(family, chance)
    for _ in range(3):
        for _ in range(40):
            readers.ask()
            for _ in range(chance.randrange(12)):
                stage.iterate()
            for name in chance.sample(names, chance.choice((0, 0, 1, 5))):
                family.change(name)
            chance.choice((readers.stop_or_go_on, readers.go_away, stage.iterate))()
        readers.finish()
    assert readers.num_checked > 50


def test_clients_that_do_not_read_share_the_bytes_of_a_list() -> None:
    stage = PassingStage()
    family = Family(stage, 20 * NAMES_PER_PIECE, name_bytes=100)
    whole_bytes = 104 * len(family.names)
    clients = [stage.client() for _ in range(20)]
    for number, client in enumerate(clients):
        client.connection.pause_writing()
        client.send(OpCode.GET_CHILDREN2, LISTED)
        if number % 5 == 0:
            family.change(f"new{number}")
    stage.settle()
    parts: dict[int, int] = {}
    for client in clients:
        assert client.connection.unsent_bytes > whole_bytes
        unsent = client.connection._unsent
        assert unsent is not None
        parts.update({id(part): len(part) for part in unsent._parts})
    assert sum(parts.values()) < 1.5 * whole_bytes
    for client in clients:
        client.connection.resume_writing()
    stage.settle()
    for client in clients:
        ((names,),) = (lists_in(OpCode.GET_CHILDREN2, reply) for reply in client.replies())
        assert names[: len(family.names)] == family.names


def test_a_client_that_asks_for_many_lists_and_does_not_read_occupies_bounded_memory() -> None:
    stage = PassingStage()
    family = Family(stage, LONG_LIST + 1, name_bytes=200)
    whole_bytes = 204 * len(family.names)
    client = stage.client()
    client.connection.pause_writing()
    for _ in range(40):
        client.send(OpCode.GET_CHILDREN, LISTED)
    for _ in range(5000):
        stage.iterate()
    waiting_bytes = client.connection.unsent_bytes
    assert MAX_UNSENT_BYTES < waiting_bytes <= MAX_UNSENT_BYTES + whole_bytes + 100
    client.connection.resume_writing()
    stage.settle()
    replies = client.replies()
    assert len(replies) == 40
    assert {len(reply.body) for reply in replies} == {4 + whole_bytes}


def test_a_client_that_goes_away_during_its_steps_leaves_complete_pieces() -> None:
    stage = PassingStage()
    family = Family(stage, LONG_LIST + 10 * NAMES_PER_PIECE)
    leaving, staying = stage.client(), stage.client()
    leaving.send(OpCode.GET_CHILDREN, LISTED)
    directory = stage.machine.tree.directories["/d"]
    while directory.pieces is None or not directory.pieces.valid:
        stage.iterate()
    assert leaving.connection.has_job
    leaving.lose()
    stage.settle()
    assert len(directory.pieces.valid) < 10
    (names,) = lists_in(OpCode.GET_CHILDREN, staying.request(OpCode.GET_CHILDREN, LISTED))
    assert names == family.names
    assert leaving.replies() == []
