"""Tables get small again, and hold what they held."""

import sys

import pytest

from zoolet.state_machine.tables import shrunk


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
