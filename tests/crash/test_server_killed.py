"""kill -9 of the real server while clients write: what was acknowledged is there afterwards."""

import random
import resource
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.support.rawclient import RawClient
from tests.support.waiting import WAIT_S
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import CreateMode, OpCode
from zoolet.testing import ServerProcess
from zoolet.wire.jute import INT, Reader, pack_acl, pack_buffer, pack_ustring

ROUNDS_PER_PARENT = 10
WRITERS = 4
LOST_CONNECTIONS = 5
MOST_CREATES = 600


@dataclass
class Writer:
    """Writes with several requests on the way, and remembers what was acknowledged.

    Attributes:
        number: whose writes they are.
        parent: where it creates.
        created: the paths that the server gave, in the order of its replies.
        last_set: the greatest value whose setData was acknowledged.
    """

    number: int
    parent: str = ""
    created: list[str] = field(default_factory=list)
    last_set: int = -1
    acknowledged: threading.Event = field(default_factory=threading.Event)

    def write_until_cut_off(self, port: int) -> None:
        sequential = (
            pack_ustring(f"{self.parent}/n-")
            + pack_buffer(b"%d" % self.number)
            + pack_acl(OPEN_ACL)
            + INT.pack(CreateMode.PERSISTENT_SEQUENTIAL)
        )
        value = self.last_set
        with RawClient(port) as client:
            client.connect()
            try:
                while True:
                    for _ in range(4):
                        value += 1
                        client.send(OpCode.CREATE, sequential)
                        client.send(
                            OpCode.SET_DATA,
                            pack_ustring(f"/w{self.number}")
                            + pack_buffer(b"%d" % value)
                            + INT.pack(-1),
                        )
                    for _ in range(4):
                        self.created.append(Reader(client.read_reply().body).read_ustring())
                        client.read_reply()
                        self.last_set += 1
                    self.acknowledged.set()
            except (EOFError, ConnectionError):
                # Whatever was sent and not answered may have happened or not.
                self.last_set = max(self.last_set, -1)


def test_acknowledged_writes_survive_kill(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with ServerProcess(tmp_path, {"snapCount": 5000}) as server:
        client = KazooClient(hosts=server.hosts)
        client.start(timeout=WAIT_S)
        writers = [Writer(number) for number in range(WRITERS)]
        for writer in writers:
            client.create(f"/w{writer.number}", b"-1")
        for number in range(plain_rounds(request)):
            if number % ROUNDS_PER_PARENT == 0:
                # Not more children of one parent: listing them would take all the time.
                parent = f"/all{number}"
                client.create(parent)
                for writer in writers:
                    writer.parent = parent
                    writer.created.clear()
            threads = [
                threading.Thread(target=writer.write_until_cut_off, args=(server.port,))
                for writer in writers
            ]
            for writer, thread in zip(writers, threads, strict=True):
                writer.acknowledged.clear()
                thread.start()
            for writer in writers:
                assert writer.acknowledged.wait(WAIT_S)
            server.kill()
            for thread in threads:
                thread.join(WAIT_S)
            server.start()
            client.retry(client.sync, "/")
            verify(client, parent, writers)
        client.stop()
        client.close()


def plain_rounds(request: pytest.FixtureRequest) -> int:
    """Return how many of the rounds have all the memory that they want."""
    rounds: int = request.config.getoption("--kill-rounds")
    return rounds - rounds // 2


@dataclass
class LargeWriter:
    """Creates znodes of 1 byte to 900 KB, and goes on over new connections.

    Attributes:
        number: whose znodes they are.
        chance: decides on the sizes.
        created: the path and size of each znode whose create was acknowledged.
        lost: how many connections ended.
    """

    number: int
    chance: random.Random
    created: dict[str, int] = field(default_factory=dict)
    lost: int = 0

    def write(self, server: ServerProcess) -> None:
        """Write until the server ends, or a few connections have ended, or enough is there."""
        count = 0
        while server.is_running and self.lost < LOST_CONNECTIONS and count < MOST_CREATES:
            try:
                with RawClient(server.port) as client:
                    client.connect()
                    while count < MOST_CREATES:
                        count += 1
                        size = self.chance.choice((1, 100, 10_000, 300_000, 900_000))
                        path = f"/{self.number}-{count}"
                        if client.create(path, value_of(path, size)).err == 0:
                            self.created[path] = size
            except (EOFError, OSError):
                self.lost += 1


def value_of(path: str, size_bytes: int) -> bytes:
    return path.encode().ljust(size_bytes, b".")[:size_bytes]


def limit_memory(pid: int, more_bytes: int) -> None:
    """Let a process have so much more address space than it has."""
    text = Path(f"/proc/{pid}/statm").read_text()
    limit = int(text.split()[0]) * resource.getpagesize() + more_bytes
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))


def test_acknowledged_writes_survive_a_lack_of_memory(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A server may end for lack of memory, and must not forget what it acknowledged."""
    rounds = request.config.getoption("--kill-rounds")
    were_short = 0
    for number in range(plain_rounds(request), rounds):
        chance = random.Random(number)
        directory = tmp_path / str(number)
        with ServerProcess(directory) as server:
            limit_memory(server.pid, chance.randrange(20 << 20, 120 << 20))
            writers = [LargeWriter(each, random.Random(chance.random())) for each in range(WRITERS)]
            threads = [threading.Thread(target=each.write, args=(server,)) for each in writers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(120)
                assert not thread.is_alive(), "the server neither answers nor ends"
            were_short += any(writer.lost for writer in writers)
            if server.is_running:
                server.kill()
            else:
                server.wait()
            server.start()  # without a limit
            client = KazooClient(hosts=server.hosts)
            client.start(timeout=WAIT_S)
            for writer in writers:
                for path, size in writer.created.items():
                    assert client.get(path)[0] == value_of(path, size), f"round {number}: {path}"
            client.stop()
            client.close()
        shutil.rmtree(directory)
    assert were_short, "no round was short of memory: the limit is too high"


def verify(client: KazooClient, parent: str, writers: list[Writer]) -> None:
    given = [path for writer in writers for path in writer.created]
    assert len(given) == len(set(given)), "a sequence number was given twice"
    there = {f"{parent}/{name}" for name in client.retry(client.get_children, parent)}
    assert not set(given) - there, "an acknowledged create is gone"
    for writer in writers:
        value = int(client.retry(client.get, f"/w{writer.number}")[0])
        assert value >= writer.last_set, "an acknowledged set is gone"
        writer.last_set = value


@pytest.mark.parametrize("cut_bytes", [1, 7, 20, 40])
def test_a_torn_tail_is_cut_and_said(tmp_path: Path, cut_bytes: int) -> None:
    """A write that the machine's end cut short costs only what was not acknowledged."""
    with ServerProcess(tmp_path) as server:
        client = KazooClient(hosts=server.hosts)
        client.start(timeout=WAIT_S)
        for number in range(20):
            client.create(f"/{number}", b"x" * 50)
        client.stop()
        client.close()
        server.kill()
        (log_path,) = (tmp_path / "data" / "version-2").glob("log.*")
        written = log_path.read_bytes().rstrip(b"\0")
        log_path.write_bytes(written[:-cut_bytes] + bytes(4096))
        server.start()
        assert "cut off an unfinished write" in server.log
        client = KazooClient(hosts=server.hosts)
        client.start(timeout=WAIT_S)
        # The last txn closed the session, so that every create is still there.
        assert len(client.get_children("/")) == 21
        client.create("/after")
        client.stop()
        client.close()
        server.kill()
        server.start()
        client = KazooClient(hosts=server.hosts)
        client.start(timeout=WAIT_S)
        assert client.exists("/after")
        client.stop()
        client.close()


def test_a_flipped_bit_refuses_to_start_and_changes_nothing(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        client = KazooClient(hosts=server.hosts)
        client.start(timeout=WAIT_S)
        for number in range(20):
            client.create(f"/{number}", b"x" * 50)
        client.stop()
        client.close()
        server.kill()
        (log_path,) = (tmp_path / "data" / "version-2").glob("log.*")
        damaged = bytearray(log_path.read_bytes())
        damaged[600] ^= 1
        log_path.write_bytes(damaged)
        # In the background it shows its log, which says the same.
        for command in ("start-foreground", "start"):
            completed = server.run_command(command)
            assert completed.returncode == 1
            assert f"{log_path}: at byte " in completed.stderr
            assert "checksum" in completed.stderr
        assert log_path.read_bytes() == damaged


def test_snapshots_are_taken_while_clients_go_on(tmp_path: Path) -> None:
    """A restart begins from the newest snapshot, and loses nothing behind it."""
    with ServerProcess(tmp_path, {"snapCount": 100}) as server:
        directory = tmp_path / "data" / "version-2"
        with RawClient(server.port) as client:
            client.connect()
            made: list[str] = []
            while len(list(directory.glob("snapshot.*"))) < 4:
                made.append(f"/n{len(made)}")
                assert client.create(made[-1], b"x").err == 0
            for number in range(10):
                made.append(f"/last{number}")
                assert client.create(made[-1], b"x").err == 0
        server.kill()
        assert len(list(directory.glob("log.*"))) >= 3
        # The logs before the snapshot are not needed.
        newest = max(int(path.name.partition(".")[2], 16) for path in directory.glob("snapshot.*"))
        logs = sorted(int(path.name.partition(".")[2], 16) for path in directory.glob("log.*"))
        needed = max(zxid for zxid in logs if zxid <= newest + 1)
        for zxid in logs:
            if zxid < needed:
                (directory / f"log.{zxid:x}").unlink()
        server.start()
        after = KazooClient(hosts=server.hosts)
        after.start(timeout=WAIT_S)
        assert {f"/{name}" for name in after.get_children("/")} == {*made, "/zookeeper"}
        after.stop()
        after.close()


def test_a_server_killed_during_a_snapshot_starts_again(tmp_path: Path) -> None:
    """Its child outlives it, and keeps neither the port nor the directory's lock."""
    with ServerProcess(tmp_path, {"snapCount": 20}) as server:
        for _ in range(5):
            with RawClient(server.port) as client:
                client.connect()
                for number in range(60):
                    client.create(f"/{server.pid}-{number}", b"x" * 1000)
            server.kill()
            server.start()
        after = KazooClient(hosts=server.hosts)
        after.start(timeout=WAIT_S)
        assert len(after.get_children("/")) == 301
        after.stop()
        after.close()
