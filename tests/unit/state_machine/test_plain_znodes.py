"""Plain znodes are encoded in C as all znodes are in Python; marks tell what need not be kept."""

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.simulation.memory import testcapi
from tests.unit.state_machine.test_record_table import (
    LIMIT,
    all_of,
    fails,
    path_of,
    record_of,
    table_of,
)
from zoolet.model import paths
from zoolet.model.acl import OPEN_ACL, READ_ONLY_ACL
from zoolet.state_machine.tables import PART_MOST, PathTable
from zoolet.state_machine.tree import Tree
from zoolet.storage import snapshots
from zoolet.storage.snapshots import Image

module = pytest.importorskip(
    "zoolet.state_machine.record_table", reason="the module is only in the compiled build"
)
RecordTable = module.RecordTable

RECORD = record_of(b"x" * 100)
NAMES = [f"/p{number}" for number in range(100)]


def run_of(records: Any, names: Any, **changed: Any) -> tuple[bytes, int]:
    """Call encode_plain for a list of paths; the other arguments can be changed."""
    arguments = {
        "records": records,
        "kept": RecordTable(),
        "others": (),
        "paths": names,
        "position": 0,
        "end": len(names),
        "room": 1 << 20,
        "marks": False,
    }
    result: tuple[bytes, int] = module.encode_plain(*(arguments | changed).values())
    return result


def records_of(names: list[str], record: bytes = RECORD) -> Any:
    table = RecordTable()
    for name in names:
        table[name] = record
    return table


def encoded(names: list[str], record: bytes = RECORD) -> bytes:
    """Return the bytes of these znodes, each encoded alone."""
    table = records_of(names, record)
    return b"".join(run_of(table, [name])[0] for name in names)


class Changes:
    """A tree that changes at random: what changes depends on the seed only."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.tree = Tree.fresh()
        self.zxid = 1
        for parent in ("/a", "/b"):
            self.tree.create(parent, "/", b"", OPEN_ACL, 0, -1, 1, 1)

    def change(self) -> None:
        choose, tree = self.choose, self.tree
        self.zxid += 1
        parent = choose.choice(["/", "/a", "/a", "/b"])
        wide = choose.choice(["", "", "", "ä", "😀"])
        path = paths.join(parent, f"{wide}{choose.randrange(400)}")
        data = choose.choice([None, b"", b"x" * 90, b"y" * LIMIT, b"z" * 3000])
        if path not in tree.records:
            acl = READ_ONLY_ACL if choose.random() < 0.05 else OPEN_ACL
            owner = 7 if choose.random() < 0.05 else 0
            tree.create(path, parent, data, acl, owner, -1, self.zxid, self.zxid)
        elif choose.random() < 0.6:
            tree.set_data(path, data, 1, self.zxid, self.zxid)
        elif choose.random() < 0.1:
            tree.set_acl(path, choose.choice([READ_ONLY_ACL, OPEN_ACL]), 1)
        elif choose.random() < 0.5:
            tree.delete(path, parent, self.zxid)


def content_of(seed: int) -> bytes:
    """Return the content of an image of a tree that changes while the content is encoded."""
    changes = Changes(seed)
    for _ in range(1500):
        changes.change()
    image = Image(changes.zxid, changes.tree, {})
    for _ in range(seed * 100):
        changes.change()
    found = []
    for chunk in image.content():
        found.append(chunk)
        for _ in range(50):
            changes.change()
    assert len(found) > 2
    return b"".join(found)


@pytest.mark.parametrize("seed", range(5))
def test_a_snapshot_is_the_same_without_runs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    num_encoded = 0

    def counted(*arguments: Any) -> tuple[bytes, int]:
        nonlocal num_encoded
        run, position = module.encode_plain(*arguments)
        num_encoded += position - arguments[4]
        return run, position

    monkeypatch.setattr(snapshots, "encode_plain", counted)
    with_runs = content_of(seed)
    assert num_encoded > 300
    monkeypatch.setattr(snapshots, "encode_plain", lambda *_: (b"", 0))
    assert content_of(seed) == with_runs


def test_a_run_ends_before_a_znode_that_is_not_plain() -> None:
    """Each of them is left to the caller, and so is everything behind it."""
    table = records_of(NAMES)
    plain = encoded(NAMES)
    assert run_of(table, NAMES) == (plain, 100)
    one = len(plain) // 100
    for record in (record_of(b"x" * (LIMIT + 1)), b"", b"x", bytes(73), b"\xff" * 72):
        table["/other"] = record
        assert run_of(table, [*NAMES[:10], "/other", *NAMES[10:]]) == (plain[: 10 * one], 10)
    for name in ("/missing", "/", "/ä", "/😀", "/" + "long" * 300):
        if name != "/missing":
            table[name] = RECORD
        assert run_of(table, [*NAMES[:10], name]) == (plain[: 10 * one], 10)
        assert run_of(table, [name]) == (b"", 0)


@pytest.mark.parametrize("num_others", [1, 2 * PART_MOST, 5 * PART_MOST])
def test_a_run_ends_before_a_znode_of_another_table(num_others: int) -> None:
    """Of a table with one part or with several."""
    other: PathTable[int] = PathTable()
    for number in range(num_others):
        other[f"/other/{number}"] = number
    names = [f"/p{number}" for number in range(50)]
    table = records_of([*names, *other])
    empty: PathTable[int] = PathTable()
    for number in range(0, num_others, max(1, num_others // 500)):
        mixed = [*names, f"/other/{number}", *names]
        for tables in ((other.parts,), (empty.parts, other.parts)):
            assert run_of(table, mixed, others=tables) == (encoded(names), 50)
    assert run_of(table, names, others=(other.parts, empty.parts)) == (encoded(names), 50)


def test_a_run_has_only_the_bytes_that_fit() -> None:
    table, plain = records_of(NAMES), encoded(NAMES)
    for room in (0, 1, len(encoded(NAMES[:1])) - 1, -1):
        assert run_of(table, NAMES, room=room) == (b"", 0)
    for room in range(500, 3000, 7):
        run, position = run_of(table, NAMES, room=room)
        assert run == encoded(NAMES[:position])
        assert len(run) <= room < len(encoded(NAMES[: position + 1]))
    assert run_of(table, NAMES, position=7, end=30) == (encoded(NAMES[7:30]), 30)
    assert run_of(table, NAMES, position=30, end=30) == (b"", 30)
    assert len(plain) == sum(len(encoded([name])) for name in NAMES)


def test_a_kept_record_is_encoded_and_removed() -> None:
    table, kept = records_of(NAMES), records_of(NAMES[::2], record_of(b"old"))
    other: PathTable[int] = PathTable()
    for name in NAMES[::2]:  # the kept record counts: it was plain then
        other[name] = 1
    run, position = run_of(table, NAMES, kept=kept, others=(other.parts,))
    old, new = encoded(NAMES[::2], record_of(b"old")), encoded(NAMES[1::2])
    assert position == 100
    assert len(run) == len(old) + len(new)
    assert run.startswith(encoded(NAMES[:1], record_of(b"old")) + encoded(NAMES[1:2]))
    assert len(kept) == 0
    assert all_of(table) == all_of(records_of(NAMES))


@pytest.mark.parametrize("record", [RECORD, record_of(None), record_of(b"x" * 5000), b"x"])
def test_an_entry_is_copied_to_another_table(record: bytes) -> None:
    """With the path object of the first table, which is in the list of children, too."""
    table, other = records_of(NAMES, record), RecordTable()
    table.mark("/p1")
    for name in (*NAMES, "/p1"):
        table.copy_to("".join(name), other)
    assert all_of(other) == all_of(table)
    own = {name: name for name in table}
    assert all(own[name] is name for name in other)
    assert not other.change("/p1", record)
    other["/p2"] = RECORD
    table.copy_to("/p2", other)
    assert other["/p2"] == RECORD
    table.copy_to("/p2", table)
    del table
    assert len(list(other)) == len(NAMES)
    with pytest.raises(KeyError):
        other.copy_to("/missing", RecordTable())
    wrong: tuple[Any, ...]
    for wrong in ((), ("/p1",), ("/p1", {}), (1, other)):
        with pytest.raises(TypeError):
            other.copy_to(*wrong)


def test_only_a_marked_path_is_changed() -> None:
    table, changed = records_of(NAMES), record_of(b"changed")
    assert not any(table.change(name, changed) for name in NAMES)
    for record in (changed, record_of(b"y" * 100), record_of(b"z" * 5000)):
        table.forget_marks()
        assert not table.change("/p1", record)
        assert not table.change("/missing", record)
        table.mark("/missing")
        table.mark("/p1")
        assert table.change("/p1", record)
        table["/p1"] = RECORD  # it stays marked, whatever its record is
        assert table.change("/p1", record)
        assert table["/p1"] == record
        table.pop("/p1")
        table["/p1"] = RECORD  # a new one
        assert not table.change("/p1", record)
    assert all_of(table) == all_of(records_of(NAMES))


def test_a_run_marks_what_it_reads_from_the_records() -> None:
    table, kept = records_of(NAMES), records_of(NAMES[:1])
    for marks in (False, True):
        table.forget_marks()
        run_of(table, NAMES, kept=kept, end=50, marks=marks)
        assert [table.change(name, RECORD) for name in NAMES[1:50]] == 49 * [marks]
        assert not table.change(NAMES[50], RECORD)


def test_the_entries_of_a_table_are_dropped_in_steps() -> None:
    table = table_of(50_000)
    sizes = [len(table)]
    while table.drop_some():
        sizes.append(len(table))
        for number in range(0, 50_000, 97):
            assert table.get(path_of(number)) in (None, record_of(b"x" * 100, number))
    assert len(table) == 0
    assert max(before - after for before, after in pairwise(sizes)) < 13_000
    table["/again"] = RECORD
    assert all_of(table) == {"/again": RECORD}
    assert not table.drop_some()
    assert list(table) == []


def test_wrong_arguments_are_refused() -> None:
    table = records_of(NAMES)
    wrong: dict[str, Any]
    for wrong in (
        {"records": {}},
        {"kept": {}},
        {"others": []},
        {"others": ({},)},
        {"others": ([[]],)},
        {"paths": tuple(NAMES)},
        {"paths": [1]},
        {"position": "0"},
        {"end": None},
        {"room": 1.5},
    ):
        with pytest.raises(TypeError):
            run_of(table, NAMES, **({"end": 1} | wrong))
    for wrong in ({"position": -1}, {"end": 101}):
        with pytest.raises(IndexError):
            run_of(table, NAMES, **wrong)
    calls: list[Callable[[], object]] = [
        lambda: table.mark(b"/p1"),
        lambda: table.change("/p1"),
        lambda: table.change(1, RECORD),
        lambda: table.change("/p1", "text"),
        lambda: module.encode_plain(table),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()


@pytest.mark.skipif(testcapi is None, reason="this Python has no _testcapi: no allocation can fail")
def test_a_failed_allocation_changes_nothing() -> None:
    table, kept = records_of(NAMES), records_of(NAMES[:3])
    longer = record_of(b"y" * 300)
    number = 0
    while fails(lambda: run_of(table, NAMES, kept=kept, room=0), number):
        number += 1
    table.mark("/p7")
    assert fails(lambda: table.change("/p7", longer), 0)
    number, other = 0, RecordTable()
    while fails(lambda: [table.copy_to(name, other) for name in NAMES], number):
        assert {name: table[name] for name in other} == all_of(other)
        number += 1
    assert number > 1
    assert all_of(other) == all_of(table)
    assert all_of(table) == all_of(records_of(NAMES))
    assert len(kept) == 3
