"""ACLs against a naive model: who may do what, how many znodes a list has, and what is kept of it.

From a seed: creates, setACLs, deletes, multis, sessions that end, and snapshots that are loaded.
"""

import ipaddress
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from zoolet.model import requests
from zoolet.model.acl import ACL, ANYONE, OPEN_ACL, READ_ONLY_ACL, AclList, Id
from zoolet.model.codes import ErrorCode, OpCode, Permission
from zoolet.model.errors import RequestError
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.networks import client_address
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.view import Requester
from zoolet.storage.disk import Disk
from zoolet.storage.snapshots import Image, read_snapshot, write_snapshot

STEPS = 300
SESSIONS = (1, 2)
NAMES = "abc"
RULES = Rules(schemes=frozenset({"digest", "ip", "x509"}))
OK, NO_NODE, NO_AUTH = ErrorCode.OK, ErrorCode.NO_NODE, ErrorCode.NO_AUTH

WHO = [
    ANYONE,
    *(Id("digest", f"u{number}:x") for number in range(4)),
    Id("x509", "CN=u0"),
    *(
        Id("ip", network)
        for network in ("10.0.0.0/8", "10.1.2.3", "10.1.2.0/25", "0.0.0.0/0", "::/1", "2001:db8::5")
    ),
]
HOSTS = ("10.1.2.3", "10.1.2.200", "::ffff:10.9.9.9", "192.168.0.1", "2001:db8::5", "fe80::1%lo")


def allows(acl: AclList, identities: Identities, permission: int) -> bool:
    """Return what Apache's loops do, with Python's own networks."""
    if not acl or any(who.scheme == "super" for who in identities.ids):
        return True
    for perms, wanted in acl:
        if not perms & permission:
            continue
        if wanted == ANYONE:
            return True
        for who in identities.ids:
            if who.scheme != wanted.scheme:
                continue
            if who.scheme != "ip" and who == wanted:
                return True
            if who.scheme == "ip":
                network = ipaddress.ip_network(wanted.id, strict=False)
                if ipaddress.ip_address(who.id) in network:
                    return True
    return False


@dataclass
class Model:
    """Path to ACL, and the sessions of ephemerals."""

    acls: dict[str, AclList]
    owners: dict[str, int] = field(default_factory=dict)

    def copy(self) -> "Model":
        return Model(dict(self.acls), dict(self.owners))

    def has_children(self, path: str) -> bool:
        return any(other.startswith(f"{path}/") for other in self.acls)

    def create(self, asker: Requester, path: str, acl: AclList, owner: int) -> ErrorCode:
        parent = path.rsplit("/", 1)[0] or "/"
        if parent not in self.acls:
            return NO_NODE
        if not allows(self.acls[parent], asker.identities, Permission.CREATE):
            return NO_AUTH
        if path in self.acls:
            return ErrorCode.NODE_EXISTS
        if parent in self.owners:
            return ErrorCode.NO_CHILDREN_FOR_EPHEMERALS
        self.acls[path] = acl
        if owner:
            self.owners[path] = owner
        return OK

    def delete(self, asker: Requester, path: str) -> ErrorCode:
        parent = path.rsplit("/", 1)[0] or "/"
        if parent not in self.acls:
            return NO_NODE
        if not allows(self.acls[parent], asker.identities, Permission.DELETE):
            return NO_AUTH
        if path not in self.acls:
            return NO_NODE
        if self.has_children(path):
            return ErrorCode.NOT_EMPTY
        del self.acls[path]
        self.owners.pop(path, None)
        return OK

    def set_acl(self, asker: Requester, path: str, acl: AclList) -> ErrorCode:
        if path not in self.acls:
            return NO_NODE
        if not allows(self.acls[path], asker.identities, Permission.ADMIN):
            return NO_AUTH
        self.acls[path] = acl
        return OK

    def close(self, session: int) -> None:
        for path in [path for path, owner in self.owners.items() if owner == session]:
            del self.acls[path], self.owners[path]


class World:
    """A machine, the model of it, and the chance that drives both."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.chance = random.Random(seed)
        self.directory = directory
        self.machine = StateMachine(Tree.fresh(), SessionTable(100), rules=RULES)
        self.model = Model({"/": OPEN_ACL})
        for session in SESSIONS:
            self.commit(self.asker(session), OpCode.CREATE_SESSION, requests.CreateSession(1000))
        self.readers = [self.asker().identities for _ in range(3)]  # they remember their last list

    def asker(self, session: int = 1) -> Requester:
        ids = [Id("ip", client_address(self.chance.choice(HOSTS)))]
        ids += self.chance.sample(WHO[1:6], k=self.chance.randrange(4))
        if self.chance.random() < 0.3:
            ids.append(Id("super", ""))
        return Requester(session, Identities(ids))

    def acl(self) -> AclList:
        if self.chance.random() < 0.2:
            return OPEN_ACL
        entries = [
            ACL(self.chance.randrange(32), self.chance.choice(WHO))
            for _ in range(self.chance.choice([1, 1, 2, 3, 40]))
        ]
        return tuple(dict.fromkeys(entries))

    def path(self) -> str:
        depth = self.chance.choice([1, 1, 2, 3])
        return "".join(f"/{self.chance.choice(NAMES)}" for _ in range(depth))

    def commit(self, asker: Requester, op_code: OpCode, request: requests.WriteRequest) -> int:
        txn = self.machine.prepare(asker, 1, op_code, request, 1)
        return int(self.machine.apply(txn).result.err)

    def part(
        self, model: Model, asker: Requester
    ) -> tuple[OpCode, requests.PartRequest, ErrorCode]:
        """Return a part of a multi, and what the model says of it, which it changes."""
        path = self.path()
        if self.chance.random() < 0.65:
            acl, flags = self.acl(), self.chance.choice([0, 0, 1])
            code = model.create(asker, path, acl, asker.session_id if flags else 0)
            return OpCode.CREATE, requests.Create(path, b"", acl, flags), code
        return OpCode.DELETE, requests.Delete(path, -1), model.delete(asker, path)

    def single(self) -> None:
        asker = self.asker(self.chance.choice(SESSIONS))
        if self.chance.random() < 0.3:
            path, acl = self.path(), self.acl()
            code = self.model.set_acl(asker, path, acl)
            assert self.commit(asker, OpCode.SET_ACL, requests.SetAcl(path, acl, -1)) == code
            return
        op_code, request, code = self.part(self.model, asker)
        assert self.commit(asker, op_code, request) == code

    def multi(self) -> None:
        asker = self.asker(self.chance.choice(SESSIONS))
        trial = self.model.copy()
        parts = [self.part(trial, asker) for _ in range(self.chance.randrange(1, 5))]
        request = requests.Multi(tuple((op_code, part) for op_code, part, _ in parts))
        self.commit(asker, OpCode.MULTI, request)
        if all(code == OK for _, _, code in parts):
            self.model = trial

    def end_session(self) -> None:
        asker = self.asker(self.chance.choice(SESSIONS))
        self.model.close(asker.session_id)
        self.commit(asker, OpCode.CLOSE_SESSION, requests.CloseSession())
        self.commit(asker, OpCode.CREATE_SESSION, requests.CreateSession(1000))

    def reload(self) -> None:
        """Go on with what a snapshot holds; the tables are the same, but for their order."""
        path = write_snapshot(Disk(), self.directory, Image.of(self.machine))
        loaded = read_snapshot(path, path.read_bytes())
        sessions = SessionTable(100)
        for session_id, timeout_ms in loaded.sessions.items():
            sessions.open(session_id, timeout_ms, 0)
        before = self.machine
        self.machine = StateMachine(loaded.tree, sessions, before.zxid, RULES)
        assert self.users() == {
            entries: acl.users for entries, acl in before.tree.acl_table.lists.items()
        }

    def users(self) -> dict[AclList, int]:
        lists = self.machine.tree.acl_table.lists
        return {entries: acl.users for entries, acl in lists.items()}

    def check(self) -> None:
        tree = self.machine.tree
        ours = {path: tree.acl_of(path) for path in tree.records if "/zookeeper" not in path}
        assert ours == self.model.acls
        used = Counter(acl for acl in self.model.acls.values() if acl != OPEN_ACL)
        assert self.users() == used + Counter([READ_ONLY_ACL])  # of /zookeeper/config
        asker = self.asker()
        for path, acl in self.model.acls.items():
            for permission in (*(1 << bit for bit in range(5)), Permission.READ | Permission.ADMIN):
                given = tree.stored_acl_of(path).allows(asker.identities, int(permission))
                assert given is allows(acl, asker.identities, permission), (path, asker.identities)
            for reader in self.readers:
                assert self.reads(path, reader) is allows(acl, reader, Permission.READ), path

    def reads(self, path: str, reader: Identities) -> bool:
        try:
            self.machine.readable(path, reader)
        except RequestError as error:
            return error.code != NO_AUTH
        return True


@pytest.mark.parametrize("seed", range(1, 13))
def test_lists_against_a_model(seed: int, tmp_path: Path) -> None:
    world = World(seed, tmp_path)
    steps = [world.single, world.multi, world.end_session, world.reload]
    for _ in range(STEPS):
        world.chance.choices(steps, [20, 8, 1, 1])[0]()
        world.check()
    for path in sorted(world.model.acls, reverse=True)[:-1]:
        root = Requester(1, Identities([Id("super", "")]))
        assert world.commit(root, OpCode.DELETE, requests.Delete(path, -1)) == OK
    assert world.users() == {READ_ONLY_ACL: 1}
