"""The waiting jobs of a limit: keys take turns, and keys without jobs are deleted."""

from collections.abc import Callable
from typing import Any

from zoolet.jobs.housekeeping.waiting_keys import WaitingKeys, group_of_key
from zoolet.jobs.znodes.edge import MissingError

ROOT = "/q/limits/l/waiting"


class Znodes:
    """Znodes in memory, whose watches a test calls."""

    def __init__(self) -> None:
        self.tree: dict[str, list[str]] = {ROOT: []}
        self.watches: dict[str, Callable[[object], None]] = {}
        self.lists = 0

    def path(self, *names: str) -> str:
        return "/".join(("/q", *names))

    def add(self, key: str, *names: str) -> None:
        """Add waiting jobs, and call the watches."""
        path = f"{ROOT}/{key}"
        if path not in self.tree:
            self.tree[path] = []
            self.tree[ROOT].append(key)
            self.call(ROOT)
        self.tree[path] += names
        self.call(path)

    def move(self, found: dict[str, str]) -> None:
        """Remove the entries of jobs that were moved."""
        for name, path in found.items():
            parent = path.removesuffix(f"/{name}")
            self.tree[parent].remove(name)
            self.call(parent)

    def call(self, path: str) -> None:
        watch = self.watches.pop(path, None)
        if watch is not None:
            watch(None)

    def children(self, path: str, watch: Callable[[object], None]) -> list[str]:
        self.lists += 1
        if path not in self.tree:
            raise MissingError(path)
        self.watches[path] = watch
        return list(self.tree[path])

    def exists(self, path: str, watch: Callable[[object], None]) -> bool:
        self.watches[path] = watch
        return path in self.tree

    def delete(self, path: str) -> bool:
        if self.tree.get(path, ["?"]):
            return False
        del self.tree[path]
        self.tree[ROOT].remove(path.rpartition("/")[2])
        self.call(ROOT)
        return True

    def delete_tree(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        self.tree[parent].remove(name)


class Layout:
    """A layout with these znodes."""

    def __init__(self) -> None:
        self.znodes = Znodes()

    def shard_of(self, dataset: str, groupid: str) -> int:
        del dataset, groupid
        return 0


def name(number: int, priority: int = 0) -> str:
    return f"entry-{priority:03d}-d:1-{number:010d}"


def waiting(percent: int = 0) -> tuple[WaitingKeys, Znodes]:
    layout: Any = Layout()
    return WaitingKeys(layout, "l", lambda: None, lambda: percent), layout.znodes


def take(keys: WaitingKeys, znodes: Znodes, count: int) -> list[str]:
    assert keys.refresh()
    found = keys.take(count, lambda _: 100)
    znodes.move(found)
    return list(found)


def test_keys_take_turns_and_jobs_keep_their_order() -> None:
    keys, znodes = waiting()
    assert not keys.refresh()
    znodes.add("=a", name(1), name(3, priority=5), name(2))
    znodes.add("=b", name(9))
    znodes.add("none", name(7), name(8))
    assert take(keys, znodes, 4) == [name(3, 5), name(9), name(7), name(1)]
    assert take(keys, znodes, 9) == [name(8), name(2)]


def test_a_key_without_jobs_is_deleted_at_once() -> None:
    keys, znodes = waiting()
    znodes.add("=a", name(1))
    assert take(keys, znodes, 1) == [name(1)]
    assert take(keys, znodes, 1) == []
    assert znodes.tree == {ROOT: []}
    assert not keys.refresh()


def test_nothing_is_listed_again_without_a_change() -> None:
    keys, znodes = waiting()
    znodes.add("=a", *(name(number) for number in range(10)))
    take(keys, znodes, 1)
    before = znodes.lists
    keys.refresh()
    keys.take(0, lambda _: 1)
    assert znodes.lists == before


def test_jobs_that_cannot_be_moved_are_not_returned_for_ever() -> None:
    keys, znodes = waiting()
    znodes.add("=a", name(1), name(2))
    keys.refresh()
    for path in keys.take(9, lambda _: 9).values():
        keys.note_failed(path)
    assert keys.take(9, lambda _: 9) == {}
    znodes.add("=a", name(3))
    keys.refresh()
    assert len(keys.take(9, lambda _: 9)) == 3


def test_a_job_that_comes_back_before_the_next_list_is_returned_again() -> None:
    keys, znodes = waiting()
    znodes.add("=a", name(1))
    keys.refresh()
    assert list(keys.take(9, lambda _: 1)) == [name(1)]
    # Its entry was deleted and created again before the watch was set again.
    assert list(keys.take(9, lambda _: 1)) == [name(1)]


def test_a_key_has_no_more_jobs_than_its_room() -> None:
    keys, znodes = waiting()
    znodes.add("=a", name(1), name(2))
    znodes.add("=b", name(3), name(4))
    keys.refresh()
    assert list(keys.take(9, lambda key: 2 if key == "=b" else 0)) == [name(3), name(4)]


def test_other_znodes_among_the_entries_are_removed() -> None:
    keys, znodes = waiting()
    znodes.add("=a", "unknown", name(1))
    assert take(keys, znodes, 9) == [name(1)]
    assert znodes.tree[f"{ROOT}/=a"] == []


def test_the_group_of_a_key() -> None:
    assert group_of_key("=a", per_key=True) == "=a"
    assert group_of_key("=a", per_key=False) == "all"
    assert group_of_key("none", per_key=True) == "all"


def test_a_share_of_each_keys_jobs_are_its_oldest_ones() -> None:
    keys, znodes = waiting(percent=50)
    number = 0
    for key in ("=a", "=b"):
        znodes.add(key, *(name(number + n) for n in range(5)))
        number += 5
    taken: list[str] = []
    for _ in range(6):
        # Jobs of a greater priority come again and again.
        for key in ("=a", "=b"):
            znodes.add(key, *(name(number + n, priority=9) for n in range(4)))
            number += 4
        taken += take(keys, znodes, 4)
    old = [one for one in taken if one.startswith("entry-000")]
    assert old[:2] in ([name(0), name(5)], [name(5), name(0)])
    assert set(old) >= {name(n) for n in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)}
