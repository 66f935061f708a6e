"""An ensemble as its leader sees it: the committed txns, the sessions, the epochs.

The followers are not simulated. What the leader commits is never lost, except if the operator
restores an older state (``restore``), which makes a leader cut the logs of its learners.
"""

import random
from collections.abc import Callable

from tests.support.histories import History, state_of
from zoolet.model.codes import OpCode
from zoolet.model.learner import first_zxid_of
from zoolet.model.requests import CloseSession, CreateSession, WriteRequest
from zoolet.model.txns import Txn
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree

OBSERVER_ID = 200
_CHECKED_STATES = 0.3


def new_machine() -> StateMachine:
    """Return the state of a new ensemble."""
    return StateMachine(Tree.fresh(), SessionTable(100))


class Ensemble:
    """All that the members have in common.

    Attributes:
        epoch: the epoch of the leader.
        txns: the committed txns.
        states: the state after some of the zxids.
        closed_ms: the time at which the leader closed a session.
        config_version: the version of the configuration.
        on_commit: is called with each committed txn.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.now_ms = 0
        self.epoch = 1
        self.txns: list[Txn] = []
        self.states: dict[int, dict[str, object]] = {}
        self.closed_ms: dict[int, int] = {}
        self.config_version = 0
        self.on_commit: Callable[[Txn], None] = lambda _: None
        self._names = chance.choice(["a", "ab", "abc"])
        self._history = History(chance, new_machine(), names=self._names)
        self._touched_ms: dict[int, int] = {}
        self._begin_epoch()

    @property
    def machine(self) -> StateMachine:
        """The state of the leader."""
        return self._history.machine

    @property
    def last_zxid(self) -> int:
        """The zxid of the last txn; 0 if there is none."""
        return self.txns[-1].header.zxid if self.txns else 0

    @property
    def config(self) -> bytes:
        """The configuration as text."""
        members = b"server.1=a:1:2:participant\nserver.2=b:1:2:participant\n"
        observer = b"server.200=c:1:2:observer\n" if self.config_version % 2 else b""
        return members + observer + b"version=%x" % self.config_version

    def change_leader(self) -> None:
        """Begin the next epoch; each session gets its whole timeout again."""
        self.epoch += self._chance.choice([1, 1, 1, 2])
        self._begin_epoch()
        for session_id in self._touched_ms:
            self._touched_ms[session_id] = self.now_ms

    def restore(self) -> int:
        """Go back to an older state of this epoch, and begin the next one; return the last zxid."""
        number = self._chance.randrange(len(self.txns) + 1)
        del self.txns[number:]
        machine = new_machine()
        for txn in self.txns:
            machine.apply(txn)
        last_zxid = machine.zxid
        for zxid in [zxid for zxid in self.states if zxid > last_zxid]:
            del self.states[zxid]
        self._history = History(self._chance, machine, names=self._names)
        alive = machine.sessions.by_id
        for session_id in alive:
            self.closed_ms.pop(session_id, None)
        self._touched_ms = {one: self.now_ms for one in self._touched_ms if one in alive}
        self.change_leader()
        return last_zxid

    def _begin_epoch(self) -> None:
        self.machine.zxid = first_zxid_of(self.epoch)

    # --- Requests

    def commit(self, session_id: int, cxid: int, op_code: OpCode, request: WriteRequest) -> Txn:
        """Commit a request; return its txn, which may be an error."""
        txn = self._history.commit(session_id, cxid, op_code, request)
        self._committed(txn)
        if session_id in self._touched_ms:
            self._touched_ms[session_id] = self.now_ms
        if txn.header.type == OpCode.CLOSE_SESSION:
            self._touched_ms.pop(session_id, None)
            self.closed_ms[session_id] = self.now_ms
        return txn

    def other_request(self) -> Txn:
        """Commit a random request of a client of another server."""
        alive = self.machine.sessions.by_id
        others = [session_id for session_id in alive if session_id not in self._touched_ms]
        return self.commit(*self._history.random_request(others))

    def random_change(self, session_id: int) -> tuple[OpCode, WriteRequest]:
        """Return a random request that a session may send."""
        while True:
            _, _, op_code, request = self._history.random_request([session_id, session_id])
            if not isinstance(request, CreateSession):
                return op_code, request

    def reconfigure(self) -> Txn:
        """Change the members."""
        self.config_version += 1
        txn = self._history.reconfigure(self.config)
        self._committed(txn)
        return txn

    def _committed(self, txn: Txn) -> None:
        self.txns.append(txn)
        if self._chance.random() < _CHECKED_STATES:
            self.states[self.machine.zxid] = state_of(self.machine)
        self.on_commit(txn)

    # --- Sessions of the observer's clients

    def touch(self, session_id: int) -> None:
        """Renew a session; from now on, only the observer's reports keep it alive."""
        if session_id in self.machine.sessions.by_id:
            self._touched_ms[session_id] = self.now_ms

    def expire(self) -> None:
        """Close the sessions whose timeouts are over."""
        for session_id, touched_ms in list(self._touched_ms.items()):
            session = self.machine.sessions.by_id.get(session_id)
            if session is None:
                del self._touched_ms[session_id]
            elif touched_ms + session.timeout_ms <= self.now_ms:
                self.commit(session_id, 0, OpCode.CLOSE_SESSION, CloseSession())
