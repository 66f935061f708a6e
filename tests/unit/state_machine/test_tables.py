"""Tables get small again, and contain what they contained."""

import itertools
import random
import sys

import pytest

from zoolet.state_machine.tables import PART_MOST, PathTable, shrunk


@pytest.mark.parametrize("left", [0, 1, 9_999])
def test_a_table_that_was_large_gets_small(left: int) -> None:
    table = dict.fromkeys(range(100_000))
    for number in range(left, 100_000):
        del table[number]
    found = shrunk(table)
    assert found == table
    assert sys.getsizeof(found) < sys.getsizeof(table) / 4


def test_a_large_table_stays_as_it_is() -> None:
    table = dict.fromkeys(range(10_000))
    assert shrunk(table) is table


# --- Tables of many dicts


def path_of(number: int) -> str:
    return f"/parent/{number:07}"


def table_of(num_paths: int) -> PathTable[int]:
    table: PathTable[int] = PathTable()
    for number in range(num_paths):
        table[path_of(number)] = number
    return table


def size_of(table: PathTable[int]) -> int:
    return sum(map(sys.getsizeof, table.parts))


class Model:
    """A PathTable, and a dict that must have the same entries."""

    def __init__(self, seed: int, num_paths: int) -> None:
        self.choose = random.Random(seed)
        self.num_paths = num_paths
        self.table: PathTable[int] = PathTable()
        self.expected: dict[str, int] = {}

    def change(self, number: int) -> None:
        """Do one thing with a random path, and compare the results."""
        table, expected = self.table, self.expected
        path = path_of(self.choose.randrange(self.num_paths))
        match self.choose.randrange(7):
            case 0 | 1:
                table[path] = expected[path] = number
            case 2:
                assert table.add(path, number) == (path not in expected)
                expected.setdefault(path, number)
            case 3:
                assert table.pop(path) == expected.pop(path, None)
            case 4:
                assert table.get(path) == expected.get(path)
            case 5:
                assert (path in table) == (path in expected)
            case _:
                if path in expected:
                    assert table[path] == expected[path]
                    del table[path], expected[path]
                else:
                    with pytest.raises(KeyError):
                        table[path]
                    with pytest.raises(KeyError):
                        del table[path]

    def empty_to(self, num_left: int) -> None:
        """Remove random paths until few are left."""
        paths = self.choose.sample(sorted(self.expected), len(self.expected) - num_left)
        for path in paths:
            assert self.table.pop(path) == self.expected.pop(path)

    def check(self) -> None:
        """Compare all entries."""
        table, expected = self.table, self.expected
        assert dict(table.items()) == expected
        assert len(table) == len(expected) == sum(map(len, table.parts))
        assert bool(table) == bool(expected)
        assert sorted(table) == sorted(expected)
        assert sorted(table.values()) == sorted(expected.values())


@pytest.mark.parametrize("seed", range(4))
def test_a_table_has_what_a_dict_has(seed: int) -> None:
    """Its parts are split and joined again, several times."""
    model = Model(seed, 40_000)
    for number in range(3):
        for path in map(path_of, model.choose.sample(range(model.num_paths), 20_000)):
            model.table[path] = model.expected[path] = number
        model.check()
        for step in range(20_000):
            model.change(step)
            if step % 500 == 0:
                model.table.shrink()
        model.check()
        model.empty_to(model.choose.choice([0, 1, 500]))
        model.check()


@pytest.mark.parametrize("num_paths", [1, PART_MOST, PART_MOST + 1, 50_000, 300_000])
def test_each_part_is_small(num_paths: int) -> None:
    sizes = [len(part) for part in table_of(num_paths).parts]
    assert len(sizes) == max(1, -(-num_paths // PART_MOST))
    assert sum(sizes) == num_paths
    assert max(sizes) < 2.5 * PART_MOST


def test_a_table_that_lost_its_entries_gets_small_in_steps() -> None:
    table = table_of(200_000)
    table.shrink()
    before_bytes = size_of(table)
    for number in range(10_000, 200_000):
        del table[path_of(number)]
    before = len(table.parts)
    for _ in range(20):
        table.shrink()
    assert len(table.parts) < before
    assert size_of(table) < before_bytes / 3
    assert {path: table[path] for path in table} == dict(table_of(10_000).items())
    for number in range(10_000):
        del table[path_of(number)]
    for _ in range(20):
        table.shrink()
    assert len(table.parts) == 1
    assert size_of(table) < 1000


def test_a_table_is_freed_in_steps() -> None:
    table = table_of(200_000)
    sizes = [len(table)]
    while table.drop_some():
        sizes.append(sum(map(len, table.parts)))
    assert max(before - after for before, after in itertools.pairwise(sizes)) < 20_000
    assert list(table) == []
    assert not table
    assert not table.drop_some()
