"""Compiled objects keep what they hold while others of their class are destroyed.

mypyc keeps one object of a class for reuse, and setup.py corrects how it does that.
"""

import ctypes
import random
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from zoolet.model.build import KIND
from zoolet.model.codes import EventType, WatchMode
from zoolet.model.replies import TxnResult
from zoolet.state_machine.apply import Applied, Event
from zoolet.state_machine.watches import Watcher, WatchTable

ALIGNMENT_BYTES = 16
"""Of objects, in CPython's allocator."""


class RunsAtItsEnd(Watcher):
    """Call a function when it is destroyed."""

    def __init__(self, function: Callable[[], None]) -> None:
        super().__init__()
        self.function = function

    def __del__(self) -> None:
        self.function()


def test_what_a_destructor_makes_stays_whole() -> None:
    made: list[Applied] = []

    def make() -> None:
        made.append(Applied(TxnResult(1), ["new"], []))

    Applied(TxnResult(1), cast("list[str]", [RunsAtItsEnd(make)]), [])

    assert (made[0].result.op_code, made[0].touched, made[0].events) == (1, ["new"], [])


def test_a_generator_that_a_destructor_makes_stays_whole() -> None:
    table = WatchTable()
    watcher = Watcher()
    for number in range(250):
        table.add(f"/{number}", watcher, WatchMode.STANDARD)
    made: list[Iterator[int]] = []

    unused = table.forget(RunsAtItsEnd(lambda: made.append(table.forget(watcher))))
    del unused

    assert list(made[0]) == [200]


class Records:
    """Makes and drops records, also while others are destroyed; knows what each has to hold."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.kept: dict[int, Applied | Event | TxnResult] = {}

    def change(self) -> None:
        """Make a record, or drop one."""
        if self.kept and (len(self.kept) > 100 or self.chance.random() < 0.5):
            del self.kept[self.chance.choice(list(self.kept))]
        else:
            number = self.chance.randrange(1 << 40)
            self.kept[number] = self.record(number)

    def record(self, number: int) -> Applied | Event | TxnResult:
        """Return a record that has the number in each of its fields."""
        match self.chance.randrange(3):
            case 0:
                return TxnResult(number, number, str(number), b"", (self.value(number),))
            case 1:
                touched: Any = self.value(number)
                return Applied(TxnResult(number), [touched], [self.value(number)])
            case _:
                return Event(EventType.NODE_CREATED, str(number), number, [self.value(number)])

    def value(self, number: int) -> Any:
        """Return what holds a number, and sometimes changes records when it is destroyed."""
        return (number, RunsAtItsEnd(self.change) if self.chance.random() < 0.5 else None)


def numbers_in(record: Applied | Event | TxnResult) -> set[int]:
    """Return the numbers in a record: one, if it is whole."""
    match record:
        case TxnResult():
            parts: Any = record.parts
            return {record.op_code, record.err, int(record.path), parts[0][0]}
        case Applied():
            held: list[Any] = [record.touched[0], record.events[0]]
            return {record.result.op_code, held[0][0], held[1][0]}
        case Event():
            watchers: Any = record.watchers
            return {record.zxid, int(record.path), watchers[0][0]}


@pytest.mark.parametrize("seed", range(20))
def test_records_stay_whole_whatever_destructors_do(seed: int) -> None:
    records = Records(seed)

    for _ in range(2_000):
        records.change()
        assert all(numbers_in(record) == {number} for number, record in records.kept.items())


@pytest.mark.skipif(KIND != "compiled", reason="needs the compiled modules: run make setup")
@pytest.mark.parametrize("depth", [10, *range(48, 54), 100, 101, 102])
def test_nothing_is_written_in_front_of_an_object_deep_in_others(depth: int) -> None:
    # CPython destroys what is 50 levels deep later, and until then links it through a header. So
    # many results need new memory, in which one is in front of the other.
    size_bytes = -(-TxnResult.__basicsize__ // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    results = {id(result): result for result in [TxnResult(1) for _ in range(5_000)]}
    del results[next(iter(results))]  # is kept for reuse, so that those below are not
    checked = 0
    for where in list(results)[::100]:
        front = where - size_bytes
        if front not in results:
            continue
        chain: Any = [results.pop(where)]
        for _ in range(depth - 1):
            chain = [chain]
        before = ctypes.string_at(front, size_bytes)
        del chain
        assert ctypes.string_at(front, size_bytes) == before
        checked += 1

    assert checked
