"""A parent's Stat says how many children it has to whoever looks first after one came or went."""

from collections.abc import Callable
from typing import Any

import pytest

from zoolet.model import requests
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import EventType, OpCode
from zoolet.model.stat import STAT_BYTES, Stat
from zoolet.state_machine.identities import NOBODY
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.view import Requester
from zoolet.state_machine.watches import Watcher
from zoolet.storage.snapshots import Image

ASKER = Requester(7, NOBODY)


def do(machine: StateMachine, op_code: OpCode, request: Any) -> Any:
    return machine.apply(machine.prepare(ASKER, 1, op_code, request, 0)).result


def create(path: str) -> requests.Create:
    return requests.Create(path, b"", OPEN_ACL, 0)


@pytest.fixture
def machine() -> StateMachine:
    """Return one whose /a had two children and has one, the last txn being the deletion."""
    made = StateMachine(Tree.fresh(), SessionTable(1000))
    made.sessions.open(ASKER.session_id, 1000, 0)
    for path in ("/a", "/a/b", "/a/c"):
        do(made, OpCode.CREATE, create(path))
    do(made, OpCode.DELETE, requests.Delete("/a/b", -1))
    return made


def found(machine: StateMachine) -> bytes:
    node = machine.tree.find("/a")
    assert node is not None
    return node.record


def in_a_multi(machine: StateMachine) -> bytes:
    operations = ((OpCode.SET_DATA.value, requests.SetData("/a", b"new", -1)),)
    record: bytes = do(machine, OpCode.MULTI, requests.Multi(operations)).parts[0].record
    return record


@pytest.mark.parametrize(
    "look",
    [
        lambda machine: machine.readable("/a", NOBODY),
        lambda machine: machine.acl_of("/a", NOBODY)[2],
        lambda machine: machine.tree.all_records()["/a"],
        lambda machine: do(machine, OpCode.SET_DATA, requests.SetData("/a", b"new", -1)).record,
        lambda machine: do(machine, OpCode.SET_ACL, requests.SetAcl("/a", OPEN_ACL, -1)).record,
        in_a_multi,
        found,
    ],
)
def test_whoever_looks_first_sees_it(
    machine: StateMachine, look: Callable[[StateMachine], bytes]
) -> None:
    zxid = machine.zxid
    record = look(machine)
    stat = Stat.unpack(record, len(record) - STAT_BYTES)
    assert (stat.num_children, stat.cversion, stat.pzxid) == (1, 3, zxid)


def test_a_snapshot_says_it(machine: StateMachine) -> None:
    pzxid = machine.zxid.to_bytes(8, "big")
    (content,) = Image.of(machine).content()
    behind_path = content.split(b"\0\0\0\x02/a")[1]
    assert behind_path[4 + 8 + 52 : 4 + 8 + 60] == pzxid


def test_a_client_that_returns_hears_of_it(machine: StateMachine) -> None:
    since = machine.zxid - 1
    (event,) = machine.set_watches(requests.SetWatches(since, (), (), ("/a",)), Watcher())
    assert event.type is EventType.NODE_CHILDREN_CHANGED


def test_the_next_request_is_prepared_with_it(machine: StateMachine) -> None:
    assert do(machine, OpCode.DELETE, requests.Delete("/a", -1)).err
    assert not do(machine, OpCode.DELETE, requests.Delete("/a/c", -1)).err
    assert not do(machine, OpCode.DELETE, requests.Delete("/a", -1)).err
    do(machine, OpCode.CREATE, create("/a"))
    stat = Stat.unpack(found(machine), len(found(machine)) - STAT_BYTES)
    assert (stat.num_children, stat.cversion, stat.pzxid) == (0, 0, machine.zxid)
