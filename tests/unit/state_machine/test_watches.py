"""Watches fire once, and go with their watcher."""

import random

import pytest

from zoolet.model.codes import WatchMode
from zoolet.state_machine.watches import Watcher, WatchTable

ONE, TWO, ALL, SOME, GONE, THERE = (Watcher() for _ in range(6))


def test_a_watch_fires_once() -> None:
    table = WatchTable()
    table.add("/a", ONE)
    table.add("/a", TWO)
    table.add("/a", ONE)
    table.add("/b", ONE)
    assert len(table) == 3
    assert list(table.trigger("/a")) == [ONE, TWO]
    assert list(table.trigger("/a")) == []
    assert list(table.trigger("/b")) == [ONE]
    assert len(table) == 0


def test_a_watcher_that_is_gone_is_not_told() -> None:
    table = WatchTable()
    for path in ("/a", "/b"):
        table.add(path, GONE)
    table.add("/a", THERE)
    for watcher in (GONE, Watcher()):
        assert list(table.forget(watcher)) == []
    assert list(table.trigger("/a")) == [THERE]
    assert list(table.trigger("/b")) == []
    assert len(table) == 0


def test_a_watch_that_is_set_again_does_not_change_what_was_told() -> None:
    table = WatchTable()
    table.add("/a", ONE)
    table.add("/a", TWO, WatchMode.PERSISTENT)
    told = table.trigger("/a")
    table.add("/a", ONE)
    table.add("/a", THERE)
    assert list(told) == [ONE, TWO]
    assert list(table.trigger("/a")) == [TWO, ONE, THERE]
    assert table.holds("/a", TWO)
    assert not table.holds("/a", ONE)


def test_a_watcher_of_two_paths_keeps_the_other_one() -> None:
    table, watcher = WatchTable(), Watcher()
    for path in ("/a", "/b"):
        table.add(path, watcher)
    assert list(table.trigger("/a")) == [watcher]
    assert (watcher.num_watches, len(table)) == (1, 1)
    assert list(table.trigger("/b")) == [watcher]
    assert (watcher.num_watches, len(table)) == (0, 0)


def test_a_persistent_watch_stays() -> None:
    table = WatchTable()
    table.add("/a", ONE, WatchMode.PERSISTENT)
    table.add("/a", ONE)
    assert [list(table.trigger("/a")) for _ in range(3)] == [[ONE]] * 3
    assert not table.holds("/a", ONE, WatchMode.STANDARD)
    assert table.holds("/a", ONE, WatchMode.PERSISTENT)
    assert list(table.trigger("/a/b")) == []


def test_a_recursive_watch_hears_of_everything_below_once() -> None:
    table = WatchTable()
    table.add("/", ALL, WatchMode.PERSISTENT_RECURSIVE)
    table.add("/a", SOME, WatchMode.PERSISTENT_RECURSIVE)
    table.add("/a/b", SOME)
    table.add("/a", ONE)
    assert list(table.trigger("/a/b")) == [SOME, ALL]
    assert list(table.trigger("/a/b/c")) == [SOME, ALL]
    assert list(table.trigger("/ab")) == [ALL]
    assert set(table.trigger("/a")) == {ALL, ONE, SOME}
    assert set(table.trigger("/a")) == {ALL, SOME}


def test_watches_are_removed_by_mode() -> None:
    table = WatchTable()
    for mode in WatchMode:
        table.add("/a", ONE, mode)
    assert table.remove("/a", ONE, WatchMode.PERSISTENT)
    assert not table.remove("/a", ONE, WatchMode.PERSISTENT)
    assert table.holds("/a", ONE, WatchMode.PERSISTENT_RECURSIVE)
    assert table.remove("/a", ONE)
    assert not table.remove("/a", ONE)
    assert not table.holds("/a", ONE)
    assert len(table) == 0
    assert list(table.trigger("/a/b")) == []


class Model:
    """Who watches what, without any index."""

    def __init__(self) -> None:
        self.watches: set[tuple[str, Watcher, WatchMode]] = set()

    def trigger(self, path: str) -> set[Watcher]:
        told = {watcher for watched, watcher, _ in self.watches if watched == path}
        told |= {
            watcher
            for watched, watcher, mode in self.watches
            if mode is WatchMode.PERSISTENT_RECURSIVE
            and path.startswith(watched if watched == "/" else f"{watched}/")
        }
        self.watches = {
            watch
            for watch in self.watches
            if watch[0] != path or watch[2] is not WatchMode.STANDARD
        }
        return told


@pytest.mark.parametrize("seed", range(10))
def test_a_table_tells_whom_its_watches_say(seed: int) -> None:
    choose = random.Random(seed)
    table, model = WatchTable(), Model()
    watchers = [Watcher() for _ in range(4)]
    paths = ("/", "/a", "/a/b", "/a/c", "/a/b/d", "/a/b/e", "/ab", "/ab/c")
    for _ in range(2000):
        path, watcher = choose.choice(paths), choose.choice(watchers)
        mode = choose.choice(list(WatchMode))
        match choose.randrange(6):
            case 0:
                table.add(path, watcher, mode)
                model.watches.add((path, watcher, mode))
            case 1:
                table.remove(path, watcher, mode)
                model.watches.discard((path, watcher, mode))
            case 2 if choose.random() < 0.2:
                assert all(table.forget(watcher))
                model.watches = {watch for watch in model.watches if watch[1] is not watcher}
            case _:
                assert set(table.trigger(path)) == model.trigger(path)
    assert any(mode is WatchMode.PERSISTENT_RECURSIVE for _, _, mode in model.watches)
