"""The state machine against a naive model: a dictionary, written to be obviously right."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from zoolet.model import requests
from zoolet.model.acl import OPEN_ACL, AclList
from zoolet.model.codes import CreateMode, ErrorCode, OpCode
from zoolet.model.stat import Stat
from zoolet.model.txns import Txn
from zoolet.state_machine.apply import Applied
from zoolet.state_machine.identities import NOBODY
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.view import Requester
from zoolet.wire.txns import decode_txn, encode_txn

SESSIONS = (101, 102)
NAMES = st.sampled_from(["a", "b", "n-"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
VERSIONS = st.sampled_from([-1, 0, 1])
DATA = st.sampled_from([None, b"", b"data"])


@dataclass
class Node:
    """A znode of the model."""

    data: bytes | None
    owner: int
    czxid: int
    mzxid: int
    pzxid: int
    version: int = 0
    created: int = 0
    children: set[str] = field(default_factory=set)


@dataclass
class Model:
    """A tree without Stats packed, views, or interned anything."""

    nodes: dict[str, Node]

    def parent(self, path: str) -> str:
        return path.rsplit("/", 1)[0] or "/"

    def create(
        self, path: str, data: bytes | None, mode: CreateMode, session: int, zxid: int
    ) -> Any:
        parent = self.nodes.get(self.parent(path))
        if parent is None:
            return ErrorCode.NO_NODE
        if mode.is_sequential:
            path += f"{parent.created:010d}"
        if path in self.nodes:
            return ErrorCode.NODE_EXISTS
        if parent.owner:
            return ErrorCode.NO_CHILDREN_FOR_EPHEMERALS
        self.nodes[path] = Node(data, session if mode.is_ephemeral else 0, zxid, zxid, zxid)
        parent.children.add(path)
        parent.created += 1
        parent.pzxid = zxid
        return path

    def delete(self, path: str, version: int, zxid: int) -> Any:
        if path not in self.nodes:
            # Apache ZooKeeper looks at the parent first; a missing one gives the same code.
            return ErrorCode.NO_NODE
        node = self.nodes[path]
        if version not in {-1, node.version}:
            return ErrorCode.BAD_VERSION
        if node.children:
            return ErrorCode.NOT_EMPTY
        self.remove(path, zxid)
        return path

    def remove(self, path: str, zxid: int) -> None:
        del self.nodes[path]
        parent = self.nodes[self.parent(path)]
        parent.children.remove(path)
        parent.pzxid = zxid

    def set_data(self, path: str, data: bytes | None, version: int, zxid: int) -> Any:
        node = self.nodes.get(path)
        if node is None:
            return ErrorCode.NO_NODE
        if version not in {-1, node.version}:
            return ErrorCode.BAD_VERSION
        node.data, node.mzxid, node.version = data, zxid, node.version + 1
        return path

    def close(self, session: int, zxid: int) -> None:
        for path in [path for path, node in self.nodes.items() if node.owner == session]:
            self.remove(path, zxid)


MODES = st.sampled_from([mode for mode in CreateMode if not mode.has_ttl])
OPERATIONS = st.one_of(
    st.tuples(st.just("create"), PATHS, DATA, MODES),
    st.tuples(st.just("delete"), PATHS, VERSIONS),
    st.tuples(st.just("set_data"), PATHS, DATA, VERSIONS),
)


class MachineAgainstModel(RuleBasedStateMachine):
    """Every txn is also applied, out of its logged bytes, to a replica: replay is pure."""

    @initialize()
    def begin(self) -> None:
        self.machine = StateMachine(Tree.fresh(), SessionTable(100))
        self.replica = StateMachine(Tree.fresh(), SessionTable(100))
        self.model = Model({"/": Node(b"", 0, 0, 0, 0)})
        self.time_ms = 0
        for session in SESSIONS:
            self.commit(session, OpCode.CREATE_SESSION, requests.CreateSession(1000))

    def commit(self, session: int, op_code: OpCode, request: Any) -> Applied:
        self.time_ms += 1
        asker = Requester(session, NOBODY)
        txn: Txn = self.machine.prepare(asker, 1, op_code, request, self.time_ms)
        applied = self.machine.apply(txn)
        assert self.replica.apply(decode_txn(encode_txn(txn))).result == applied.result
        return applied

    def to_request(self, operation: Any) -> tuple[OpCode, Any]:
        kind, path, *rest = operation
        if kind == "create":
            data, mode = rest
            return OpCode.CREATE, requests.Create(path, data, OPEN_ACL, mode)
        if kind == "delete":
            return OpCode.DELETE, requests.Delete(path, *rest)
        return OpCode.SET_DATA, requests.SetData(path, *rest)

    def on_model(self, model: Model, operation: Any, session: int) -> Any:
        kind, path, *rest = operation
        zxid = self.machine.zxid + 1
        if kind == "create":
            data, mode = rest
            return model.create(path, data, mode, session, zxid)
        if kind == "delete":
            (version,) = rest
            return model.delete(path, version, zxid)
        data, version = rest
        return model.set_data(path, data, version, zxid)

    @rule(session=st.sampled_from(SESSIONS), operation=OPERATIONS)
    def single(self, session: int, operation: Any) -> None:
        expected = self.on_model(self.model, operation, session)
        result = self.commit(session, *self.to_request(operation)).result
        assert (ErrorCode(result.err) if result.err else result.path) == expected

    @rule(session=st.sampled_from(SESSIONS), operations=st.lists(OPERATIONS, max_size=4))
    def multi(self, session: int, operations: list[Any]) -> None:
        trial = Model(
            {
                path: Node(**{**vars(node), "children": set(node.children)})
                for path, node in self.model.nodes.items()
            }
        )
        expected = []
        for operation in operations:
            expected.append(self.on_model(trial, operation, session))
            if isinstance(expected[-1], ErrorCode):
                break
        request = requests.Multi(tuple(self.to_request(operation) for operation in operations))
        parts = self.commit(session, OpCode.MULTI, request).result.parts
        assert len(parts) == len(operations)
        if expected and isinstance(expected[-1], ErrorCode):
            errors = [0] * (len(expected) - 1) + [int(expected[-1])]
            errors += [int(ErrorCode.RUNTIME_INCONSISTENCY)] * (len(operations) - len(errors))
            assert [(part.op_code, part.err) for part in parts] == [
                (OpCode.ERROR, error) for error in errors
            ]
        else:
            assert [part.path for part in parts] == expected
            self.model = trial

    @rule(session=st.sampled_from(SESSIONS))
    def close_and_reopen(self, session: int) -> None:
        self.model.close(session, self.machine.zxid + 1)
        self.commit(session, OpCode.CLOSE_SESSION, requests.CloseSession())
        refused = self.commit(session, OpCode.DELETE, requests.Delete("/a", -1)).result
        assert refused.err == ErrorCode.SESSION_EXPIRED
        self.commit(session, OpCode.CREATE_SESSION, requests.CreateSession(1000))

    @invariant()
    def trees_are_the_same(self) -> None:
        if not hasattr(self, "model"):
            return
        ours = {
            path: node
            for path, node in self.machine.tree.znodes()
            if not path.startswith("/zookeeper")
        }
        assert ours.keys() == self.model.nodes.keys()
        for path, node in ours.items():
            expected = self.model.nodes[path]
            names = {child.rsplit("/", 1)[1] for child in expected.children}
            offset = 1 if path == "/" else 0  # /zookeeper, which nobody created
            assert set(node.names) - {"zookeeper"} == names
            stat: Stat = node.stat
            assert (node.data, stat.ephemeral_owner) == (expected.data, expected.owner)
            assert (stat.czxid, stat.mzxid, stat.pzxid) == (
                expected.czxid,
                expected.mzxid,
                expected.pzxid,
            )
            assert (stat.version, stat.num_children, node.created) == (
                expected.version,
                len(names) + offset,
                expected.created,
            )
            assert stat.cversion == 2 * expected.created - len(names) - offset
            assert stat.data_length == len(expected.data or b"")
        owned = {path for paths in self.machine.tree.ephemerals.values() for path in paths}
        assert owned == {path for path, node in self.model.nodes.items() if node.owner}

    @invariant()
    def replica_is_the_same(self) -> None:
        if not hasattr(self, "model"):
            return
        assert self.replica.zxid == self.machine.zxid
        assert self.replica.sessions.by_id.keys() == self.machine.sessions.by_id.keys()
        ours, theirs = self.machine.tree, self.replica.tree
        assert ours.all_records() == theirs.all_records()
        assert lists_in(ours) == lists_in(theirs)


def lists_in(tree: Tree) -> dict[str, AclList]:
    return {path: acl.entries for path, acl in tree.acls.items()}


TestMachineAgainstModel = MachineAgainstModel.TestCase
TestMachineAgainstModel.settings = settings(max_examples=60, stateful_step_count=40)
