"""Quotas: what is counted where, what is refused, and what a restart finds."""

from typing import Any

import pytest

from zoolet.model import requests
from zoolet.model.acl import OPEN_ACL
from zoolet.model.codes import ErrorCode, OpCode
from zoolet.state_machine.identities import NOBODY
from zoolet.state_machine.machine import StateMachine
from zoolet.state_machine.quotas import Quotas
from zoolet.state_machine.rules import Rules
from zoolet.state_machine.sessions import SessionTable
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.view import Requester
from zoolet.state_machine.znode import data_in

SESSION = 7


class Made:
    """A machine with a session."""

    def __init__(self, *, enforced: bool = True) -> None:
        rules = Rules(enforces_quota=enforced)
        self.machine = StateMachine(Tree.fresh(), SessionTable(1000), rules=rules)
        self.machine.sessions.open(SESSION, 1000, 0)

    def do(self, op_code: OpCode, request: Any) -> Any:
        txn = self.machine.prepare(Requester(SESSION, NOBODY), 1, op_code, request, 0)
        return self.machine.apply(txn)

    def create(self, path: str, data: bytes | None = b"") -> ErrorCode:
        result = self.do(OpCode.CREATE, requests.Create(path, data, OPEN_ACL, 0)).result
        return ErrorCode(result.err)

    def set(self, path: str, data: bytes | None) -> ErrorCode:
        return ErrorCode(self.do(OpCode.SET_DATA, requests.SetData(path, data, -1)).result.err)

    def delete(self, path: str) -> None:
        assert not self.do(OpCode.DELETE, requests.Delete(path, -1)).result.err

    def limit(self, path: str, limits: bytes) -> None:
        at = "/zookeeper/quota"
        for name in path.split("/")[1:]:
            at += f"/{name}"
            self.create(at)
        assert self.create(f"{at}/zookeeper_limits", limits) is ErrorCode.OK
        assert self.create(f"{at}/zookeeper_stats", b"count=0,bytes=0") is ErrorCode.OK

    def stats(self, path: str) -> bytes | None:
        return data_in(self.machine.tree.records[f"/zookeeper/quota{path}/zookeeper_stats"])


def test_what_is_there_and_what_comes_is_counted() -> None:
    made = Made()
    made.create("/a", b"123")
    made.create("/a/b", b"4567")
    made.limit("/a", b"count=-1,bytes=-1")
    assert made.stats("/a") == b"count=2,bytes=7"
    made.create("/a/c", None)
    made.set("/a", b"1")
    assert made.stats("/a") == b"count=3,bytes=5"
    made.delete("/a/b")
    assert made.stats("/a") == b"count=2,bytes=1"


def test_a_path_that_only_begins_alike_does_not_count() -> None:
    made = Made()
    made.create("/a")
    made.limit("/a", b"count=-1,bytes=-1")
    made.create("/ab", b"1")
    assert made.stats("/a") == b"count=1,bytes=0"


def test_the_deepest_quota_counts_alone() -> None:
    made = Made()
    made.create("/a")
    made.create("/a/b")
    made.limit("/a", b"count=-1,bytes=-1")
    made.limit("/a/b", b"count=-1,bytes=-1")
    made.create("/a/b/c", b"12")
    assert (made.stats("/a"), made.stats("/a/b")) == (b"count=2,bytes=0", b"count=2,bytes=2")


def test_a_quota_is_found_again_after_others_come_and_go() -> None:
    made = Made()
    for path in ("/a", "/a/b", "/a/b/c", "/ab"):
        made.create(path)
    made.limit("/a", b"count=-1,bytes=-1")
    made.set("/a/b/c", b"1")
    made.limit("/a/b", b"count=-1,bytes=-1")  # deeper than the quota of the last write
    made.set("/a/b/c", b"12")
    made.set("/ab", b"123")
    assert (made.stats("/a"), made.stats("/a/b")) == (b"count=3,bytes=1", b"count=2,bytes=2")
    made.delete("/zookeeper/quota/a/b/zookeeper_limits")
    made.set("/a/b/c", b"123")
    assert (made.stats("/a"), made.stats("/a/b")) == (b"count=3,bytes=2", b"count=2,bytes=2")
    made.limit("/ab", b"count=-1,bytes=-1")  # as long as the quota of the last write and a letter
    made.set("/ab", b"1")
    made.set("/a", b"1")
    assert (made.stats("/a"), made.stats("/ab")) == (b"count=3,bytes=3", b"count=1,bytes=1")


@pytest.mark.parametrize(
    ("limits", "created", "changed"),
    [
        (b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=2", ErrorCode.OK, ErrorCode.OK),
        (b"count=-1,bytes=-1=;countHardLimit=1", ErrorCode.QUOTA_EXCEEDED, ErrorCode.OK),
        (b"count=-1,bytes=-1=;byteHardLimit=3", ErrorCode.OK, ErrorCode.QUOTA_EXCEEDED),
        (b"count=1,bytes=1", ErrorCode.OK, ErrorCode.OK),
        (b"no quota at all", ErrorCode.OK, ErrorCode.OK),
    ],
)
def test_hard_limits_are_kept_and_soft_ones_warned_of(
    limits: bytes, created: ErrorCode, changed: ErrorCode
) -> None:
    made = Made()
    made.create("/a")
    made.limit("/a", limits)
    assert made.create("/a/b") is created
    assert made.set("/a", b"12345") is changed
    assert bool(made.machine.warnings) == (limits == b"count=1,bytes=1")


def test_where_quotas_are_not_enforced_a_hard_limit_is_a_warning() -> None:
    made = Made(enforced=False)
    made.create("/a")
    made.limit("/a", b"count=-1,bytes=-1=;countHardLimit=1")
    assert made.create("/a/b") is ErrorCode.OK
    assert made.machine.warnings == ["the quota of /a is exceeded: count 2, limit 1"]


def test_a_quota_ends_with_its_limits() -> None:
    made = Made()
    made.create("/a")
    made.limit("/a", b"count=-1,bytes=-1=;countHardLimit=1")
    made.delete("/zookeeper/quota/a/zookeeper_limits")
    assert made.create("/a/b") is ErrorCode.OK
    assert set(made.machine.quotas.limited) == set()


def test_statistics_are_touched_so_that_nobody_reads_them_too_early() -> None:
    made = Made()
    made.create("/a")
    made.limit("/a", b"count=-1,bytes=-1")
    applied = made.do(OpCode.CREATE, requests.Create("/a/b", b"1", OPEN_ACL, 0))
    assert "/zookeeper/quota/a/zookeeper_stats" in applied.touched


def test_a_restart_finds_the_limits_and_counts_again() -> None:
    made = Made()
    made.create("/a", b"12")
    made.limit("/a", b"count=-1,bytes=-1")
    made.set("/zookeeper/quota/a/zookeeper_stats", b"count=99,bytes=99")
    again = Quotas(made.machine.tree)
    assert set(again.limited) == {"/a"}
    assert made.stats("/a") == b"count=1,bytes=2"


def test_the_root_has_no_quota() -> None:
    made = Made()
    made.create("/zookeeper/quota/zookeeper_limits", b"count=1,bytes=1=;countHardLimit=1")
    assert set(made.machine.quotas.limited) == set()
    assert made.create("/a") is ErrorCode.OK
