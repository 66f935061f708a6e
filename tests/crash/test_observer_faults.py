"""Clients write through an observer while servers end and links break.

Each writer sets its own znode to the next number, in sessions that it resumes as long as it can.
Invariants:

- an acknowledged write is never missing, and a write is made at most one time;
- the zxids in the replies of a session never fall;
- no request that was sent after the leader closed a session is answered in it;
- at the end, the observer and the leader have the same data.
"""

import contextlib
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from kazoo.client import KazooClient

from tests.support.ensemble import ApacheEnsemble, new_observer
from tests.support.proxy import Proxy
from tests.support.rawclient import RawClient
from tests.support.waiting import wait_until
from zoolet.cli import main
from zoolet.model.codes import CreateMode, OpCode
from zoolet.testing import ServerProcess
from zoolet.wire.jute import INT, MalformedError, Reader, pack_buffer, pack_ustring

WRITERS = 4
MY_ID = 101
TIMEOUT_MS = 4000
LOST = (OSError, EOFError, MalformedError)
PAUSE_S = 0.02
MOST_IN_DIFF = 500


class Writer(threading.Thread):
    """A client of the observer.

    Attributes:
        acknowledged: the number in the last write that was acknowledged.
        sent: the number in the last write that was sent.
        answered: per session, the time at which the last request was sent that was answered.
        faults: what must not be.
    """

    def __init__(self, number: int, port: int) -> None:
        super().__init__(daemon=True)
        self.path = f"/w{number}"
        self.acknowledged = 0
        self.sent = 0
        self.answered: dict[int, float] = {}
        self.faults: list[str] = []
        self.sessions = 0
        self.resumed = 0
        self.stops = threading.Event()
        self._port = port
        self._session_id = 0
        self._password = bytes(16)
        self._zxid = 0

    def run(self) -> None:
        """Write until ``stops`` is set."""
        while not self.stops.is_set():
            try:
                with RawClient(self._port) as client:
                    self._use(client)
            except LOST:
                time.sleep(PAUSE_S)

    def _use(self, client: RawClient) -> None:
        seen = self._zxid if self._session_id else 0
        found = client.connect(TIMEOUT_MS, self._session_id, self._password, seen)
        if found.timeout_ms == 0:
            self._session_id, self._password = 0, bytes(16)
            return
        if found.session_id == self._session_id:
            self.resumed += 1
        else:
            self.sessions += 1
            self._session_id, self._password, self._zxid = found.session_id, found.password, 0
            self._ask(client, OpCode.CREATE, self._ephemeral())
        self._ask(client, OpCode.SYNC, pack_ustring(self.path))
        while not self.stops.is_set():
            data = self._read(client)
            if not self.acknowledged <= data <= self.sent:
                self.faults.append(f"{self.path}: {data}, not {self.acknowledged} to {self.sent}")
            self.sent = max(self.sent, data) + 1
            body = pack_ustring(self.path) + pack_buffer(b"%d" % self.sent) + INT.pack(-1)
            self._ask(client, OpCode.SET_DATA, body)
            self.acknowledged = self.sent
        if self.stops.is_set():
            self._ask(client, OpCode.CLOSE_SESSION, b"")

    def _ephemeral(self) -> bytes:
        acl = INT.pack(1) + INT.pack(31) + pack_ustring("world") + pack_ustring("anyone")
        path = pack_ustring(f"/sessions/{self._session_id & (1 << 64) - 1:x}")
        return path + pack_buffer(b"") + acl + INT.pack(CreateMode.EPHEMERAL)

    def _read(self, client: RawClient) -> int:
        body = self._ask(client, OpCode.GET_DATA, pack_ustring(self.path) + b"\0")
        return int(Reader(body).read_buffer() or b"0")

    def _ask(self, client: RawClient, op_code: OpCode, body: bytes) -> bytes:
        sent_s = time.monotonic()
        reply = client.request(op_code, body)
        if reply.zxid < self._zxid:
            self.faults.append(f"{self.path}: zxid 0x{reply.zxid:x} after 0x{self._zxid:x}")
        self._zxid = max(self._zxid, reply.zxid)
        self.answered[self._session_id] = sent_s
        return reply.body


class Watchman(threading.Thread):
    """Looks at a member which sessions have ended; their ephemerals are gone.

    Attributes:
        ended: per session, the time at which it was seen to have ended.
    """

    def __init__(self, hosts: str) -> None:
        super().__init__(daemon=True)
        self.ended: dict[int, float] = {}
        self.stops = threading.Event()
        self._hosts = hosts

    def run(self) -> None:
        client = KazooClient(hosts=self._hosts, timeout=20.0)
        client.start(timeout=30)
        known: set[str] = set()
        while not self.stops.wait(PAUSE_S):
            with contextlib.suppress(Exception):
                names = set(client.get_children("/sessions"))
                now_s = time.monotonic()
                for name in known - names:
                    number = int(name, 16)
                    self.ended[number - (1 << 64 if number >> 63 else 0)] = now_s
                known = names
        client.stop()
        client.close()


class Faults:
    """What goes wrong, one thing each round."""

    def __init__(
        self,
        chance: random.Random,
        ensemble: ApacheEnsemble,
        observer: ServerProcess,
        links: list[Proxy],
    ) -> None:
        self._chance = chance
        self._ensemble = ensemble
        self._observer = observer
        self._links = links
        self.kinds: list[Callable[[], None]] = [
            self.kill_leader,
            self.kill_observer,
            self.freeze_observer,
            self.cut_links,
            self.hold_replies,
            self.lose_replies,
            self.restart_ensemble,
            self.reconfigure,
            self.need_snapshot,
        ]

    def _wait(self, most_s: float) -> None:
        time.sleep(self._chance.uniform(0.05, most_s))

    def kill_leader(self) -> None:
        """Kill the leader, and start it again."""
        leader = self._ensemble.leader()
        leader.kill()
        self._wait(1.5)
        leader.start()

    def kill_observer(self) -> None:
        """Kill the observer, and start it again."""
        self._observer.kill()
        self._wait(1.0)
        self._observer.start()

    def freeze_observer(self) -> None:
        """Let the observer stand still, sometimes until its sessions expire."""
        self._observer.pause()
        self._wait(self._chance.choice([0.5, 6.0]))
        self._observer.resume()

    def cut_links(self) -> None:
        """Break the connections to the members."""
        for link in self._links:
            link.cut()

    def hold_replies(self) -> None:
        """Hold back what the members send; it comes later, or the link ends before."""
        with contextlib.ExitStack() as held:
            for link in self._links:
                held.enter_context(link.replies_held())
            self._wait(self._chance.choice([0.5, 6.0]))

    def lose_replies(self) -> None:
        """Lose what the members send, while requests arrive there."""
        with contextlib.ExitStack() as lost:
            for link in self._links:
                lost.enter_context(link.replies_lost())
            self._wait(1.0)

    def restart_ensemble(self) -> None:
        """Kill all members, and start them again."""
        for member in self._ensemble.members:
            member.kill()
        self._wait(1.0)
        self._ensemble.__enter__()

    def reconfigure(self) -> None:
        """Remove a follower from the ensemble, and add it again."""
        client = KazooClient(hosts=self._ensemble.hosts, timeout=20.0)
        client.start(timeout=30)
        client.add_auth("digest", "super:test")
        leader = self._ensemble.leader()
        number, member = next(
            (number, each)
            for number, each in enumerate(self._ensemble.members, 1)
            if each is not leader
        )
        line = self._ensemble.servers[f"server.{number}"]
        joining = f"server.{number}={line}:participant;127.0.0.1:{member.port}"
        for arguments in ((None, str(number)), (joining, None)):
            with contextlib.suppress(Exception):
                client.reconfig(*arguments, new_members=None)
            self._wait(0.5)
        client.stop()
        client.close()

    def need_snapshot(self) -> None:
        """Cut the links until the observer lacks more txns than a DIFF may have."""
        client = KazooClient(hosts=self._ensemble.hosts, timeout=20.0)
        client.start(timeout=30)
        client.ensure_path("/many")
        with contextlib.ExitStack() as cut:
            for link in self._links:
                cut.enter_context(link.cut_off())
            made = [client.set_async("/many", b"%d" % n) for n in range(MOST_IN_DIFF + 100)]
            for each in made:
                each.get(30)
        client.stop()
        client.close()


SUPER = {"DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU="}


@pytest.fixture
def ensemble(tmp_path: Path, apache_jars: Path) -> Iterator[ApacheEnsemble]:
    settings = {"snapshotSizeFactor": -1, "reconfigEnabled": "true", **SUPER}
    with ApacheEnsemble(tmp_path / "ensemble", apache_jars, 192, settings) as running:
        yield running


@pytest.fixture
def links(ensemble: ApacheEnsemble) -> Iterator[list[Proxy]]:
    with contextlib.ExitStack() as started:
        ports = [int(line.split(":")[1]) for line in ensemble.servers.values()]
        yield [started.enter_context(Proxy(port)) for port in ports]


@pytest.fixture
def observer(
    tmp_path: Path, ensemble: ApacheEnsemble, links: list[Proxy]
) -> Iterator[ServerProcess]:
    lines = {key: f"{link.hosts}:1" for key, link in zip(ensemble.servers, links, strict=True)}
    with new_observer(tmp_path / "observer", ensemble, MY_ID, lines) as running:
        yield running
    assert "Traceback" not in running.log, running.log


def zxid_of(port: int) -> str:
    """Return the zxid that ``srvr`` shows; "" if there is no answer."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as asking:
        asking.sendall(b"srvr")
        answer = b""
        while part := asking.recv(65536):
            answer += part
        for line in answer.decode().splitlines():
            if line.startswith("Zxid: "):
                return line
    return ""


def test_an_observer_survives_faults(
    ensemble: ApacheEnsemble,
    links: list[Proxy],
    observer: ServerProcess,
    request: pytest.FixtureRequest,
) -> None:
    seed = request.config.getoption("--observer-seed") or random.randrange(1 << 32)
    rounds = request.config.getoption("--observer-rounds")
    print(f"\nmake observer-faults SEED={seed}")
    chance = random.Random(seed)
    with contextlib.closing(KazooClient(hosts=ensemble.hosts, timeout=20.0)) as setup:
        setup.start(timeout=30)
        setup.create("/sessions")
        for number in range(WRITERS):
            setup.create(f"/w{number}", b"0")
        setup.stop()
    watchman = Watchman(ensemble.hosts)
    watchman.start()
    writers = [Writer(number, observer.port) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    faults = Faults(chance, ensemble, observer, links)
    for number in range(rounds):
        kind = chance.choice(faults.kinds)
        before = sum(writer.acknowledged for writer in writers)
        began_s = time.monotonic()
        kind()
        wait_for_writes(writers, before + 2 * WRITERS, kind.__name__)
        print(f"{number:3} {kind.__name__:18} {time.monotonic() - began_s:6.2f} s", flush=True)
        assert [fault for writer in writers for fault in writer.faults] == []
    finish(ensemble, observer, writers, watchman)


def wait_for_writes(writers: list[Writer], wanted: int, kind: str) -> None:
    """Return when the writers have this number of acknowledged writes."""
    wait_until(lambda: sum(w.acknowledged for w in writers) > wanted, f"writes after {kind}")


def finish(
    ensemble: ApacheEnsemble,
    observer: ServerProcess,
    writers: list[Writer],
    watchman: Watchman,
) -> None:
    """Stop everything, and check the invariants."""
    watchman.stops.set()
    for writer in writers:
        writer.stops.set()
    for thread in (*writers, watchman):
        thread.join(30)
        assert not thread.is_alive()
    assert [fault for writer in writers for fault in writer.faults] == []
    late = {
        session_id: sent_s - watchman.ended[session_id]
        for writer in writers
        for session_id, sent_s in writer.answered.items()
        if session_id in watchman.ended and sent_s > watchman.ended[session_id]
    }
    assert late == {}, "requests that were sent after the session had ended were answered"
    print({w.path: (w.acknowledged, w.sessions, w.resumed) for w in writers})
    leader = ensemble.leader()
    wait_until(lambda: zxid_of(observer.port) == zxid_of(leader.port) != "", "the last txn")
    observer.stop()
    for member in ensemble.members:
        member.kill()
    directories = [str(each.directory / "data") for each in (observer, leader)]
    found = CliRunner().invoke(main, ["data", "diff", *directories])
    # Each member sets this znode without a txn, and a line with blanks belongs to the one above it.
    differences = re.split(r"\n(?! )", found.output.strip())
    assert [each for each in differences if each and "/zookeeper/config\n" not in each] == []
