"""A simulated world with an ensemble, one observer and its clients, driven by one seed.

What is checked:

- At each zxid, the observer's state equals the leader's.
- The replies to the writes of a client come in order, and each is that of its own request.
- What a client got is not lost by a crash of the observer.
- No client reads in a session after the leader has closed it, and the zxids that a client sees
  never fall.
- In the end, without faults, the observer has the leader's state, on disk too.
"""

import contextlib
import random
import struct
from collections import deque

from tests.observer_simulation.ensemble import OBSERVER_ID, Ensemble
from tests.observer_simulation.leader import LeaderLink
from tests.observer_simulation.observer import Observer, directories_of
from tests.support.histories import state_of
from tests.support.stopping_disk import StoppedError, StoppingDisk
from zoolet.model.codes import OpCode
from zoolet.model.learner import PacketType, QuorumPacket, epoch_of, first_zxid_of
from zoolet.model.requests import CloseSession, CreateSession, WriteRequest
from zoolet.model.txns import Txn
from zoolet.state_machine.machine import StateMachine
from zoolet.wire.learner import encode_request, encode_revalidation

_MAX_CLIENTS = 4
_TICK_MS = 2000
_MAX_DELAY_MS = 100
_NUMBER = struct.Struct(">i")


class Client:
    """A client of the observer.

    Attributes:
        session_id: its session.
        timeout_ms: the timeout of the session.
        only_reads: whether it sends no writes and syncs, whose answers it would wait for.
        is_connected: whether its connection is open.
        is_resuming: whether the leader is asked about its session.
        last_zxid: the greatest zxid that it has seen.
        waiting: the numbers of its requests that have no reply yet.
    """

    def __init__(self, session_id: int, timeout_ms: int, *, only_reads: bool) -> None:
        self.session_id = session_id
        self.timeout_ms = timeout_ms
        self.only_reads = only_reads
        self.is_connected = False
        self.is_resuming = False
        self.last_zxid = 0
        self.waiting: deque[int] = deque()

    def disconnect(self) -> None:
        """Lose the connection: the fate of the waiting requests is unknown."""
        self.is_connected = self.is_resuming = False
        self.waiting.clear()


class World:
    """One run.

    Attributes:
        story: what happened, for a failure's message.
        counts: how often the kinds of events happened.
    """

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.story: list[str] = []
        self.counts: dict[str, int] = {}
        self.ensemble = Ensemble(chance)
        self._disk = StoppingDisk(chance)
        self.observer = Observer(self._disk, directories_of(seed))
        self.observer.checked = self._check_state
        self.observer.session_closed = self._session_closed
        self._link: LeaderLink | None = None
        self._is_frozen = False
        self._clients: list[Client] = []
        self._requests: dict[int, tuple[OpCode, WriteRequest]] = {}
        self._next_session_id = (OBSERVER_ID - 256) << 56
        self._next_number = 0
        self._seen_zxid = 0
        self._can_restore = chance.random() < 0.5
        for _ in range(chance.randrange(30)):
            self.ensemble.other_request()
        self._crashing(lambda: self.observer.start(0))

    @property
    def now_ms(self) -> int:
        return self.ensemble.now_ms

    def _note(self, kind: str, text: str = "") -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.story.append(f"{self.now_ms:6} {kind} {text}")

    def run(self, steps: int) -> None:
        """Let chance do things, then let all faults end, and compare the states."""
        for _ in range(steps):
            self._crashing(self._event)
        self._disk.stop_at = None
        self._is_frozen = False
        self._settle()
        assert self.observer.is_serving, self.observer.reason
        # The zxid of a leader without txns is the first one of its epoch.
        expected = state_of(self.ensemble.machine) | {"zxid": self.observer.machine.zxid}
        assert state_of(self.observer.machine) == expected
        assert self.observer.machine.zxid >= self.ensemble.last_zxid
        self.observer.cut()
        self._disk.restart()
        self.observer.start(self.now_ms)
        assert state_of(self.observer.machine) == expected

    def _settle(self) -> None:
        """Connect, and deliver everything until nothing moves any more."""
        for _ in range(3000):
            if self.observer.reason:
                self._cut(self.observer.reason)
            if self._link is None:
                self._connect()
            self._link_step()
            moved = self._deliver(1 << 20)
            while self.observer.work(self.now_ms):
                moved = True
            self.observer.sync()
            if self.observer.is_serving and not moved:
                return
        raise AssertionError(f"the observer is not up to date: {self.observer.reason}")

    # --- Events

    def _event(self) -> None:
        chance = self.chance
        if self.observer.reason:
            self._cut(self.observer.reason)
        kinds = {
            self._deliver_some: 30,
            self._work: 30,
            self._link_step: 12,
            self._other_requests: 12,
            self._client_event: 45,
            self._sync: 10,
            self._pass_time: 12,
            self._connect: 10,
            self._rare_event: 2.5,
        }
        chance.choices(list(kinds), list(kinds.values()))[0]()

    def _rare_event(self) -> None:
        chance = self.chance
        match chance.randrange(9):
            case 0 | 1:
                self._cut("the connection was cut")
            case 2:
                self._is_frozen = not self._is_frozen
                self._note("freeze", str(self._is_frozen))
            case 3:
                self.ensemble.change_leader()
                self._note("leader", f"of epoch {self.ensemble.epoch}")
                self._lose_link("the leader changed")
            case 4:
                self.ensemble.reconfigure()
                self._note("reconfig")
            case 5 | 6:
                self._disk.stop_at = self._disk.count + chance.randrange(1, 60)
            case 7:
                self.observer.snapshot()
                self._note("snapshot")
            case _ if self._can_restore:
                self._restore()
            case _:
                pass

    def _crashing(self, event: object) -> None:
        """Run an event; after a crash, start the observer again."""
        assert callable(event)
        with contextlib.suppress(StoppedError):
            event()
            return
        while True:
            self._note("crash")
            self._lose_link("the observer crashed")
            for client in self._clients:
                client.disconnect()
            self._disk.restart()
            if self.chance.random() < 0.3:
                self._disk.stop_at = self._disk.count + self.chance.randrange(1, 30)
            try:
                self.observer.start(self.now_ms)
            except StoppedError:
                continue
            break
        assert self.observer.machine.zxid >= self._seen_zxid, "what a client got is lost"
        self._check_state(self.observer.machine)

    # --- The network

    def _connect(self) -> None:
        if self._link is None and not self._is_frozen:
            self._link = LeaderLink(self.chance, self.ensemble, self._requests)
            self.observer.connect(self._link)

    def _link_step(self) -> None:
        if self._link is not None:
            self._link.step()

    def _deliver_some(self) -> None:
        self._deliver(self.chance.choice([1, 100, 1000, 10_000, 10_000]))

    def _deliver(self, most_bytes: int) -> bool:
        """Deliver bytes in both directions; return whether there were any."""
        link, observer = self._link, self.observer
        if link is None or self._is_frozen:
            return False
        sent = bytes(observer.outgoing[:most_bytes])
        del observer.outgoing[:most_bytes]
        link.received(sent)
        received = bytes(link.out[:most_bytes])
        del link.out[:most_bytes]
        if received:
            observer.receive(received, self.now_ms)
        return bool(sent or received)

    def _flush(self) -> None:
        """Deliver everything: no byte takes longer than the maximum delay."""
        while self._link is not None and not self._is_frozen and not self.observer.reason:
            moved = self._deliver(1 << 20)
            while self.observer.work(self.now_ms):
                moved = True
            if not moved:
                break
        self.observer.sync()

    def _cut(self, reason: str) -> None:
        if self._link is not None:
            self._note("cut", reason)
        self._lose_link(reason)
        lost = self.observer.cut()
        if lost.writes or lost.syncs or lost.revalidations:
            self._note("lost")
        for client in self._clients:
            if client.waiting or client.is_resuming:
                client.disconnect()

    def _lose_link(self, reason: str) -> None:
        """Let the bytes in flight be lost."""
        if self._link is not None:
            for choice in self._link.choices:
                self._note(choice)
            self.ensemble.on_commit = lambda _: None
            self._link = None
            self.observer.reason = self.observer.reason or reason

    def _pass_time(self) -> None:
        """Advance the clock; bytes arrive within the maximum delay."""
        for _ in range(self.chance.randrange(1, 12)):
            before = self.now_ms // (_TICK_MS // 2)
            self.ensemble.now_ms += self.chance.randrange(1, _MAX_DELAY_MS)
            if self._link is not None and self.now_ms // (_TICK_MS // 2) != before:
                self._link.ping()
            self._flush()
            for session_id in self.observer.contact.due(self.now_ms):
                self._note("due")
                self._session_closed(session_id)
            self.ensemble.expire()

    # --- What the ensemble does

    def _other_requests(self) -> None:
        for _ in range(self.chance.randrange(1, 6)):
            self.ensemble.other_request()

    def _restore(self) -> None:
        """Let the operator restore an older state of the ensemble: later txns are lost.

        A leader cannot notice that a learner has lost txns if the learner's last zxid is the first
        one of an epoch (``LearnerHandler.syncFollower``). Its operator must discard its data.
        """
        self.observer.sync()  # the clients get what they may get
        zxid = self.observer.machine.zxid
        if zxid == first_zxid_of(epoch_of(zxid)):
            return
        self._can_restore = False
        self._lose_link("the ensemble was restored")
        zxid = self.ensemble.restore()
        self._note("restore", f"0x{zxid:x}")
        self._seen_zxid = min(self._seen_zxid, zxid)
        self._clients.clear()
        if self.chance.random() < 0.7:
            self._cut(self.observer.reason)
            self._connect()
            self._flush()

    # --- What the observer does

    def _work(self) -> None:
        for _ in range(self.chance.randrange(1, 20)):
            if self.observer.reason or not self.observer.work(self.now_ms):
                break

    def _sync(self) -> None:
        self.observer.sync()

    def _check_state(self, machine: StateMachine) -> None:
        expected = self.ensemble.states.get(machine.zxid)
        if expected is not None:
            self._note("compared")
            assert state_of(machine) == expected

    def _session_closed(self, session_id: int) -> None:
        for client in self._clients:
            if client.session_id == session_id:
                client.disconnect()

    # --- Clients

    def _client_event(self) -> None:
        observer, chance = self.observer, self.chance
        if observer.reason or not (self._clients or observer.is_serving):
            return
        if len(self._clients) < _MAX_CLIENTS and chance.random() < 0.2 and observer.is_serving:
            self._open()
            return
        if not self._clients:
            return
        client = chance.choice(self._clients)
        if not client.is_connected:
            if observer.is_serving and not client.is_resuming and not client.waiting:
                self._resume(client)
            return
        observer.contact.touch(client.session_id)
        match 7 if client.only_reads else chance.randrange(8):
            case 0 | 1 | 2 | 3 if observer.is_serving:
                op_code, request = self.ensemble.random_change(client.session_id)
                self._forward(client, op_code, request)
            case 4 if observer.is_serving:
                self._forward_sync(client)
            case 5 if observer.is_serving and chance.random() < 0.1:
                self._forward(client, OpCode.CLOSE_SESSION, CloseSession())
            case _:
                self._read(client)

    def _open(self) -> None:
        timeout_ms = self.chance.choice([4000, 6000, 10_000])
        only_reads = self.chance.random() < 0.5
        client = Client(self._next_session_id, timeout_ms, only_reads=only_reads)
        self._next_session_id += 1
        self._clients.append(client)
        self._forward(client, OpCode.CREATE_SESSION, CreateSession(client.timeout_ms), cxid=0)

    def _forward(
        self, client: Client, op_code: OpCode, request: WriteRequest, cxid: int | None = None
    ) -> None:
        number = self._next_number = self._next_number + 1
        self._requests[number] = (op_code, request)
        cxid = number if cxid is None else cxid
        sent_ms = self.now_ms
        client.waiting.append(number)

        def answered(txn: Txn | None, zxid: int) -> None:
            assert txn is not None
            assert (txn.header.client_id, txn.header.cxid) == (client.session_id, cxid)
            if op_code == OpCode.CREATE_SESSION and client.waiting:
                client.is_connected = True
                self.observer.contact.serve(client.session_id, client.timeout_ms, sent_ms)
            self._replied(client, number, zxid)

        self.observer.forwarded.add_write(client.session_id, cxid, answered)
        body = encode_request(client.session_id, cxid, op_code, _NUMBER.pack(number))
        self.observer.send(QuorumPacket(PacketType.REQUEST, -1, body))
        self.observer.contact.reported(client.session_id, sent_ms)

    def _forward_sync(self, client: Client) -> None:
        number = self._next_number = self._next_number + 1
        client.waiting.append(number)
        sent_at_zxid = self.ensemble.last_zxid

        def answered(txn: Txn | None, zxid: int) -> None:
            assert txn is None
            assert zxid >= sent_at_zxid or number not in client.waiting
            self._replied(client, number, zxid)

        self.observer.forwarded.add_sync(answered)
        body = encode_request(client.session_id, number, OpCode.SYNC, b"")
        self.observer.send(QuorumPacket(PacketType.REQUEST, -1, body))

    def _replied(self, client: Client, number: int, zxid: int) -> None:
        """Take a reply; writes and syncs of one client may pass each other."""
        if number not in client.waiting:
            return  # its connection was closed
        client.waiting.remove(number)
        self._sees(client, zxid)
        self._note("reply")

    def _resume(self, client: Client) -> None:
        if client.last_zxid > self.observer.machine.zxid:
            return  # the client must find another server, or wait
        client.is_resuming = True
        sent_ms = self.now_ms

        def answered(is_valid: bool) -> None:
            if not client.is_resuming:
                return
            client.is_resuming = False
            client.is_connected = is_valid
            if is_valid:
                self._note("resumed")
                self.observer.contact.serve(client.session_id, client.timeout_ms, sent_ms)
            elif client in self._clients:
                self._clients.remove(client)

        self.observer.add_revalidation(client.session_id, answered)
        data = encode_revalidation(client.session_id, client.timeout_ms)
        self.observer.send(QuorumPacket(PacketType.REVALIDATE, -1, data))

    def _read(self, client: Client) -> None:
        """Read at once, if nothing is waiting for the leader or the disk."""
        observer = self.observer
        if client.waiting or observer.has_work:
            return
        closed_ms = self.ensemble.closed_ms.get(client.session_id)
        assert closed_ms is None or closed_ms >= self.now_ms, (  # the news may be on its way
            "a client reads in a session that the leader has closed"
        )
        self._note("read")
        self._sees(client, observer.machine.zxid)

    def _sees(self, client: Client, zxid: int) -> None:
        assert zxid >= client.last_zxid, "a client sees an older state"
        client.last_zxid = zxid
        self._seen_zxid = max(self._seen_zxid, zxid)
