"""The table of records in C: it has what a dict has, needs little memory, and survives failures."""

import gc
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest

from tests.simulation.memory import testcapi
from zoolet.model.stat import STAT_BYTES, Stat
from zoolet.state_machine.znode import LENGTH_BYTES, encode_record
from zoolet.wire.jute import INT, pack_buffer, pack_ustring

module = pytest.importorskip(
    "zoolet.state_machine.record_table", reason="the module is only in the compiled build"
)
RecordTable = module.RecordTable

LIMIT = 436
"""The most bytes of data that a record has in the table without an object."""

CREATED_BYTES = 16
"""What is stored of the Stat of a znode that was only created."""

SIZES = [0, 1, 8, 100, LIMIT - 1, LIMIT, LIMIT + 1, 5000]
STRANGE = [
    b"",
    b"x",
    bytes(71),
    bytes(72),
    bytes(73),
    b"\xff" * 72,
    b"\xff\xff\xff\xfe" + bytes(68),
]
"""Values that are no records of the usual form."""


def record_of(data: bytes | None, number: int = 1) -> bytes:
    stat = Stat(number, 2, 3, 4, 5, 6, 7, 8, len(data or b""), 9, number)
    return encode_record(data, stat)


def created_with(data: bytes | None, zxid: int, time_ms: int) -> list[int]:
    """Return the Stat of a znode that was only created, as a list of its fields."""
    return [zxid, zxid, time_ms, time_ms, 0, 0, 0, 0, len(data or b""), 0, zxid]


def nearly_created(choose: random.Random) -> bytes:
    """Return a record of a znode that was only created, or with another number in its Stat."""
    data = choose.choice([None, b"", choose.randbytes(choose.choice(SIZES))])
    fields = created_with(data, choose.randrange(1 << 60), choose.randrange(1 << 41))
    if choose.randrange(2):
        fields[choose.choice([0, 1, 2, 3, 4, 5, 6, 7, 9, 10])] ^= 1 << choose.randrange(31)
    return encode_record(data, Stat(*fields))


def path_of(number: int) -> str:
    """Return a path; among them are short, long and non-ASCII ones, of each width."""
    wide = ("", "", "", "", "ä", "č", "語", "😀")[number % 8]
    return f"/{wide}{number}" + "/long" * (100 if number % 61 == 0 else 0)


def table_of(num_paths: int) -> Any:
    table = RecordTable()
    for number in range(num_paths):
        table[path_of(number)] = record_of(b"x" * 100, number)
    return table


def all_of(table: Any) -> dict[str, bytes]:
    return {path: table[path] for path in table}


class Model:
    """A RecordTable, and a dict that must have the same entries."""

    def __init__(self, seed: int, num_paths: int) -> None:
        self.choose = random.Random(seed)
        self.num_paths = num_paths
        self.table = RecordTable()
        self.expected: dict[str, bytes] = {}

    def path(self) -> str:
        return path_of(self.choose.randrange(self.num_paths))

    def record(self) -> bytes:
        choose = self.choose
        match choose.randrange(12):
            case 0:
                return record_of(None)
            case 1:
                return choose.choice(STRANGE)
            case 2:
                return record_of(b"", choose.randrange(1 << 60))
            case 3 | 4 | 5 | 6:
                return nearly_created(choose)
        return record_of(choose.randbytes(choose.choice(SIZES)), choose.randrange(1 << 60))

    def change(self) -> None:
        """Do one thing with a random path, and compare the results."""
        table, expected, path = self.table, self.expected, self.path()
        match self.choose.randrange(6):
            case 0 | 1:
                if self.choose.randrange(2):
                    table.fetch_place(path)
                table[path] = expected[path] = self.record()
            case 2:
                record = self.record()
                assert table.add(path, record) == (path not in expected)
                expected.setdefault(path, record)
            case 3:
                assert table.pop(path) == expected.pop(path, None)
            case 4:
                assert table.get(path) == expected.get(path)
                assert (path in table) == (path in expected)
            case _:
                if path in expected:
                    assert table[path] == expected[path]
                else:
                    with pytest.raises(KeyError) as raised:
                        table[path]
                    assert raised.value.args == (path,)

    def check(self) -> None:
        """Compare all entries."""
        assert len(self.table) == len(self.expected)
        assert bool(self.table) == bool(self.expected)
        assert len(list(self.table)) == len(self.expected)
        assert all_of(self.table) == self.expected


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_paths", [3, 30, 1000, 10_000])
def test_a_table_has_what_a_dict_has(seed: int, num_paths: int) -> None:
    """Its parts are split and joined again, several times; removed slots are used again."""
    model = Model(seed, num_paths)
    for _ in range(3):
        for path in map(path_of, model.choose.sample(range(num_paths), num_paths // 2)):
            model.table[path] = model.expected[path] = model.record()
        model.check()
        for step in range(min(10_000, 20 * num_paths)):
            model.change()
            if step % 500 == 0:
                model.table.shrink()
        model.check()
        for path in model.choose.sample(sorted(model.expected), len(model.expected) // 2):
            assert model.table.pop(path) == model.expected.pop(path)
        for _ in range(model.choose.randrange(4)):
            model.table.shrink()
        model.check()


def tag_and_slot(path: str) -> tuple[int, int, int]:
    """Return the bits of a path's hash that a table with 8 slots compares and looks at."""
    mixed = hash(path) * 0x9E3779B97F4A7C15 % (1 << 64)
    return mixed & 15, mixed >> 32 & 0xFFFF, mixed >> 61


def test_paths_with_equal_tags_are_different_paths() -> None:
    alike: dict[tuple[int, int, int], list[str]] = {}
    for number in range(40_000):
        path = path_of(number)
        alike.setdefault(tag_and_slot(path), []).append(path)
    pairs = [paths[:2] for paths in alike.values() if len(paths) > 1]
    assert len(pairs) > 10  # about 95
    for one, other in pairs:
        table = RecordTable()
        table[one] = record_of(b"one")
        assert other not in table
        assert table.add(other, record_of(b"other"))
        assert (table[one], table[other]) == (record_of(b"one"), record_of(b"other"))
        assert table.pop(one) == record_of(b"one")
        assert (one in table, other in table) == (False, True)


def test_a_large_table_has_all_entries() -> None:
    table = table_of(200_000)
    assert len(table) == len(set(table)) == 200_000
    for number in range(0, 200_000, 3):
        assert table.get(path_of(number)) == record_of(b"x" * 100, number)
        assert table.get(f"/not/{number}") is None


def test_the_same_paths_come_and_go() -> None:
    """What is removed leaves nothing behind that fills a part."""
    table = table_of(500)
    for number in range(100_000):
        assert table.add(f"/new/{number}", record_of(b"x", number))
        assert table.pop(f"/new/{number}") == record_of(b"x", number)
    assert len(table) == 500


@pytest.mark.parametrize("size", [*SIZES, 1 << 20])
def test_records_of_each_size_are_returned_and_replaced(size: int) -> None:
    table = RecordTable()
    for other in (*SIZES, 1 << 20):
        for data in (b"x" * size, b"y" * other, None, b"z" * size):
            table["/a"] = record_of(data, other)
            assert table["/a"] == record_of(data, other)
    for strange in STRANGE:
        table["/a"] = strange
        assert table["/a"] == table.get("/a") == strange
    assert table.pop("/a") == STRANGE[-1]
    assert len(table) == 0


@pytest.mark.parametrize("data", [None, b"", b"x" * 100, b"x" * LIMIT])
def test_each_number_of_a_stat_is_kept(data: bytes | None) -> None:
    """Of a znode that was only created, the table stores two numbers, and no fewer of others."""
    table = RecordTable()
    created = created_with(data, 1 << 40, 1 << 41)
    for field in range(len(created)):
        for bit in range(31):
            fields = list(created)
            if field != 8:  # the length of the data
                fields[field] ^= 1 << bit
            for record in (encode_record(data, Stat(*created)), encode_record(data, Stat(*fields))):
                table["/a"] = record
                assert table["/a"] == record


def test_long_records_are_not_copied() -> None:
    table = RecordTable()
    record = table["/a"] = record_of(b"x" * (1 << 20))
    assert table["/a"] is record
    assert table.get("/a") is record
    assert table.pop("/a") is record


def test_a_record_in_use_never_changes() -> None:
    """The table uses the memory of its last result again, but only if nobody else has it."""
    table = table_of(100)
    held = [table[path_of(number)] for number in range(100)]
    views = [memoryview(table[path_of(number)]) for number in range(100)]
    for number in range(100):
        expected = record_of(b"x" * 100, number)
        assert hash(table[path_of(number)]) == hash(expected)
        assert held[number] == views[number] == expected
        assert table.pop(path_of(number)) == expected
    assert [bytes(view) for view in views] == held


def test_the_path_of_the_table_is_the_first_object() -> None:
    """The lists of children have the same objects."""
    first, second = path_of(1000), path_of(1000)
    assert first is not second
    table = RecordTable()
    table[first] = record_of(b"x")
    table[second] = record_of(b"longer")
    assert not table.add(second, record_of(b"z"))
    (found,) = table
    assert found is first


def test_an_iteration_is_over_the_paths_at_its_begin() -> None:
    table = table_of(5000)
    found = []
    for path in table:
        found.append(path)
        table.pop(path)
        table[path + "/new"] = record_of(b"")
    assert sorted(found) == sorted(map(path_of, range(5000)))
    assert len(table) == 5000


def test_wrong_arguments_are_refused() -> None:
    class Path(str):
        __slots__ = ()

    table = table_of(10)
    record = record_of(b"")
    calls: list[Callable[[], object]] = [
        lambda: RecordTable(1),
        lambda: RecordTable(size=1),
        lambda: table.get(b"/0"),
        lambda: table.get("/0", None),
        lambda: table.pop(0),
        lambda: table[None],
        lambda: [] in table,
        lambda: table.get(Path("/1")),
        lambda: table.fetch_place(Path("/1")),
        lambda: table.fetch_place(b"/1"),
        lambda: table.add("/new"),
        lambda: table.add("/new", record, record),
        lambda: table.add(1, record),
        lambda: table.add("/new", "text"),
        lambda: table.__setitem__("/new", bytearray(record)),
        lambda: table.__setitem__(b"/new", record),
        lambda: table.__setitem__("/1", None),
        lambda: table.__delitem__("/1"),
        lambda: type("Own", (RecordTable,), {}),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(TypeError):
            print(number, call())
    assert all_of(table) == all_of(table_of(10))


# --- Memory


def frames_of(paths: Iterable[str], op_code: int) -> bytes:
    """Return the frames of requests on paths."""
    return b"".join(
        pack_buffer(INT.pack(number) + INT.pack(op_code) + pack_ustring(path) + b"\0")
        for number, path in enumerate(paths)
    )


@pytest.mark.parametrize("seed", range(3))
def test_fetching_ahead_accepts_all_bytes(seed: int) -> None:
    """It reads nothing outside the bytes and the table, which a build with a sanitizer checks."""
    choose = random.Random(seed)
    table = table_of(20_000)
    for number in range(0, 20_000, 2):
        table.pop(path_of(number))
    for _ in range(2000):
        paths = [path_of(choose.randrange(21_000)) for _ in range(choose.randrange(50))]
        data = bytearray(frames_of(paths, choose.randrange(20)) + choose.randbytes(20))
        for _ in range(choose.randrange(4)):
            data[choose.randrange(len(data))] = choose.choice([0, 1, 127, 128, 255])
        cut = bytes(data[: choose.randrange(len(data) + 1)])
        for position in (0, choose.randrange(len(cut) + 1), len(cut), len(cut) + 1, -1):
            table.fetch_ahead(cut, position)
    assert len(table) == 10_000
    assert all(table[path_of(n)] == record_of(b"x" * 100, n) for n in range(1, 20_000, 2))
    for wrong in ((), (b"",), ("", 0), (b"", ""), (b"", 0, 0), (bytearray(9), 0)):
        with pytest.raises(TypeError):
            table.fetch_ahead(*wrong)
    with pytest.raises(OverflowError):
        table.fetch_ahead(b"", 1 << 80)


def memory_of(make: Callable[[], object]) -> int:
    """Return the bytes that a call allocates and does not free, while its result is in use.

    Only what this file allocates counts: other threads may allocate memory meanwhile.
    """
    gc.collect()
    tracemalloc.start()
    made = make()
    found = tracemalloc.take_snapshot()
    tracemalloc.stop()
    assert made is not None
    own = found.filter_traces([tracemalloc.Filter(True, __file__)])
    return sum(each.size for each in own.statistics("filename"))


@pytest.mark.parametrize("size", [0, 100])
def test_a_record_needs_little_memory(size: int) -> None:
    """An entry, and a slot; the path belongs to the caller. A dict needs 33 bytes more for each."""
    paths = [f"/p{number:05}" for number in range(50_000)]
    record = record_of(b"x" * size)

    def make() -> Any:
        table = RecordTable()
        for path in paths:
            table[path] = record
        return table

    assert memory_of(make) / len(paths) < size + STAT_BYTES + LENGTH_BYTES + 22
    record = encode_record(b"x" * size, Stat(*created_with(b"x" * size, 1, 2)))
    assert memory_of(make) / len(paths) < size + CREATED_BYTES + LENGTH_BYTES + 22


def test_a_table_that_lost_its_entries_gets_small_in_steps() -> None:
    def make(num_left: int) -> Any:
        table = table_of(50_000)
        for number in range(num_left, 50_000):
            assert table.pop(path_of(number)) is not None
        for _ in range(40):
            table.shrink()
        assert len(table) == num_left
        return table

    assert memory_of(lambda: make(2000)) < 2.5 * memory_of(lambda: table_of(2000))
    assert memory_of(lambda: make(0)) < 1000


def test_no_reference_stays_behind() -> None:
    path, record, packed = path_of(1000), record_of(b"x" * 1000), record_of(b"x")
    values = (path, record, packed)
    before = [sys.getrefcount(value) for value in values]
    table = RecordTable()
    for _ in range(10):
        table[path] = record
        table[path] = packed
        table.add(path, record)
        assert [table.get(path), table[path], list(table), path in table]
        table.pop(path)
    assert [sys.getrefcount(value) for value in values] == before
    table[path] = record
    del table
    assert [sys.getrefcount(value) for value in values] == before


def fails(call: Callable[[], object], number: int) -> bool:
    """Let the allocation with this number fail in a call; return whether the call failed."""
    testcapi.set_nomemory(number, number + 1)
    try:
        call()
    except MemoryError:
        return True
    finally:
        testcapi.remove_mem_hooks()
    return False


@pytest.mark.skipif(testcapi is None, reason="this Python has no _testcapi: no allocation can fail")
@pytest.mark.parametrize("seed", range(3))
def test_a_failed_allocation_changes_nothing(seed: int) -> None:
    """Each allocation of each call fails once. Some failures are no errors: splits are repeated."""
    model = Model(seed, 4000)
    table, expected = model.table, model.expected
    num_failed = 0
    for _ in range(6000):
        path, record = model.path(), model.record()
        kind = model.choose.randrange(6)
        calls: list[Callable[[], object]] = [
            partial(table.__setitem__, path, record),
            partial(table.add, path, record),
            partial(table.pop, path),
            partial(table.get, path),
            table.shrink,
            partial(iter, table),
        ]
        number = 0
        while fails(calls[kind], number):
            num_failed += 1
            assert len(table) == len(expected)
            assert table.get(path) == expected.get(path)
            number += 1
        if kind == 0:
            expected[path] = record
        elif kind == 1:
            expected.setdefault(path, record)
        elif kind == 2:
            expected.pop(path, None)
    model.check()
    assert num_failed > 1000
    assert fails(RecordTable, 0)
    assert fails(RecordTable, 1)
    assert fails(RecordTable, 2)
