"""Lists in multis: what ``auth`` stands for is counted before it fills the memory."""

import pytest

from zoolet.model import requests
from zoolet.model.acl import ACL, AclList, Id
from zoolet.model.codes import CreateMode, ErrorCode, OpCode, Permission
from zoolet.model.owner_kinds import OwnerKind
from zoolet.model.txns import ErrorTxn, MultiTxn, TxnBody
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.view import Requester

MAX_TXN_BYTES = 200_000
IDENTITIES = 100


def prepared(acls: list[AclList], op_code: OpCode = OpCode.CREATE) -> TxnBody:
    machine = StateMachine(
        Tree.fresh(), SessionTable(100), rules=Rules(max_txn_bytes=MAX_TXN_BYTES)
    )
    ids = [Id("digest", f"user-{number}:0123456789abcdef=") for number in range(IDENTITIES)]
    asker = Requester(1, Identities(ids))
    opened = machine.prepare(asker, 0, OpCode.CREATE_SESSION, requests.CreateSession(1000), 0)
    machine.apply(opened)
    parts: list[tuple[int, requests.PartRequest]] = []
    for number, acl in enumerate(acls):
        path = f"/n{number}"
        if op_code is OpCode.CREATE_CONTAINER:
            container = requests.Create(path, b"", acl, CreateMode.CONTAINER, OwnerKind.CONTAINER)
            parts.append((op_code, container))
        else:
            parts.append((op_code, requests.Create(path, b"", acl, 0)))
    txn = machine.prepare(asker, 1, OpCode.MULTI, requests.Multi(tuple(parts)), 0)
    return txn.body


def auth(perms: int) -> AclList:
    return (ACL(perms, Id("auth", "")),)


@pytest.mark.parametrize("op_code", [OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER])
@pytest.mark.parametrize("kinds", [1, 31])
def test_a_multi_whose_lists_are_too_large_is_refused_before_it_is_encoded(
    op_code: OpCode, kinds: int
) -> None:
    body = prepared([auth(1 + number % kinds) for number in range(3000)], op_code)
    assert body == ErrorTxn(ErrorCode.MARSHALLING_ERROR)


def test_a_multi_whose_lists_fit_is_prepared() -> None:
    body = prepared([auth(31)] * 20)
    assert isinstance(body, MultiTxn)
    assert len(body.txns) == 20


def test_only_one_multi_is_counted() -> None:
    machine = StateMachine(
        Tree.fresh(), SessionTable(100), rules=Rules(max_txn_bytes=MAX_TXN_BYTES)
    )
    asker = Requester(1, Identities([Id("digest", f"user-{n}:x") for n in range(IDENTITIES)]))
    machine.apply(machine.prepare(asker, 0, OpCode.CREATE_SESSION, requests.CreateSession(1000), 0))
    for number in range(500):
        request = requests.Create(f"/n{number}", b"", auth(int(Permission.ALL)), 0)
        multi = requests.Multi(((OpCode.CREATE, request),))
        result = machine.apply(machine.prepare(asker, 1, OpCode.MULTI, multi, 0)).result
        assert result.err == 0
    assert len(machine.tree.acl_table.lists) == 2
