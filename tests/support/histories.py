"""Random histories: the txns of a server whose clients do anything."""

import random
from collections.abc import Sequence
from typing import Any

from zoolet.model import paths, requests
from zoolet.model.acl import ACL, OPEN_ACL, AclList, Id
from zoolet.model.codes import CreateMode, OpCode
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.quotas import BYTES, COUNT, LIMITS_NAME, STATS_NAME, format_quota
from zoolet.model.requests import WriteRequest
from zoolet.model.txns import SetDataTxn, Txn, TxnHeader
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.view import Requester

SUPER = Identities([Id("super", "")])
CONFIG = "/zookeeper/config"
_DEEPEST = 3
_LEAST_SESSIONS = 2


def acl_of(name: str) -> AclList:
    """Return one of many lists that permit everything to everyone."""
    return (ACL(1, Id("digest", f"{name}:x")), *OPEN_ACL)


ACLS = (OPEN_ACL, OPEN_ACL, *map(acl_of, "abcd"))


def state_of(machine: StateMachine) -> dict[str, object]:
    """Return all of a state that two servers with the same history must have in common.

    The data of ``/zookeeper/config`` are not included: each member of an ensemble sets them.
    """
    tree = machine.tree
    znodes = {path: (node.record, node.acl, node.created) for path, node in tree.znodes()}
    znodes.pop(CONFIG, None)
    return {
        "zxid": machine.zxid,
        "znodes": znodes,
        "children": {path: set(node.names) for path, node in tree.znodes()},
        "ephemerals": {owner: set(paths) for owner, paths in tree.ephemerals.items() if paths},
        "perishable": dict(tree.perishable.items()),
        "sessions": {key: session.timeout_ms for key, session in machine.sessions.by_id.items()},
    }


class History:
    """Makes random txns, and applies them to a machine.

    Attributes:
        machine: the state after the last txn.
    """

    def __init__(
        self, chance: random.Random, machine: StateMachine, prefix: str = "", names: str = "abc"
    ) -> None:
        """Continue with the state of ``machine``.

        The paths begin with ``prefix`` and have these names. With fewer names, a znode that was
        deleted is created again more often.
        """
        self._chance = chance
        self.machine = machine
        machine.rules = Rules(allows_ttl=True)
        self._prefix = prefix
        self._names = names
        self._time_ms = 1000 + machine.zxid % 1000
        self._last_session_id = max(machine.sessions.by_id, default=0)

    def step(self) -> Txn:
        """Make the next txn, and apply it."""
        return self.commit(*self.random_request())

    def random_request(
        self, sessions: Sequence[int] | None = None
    ) -> tuple[int, int, OpCode, WriteRequest]:
        """Return a session id, a cxid, an op code and a request, which may be refused.

        The request is one of these sessions, or opens a new one; None means all sessions.
        """
        chance = self._chance
        if sessions is None:
            sessions = list(self.machine.sessions.by_id)
        if len(sessions) < _LEAST_SESSIONS or chance.random() < 0.05:
            self._last_session_id += 1
            timeout_ms = chance.choice([4000, 10_000])
            create = requests.CreateSession(timeout_ms)
            return self._last_session_id, 0, OpCode.CREATE_SESSION, create
        session_id, cxid = chance.choice(sessions), chance.randrange(1, 100)
        if chance.random() < 0.05:
            return session_id, cxid, OpCode.CLOSE_SESSION, requests.CloseSession()
        if chance.random() < 0.02:
            return session_id, cxid, OpCode.MULTI, self._quota()
        if chance.random() < 0.15:
            parts = tuple(self._change() for _ in range(chance.randrange(4)))
            return session_id, cxid, OpCode.MULTI, requests.Multi(parts)
        if chance.random() < 0.15:
            set_acl = requests.SetAcl(self._path(), chance.choice(ACLS), -1)
            return session_id, cxid, OpCode.SET_ACL, set_acl
        op_code, request = self._change()
        return session_id, cxid, op_code, request

    def commit(self, session_id: int, cxid: int, op_code: OpCode, request: WriteRequest) -> Txn:
        """Make the txn of a request, and apply it."""
        self._time_ms += self._chance.randrange(3)
        asker = Requester(session_id, SUPER)
        txn = self.machine.prepare(asker, cxid, op_code, request, self._time_ms)
        self.machine.apply(txn)
        return txn

    def reconfigure(self, config: bytes) -> Txn:
        """Change the members of the ensemble, as a leader does."""
        node = self.machine.tree.find(CONFIG)
        assert node is not None
        header = TxnHeader(0, 0, self.machine.zxid + 1, self._time_ms, OpCode.RECONFIG)
        txn = Txn(header, SetDataTxn(CONFIG, config, node.stat.version + 1))
        self.machine.apply(txn)
        return txn

    def _existing(self) -> list[str]:
        """Return the paths of this history's znodes, in the same order in each process."""
        mine = [path for path in self.machine.tree.records if path.startswith("/" + self._prefix)]
        return sorted(path for path in mine if path != "/" and not path.startswith("/zookeeper"))

    def _path(self) -> str:
        """Return the path of a znode that is there, or of one that is probably not there."""
        existing = self._existing()
        if existing and self._chance.random() < 0.9:
            return self._chance.choice(existing)
        return self._new_path()

    def _new_path(self) -> str:
        """Return a path whose parent exists."""
        parents = [path for path in self._existing() if path.count("/") < _DEEPEST]
        parent = self._chance.choice([None, *parents])
        name = self._chance.choice(self._names)
        return f"/{self._prefix}{name}" if parent is None else f"{parent}/{name}"

    def _change(self) -> tuple[OpCode, Any]:
        chance = self._chance
        path = self._path()
        match chance.randrange(6):
            case 0 | 1 | 2:
                return self._create(self._new_path())
            case 3:
                return OpCode.DELETE, requests.Delete(path, -1)
            case 4:
                return OpCode.CHECK, requests.Check(path, chance.choice([-1, 0]))
            case _:
                data = chance.choice([None, b"", chance.randbytes(chance.randrange(60))])
                return OpCode.SET_DATA, requests.SetData(path, data, -1)

    def _quota(self) -> requests.Multi:
        """Set or remove a quota of a znode."""
        path = f"{paths.QUOTA}/{self._prefix}{self._chance.choice(self._names)}"
        nodes = [path, f"{path}/{LIMITS_NAME}", f"{path}/{STATS_NAME}"]
        if path in self.machine.tree.records:
            deletes = [(OpCode.DELETE, requests.Delete(node, -1)) for node in reversed(nodes)]
            return requests.Multi(tuple(deletes))
        data = format_quota({COUNT: 1000, BYTES: 10_000})
        creates = [(OpCode.CREATE, requests.Create(node, data, OPEN_ACL, 0)) for node in nodes]
        return requests.Multi(tuple(creates))

    def _create(self, path: str) -> tuple[OpCode, Any]:
        chance = self._chance
        data, acl = chance.randbytes(chance.randrange(40)), chance.choice(ACLS)
        match chance.randrange(8):
            case 0:
                create = requests.Create(path, data, acl, CreateMode.CONTAINER, OwnerKind.CONTAINER)
                return OpCode.CREATE_CONTAINER, create
            case 1:
                ttl = CreateMode.PERSISTENT_WITH_TTL
                create = requests.Create(path, data, acl, ttl, OwnerKind.TTL, 5000)
                return OpCode.CREATE_TTL, create
            case _:
                modes = [mode for mode in CreateMode if not mode.has_ttl]
                modes.remove(CreateMode.CONTAINER)
                return OpCode.CREATE2, requests.Create(path, data, acl, chance.choice(modes))
