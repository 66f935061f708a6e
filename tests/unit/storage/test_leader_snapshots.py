"""A snapshot that a leader sends, parsed as it arrives."""

import random

import pytest

from tests.support.fuzzy import AclNumbers, FuzzyContent
from tests.support.histories import History, state_of
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.storage.open_acls import OpenAcls
from zoolet.storage.snapshot_parser import SnapshotParser
from zoolet.storage.snapshots import SNAPSHOT_HEADER
from zoolet.wire.jute import MalformedError


def machine_of(parser: SnapshotParser, zxid: int) -> StateMachine:
    sessions = SessionTable(100)
    for session_id, timeout_ms in parser.sessions.items():
        sessions.open(session_id, timeout_ms, now_ms=0)
    return StateMachine(parser.tree, sessions, zxid)


def test_the_snapshot_and_the_txns_after_it_give_the_state() -> None:
    """The leader writes the snapshot while it applies txns, which it sends afterwards."""
    for seed in range(120):
        ours, theirs = received_and_sent(random.Random(seed))
        assert ours == theirs, f"seed {seed}"


def received_and_sent(chance: random.Random) -> tuple[dict[str, object], dict[str, object]]:
    """Return the states of an observer and of its leader."""
    machine = StateMachine(Tree.fresh(), SessionTable(100))
    history = History(chance, machine, names=chance.choice(["a", "ab", "abc"]))
    for _ in range(chance.choice([5, 60])):
        history.step()
    zxid = history.machine.zxid
    content = FuzzyContent(history.machine, AclNumbers())
    txns = []
    while content.step():
        txns += [history.step() for _ in range(chance.choice([0, 0, 1, 10, 30]))]
    stream = SNAPSHOT_HEADER + content.finish()
    parser = SnapshotParser(is_sealed=False)
    steps = parser.steps()
    for start in range(0, len(stream), 77):
        parser.feed(stream[start : start + 77])
        while next(steps, False):
            pass
    assert list(steps) == []
    machine = machine_of(parser, zxid)
    open_acls = OpenAcls(machine.tree, parser.open_acls)
    for txn in txns:
        machine.apply(txn)
        open_acls.settle(txn.body)
    assert open_acls.reason_unusable() is None
    return state_of(machine), state_of(history.machine)


def test_a_snapshot_without_its_end_needs_more_bytes() -> None:
    content = FuzzyContent(StateMachine(Tree.fresh(), SessionTable(100)), AclNumbers())
    stream = SNAPSHOT_HEADER + content.finish()
    parser = SnapshotParser(is_sealed=False)
    parser.feed(stream[:-1])
    steps = parser.steps()
    while next(steps):
        pass
    parser.feed(stream[-1:])
    assert set(steps) <= {True}
    assert set(parser.tree.records) >= {"/", "/zookeeper"}


def test_bytes_after_the_end_are_refused() -> None:
    content = FuzzyContent(StateMachine(Tree.fresh(), SessionTable(100)), AclNumbers())
    parser = SnapshotParser(is_sealed=False)
    parser.feed(SNAPSHOT_HEADER + content.finish() + b"x")
    with pytest.raises(MalformedError, match="after the end"):
        list(parser.steps())
